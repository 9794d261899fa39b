"""The checks of a list of records: what is missing, what contradicts, what is there twice, what is rare.

Enters: records whose truths have been read, the rows that were dropped on the way, and the pairs of nearly equal
pictures. Leaves: an AuditReport, errors first. An error is something that would make a figure wrong; a warning
something that makes it weaker.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from harness.audit.lookalikes import NearPair
from harness.records import Grid, Truth

Severity = Literal["error", "warning", "info"]

#: a class, defect or cell with fewer records says little by itself
FEW = 10
EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """A record as the audit sees it.

    `truth` is None where it could not be read, and `truth_problem` says why; `disagreement` says how the answer's words
    differ from the truth columns. `split` is "excluded" for a record that a cycle kept out of training.
    """

    where: str
    sample_id: str
    image_id: str
    question: str
    answer: str
    truth: Truth | None
    truth_problem: str | None
    split: str
    disagreement: str = ""


class Dropped(Protocol):
    """A row that could not be used."""

    @property
    def where(self) -> str:
        """The row."""

    @property
    def section(self) -> str:
        """Which check it failed."""

    @property
    def reason(self) -> str:
        """Why."""


@dataclass(frozen=True, slots=True)
class AuditFinding:
    """One kind of finding: how often, where for example, and what to do."""

    section: str
    severity: Severity
    message: str
    count: int
    examples: tuple[str, ...]
    hint: str


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What the audit found, errors first."""

    findings: tuple[AuditFinding, ...]

    @property
    def has_errors(self) -> bool:
        """Whether anything found would make a figure wrong."""
        return any(finding.severity == "error" for finding in self.findings)


def audit(
    records: Sequence[AuditRecord],
    *,
    grid: Grid,
    drops: Iterable[Dropped] = (),
    near: Sequence[NearPair] = (),
) -> AuditReport:
    """Check records.

    Args:
        grid: for the balance over cells.
        drops: rows that were dropped before they became records.
        near: pairs of image ids that are nearly equal.
    """
    findings = [
        *_dropped(drops),
        *_unread(records),
        *_disagreements(records),
        *_contradictions(records),
        *_duplicates(records),
        *_leaks(records),
        *_lookalikes(records, near),
        *_balance(records, grid),
    ]
    order = {"error": 0, "warning": 1, "info": 2}
    return AuditReport(tuple(sorted(findings, key=lambda finding: order[finding.severity])))


def _finding(section: str, severity: Severity, message: str, where: Sequence[str], hint: str) -> AuditFinding:
    return AuditFinding(section, severity, message, len(where), tuple(where[:EXAMPLES]), hint)


def _listed(section: str, severity: Severity, message: str, where: Sequence[str], hint: str) -> AuditFinding:
    """A finding that names every case, because each asks for a decision."""
    return AuditFinding(section, severity, message, len(where), tuple(where), hint)


_DROPS: dict[str, tuple[Severity, str]] = {
    "columns": ("error", "map the names as in --set data.columns.answer=caption, or add the column"),
    "pictures": ("error", "save the pictures again as PNG or JPEG of at most 64 million pixels"),
    "missing": ("warning", "fill the field, or remove the row"),
    "truth": ("warning", "state a verdict in the answer, or add truth columns"),
    "labels": ("error", "decide which label is right and remove the other"),
}


def _dropped(drops: Iterable[Dropped]) -> list[AuditFinding]:
    by_reason: dict[tuple[str, str], list[str]] = defaultdict(list)
    for drop in drops:
        by_reason[drop.section, drop.reason].append(drop.where)
    found = []
    for (section, reason), where in by_reason.items():
        severity, hint = _DROPS["labels" if contradicts(reason) else section]
        found.append(_finding(section, severity, f"dropped: {reason}", where, hint))
    return found


def _unread(records: Sequence[AuditRecord]) -> list[AuditFinding]:
    by_reason: dict[str, list[str]] = defaultdict(list)
    for record in records:
        if record.truth is None and not contradicts(record.truth_problem):
            by_reason[record.truth_problem or "no verdict"].append(record.where)
    hint = "state passed or defective in the answer, or add a column verdict; harness parse TEXT shows how it is read"
    total = len(records)
    found = []
    for reason, where in by_reason.items():
        severity: Severity = "error" if len(where) > 0.05 * total else "warning"
        found.append(_finding("truth", severity, f"truth cannot be read: {reason}", where, hint))
    return found


def _disagreements(records: Sequence[AuditRecord]) -> list[AuditFinding]:
    """Answers whose words say another verdict, other cells or other names than the truth columns."""
    verdicts = [f"{r.where}: {r.truth_problem}" for r in records if r.truth is None and contradicts(r.truth_problem)]
    others = [f"{record.where}: {record.disagreement}" for record in records if record.disagreement]
    hint = "training teaches the answer and scoring goes by the columns: correct the one that is wrong"
    found = []
    if verdicts:
        message = "answers that state another verdict than the truth columns"
        found.append(_listed("labels", "error", message, verdicts, hint))
    if others:
        message = "answers that name other cells or defects than the truth columns"
        found.append(_listed("labels", "warning", message, others, f"{hint}; harness parse TEXT shows how it is read"))
    return found


def _label(truth: Truth) -> tuple[str, frozenset[tuple[str | None, str | None]]]:
    return truth.verdict, frozenset((finding.location, finding.defect) for finding in truth.findings)


