"""All figures of a set of answers: by hand, against scikit-learn, and for the four extreme models."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import balanced_accuracy_score, f1_score, precision_score, recall_score

from harness.records import Metric, SampleScore, Truth, Verdict
from harness.score import aggregate
from harness.score.aggregate import PROPORTIONS, count
from tests.score.answers import PAIR, pairs, read, right_or_wrong, score, true, verdict_score, verdicts, with_words

NAMES = {
    "pass_accuracy", "overkill_rate", "defect_accuracy", "escape_rate", "miss_rate", "false_reject_rate",
    "verdict_accuracy", "balanced_accuracy", "location_accuracy", "location_precision", "location_recall",
    "location_f1", "defect_name_accuracy", "finding_precision", "finding_recall", "finding_f1", "exact_accuracy",
    "parsed_rate", "style_rate", "rouge_l", "bleu", "chrf", "digital_sn", "auroc",
}  # fmt: skip
PASSED, DEFECTIVE = true("passed"), true("defective", PAIR)


def _figures(
    scores: Sequence[SampleScore],
    truths: Sequence[Truth],
    p: Sequence[float | None] | None = None,
    groups: Sequence[str] | None = None,
    text: str = "a b c",
) -> dict[str, Metric]:
    n = len(scores)
    found = aggregate(scores, truths, [text] * n, ["a b c"] * n, p if p is not None else [None] * n, groups)
    assert {metric.metric for metric in found} == NAMES
    assert len(found) == len(NAMES)
    return {metric.metric: metric for metric in found}


def _model(passed: Verdict | None, defective: Verdict | None, n: int = 200) -> tuple[list[SampleScore], list[Truth]]:
    """A model that says one thing of each class, on n passed and n defective products."""
    return [verdict_score(False, passed)] * n + [verdict_score(True, defective)] * n, [PASSED] * n + [DEFECTIVE] * n


def test_figures_by_hand() -> None:
    """3 passed (right, overkill, unreadable), 5 defective (3 right, of them 2 exact; an escape; unreadable)."""
    truths = [PASSED] * 3 + [DEFECTIVE] * 5
    answers = [
        read("passed"), read("defective", ("9D", "stain")), read(None),
        read("defective", PAIR), read("defective", PAIR), read("defective", ("5U", "missing")), read("passed"),
        read(None),
    ]  # fmt: skip
    scores = [score(t, a) for t, a in zip(truths, answers, strict=True)]
    found = _figures(scores, truths, [0.1, 0.6, None, 0.9, 0.8, 0.7, 0.3, None])
    expected = {
        "pass_accuracy": 1 / 3, "overkill_rate": 1 / 3, "false_reject_rate": 2 / 3,
        "defect_accuracy": 3 / 5, "escape_rate": 1 / 5, "miss_rate": 2 / 5,
        "location_accuracy": 2 / 5, "defect_name_accuracy": 3 / 5,
        "verdict_accuracy": 4 / 8, "exact_accuracy": 3 / 8, "parsed_rate": 6 / 8, "style_rate": 0,
        "balanced_accuracy": (1 / 3 + 3 / 5) / 2,
        "location_precision": 2 / 4, "location_recall": 2 / 5, "location_f1": 4 / 9,
        "finding_precision": 2 / 4, "finding_recall": 2 / 5, "finding_f1": 4 / 9,
        "auroc": 7 / 8, "rouge_l": 1,
        # 5 log10 of the odds ratio (1/2) / (2/3)
        "digital_sn": 5 * math.log10((1 / 2) / (2 / 3)),
    }  # fmt: skip
    for name, value in expected.items():
        assert found[name].value == pytest.approx(value), name
    assert {name: found[name].n for name in ("pass_accuracy", "miss_rate", "exact_accuracy", "auroc")} == {
        "pass_accuracy": 3, "miss_rate": 5, "exact_accuracy": 8, "auroc": 6,
    }  # fmt: skip
    assert {name: found[name].n for name in ("location_precision", "location_recall", "location_f1")} == {
        "location_precision": 4, "location_recall": 5, "location_f1": 7,
    }  # fmt: skip
    assert "p = 0.6667, q = 0.4" in found["digital_sn"].method


@settings(deadline=None, max_examples=25)
@given(
    records=st.lists(st.tuples(st.booleans(), verdicts, pairs, pairs), min_size=1, max_size=25), grouped=st.booleans()
)
def test_agrees_with_scikit_learn(
    records: list[
        tuple[bool, Verdict | None, list[tuple[str | None, str | None]], list[tuple[str | None, str | None]]]
    ],
    grouped: bool,
) -> None:
    truths = [true("defective", *places) if bad else PASSED for bad, _, places, _ in records]
    answers = [read(verdict, *(said if verdict == "defective" else [])) for _, verdict, _, said in records]
    scores = [score(t, a) for t, a in zip(truths, answers, strict=True)]
    found = _figures(scores, truths, groups=[str(i % 3) for i in range(len(records))] if grouped else None)

    bad = [truth.verdict == "defective" for truth in truths]
    # scikit-learn knows no "unreadable": such an answer is given the wrong class.
    said_bad = [not b if a.verdict is None else a.verdict == "defective" for a, b in zip(answers, bad, strict=True)]
    if len(set(bad)) == 2:
        assert found["balanced_accuracy"].value == pytest.approx(balanced_accuracy_score(bad, said_bad))
        assert found["defect_accuracy"].value == pytest.approx(recall_score(bad, said_bad))
    cells = [(i, cell) for i in range(len(records)) for cell in ("1U", "3C", "5U", "9D")]
    is_true = [cell in truths[i].locations for i, cell in cells]
    is_said = [cell in {f.location for f in answers[i].findings} for i, cell in cells]
    for name, of in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        metric = found[f"location_{name}"]
        if metric.value is None:
            assert metric.n == 0
            assert math.isnan(of(is_true, is_said, zero_division=math.nan))
        else:
            assert metric.value == pytest.approx(of(is_true, is_said, zero_division=0))
    for name, metric in found.items():
        _is_sound(name, metric)
        if name in PROPORTIONS and not grouped:
            successes, n = count(name, scores, bad)
            if n:
                theirs = binomtest(successes, n).proportion_ci(0.95, method="wilson")
                assert metric.ci_low == pytest.approx(theirs.low, abs=1e-9)
                assert metric.ci_high == pytest.approx(theirs.high, abs=1e-9)


def _is_sound(name: str, metric: Metric) -> None:
    """Finite, in its range, and inside its interval; or undefined with a reason."""
    if metric.value is None:
        assert metric.ci_low is None
        assert metric.ci_high is None
        assert metric.method.startswith("not defined: ")
        return
    assert math.isfinite(metric.value)
    scale = 100 if name in ("bleu", "chrf") else 1
    if name != "digital_sn":
        assert 0 <= metric.value <= scale + 1e-6
    if metric.ci_low is not None:
        assert metric.ci_high is not None
        assert math.isfinite(metric.ci_low)
        assert math.isfinite(metric.ci_high)
        assert metric.ci_low <= metric.ci_high
    else:
        assert "no scatter" in metric.method


EXTREMES: dict[str, tuple[Verdict | None, Verdict | None, dict[str, float | None]]] = {
    "always passed": ("passed", "passed", {
        "pass_accuracy": 1, "overkill_rate": 0, "false_reject_rate": 0, "defect_accuracy": 0, "escape_rate": 1,
        "miss_rate": 1, "verdict_accuracy": 0.5, "balanced_accuracy": 0.5, "location_accuracy": 0,
        "location_precision": None, "location_recall": 0, "location_f1": 0, "exact_accuracy": 0.5, "parsed_rate": 1,
        "digital_sn": 0, "auroc": 0.5,
    }),
    "always defective": ("defective", "defective", {
        "pass_accuracy": 0, "overkill_rate": 1, "false_reject_rate": 1, "defect_accuracy": 1, "escape_rate": 0,
        "miss_rate": 0, "verdict_accuracy": 0.5, "balanced_accuracy": 0.5, "location_accuracy": 1,
        "location_precision": 0.5, "location_recall": 1, "location_f1": 2 / 3, "exact_accuracy": 0.5, "parsed_rate": 1,
        "digital_sn": 0, "auroc": 0.5,
    }),
    "mute": (None, None, {
        "pass_accuracy": 0, "overkill_rate": 0, "false_reject_rate": 1, "defect_accuracy": 0, "escape_rate": 0,
        "miss_rate": 1, "verdict_accuracy": 0, "balanced_accuracy": 0, "location_accuracy": 0,
        "location_precision": None, "location_recall": 0, "location_f1": 0, "exact_accuracy": 0, "parsed_rate": 0,
        "digital_sn": -26.0314, "auroc": 0.5,
    }),
    "perfect": ("passed", "defective", {
        "pass_accuracy": 1, "overkill_rate": 0, "false_reject_rate": 0, "defect_accuracy": 1, "escape_rate": 0,
        "miss_rate": 0, "verdict_accuracy": 1, "balanced_accuracy": 1, "location_accuracy": 1,
        "location_precision": 1, "location_recall": 1, "location_f1": 1, "exact_accuracy": 1, "parsed_rate": 1,
        "digital_sn": 26.0314, "auroc": 0.5,
    }),
}  # fmt: skip


@pytest.mark.parametrize("groups", [None, [str(i // 4) for i in range(400)]])
@pytest.mark.parametrize("name", list(EXTREMES))
def test_extreme_models(name: str, groups: list[str] | None) -> None:
    passed, defective, expected = EXTREMES[name]
    found = _figures(*_model(passed, defective), p=[0.5] * 400, groups=groups, text="" if name == "mute" else "a b c")
    for metric, value in expected.items():
        assert found[metric].value == (None if value is None else pytest.approx(value, abs=5e-5)), metric
    for metric, figure in found.items():
        _is_sound(metric, figure)
        if figure.ci_low is not None and figure.ci_high is not None and figure.value is not None:
            assert figure.ci_low < figure.ci_high, f"{metric} claims certainty"
            assert figure.ci_low - 1e-9 <= figure.value <= figure.ci_high + 1e-9
    assert found["digital_sn"].method.startswith("<=" if name == "mute" else ">=")


def test_a_perfect_model_of_two_groups_is_less_certain_than_one_of_many() -> None:
    scores, truths = _model("passed", "defective", 20)
    few = _figures(scores, truths, groups=[str(i % 2) for i in range(40)])
    many = _figures(scores, truths)
    for metric in ("location_f1", "balanced_accuracy", "finding_recall"):
        assert (few[metric].ci_low or 0) < (many[metric].ci_low or 0) < 1


def test_perfect_probabilities() -> None:
    scores, truths = _model("passed", "defective", 20)
    assert _figures(scores, truths, [0.1] * 20 + [0.9] * 20)["auroc"].value == 1


def test_nothing_to_score() -> None:
    for metric in _figures([], []).values():
        assert metric.value is None
        assert metric.n == 0
        assert metric.method.startswith("not defined: ")


def test_one_class_alone() -> None:
    found = _figures([verdict_score(True, "defective")] * 8, [DEFECTIVE] * 8, [0.9] * 8)
    for name in ("pass_accuracy", "overkill_rate", "false_reject_rate"):
        assert found[name].value is None
        assert found[name].method == "not defined: no such record"
    for name in ("balanced_accuracy", "digital_sn", "auroc"):
        assert found[name].value is None
        assert found[name].method == "not defined: one class is absent"
    assert found["defect_accuracy"].value == 1
    passed = _figures([verdict_score(False, "passed")] * 8, [PASSED] * 8)
    assert passed["location_f1"].method == "not defined: nothing true or named"
    assert passed["location_recall"].method == "not defined: nothing is true"
    assert passed["auroc"].method == "not defined: P(defective) was not asked for"


def test_one_group_is_one_record_s_worth_of_scatter() -> None:
    found = _figures(right_or_wrong([True, True, False, True]), [DEFECTIVE] * 4, groups=["a"] * 4)
    assert found["location_recall"].value == pytest.approx(0.75)
    assert (found["location_recall"].ci_high or 0) - (found["location_recall"].ci_low or 1) > 0.7


def test_words_without_scatter_have_no_interval() -> None:
    scores = [with_words(verdict_score(True, "defective"), 0.5)] * 6
    found = _figures(scores, [DEFECTIVE] * 6)["rouge_l"]
    assert (found.value, found.ci_low, found.method) == (0.5, None, "no scatter in 6 records: no interval")


def test_slice_is_passed_on_and_groups_are_named() -> None:
    scores, truths = _model("passed", "passed", 4)
    found = aggregate(scores, truths, ["a"] * 8, ["a"] * 8, [None] * 8, ["x", "y"] * 4, "source=here")
    assert {metric.slice for metric in found} == {"source=here"}


def test_lengths_must_agree() -> None:
    scores, truths = _model("passed", "passed", 2)
    with pytest.raises(ValueError, match="lengths"):
        aggregate(scores, truths, ["a"] * 3, ["a"] * 4, [None] * 4)
    with pytest.raises(ValueError, match="4 scores of 3 records"):
        count("miss_rate", scores, [True] * 3)
