"""Thresholds from a real ledger without a model: chosen on validation, honest on test, degenerate models included."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.report import render_reports
from harness.report.threshold import threshold_part
from harness.stages.threshold import choose_threshold
from harness.store import Ledger, read, write
from harness.store.rows import AnswerRow, MembershipRow
from tests.command import run

KEY = ("model_id", "sample_id", "condition_id", "repeat", "engine_id")


def _score_as(runs: Path, p: Callable[[bool, int], float | None], cycle_id: str = "c0001") -> Ledger:
    """Give the cycle's fine-tuned model another P(defective), by true class and by place in the class."""
    ledger = Ledger(runs, tell=lambda _: None)
    bad = {row["sample_id"]: row["verdict"] == "defective" for row in read.judged_records(ledger, cycle_id)}
    places = {True: 0, False: 0}
    changed: list[AnswerRow] = []
    for answer in read.cycle_answers(ledger, cycle_id, "finetuned"):
        is_bad = bad[answer.sample_id]
        changed.append(replace(answer, p_defective=p(is_bad, places[is_bad])))
        places[is_bad] += 1
    with ledger.writing() as connection:
        write.upsert(connection, changed, KEY)
    return ledger


def _all_to(ledger: Ledger, split: str, count: int) -> None:
    """Make the first `count` records of the cycle validation records, or test records, and the rest the other."""
    members = read.memberships(ledger, "c0001", ("test", "validation"))
    other = {"test": "validation", "validation": "test"}[split]
    moved: list[MembershipRow] = [
        replace(m, split=split if i < count else other)  # type: ignore[arg-type]  # both are splits
        for i, m in enumerate(members)
    ]
    with ledger.writing() as connection:
        write.upsert(connection, moved, ("cycle_id", "sample_id"))


def _values(ledger: Ledger, split: str) -> dict[tuple[str, str], float | None]:
    return {(r.rule, r.metric): r.value for r in read.threshold_figures(ledger, "c0001") if r.split == split}


def test_test_records_choose_nothing(ledger_folder: Path) -> None:
    """Whatever P the test records get, the thresholds stay; whatever validation gets moves them."""
    ledger = _score_as(ledger_folder, lambda bad, place: 0.9 if bad else 0.1)
    first = choose_threshold(ledger, "c0001").threshold
    validation = {m.sample_id for m in read.memberships(ledger, "c0001", ("validation",))}
    answers = read.cycle_answers(ledger, "c0001", "finetuned")
    with ledger.writing() as connection:
        write.upsert(connection, [replace(a, p_defective=0.33) for a in answers if a.sample_id not in validation], KEY)
    again = choose_threshold(ledger, "c0001").threshold
    assert (again.low, again.high) == (first.low, first.high) == (pytest.approx(0.5), pytest.approx(0.5))
    assert _values(ledger, "test")["band", "escape_rate"] == 1
    with ledger.writing() as connection:
        moved = [replace(a, p_defective=0.2 if (a.p_defective or 0) > 0.5 else 0.1) for a in answers]
        write.upsert(connection, moved, KEY)
    assert choose_threshold(ledger, "c0001").threshold.low == pytest.approx(0.15)


def test_asking_on_test_is_one_line(ledger_folder: Path) -> None:
    told = run("threshold", "c0001", "--max-escape", 0.02, "--split", "test", "--runs", ledger_folder)
    assert told.code == 1
    assert told.out == ""
    assert len(told.err.splitlines()) == 2
    assert told.err.startswith("error: a threshold is chosen on validation only, not on test")
    assert read.threshold(Ledger(ledger_folder), "c0001") is None


@pytest.mark.parametrize("words", [["--max-escape", "1.5"], ["--max-escape", "-0.1"], ["--max-overkill", "1"]])
def test_a_limit_that_is_no_share(words: list[str], ledger_folder: Path) -> None:
    told = run("threshold", "c0001", *words, "--runs", ledger_folder)
    assert told.code == 1
    assert f"error: {words[0]} is a share in [0, 1)" in told.err


def test_the_command_says_what_a_small_validation_shows(ledger_folder: Path) -> None:
    """2 defective validation records and 12 on test: 149 are needed for 2 % (MEASUREMENT section 1)."""
    told = run("threshold", "c0001", "--max-escape", 0.02, "--json", "--runs", ledger_folder)
    assert told.code == 0, told.err
    card = json.loads(told.out)
    assert card["low"] == card["high"] == pytest.approx(0.5)
    assert any("0 escapes of 2 defective" in n and "147 more defective records" in n for n in card["notes"])
    assert any(n.startswith("On test: 0 escapes of 12") and "137 more defective" in n for n in card["notes"])
    escape = [f for f in card["figures"] if f["metric"] == "escape_rate" and f["split"] == "test"]
    assert {f["n"] for f in escape} == {12}
    assert all(f["ci_high"] == pytest.approx(0.2425, abs=5e-5) for f in escape), "Wilson of 0/12: z^2 / (12 + z^2)"


def test_the_limits_default_to_the_cycles_targets(ledger_folder: Path) -> None:
    row = choose_threshold(Ledger(ledger_folder), "c0001").threshold
    assert (row.max_escape, row.max_overkill) == (0.02, 0.05)


