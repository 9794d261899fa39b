"""The checks of a list of records: what is missing, what contradicts, what is there twice, what is rare.

Enters: records whose truths have been read, and the rows that were dropped on the way. Leaves: an AuditReport, errors
first. An error is something that would make a figure wrong; a warning something that makes it weaker.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from harness.audit.lookalikes import Picture, near_duplicates
from harness.records import Grid, Truth

Severity = Literal["error", "warning", "info"]

#: a class, defect or cell with fewer records says little by itself
FEW = 10
EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """A record as the audit sees it. `truth` is None where it could not be read, and `truth_problem` says why."""

    where: str
    sample_id: str
    image_id: str
    question: str
    answer: str
    truth: Truth | None
    truth_problem: str | None
    split: str


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
    pictures: Mapping[str, Picture] | None = None,
) -> AuditReport:
    """Check records.

    Args:
        grid: for the balance over cells.
        drops: rows that were dropped before they became records.
        pictures: image id -> picture; given, lookalikes of test pictures are searched.
    """
    findings = [
        *_dropped(drops),
        *_unread(records),
        *_contradictions(records),
        *_duplicates(records),
        *_leaks(records),
        *(_lookalikes(records, pictures) if pictures is not None else ()),
        *_balance(records, grid),
    ]
    order = {"error": 0, "warning": 1, "info": 2}
    return AuditReport(tuple(sorted(findings, key=lambda finding: order[finding.severity])))


def _finding(section: str, severity: Severity, message: str, where: Sequence[str], hint: str) -> AuditFinding:
    return AuditFinding(section, severity, message, len(where), tuple(where[:EXAMPLES]), hint)


_DROPS: dict[str, tuple[Severity, str]] = {
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
        severity, hint = _DROPS[section]
        found.append(_finding(section, severity, f"dropped: {reason}", where, hint))
    return found


def _unread(records: Sequence[AuditRecord]) -> list[AuditFinding]:
    by_reason: dict[str, list[str]] = defaultdict(list)
    for record in records:
        if record.truth is None:
            by_reason[record.truth_problem or "no verdict"].append(record.where)
    hint = "state passed or defective in the answer, or add a column verdict; harness parse TEXT shows how it is read"
    total = len(records)
    found = []
    for reason, where in by_reason.items():
        severity: Severity = "error" if len(where) > 0.05 * total else "warning"
        found.append(_finding("truth", severity, f"truth cannot be read: {reason}", where, hint))
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
        sides[record.image_id].setdefault(record.split == "test", record.where)
    where = [f"{found[True]} (test) = {found[False]}" for found in sides.values() if len(found) == 2]
    hint = "remove it on one side; a cycle keeps such records out of training by itself"
    return (
        [_finding("leakage", "error", "pictures of the test split that are trained on", where, hint)] if where else []
    )


def _lookalikes(records: Sequence[AuditRecord], pictures: Mapping[str, Picture]) -> list[AuditFinding]:
    tests = {r.sample_id: pictures[r.image_id] for r in records if r.split == "test"}
    images = {r.image_id for r in records if r.split == "test"}
    others = {r.sample_id: pictures[r.image_id] for r in records if r.split != "test" and r.image_id not in images}
    named = {record.sample_id: record.where for record in records}
    where = [
        f"{named[pair.test]} (test) ~ {named[pair.other]} (hash differs in {pair.hamming} of 64 bits)"
        for pair in near_duplicates(tests, others)
    ]
    hint = "a cycle keeps such records out of training by itself; give pictures of one part the same group"
    return [_finding("leakage", "warning", "pictures nearly equal to a test picture", where, hint)] if where else []


def _balance(records: Sequence[AuditRecord], grid: Grid) -> list[AuditFinding]:
    found = []
    for split in ("train", "validation", "test"):
        truths = [record.truth for record in records if record.split == split and record.truth is not None]
        verdicts = Counter(truth.verdict for truth in truths)
        for verdict in ("passed", "defective"):
            if truths and verdicts[verdict] < FEW:
                found.append(
                    AuditFinding(
                        "balance",
                        "warning",
                        f"{split}: few records are {verdict}",
                        verdicts[verdict],
                        (),
                        "figures of this class will have wide intervals; add such records",
                    )
                )
        defects = Counter(name for truth in truths for name in truth.defects)
        cells = Counter(cell for truth in truths for cell in truth.locations)
        rare = [f"{name} {n}" for name, n in sorted(defects.items(), key=lambda item: item[1]) if n < FEW]
        if rare:
            message = f"{split}: defects with fewer than {FEW} records"
            found.append(_finding("balance", "info", message, rare, "figures by defect are weak there"))
        bare = [f"{cell} {cells[cell]}" for cell in grid.cells if cells[cell] < FEW]
        if truths and bare:
            message = f"{split}: cells with fewer than {FEW} defective records"
            found.append(_finding("balance", "info", message, bare, "the heat map hatches them"))
    return found
