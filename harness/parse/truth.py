"""What is true of a record: from its truth columns where it has them, else from its reference answer.

Enters: the columns as a source gives them and the reference answer. Leaves: a `Truth`, or an `UnreadTruth` with a reason;
a contradiction is never settled silently.
Cost: columns are believed over words; whether the two agree is the audit's question.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from harness.records import Finding, Grid, Truth, Verdict, Vocabulary

from .locations import canonical_location
from .parser import parse_answer
from .vocabulary import canonical_defect

PASSED_WORDS = frozenset(
    [
        "passed",
        "pass",
        "ok",
        "okay",
        "good",
        "accept",
        "accepted",
        "acceptable",
        "approved",
        "normal",
        "conforming",
        "non-defective",
        "nondefective",
        "not defective",
        "no defect",
        "defect-free",
        "合格",
        "合格品",
        "良品",
        "良",
        "正常",
        "正常品",
        "適合",
        "パス",
        "○",
        "問題なし",
        "異常なし",
        "欠陥なし",
    ]
)
DEFECTIVE_WORDS = frozenset(
    [
        "defective",
        "defect",
        "fail",
        "failed",
        "ng",
        "bad",
        "reject",
        "rejected",
        "faulty",
        "abnormal",
        "anomaly",
        "anomalous",
        "nonconforming",
        "non-conforming",
        "not passed",
        "not ok",
        "nok",
        "不合格",
        "不合格品",
        "不良",
        "不良品",
        "欠陥",
        "欠陥品",
        "異常",
        "不適合",
        "×",
    ]
)


@dataclass(frozen=True, slots=True)
class UnreadTruth:
    """No truth could be read, and why.

    `reason` is one of: no_columns_no_answer, unknown_verdict, passed_with_findings, unequal_lengths, unknown_location,
    unknown_defect (columns), or a reason of `ParsedAnswer` (the reference answer). `detail` shows the value seen.
    """

    reason: str
    detail: str


def read_verdict(word: str) -> Verdict | None:
    """A verdict column's value in English or Japanese; None where it is neither."""
    plain = " ".join(unicodedata.normalize("NFKC", word).lower().replace("_", " ").strip(" .。!\"'").split())
    if plain in PASSED_WORDS:
        return "passed"
    return "defective" if plain in DEFECTIVE_WORDS else None


def read_truth(
    verdict: str | None,
    locations: Sequence[str] | None,
    defects: Sequence[str] | None,
    answer: str | None,
    vocabulary: Vocabulary,
    grid: Grid = Grid(),  # noqa: B008
) -> Truth | UnreadTruth:
    """The truth of one record.

    Args:
        verdict: the verdict column's word, None without such a column.
        locations: the cells that differ, one for each defect; "" where a defect has no cell; None without a column.
        defects: the defects' names, running in parallel to `locations`; "" where a cell has no name.
        answer: the reference answer, read where the columns do not tell.
        vocabulary: the product's defect names.
        grid: the labels of columns and rows.

    Returns:
        The truth, or why there is none.
    """
    columns = _findings(locations, defects, vocabulary, grid)
    if isinstance(columns, UnreadTruth):
        return columns
    if verdict is not None and verdict.strip():
        said = read_verdict(verdict)
        if said is None:
            return UnreadTruth("unknown_verdict", f"verdict {verdict!r}")
        if said == "passed" and columns:
            return UnreadTruth("passed_with_findings", f"verdict {verdict!r} with {_shown(columns)}")
        if columns is None and said == "defective" and answer:
            parsed = parse_answer(answer, vocabulary, grid)
            return Truth(said, parsed.findings)
        return Truth(said, columns or ())
    if columns:
        return Truth("defective", columns)
    if answer is not None and answer.strip():
        parsed = parse_answer(answer, vocabulary, grid)
        if parsed.verdict is not None:
            return Truth(parsed.verdict, parsed.findings)
        return UnreadTruth(parsed.reason, f"answer {_short(answer)!r}")
    if columns is not None:
        return Truth("passed")  # the columns are there and name nothing
    return UnreadTruth("no_columns_no_answer", "neither truth columns nor an answer")


def _findings(
    locations: Sequence[str] | None, defects: Sequence[str] | None, vocabulary: Vocabulary, grid: Grid
) -> tuple[Finding, ...] | UnreadTruth | None:
    """The findings of the columns; None without columns."""
    if locations is None and defects is None:
        return None
    if locations is not None and defects is not None and len(locations) != len(defects):
        return UnreadTruth("unequal_lengths", f"{len(locations)} locations but {len(defects)} defects")
    count = len(locations if locations is not None else defects or ())
    out: list[Finding] = []
    for index in range(count):
        place = (locations[index] or "").strip() if locations is not None else ""
        name = (defects[index] or "").strip() if defects is not None else ""
        cell = canonical_location(place, grid) if place else None
        if place and cell is None:
            return UnreadTruth("unknown_location", f"location {place!r}")
        known = canonical_defect(name, vocabulary) if name else None
        if name and known is None:
            return UnreadTruth("unknown_defect", f"defect {name!r}")
        if cell is not None or known is not None:
            out.append(Finding(cell, known))
    return tuple(dict.fromkeys(out))


def _shown(findings: Sequence[Finding]) -> str:
    return ", ".join(f"{f.location or '?'}: {f.defect or '?'}" for f in findings[:3])


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 80 else flat[:77] + "..."