def _contradictions(records: Sequence[AuditRecord]) -> list[AuditFinding]:
    by_picture: dict[str, list[AuditRecord]] = defaultdict(list)
    for record in records:
        if record.truth is not None:
            by_picture[record.image_id].append(record)
    where = [
        " / ".join(record.where for record in same)
        for same in by_picture.values()
        if len({_label(record.truth) for record in same if record.truth is not None}) > 1
    ]
    hint = "decide which label is right and remove the other"
    return [_finding("labels", "error", "equal pictures with contradicting labels", where, hint)] if where else []


def _duplicates(records: Sequence[AuditRecord]) -> list[AuditFinding]:
    by_id: dict[str, list[AuditRecord]] = defaultdict(list)
    for record in records:
        by_id[record.sample_id].append(record)
    where = [
        " = ".join(record.where for record in same)
        for same in by_id.values()
        if len(same) > 1 and len({record.split for record in same}) == 1
    ]
    hint = "nothing need be done: equal records are kept once"
    return [_finding("duplicates", "warning", "records that are there more than once", where, hint)] if where else []


def _leaks(records: Sequence[AuditRecord]) -> list[AuditFinding]:
    """Equal pictures on both sides of the test split."""
    sides: dict[str, dict[bool, str]] = defaultdict(dict)
    for record in records:
        if record.split != "excluded":
            sides[record.image_id].setdefault(record.split == "test", record.where)
    where = [f"{found[True]} (test) = {found[False]}" for found in sides.values() if len(found) == 2]
    hint = "remove it on one side; a cycle keeps such records out of training by itself"
    return (
        [_finding("leakage", "error", "pictures of the test split that are trained on", where, hint)] if where else []
    )


def _lookalikes(records: Sequence[AuditRecord], near: Sequence[NearPair]) -> list[AuditFinding]:
    """Nearly equal pictures: across the test split, across validation, within a split, and with other labels."""
    by_image: dict[str, list[AuditRecord]] = defaultdict(list)
    for record in records:
        by_image[record.image_id].append(record)
    across: list[str] = []
    chosen: list[str] = []
    within: list[str] = []
    labelled: list[str] = []
    for pair in near:
        ones, others = by_image.get(pair.one), by_image.get(pair.other)
        if not ones or not others:
            continue  # of a record that is not in this cycle
        one, other = ones[0], others[0]
        words = (
            f"{one.where} ({one.split}) ~ {other.where} ({other.split}): "
            f"{pair.share:.2f} of what encoding explains, hash differs in {pair.hamming} of 64 bits"
        )
        splits = {one.split, other.split}
        if "test" in splits and len(splits) == 2:
            across.append(words)
        elif len(splits) == 2:
            chosen.append(words)
        else:
            within.append(words)
        if one.truth is not None and other.truth is not None and _label(one.truth) != _label(other.truth):
            labelled.append(f"{words}; {_in_words(one.truth)} and {_in_words(other.truth)}")
    hint = "a cycle keeps such records out of training by itself; give pictures of one part the same group"
    group = "give pictures of one part the same group"
    rows: list[tuple[str, Severity, str, list[str], str]] = [
        ("leakage", "warning", "pictures nearly equal to a test picture", across, hint),
        ("leakage", "warning", "training pictures nearly equal to a validation picture", chosen, group),
        ("duplicates", "warning", "nearly equal pictures within a split", within, f"they count twice; {group}"),
        ("labels", "warning", "nearly equal pictures with other labels", labelled, "look at both: one label is wrong, "
         "or the defect is smaller than what encoding changes"),
    ]  # fmt: skip
    return [_listed(*row) for row in rows if row[3]]


def _in_words(truth: Truth) -> str:
    named = ", ".join(f"{f.location or '?'} {f.defect or '?'}" for f in truth.findings)
    return f"{truth.verdict} ({named})" if named else truth.verdict


def contradicts(problem: str | None) -> bool:
    """Whether a truth could not be read because answer and columns state opposite verdicts."""
    return (problem or "").startswith("the columns say ")


def _balance(records: Sequence[AuditRecord], grid: Grid) -> list[AuditFinding]:
    """Classes, defects and cells of each split: how many, and which are too few to say anything."""
    found = []
    for split in ("train", "validation", "test"):
        truths = [record.truth for record in records if record.split == split and record.truth is not None]
        if not truths:
            continue
        verdicts = Counter(truth.verdict for truth in truths)
        defects = Counter(name for truth in truths for name in truth.defects)
        cells = Counter(cell for truth in truths for cell in truth.locations)
        for verdict in ("passed", "defective"):
            if verdicts[verdict] < FEW:
                message = f"{split}: few records are {verdict}"
                hint = "figures of this class will have wide intervals; add such records"
                found.append(AuditFinding("balance", "warning", message, verdicts[verdict], (), hint))
        counts = [f"{name} {n}" for name, n in defects.most_common()]
        places = ", ".join(f"{cell} {cells[cell]}" for cell in grid.cells)
        message = f"{split}: {verdicts['passed']} passed, {verdicts['defective']} defective"
        hint = "one number a class, defect name and cell"
        found.append(AuditFinding("balance", "info", message, len(truths), (*counts, f"by cell: {places}"), hint))
        rare = [f"{name} {n}" for name, n in reversed(defects.most_common()) if n < FEW]
        if rare:
            message = f"{split}: defects with fewer than {FEW} records"
            found.append(_listed("balance", "info", message, rare, "figures by defect are weak there"))
        bare = [f"{cell} {cells[cell]}" for cell in grid.cells if cells[cell] < FEW]
        if bare:
            message = f"{split}: cells with fewer than {FEW} defective records"
            found.append(_listed("balance", "info", message, bare, "the heat map hatches them"))
    return found