PERFECT = {("threshold", "escape_rate"): 0, ("threshold", "overkill_rate"): 0, ("band", "escape_rate"): 0,
           ("band", "overkill_rate"): 0, ("band", "review_rate"): 0, ("score", "auroc"): 1,
           ("score", "zero_escape_overkill_rate"): 0}  # fmt: skip
UNDECIDED = {("threshold", "escape_rate"): 0, ("threshold", "overkill_rate"): 1, ("band", "escape_rate"): 0,
             ("band", "overkill_rate"): 0, ("band", "review_rate"): 1, ("score", "auroc"): 0.5,
             ("score", "zero_escape_overkill_rate"): 1}  # fmt: skip


@pytest.mark.parametrize(
    ("p", "expected", "calibration", "words"),
    [
        (lambda bad, place: 1.0 if bad else 0.0, PERFECT, 0.0, "nothing is left to review"),
        (lambda bad, place: 0.0, UNDECIDED, 0.5, "Every test answer has the same P(defective)"),
        (lambda bad, place: 1.0, UNDECIDED, 0.5, "nothing is called defective without review"),
        (lambda bad, place: 0.5, UNDECIDED, 0.0, "nothing passes without review"),
    ],
    ids=["perfect", "always passed", "always defective", "constant score"],
)
def test_degenerate_models_have_right_figures_and_pages(
    p: Callable[[bool, int], float | None],
    expected: dict[tuple[str, str], float],
    calibration: float,
    words: str,
    ledger_folder: Path,
    tmp_path: Path,
) -> None:
    ledger = _score_as(ledger_folder, p)
    told = run("threshold", "c0001", "--max-escape", 0.02, "--runs", ledger_folder)
    assert told.code == 0, told.err
    assert words in told.err
    for split in ("validation", "test"):
        values = _values(ledger, split)
        assert {key: values[key] for key in expected} == pytest.approx(expected)
        assert values["score", "calibration_error"] == pytest.approx(calibration)
    text = render_reports(ledger, ["c0001"], tmp_path / "reports")[0].read_text("utf-8")
    assert "Threshold of P(defective)" in text
    assert words in text


def test_a_mute_model_gets_no_threshold_and_a_page(ledger_folder: Path, tmp_path: Path) -> None:
    ledger = _score_as(ledger_folder, lambda bad, place: None)
    told = run("threshold", "c0001", "--runs", ledger_folder)
    assert told.code == 3
    assert "no threshold for c0001: none of 4 answers carries P(defective)" in told.err
    row = read.threshold(ledger, "c0001")
    assert row is not None
    assert row.low is row.high is None
    assert all(value is None for value in _values(ledger, "test").values())
    part = threshold_part(ledger, "c0001")
    assert part is not None
    assert part.low == part.high == "none chosen"
    assert dict(part.plots) == {}
    text = render_reports(ledger, ["c0001"], tmp_path / "reports")[0].read_text("utf-8")
    assert "No threshold could be chosen on validation" in text


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_split_without_records(split: str, ledger_folder: Path, tmp_path: Path) -> None:
    ledger = Ledger(ledger_folder, tell=lambda _: None)
    _all_to(ledger, split, 0)
    told = run("threshold", "c0001", "--runs", ledger_folder)
    assert told.code == (3 if split == "validation" else 0), told.err
    assert render_reports(ledger, ["c0001"], tmp_path / "reports")


def test_some_answers_without_p_go_to_review(ledger_folder: Path) -> None:
    ledger = _score_as(ledger_folder, lambda bad, place: None if place == 3 else 0.9 if bad else 0.1)
    chosen = choose_threshold(ledger, "c0001")
    notes = json.loads(chosen.threshold.notes)
    reviewed = sum(round((r.value or 0) * r.n) for r in chosen.figures if (r.rule, r.metric) == ("band", "review_rate"))
    assert reviewed == 2, "one record of each class"
    assert any("carry no P(defective): they go to review" in note for note in notes)


def test_choosing_again_replaces(ledger_folder: Path) -> None:
    ledger = Ledger(ledger_folder)
    first = choose_threshold(ledger, "c0001", max_escape=0.02)
    again = choose_threshold(ledger, "c0001", max_escape=0.1)
    row = read.threshold(ledger, "c0001")
    assert row is not None
    assert row.max_escape == 0.1
    assert len(read.threshold_figures(ledger, "c0001")) == len(first.figures) == len(again.figures)


def test_the_plots_are_valid_plotly_with_the_thresholds_drawn(ledger_folder: Path) -> None:
    go = pytest.importorskip("plotly.graph_objects")
    ledger = _score_as(ledger_folder, lambda bad, place: (0.4 + 0.04 * place) if bad else (0.1 + 0.04 * place))
    row = choose_threshold(ledger, "c0001", max_escape=0, max_overkill=0).threshold
    part = threshold_part(ledger, "c0001")
    assert part is not None
    assert set(part.plots) == {"threshold_curve", "threshold_roc", "threshold_scores", "threshold_calibration"}
    for figure in part.plots.values():
        go.Figure(figure)
    strokes = [shape["x0"] for shape in part.plots["threshold_curve"]["layout"]["shapes"]]
    assert strokes == list(dict.fromkeys((row.low, row.high)))
    bars = [sum(trace["y"]) for trace in part.plots["threshold_scores"]["data"]]
    assert bars == [12, 12], "the test records of each class"
