"""Each check of MEASUREMENT section 8 on records made by hand: what is found, how grave it is, who is named."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from harness.audit import AuditFinding, AuditRecord, NearPair, audit, disagreement
from harness.parse import generic_vocabulary, parse_answer
from harness.records import Finding, Grid, Truth

PASSED, GRID = Truth("passed"), Grid()


def defective(cell: str = "3C", name: str = "missing") -> Truth:
    return Truth("defective", (Finding(cell, name),))


def record(number: int, truth: Truth | None = PASSED, split: str = "train", **more: str) -> AuditRecord:
    values = {"where": f"row {number}", "sample_id": f"s{number}", "image_id": f"i{number}", "question": "?",
              "answer": "OK", "truth_problem": None, "disagreement": "", **more}  # fmt: skip
    return AuditRecord(truth=truth, split=split, **values)  # type: ignore[arg-type]


def found(records: list[AuditRecord], section: str, words: str, **more: object) -> AuditFinding:
    report = audit(records, grid=GRID, **more)  # type: ignore[arg-type]
    (finding,) = [f for f in report.findings if f.section == section and words in f.message]
    return finding


@dataclass
class Drop:
    where: str
    section: str
    reason: str


@pytest.mark.parametrize(
    ("drop", "section", "severity"),
    [
        (Drop("row 1", "pictures", "huge: 9000 x 9000 pixels"), "pictures", "error"),
        (Drop("row 1", "missing", "empty answer"), "missing", "warning"),
        (Drop("row 1", "truth", "no decision: 'cubes'"), "truth", "warning"),
        (Drop("row 1", "truth", "the columns say passed, the answer says defective"), "truth", "error"),
        (Drop("row 1", "labels", "contradicting labels: row 1, row 2"), "labels", "error"),
    ],
)
def test_dropped_rows(drop: Drop, section: str, severity: str) -> None:
    finding = found([record(0)], section, "dropped", drops=[drop])
    assert (finding.severity, finding.examples) == (severity, ("row 1",))


def test_an_answer_against_its_columns() -> None:
    says = "the columns say passed, the answer says defective"
    finding = found(
        [record(n) for n in range(50)] + [record(99, None, truth_problem=says)], "labels", "another verdict"
    )
    assert finding.severity == "error"
    assert finding.examples == (f"row 99: {says}",)
    other = found(
        [record(1, defective(), disagreement="the columns say 3C, the answer says 4C")], "labels", "other cells"
    )
    assert other.severity == "warning"


def test_what_an_answer_says_beside_its_columns() -> None:
    vocabulary = generic_vocabulary()

    def differs(answer: str, truth: Truth) -> str:
        return disagreement(parse_answer(answer, vocabulary, GRID), truth)

    assert differs("NG: 3C is missing.", defective()) == ""
    assert differs("NG.", defective()) == "", "saying less contradicts nothing"
    assert differs("NG: 4C is missing.", defective()) == "the columns say 3C, the answer says 4C"
    assert differs("NG: stain at 3C.", defective()) == "the columns say missing, the answer says stain"


def test_contradicting_labels_on_equal_pictures() -> None:
    same = [record(1, PASSED, image_id="i"), record(2, defective(), image_id="i")]
    finding = found(same, "labels", "equal pictures")
    assert (finding.severity, finding.examples) == ("error", ("row 1 / row 2",))


def test_equal_records_and_leaks() -> None:
    twice = [record(1, sample_id="s", image_id="i"), record(2, sample_id="s", image_id="i")]
    assert found(twice, "duplicates", "more than once").severity == "warning"
    leak = [record(1, split="test", image_id="i"), record(2, image_id="i")]
    finding = found(leak, "leakage", "trained on")
    assert (finding.severity, finding.examples) == ("error", ("row 1 (test) = row 2",))


def test_nearly_equal_pictures_are_all_named_with_both_sides() -> None:
    records = [record(n, split=split) for n, split in enumerate(["test", "train", "excluded", "validation", "train"])]
    records += [record(n) for n in range(10, 30)]
    near = [NearPair("i0", "i1", 4, 0.3), NearPair("i0", "i2", 4, 0.4), NearPair("i3", "i4", 2, 0.2)]
    near += [NearPair(f"i{n}", f"i{n + 1}", 0, 0.1) for n in range(10, 28)]
    across = found(records, "leakage", "test picture", near=near)
    assert across.severity == "warning"
    assert [text.split(":")[0] for text in across.examples] == [
        "row 0 (test) ~ row 1 (train)", "row 0 (test) ~ row 2 (excluded)",
    ]  # fmt: skip
    assert found(records, "leakage", "validation picture", near=near).count == 1
    within = found(records, "duplicates", "within a split", near=near)
    assert within.count == len(within.examples) == 18


def test_nearly_equal_pictures_with_other_labels() -> None:
    records = [record(0, PASSED, "test"), record(1, defective(), "train")]
    finding = found(records, "labels", "other labels", near=[NearPair("i0", "i1", 4, 0.3)])
    assert "passed and defective (3C missing)" in finding.examples[0]


def test_pairs_of_records_outside_the_cycle_are_passed_over() -> None:
    report = audit([record(0, split="test")], grid=GRID, near=[NearPair("i0", "elsewhere", 4, 0.3)])
    assert {finding.section for finding in report.findings} == {"balance"}


def test_balance_counts_classes_names_and_cells() -> None:
    records = [record(n) for n in range(30)]
    records += [record(100 + n, defective("3C", "missing")) for n in range(12)]
    records += [record(200 + n, defective("1U", "stain")) for n in range(4)]
    counts = found(records, "balance", "train: 30 passed, 16 defective")
    assert counts.examples[:2] == ("missing 12", "stain 4")
    assert "3C 12" in counts.examples[2]
    assert found(records, "balance", "defects with fewer than 10").examples == ("stain 4",)
    cells = found(records, "balance", "cells with fewer than 10").examples
    assert len(cells) == 26
    assert "1U 4" in cells
    assert not any(cell.startswith("3C") for cell in cells)


def test_few_of_a_class_is_a_warning() -> None:
    records = [record(n, split="test") for n in range(12)]
    assert found(records, "balance", "test: few records are defective").severity == "warning"
    assert not audit(records, grid=GRID).has_errors


def test_many_unread_truths_are_an_error() -> None:
    records = [record(n) for n in range(18)] + [record(n, None, truth_problem="no decision") for n in (30, 31)]
    assert found(records, "truth", "cannot be read").severity == "error"
    assert audit(records, grid=GRID).has_errors
