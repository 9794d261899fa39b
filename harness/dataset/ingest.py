"""From sources to the pool: pictures kept, truths read, every record counted as added, known, corrected or dropped.

    SRC --open_usable--> Source --collect--> Row --read_rows--> ReadRow --enter--> pool index

Enters: sources (sources.py). Leaves: new lines in the pool's index. The pictures' bytes go to the pool at once (they
are content-addressed, so a run that stops halfway leaves files, never half a record); memory holds a few hundred bytes
a record. Nothing enters the index before every row has been read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from harness.dataset.fingerprint import fingerprint_many, fingerprint_picture, sample_id
from harness.dataset.pool import Pool, PoolIndex, PoolRecord, PoolTruth, utc_now
from harness.dataset.sources import Source, open_source
from harness.dataset.split import SPLIT_ROLES, TEST_SHARE, PoolRole, hashed_role
from harness.errors import DataError
from harness.parse import PARSER_VERSION, UnreadTruth, canonical_defect, parse_answer, read_truth
from harness.records import Grid, ParsedAnswer, SourceRecord, Truth, Vocabulary


@dataclass(frozen=True, slots=True)
class Row:
    """A source record whose picture could be read and is kept."""

    where: str
    sample_id: str
    image_id: str
    image: str
    width: int
    height: int
    phash: str
    question: str
    answer: str
    verdict: str | None
    locations: tuple[str, ...] | None
    defects: tuple[str, ...] | None
    group: str
    severity: float | None
    source: str
    own_role: PoolRole | None

    @property
    def origin(self) -> str:
        """Where its truth is read."""
        return "columns" if self.verdict is not None else "reference"


@dataclass(frozen=True, slots=True)
class Drop:
    """A row that cannot be used, and why."""

    where: str
    section: str
    reason: str


@dataclass(frozen=True, slots=True)
class ReadRow:
    """A row with its truth, or with the reason why none could be read.

    `said` is what its answer says where the truth comes from columns, so that the two can be held together.
    """

    row: Row
    truth: Truth | None
    problem: str
    said: ParsedAnswer | None = None


@dataclass(slots=True)
class Intake:
    """What happened to the rows of one source."""

    name: str
    kind: str
    revision: str | None
    rows: int = 0
    added: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    corrected: list[str] = field(default_factory=list)
    dropped: list[Drop] = field(default_factory=list)


def open_usable(
    srcs: Iterable[str], columns: Mapping[str, str], *, default_question: str | None = None
) -> list[Source]:
    """Open SRCs and look into each up to the first record that can be used; nothing is written.

    Raises:
        DataError: a SRC that cannot be opened, or that holds no usable record.
    """
    sources = []
    for src in srcs:
        source = open_source(src, columns, default_question=default_question)
        if not any(_usable(record, default_question) for record in source.records()):
            raise DataError(f"{src} holds no usable record", hint=f"see why: harness audit --data {src}")
        sources.append(source)
    return sources


def _usable(record: SourceRecord, default_question: str | None) -> bool:
    if _missing(record, default_question) or record.image is None:
        return False
    return fingerprint_picture(record.image).problem is None


def collect(
    source: Source, pool: Pool, *, as_test: bool, default_question: str | None = None
) -> tuple[list[Row], list[Drop]]:
    """Read a source through, keep its pictures, and drop what has no picture, question or answer.

    Args:
        as_test: every row is test data, whatever split it came in (--test-data).

    Returns:
        The usable rows in order, and the others with their reasons.
    """
    rows: list[Row] = []
    drops: list[Drop] = []
    batch: list[SourceRecord] = []

    def flush() -> None:
        facts = fingerprint_many([record.image for record in batch if record.image is not None])
        for record, fact in zip(batch, facts, strict=True):
            assert record.image is not None
            if fact.problem is not None:
                drops.append(Drop(record.where, "pictures", fact.problem))
                continue
            question = record.question or default_question or ""
            rows.append(
                Row(
                    where=record.where,
                    sample_id=sample_id(fact.image_id, question),
                    image_id=fact.image_id,
                    image=pool.store_image(fact.image_id, record.image, fact.extension),
                    width=fact.width,
                    height=fact.height,
                    phash=fact.phash,
                    question=question,
                    answer=record.answer or "",
                    verdict=record.verdict,
                    locations=record.locations,
                    defects=record.defects,
                    group=record.group or fact.image_id,
                    severity=record.severity,
                    source=record.source or source.name,
                    own_role="test" if as_test else SPLIT_ROLES.get(record.split),
                )
            )
        batch.clear()

    for record in source.records():
        missing = _missing(record, default_question)
        if missing:
            drops.append(Drop(record.where, "missing", missing))
            continue
        batch.append(record)
        if len(batch) == 256:
            flush()
    flush()
    return rows, drops


def _missing(record: SourceRecord, default_question: str | None) -> str:
    if record.image is None:
        return "no picture"
    if not (record.question or default_question or "").strip():
        return "empty question"
    if not (record.answer or "").strip():
        return "empty answer"
    return ""


def declared_names(rows: Iterable[Row], vocabulary: Vocabulary) -> dict[str, tuple[str, ...]]:
    """The defect names of the truth columns that the vocabulary does not know yet, commonest first."""
    counts: Counter[str] = Counter()
    for row in rows:
        for name in row.defects or ():
            if name.strip() and canonical_defect(name, vocabulary) is None:
                counts[name.strip()] += 1
    return {name: () for name, _ in counts.most_common()}


def read_rows(rows: Iterable[Row], vocabulary: Vocabulary, grid: Grid) -> list[ReadRow]:
    """Read the truth of each row: from its columns where it has them, else from its reference answer.

    A row whose columns and answer state opposite verdicts has no truth: training would teach the one, scoring go by
    the other.
    """
    read: list[ReadRow] = []
    heard: dict[str, ParsedAnswer] = {}  # references repeat themselves, and parsing is the cost
    for row in rows:
        truth = read_truth(row.verdict, row.locations, row.defects, row.answer, vocabulary, grid)
        if isinstance(truth, UnreadTruth):
            read.append(ReadRow(row, None, f"{truth.reason.replace('_', ' ')}: {truth.detail}"))
            continue
        if row.verdict is None:
            read.append(ReadRow(row, truth, ""))
            continue
        if row.answer not in heard:
            heard[row.answer] = parse_answer(row.answer, vocabulary, grid)
        said = heard[row.answer]
        if said.verdict is not None and said.verdict != truth.verdict:
            read.append(ReadRow(row, None, f"the columns say {truth.verdict}, the answer says {said.verdict}", said))
        else:
            read.append(ReadRow(row, truth, "", said))
    return read


def enter(
    pool: Pool, index: PoolIndex, intake: Intake, rows: Sequence[ReadRow], *, cycle_id: str, own_test: bool
) -> None:
    """Add a source's rows to the pool and to the index in memory; `intake` tells what became of each.

    A known record with another truth or other words gets a further truth version. Rows of one source that contradict
    each other on equal pictures and questions are dropped, all of them: neither can be believed.

    Args:
        own_test: the data brings its own test split, so that no group is hashed to test.
    """
    facts: list[PoolRecord | PoolTruth] = []
    by_id: dict[str, list[ReadRow]] = {}
    for read in rows:
        if read.truth is None:
            intake.dropped.append(Drop(read.row.where, "truth", read.problem))
        else:
            by_id.setdefault(read.row.sample_id, []).append(read)
    for key, same in by_id.items():
        if len({_label(read) for read in same}) > 1:
            where = ", ".join(read.row.where for read in same)
            intake.dropped += [Drop(read.row.where, "labels", f"contradicting labels: {where}") for read in same]
            continue
        read = same[-1]
        truth = _next_truth(index, read)
        if truth is not None:
            index.truths.setdefault(key, []).append(truth)
            facts.append(truth)  # before its record, so that a record in the index always has a truth
        if key not in index.records:
            index.records[key] = _record(index, read.row, cycle_id=cycle_id, own_test=own_test)
            facts.append(index.records[key])
            intake.added.append(key)
        elif index.records[key].cycle == cycle_id and truth is None:
            intake.added.append(key)  # this cycle's Define was killed after adding it
        elif truth is None:
            intake.known.append(key)
        else:
            intake.corrected.append(key)
    pool.append(facts)


def _label(read: ReadRow) -> tuple[str, frozenset[tuple[str | None, str | None]]]:
    assert read.truth is not None
    return read.truth.verdict, frozenset((f.location, f.defect) for f in read.truth.findings)


def _next_truth(index: PoolIndex, read: ReadRow) -> PoolTruth | None:
    """The truth version that the row adds; None where the latest already says the same."""
    assert read.truth is not None
    versions = index.truths.get(read.row.sample_id, [])
    truth = PoolTruth(
        sample_id=read.row.sample_id,
        truth_version=len(versions) + 1,
        verdict=read.truth.verdict,
        findings=tuple((f.location, f.defect) for f in read.truth.findings),
        reference=read.row.answer,
        origin=read.row.origin,
        parser_version=PARSER_VERSION,
        added_at=utc_now().isoformat(timespec="seconds"),
    )
    return None if versions and versions[-1].says_the_same(truth) else truth


def _record(index: PoolIndex, row: Row, *, cycle_id: str, own_test: bool) -> PoolRecord:
    role, role_by = _role(index, row, own_test=own_test)
    index.group_roles.setdefault(row.group, role)
    return PoolRecord(
        sample_id=row.sample_id,
        image_id=row.image_id,
        image=row.image,
        width=row.width,
        height=row.height,
        phash=row.phash,
        question=row.question,
        group=row.group,
        severity=row.severity,
        source=row.source,
        role=role,
        role_by=role_by,
        cycle=cycle_id,
        added_at=utc_now().isoformat(timespec="seconds"),
    )


def _role(index: PoolIndex, row: Row, *, own_test: bool) -> tuple[PoolRole, str]:
    if row.own_role is not None:
        return row.own_role, "its source's split"
    if row.group in index.group_roles:
        return index.group_roles[row.group], "its group"
    return hashed_role(row.group, test_share=0.0 if own_test else TEST_SHARE), "hash of its group"
