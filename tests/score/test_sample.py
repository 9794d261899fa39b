"""One answer against its truth: outcomes, sets, and what is counted."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.records import Finding, Outcome, Verdict
from harness.score import score_answers
from harness.score.sample import normalised
from tests.score.answers import NO_FORMS, pairs, read, score, true

LABELS = Path(__file__).resolve().parent.parent / "data" / "parse" / "score.py"


@pytest.mark.parametrize(
    ("truth", "verdict", "outcome"),
    [
        ("passed", "passed", "true_pass"),
        ("passed", "defective", "overkill"),
        ("passed", None, "unreadable"),
        ("defective", "defective", "true_defect"),
        ("defective", "passed", "escape"),
        ("defective", None, "unreadable"),
    ],
)
def test_outcomes(truth: Verdict, verdict: Verdict | None, outcome: Outcome) -> None:
    found = score(true(truth), read(verdict))
    assert found.outcome == outcome
    assert found.parsed == (verdict is not None)
    assert found.verdict_correct == (truth == verdict)
    assert found.verdict == verdict
    assert found.reason == ("" if verdict else "no_decision")


def test_counts_are_of_sets() -> None:
    truth = true("defective", ("3C", "missing"), ("5U", "stain"))
    found = score(truth, read("defective", ("3C", "missing"), ("3C", "missing"), ("7D", "stain"), ("7D", "short")))
    assert (found.location_tp, found.location_fp, found.location_fn) == (1, 1, 1)
    assert (found.finding_tp, found.finding_fp, found.finding_fn) == (1, 2, 1)
    assert not found.location_correct
    assert not found.defect_names_correct


def test_a_name_without_a_cell_is_a_finding_but_no_cell() -> None:
    truth = true("defective", ("3C", "missing"))
    found = score(truth, read("defective", (None, "stain")))
    assert (found.location_tp, found.location_fp, found.location_fn) == (0, 0, 1)
    assert (found.finding_tp, found.finding_fp, found.finding_fn) == (0, 1, 1)


def test_saying_less_beside_saying_all_costs_nothing() -> None:
    truth = true("defective", ("3C", "missing"))
    found = score(truth, read("defective", ("3C", "missing"), (None, "missing"), ("3C", None)))
    assert found.exact
    assert (found.finding_tp, found.finding_fp, found.finding_fn) == (1, 0, 0)


def test_names_at_each_others_cells_are_not_exact() -> None:
    truth = true("defective", ("3C", "missing"), ("5U", "stain"))
    found = score(truth, read("defective", ("3C", "stain"), ("5U", "missing")))
    assert found.location_correct
    assert found.defect_names_correct
    assert not found.exact
    assert (found.finding_tp, found.finding_fp, found.finding_fn) == (0, 2, 2)


@pytest.mark.parametrize("verdict", ["passed", None])
def test_no_place_is_not_the_right_place_of_a_defect_that_was_not_seen(verdict: Verdict | None) -> None:
    """A defective product of which no cell is known: only an answer that calls it defective can be right."""
    found = score(true("defective"), read(verdict))
    assert not found.location_correct
    assert not found.defect_names_correct
    assert not found.exact
    assert score(true("defective"), read("defective")).exact


def test_an_overkill_without_a_cell_has_no_right_place() -> None:
    assert not score(true("passed"), read("defective")).location_correct
    assert score(true("passed"), read("passed")).exact


def test_sequences_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="argument"):
        score_answers(["a", "b"], ["a"], [true("passed")], [read("passed")], NO_FORMS)


def _findings_of() -> Any:
    """The normalisation of the labelled examples' own scorer."""
    if not LABELS.is_file():
        pytest.skip(f"{LABELS.name} of the labelled answers is not here")
    spec = importlib.util.spec_from_file_location("labelled_answers_score", LABELS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.findings_of


@settings(deadline=None)
@given(found=st.lists(st.tuples(st.sampled_from([None, "3C", "5U"]), st.sampled_from([None, "missing", "stain"]))))
def test_normalisation_is_the_labelled_examples_own(found: list[tuple[str | None, str | None]]) -> None:
    stated = [{"location": cell, "defect": name} for cell, name in found]
    expected = _findings_of()({"verdict": "defective", "findings": stated})
    assert normalised(Finding(cell, name) for cell, name in found) == expected


@settings(deadline=None, max_examples=50)
@given(truth=pairs, said=pairs)
def test_counts_agree_with_confusion_matrices(
    truth: list[tuple[str | None, str | None]], said: list[tuple[str | None, str | None]]
) -> None:
    from sklearn.metrics import confusion_matrix

    found = score(true("defective", *truth), read("defective", *said))
    places = ["1U", "3C", "5U", "9D"]
    in_truth, in_answer = ([int(place in {cell for cell, _ in side}) for place in places] for side in (truth, said))
    (_, fp), (fn, tp) = confusion_matrix(in_truth, in_answer, labels=[0, 1])
    assert (found.location_tp, found.location_fp, found.location_fn) == (tp, fp, fn)
    assert found.location_correct == (fp == fn == 0)
    assert found.exact == (found.finding_fp == found.finding_fn == 0)
