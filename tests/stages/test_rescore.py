"""A newer parser reads every stored answer again: new scores stand beside the old, and what changed is told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness.parse import PARSER_VERSION, parse_answer
from harness.records import Grid, ParsedAnswer, Vocabulary
from harness.stages.rescore import rescore
from harness.stages.threshold import choose_threshold
from harness.store import Ledger, read, write
from harness.store.rows import TruthRow
from tests.command import run
from tests.ledger_builder import HOSTILE, TEST, VALIDATION

NEWER = PARSER_VERSION + 1


@pytest.fixture
def newer_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next version, which takes "I cannot tell." for a pass and reads all else as this one does."""

    def parse(text: str, vocabulary: Vocabulary, grid: Grid) -> ParsedAnswer:
        read = replace(parse_answer(text, vocabulary, grid), parser_version=NEWER)
        return replace(read, verdict="passed", reason="") if text == "I cannot tell." else read

    monkeypatch.setattr("harness.stages.scoring.parse_answer", parse)
    for module in ("scoring", "compare"):
        monkeypatch.setattr(f"harness.stages.{module}.PARSER_VERSION", NEWER)


def accuracy(ledger: Ledger, version: int) -> float:
    found = read.table(
        ledger,
        "SELECT value FROM metrics WHERE cycle_id = 'c0001' AND model_role = 'base' AND split = 'test' AND "
        "condition_id = 'n0' AND slice = 'all' AND metric = 'verdict_accuracy' AND parser_version = ?",
        [version],
    )
    return float(found[0]["value"])


@pytest.mark.usefixtures("newer_parser")
def test_a_newer_parser(ledger_folder: Path) -> None:
    ledger = Ledger(ledger_folder)
    old_scores = read.table(ledger, "SELECT * FROM scores ORDER BY ALL")
    old_findings = read.table(ledger, "SELECT * FROM findings ORDER BY ALL")
    told = run("rescore", "--json", "--runs", ledger_folder)
    assert told.code == 0, told.err
    changes = json.loads(told.out)
    per_cycle = TEST + VALIDATION - len(HOSTILE)  # the base gives these words to every record but the hostile ones
    assert [(c["cycle_id"], c["model_role"], c["cause"]) for c in changes] == [
        (cycle_id, "base", "parser") for cycle_id in ("c0001", "c0002") for _ in range(per_cycle)
    ]
    assert all(c["before"].startswith("unreadable") for c in changes)
    assert {c["after"].split(",")[0] for c in changes} == {"true_pass", "escape"}
    assert f"{2 * per_cycle} scores changed" in told.err

    # The old ones stay as they were, the new ones stand beside them.
    scores_of, findings_of = (
        f"SELECT * FROM {table} WHERE parser_version = ? ORDER BY ALL" for table in ("scores", "findings")
    )
    assert read.table(ledger, scores_of, [PARSER_VERSION]) == old_scores
    assert read.table(ledger, findings_of, [PARSER_VERSION]) == old_findings
    counts = read.table(ledger, "SELECT parser_version, count(*) AS n FROM scores GROUP BY ALL ORDER BY ALL")
    assert [row["n"] for row in counts] == [len(old_scores), len(old_scores)]
    # Every second record is truly passed: of the test records after the hostile ones, half are right now.
    assert accuracy(ledger, NEWER) - accuracy(ledger, PARSER_VERSION) == pytest.approx((TEST - len(HOSTILE)) / 2 / TEST)

    # People see the new ones, each answer and each figure once.
    seen = read.table(ledger, "SELECT DISTINCT parser_version FROM v_answers")
    assert seen == [{"parser_version": NEWER}]
    answers = read.table(ledger, "SELECT count(*) AS n FROM v_answers WHERE cycle_id = 'c0001' AND model_role = 'base'")
    assert answers[0]["n"] == TEST + VALIDATION
    card = json.loads(run("show", "c0001", "--json", "--runs", ledger_folder).out)
    assert len(card["comparisons"]) == len({row["metric"] for row in card["comparisons"]})
    summary = read.summary(ledger, ["c0001"])
    assert len(summary) == len({row["metric"] for row in summary})

    again = run("rescore", "--json", "--runs", ledger_folder)
    assert json.loads(again.out) == [], "a second time nothing more changes"


def test_the_same_parser_changes_nothing(ledger_folder: Path) -> None:
    ledger = Ledger(ledger_folder)
    before = read.table(ledger, "SELECT * FROM scores ORDER BY ALL")
    told = run("rescore", "--runs", ledger_folder)
    assert told.out.strip() == ""
    assert told.err.splitlines() == ["rescore: c0001, 1 of 2", "rescore: c0002, 2 of 2", "0 scores changed"]
    assert read.table(ledger, "SELECT * FROM scores ORDER BY ALL") == before


def test_corrected_truths_reach_the_thresholds(ledger_folder: Path) -> None:
    """Both passed validation records turn defective: there is no passed one left to choose a threshold by."""
    ledger = Ledger(ledger_folder)
    before = choose_threshold(ledger, "c0001", max_escape=0.1, max_overkill=0.2).threshold
    assert before.low is not None
    choose_threshold(ledger, "c0002", max_escape=0.1)
    members = read.memberships(ledger, "c0001", ("validation",))
    truths = {(row.sample_id, row.truth_version): row for row in read.rows(ledger, TruthRow)}
    passed = [m.sample_id for m in members if truths[m.sample_id, 1].verdict == "passed"]
    defective = next(row for row in truths.values() if row.verdict == "defective")
    corrected = [replace(defective, sample_id=name, truth_version=2) for name in passed]
    with ledger.writing() as connection:
        write.insert(connection, corrected)
    told = run("rescore", "c0001", "--runs", ledger_folder)
    assert told.code == 0, told.err
    words = f"{before.low:.4g} and {'none' if before.high is None else format(before.high, '.4g')}"
    assert f"rescore: c0001: its thresholds are chosen again: {words} -> none and none" in told.err
    after = read.threshold(ledger, "c0001")
    assert after is not None
    assert (after.low, after.max_escape, after.max_overkill) == (None, 0.1, 0.2), "by the limits of the first choice"
    other = read.threshold(ledger, "c0002")
    assert other is not None
    assert other.low is not None, "a cycle that was not named goes by its truths as before"


def test_studies_that_a_stopped_rescore_left_behind_are_made_again(
    ledger_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(ledger_folder)
    assert choose_threshold(ledger, "c0001", max_escape=0.1, max_overkill=0.2).threshold.low is not None
    members = read.memberships(ledger, "c0001", ("validation",))
    truths = {(row.sample_id, row.truth_version): row for row in read.rows(ledger, TruthRow)}
    passed = [m.sample_id for m in members if truths[m.sample_id, 1].verdict == "passed"]
    defective = next(row for row in truths.values() if row.verdict == "defective")
    with ledger.writing() as connection:
        write.insert(connection, [replace(defective, sample_id=name, truth_version=2) for name in passed])

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("harness.stages.rescore.restudy", stop)
        with pytest.raises(KeyboardInterrupt):
            rescore(ledger, ["c0001"], say=lambda _: None)
    said: list[str] = []
    rescore(ledger, ["c0001"], say=said.append)
    assert any("its thresholds are chosen again" in line for line in said)
    found = read.threshold(ledger, "c0001")
    assert found is not None
    assert found.low is None, "no validation record is truly passed any more"
    said.clear()
    rescore(ledger, ["c0001"], say=said.append)
    assert not any("chosen again" in line for line in said), "once is enough"
