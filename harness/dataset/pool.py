"""The pool: every record ever seen, content-addressed and append-only, with its own index.

    runs/pool/images/ab/ab12....png     the encoded bytes as they came, named by the hash of their decoded pixels
    runs/pool/<product>/index.jsonl     one line a fact: a record, a version of its truth, a closed test split

Enters: records whose truth has been read. Leaves: the same, after any number of kills. Nothing is ever rewritten: a
corrected label is a further truth line. A line torn by a kill is cut off before the next append. Cost: the whole
index is read at each cycle (about 1 ms per 100 records).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from harness.dataset.split import Candidate, ClosedSplit, PoolRole
from harness.errors import DataError
from harness.records import Finding, Sample, Truth, Verdict


@dataclass(frozen=True, slots=True)
class PoolRecord:
    """A record without its truth. `image` is the file below the pool folder; `phash` 16 hex digits."""

    sample_id: str
    image_id: str
    image: str
    width: int
    height: int
    phash: str
    question: str
    group: str
    severity: float | None
    source: str
    role: PoolRole
    role_by: str
    cycle: str
    added_at: str


@dataclass(frozen=True, slots=True)
class PoolTruth:
    """One version of the truth of a record. `origin` is "columns" or "reference"; findings are (location, defect)."""

    sample_id: str
    truth_version: int
    verdict: Verdict
    findings: tuple[tuple[str | None, str | None], ...]
    reference: str
    origin: str
    parser_version: int
    added_at: str

    @property
    def truth(self) -> Truth:
        """As the scorer takes it."""
        return Truth(self.verdict, tuple(Finding(location, defect) for location, defect in self.findings))

    def says_the_same(self, other: PoolTruth) -> bool:
        """Whether the other version has the same truth and the same words."""
        same_findings = set(self.findings) == set(other.findings)
        return self.verdict == other.verdict and same_findings and self.reference == other.reference


@dataclass(frozen=True, slots=True)
class PoolSplit:
    """A closed test split and the cycle that closed it."""

    split_id: str
    sample_ids: tuple[str, ...]
    cycle: str
    closed_at: str


@dataclass(slots=True)
class PoolIndex:
    """The index in memory: records by id, truths by id in order of version, splits in order of closing."""

    records: dict[str, PoolRecord] = field(default_factory=dict)
    truths: dict[str, list[PoolTruth]] = field(default_factory=dict)
    splits: list[PoolSplit] = field(default_factory=list)
    group_roles: dict[str, PoolRole] = field(default_factory=dict)

    def latest(self, sample_id: str) -> PoolTruth:
        """The truth in force."""
        return self.truths[sample_id][-1]

    def candidates(self) -> list[Candidate]:
        """Every record as splitting sees it."""
        return [
            Candidate(r.sample_id, r.image_id, r.group, r.role, stratum(self.latest(r.sample_id)))
            for r in self.records.values()
        ]

    def closed_split(self) -> ClosedSplit | None:
        """The test split in force; None before the first cycle."""
        return ClosedSplit(self.splits[-1].split_id, self.splits[-1].sample_ids) if self.splits else None


def stratum(truth: PoolTruth) -> str:
    """Verdict and leading defect name, as thinning keeps them in proportion."""
    names = sorted({defect for _, defect in truth.findings if defect})
    return f"{truth.verdict} {names[0] if names else ''}"


class Pool:
    """The pool of one product in a runs folder."""

    def __init__(self, runs: Path, product: str) -> None:
        self.root = runs / "pool"
        self.product = product
        self.index_path = self.root / product / "index.jsonl"

    def store_image(self, image_id: str, data: bytes, extension: str) -> str:
        """Keep the encoded bytes of a picture; the same picture is kept once.

        Returns:
            The file's path below the pool folder.
        """
        folder = self.root / "images" / image_id[:2]
        for present in folder.glob(f"{image_id}.*"):
            if present.suffix != ".part":
                return present.relative_to(self.root).as_posix()
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{image_id}.{extension}"
        part = path.with_suffix(f".{os.getpid()}.part")
        part.write_bytes(data)
        part.replace(path)
        return path.relative_to(self.root).as_posix()

    def read(self) -> PoolIndex:
        """Read the index.

        Raises:
            DataError: a line in the middle is damaged.
        """
        index = PoolIndex()
        if not self.index_path.is_file():
            return index
        for number, line in enumerate(self._whole_lines(), start=1):
            try:
                fact = json.loads(line)
                kind = fact.pop("fact")
                _take(index, kind, fact)
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(
                    f"{self.index_path} line {number} is damaged: {error}",
                    hint="restore the file from a backup; nothing was changed",
                ) from error
        return index

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the index against other processes while records are added."""
        self.index_path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.index_path.with_suffix(".lock")):
            yield

    def append(self, facts: Sequence[PoolRecord | PoolTruth | PoolSplit]) -> None:
        """Add lines to the index and have them on disk before returning."""
        if not facts:
            return
        self.index_path.parent.mkdir(parents=True, exist_ok=True)
        with self.index_path.open("ab") as file:
            self._cut_torn_line(file)
            for fact in facts:
                line = {"fact": _KIND[type(fact)], **asdict(fact)}
                file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def sample(self, index: PoolIndex, sample_id: str, truth_version: int | None = None) -> Sample:
        """A record with one version of its truth, the latest by default, as the later rooms take it."""
        record = index.records[sample_id]
        versions = index.truths[sample_id]
        truth = versions[-1] if truth_version is None else versions[truth_version - 1]
        return Sample(
            sample_id=sample_id,
            image_id=record.image_id,
            image_path=self.root / record.image,
            question=record.question,
            reference=truth.reference,
            truth=truth.truth,
            truth_version=truth.truth_version,
            group=record.group,
            severity=record.severity,
            source=record.source,
        )

    def _whole_lines(self) -> list[bytes]:
        data = self.index_path.read_bytes()
        return data[: data.rfind(b"\n") + 1].splitlines()

    def _cut_torn_line(self, file: Any) -> None:
        size = self.index_path.stat().st_size
        if size:
            data = self.index_path.read_bytes()
            whole = data.rfind(b"\n") + 1
            if whole != size:
                file.truncate(whole)


_KIND: dict[type, str] = {PoolRecord: "record", PoolTruth: "truth", PoolSplit: "split"}


def _take(index: PoolIndex, kind: str, fact: dict[str, Any]) -> None:
    if kind == "record":
        record = PoolRecord(**fact)
        index.records[record.sample_id] = record
        index.group_roles.setdefault(record.group, record.role)
    elif kind == "truth":
        fact["findings"] = tuple((location, defect) for location, defect in fact["findings"])
        truth = PoolTruth(**fact)
        index.truths.setdefault(truth.sample_id, []).append(truth)
    elif kind == "split":
        fact["sample_ids"] = tuple(fact["sample_ids"])
        index.splits.append(PoolSplit(**fact))
    else:
        raise ValueError(f"unknown fact {kind!r}")


def utc_now() -> datetime:
    """The time in UTC without a zone, as the ledger keeps it."""
    return datetime.now(UTC).replace(tzinfo=None)
