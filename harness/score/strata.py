"""Where does a model go wrong, and which records would teach most?

Enters: test records with their truth and whether the verdict was right, and the findings of the training records.
Leaves: error slices by axis, and strata (defect x location, else defect, else location) ranked by expected gain.

The expected gain of a stratum is the fall of its missed rate that ADDED more training records of it would bring:
rate x (1 - ((t + 1) / (t + 1 + ADDED))^DECAY), t its training records. `rate` is the missed rate shrunk towards the
mean of all defective records, as if PRIOR further records had shown the mean. So a stratum ranks high where much is
missed and little was trained on, and no stratum ranks high by two unlucky records. The decay is the common rule of
thumb for the error of a growing training set, not fitted to this product: the gain ranks, it does not promise.
Every stratum counts alike, however often it occurs: an inspector must find rare defects too.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.records import Finding
from harness.score.intervals import wilson

#: with fewer test records a stratum or slice says little by itself, and is marked
FEW = 10
#: the weight of the mean in a shrunk rate, in records
PRIOR = 10
#: how many records of a stratum are thought of as added
ADDED = 20
#: error ~ t^-DECAY
DECAY = 0.5

Axis = Literal["defect", "location", "severity", "group", "source"]
#: (defect, location); None where the stratum is wider
Key = tuple[str | None, str | None]


@dataclass(frozen=True, slots=True)
class JudgedRecord:
    """A test record: what is true of it, and whether its verdict was right."""

    findings: tuple[Finding, ...]
    defective: bool
    right: bool
    severity: float | None
    group: str
    source: str

    @property
    def missed(self) -> bool:
        """Truly defective and not called so: unreadable answers included."""
        return self.defective and not self.right


@dataclass(frozen=True, slots=True)
class ErrorSlice:
    """Errors of one part of the test records.

    By defect and location: defective records, of which `wrong` were missed. By severity, group and source: all records,
    of which `wrong` had a wrong verdict. `low` and `high` are Wilson's 95 %; `few` marks n < FEW.
    """

    axis: Axis
    value: str
    n: int
    wrong: int
    rate: float
    low: float
    high: float
    few: bool


@dataclass(frozen=True, slots=True)
class Stratum:
    """A kind of record that could be added; `defect` or `location` is None where the stratum is wider.

    `n` test records hold it, `missed` of them were not called defective; `trained` training records hold it. `rate` is
    the shrunk missed rate, `gain` its expected fall by ADDED more training records; `few` marks n < FEW.
    """

    defect: str | None
    location: str | None
    n: int
    missed: int
    trained: int
    rate: float
    gain: float
    few: bool

    @property
    def name(self) -> str:
        """In words."""
        if self.defect is None:
            return f"any defect at {self.location}"
        return f"{self.defect} at {self.location}" if self.location is not None else self.defect


def severity_band(severity: float) -> str:
    """hard | medium | easy to see, by thirds of [0, 1]."""
    return "hard" if severity < 1 / 3 else "medium" if severity < 2 / 3 else "easy"


def error_slices(records: Sequence[JudgedRecord]) -> list[ErrorSlice]:
    """Errors by defect, location, severity, group and source; within an axis those with most errors first.

    Groups are slices only where they hold several test records; one record alone is no slice.
    """
    parts: dict[tuple[Axis, str], list[bool]] = defaultdict(list)
    sizes = Counter(record.group for record in records)
    for record in records:
        if record.defective:
            for axis, values in (
                ("defect", {finding.defect for finding in record.findings}),
                ("location", {finding.location for finding in record.findings}),
            ):
                for value in values - {None}:
                    parts[axis, str(value)].append(record.missed)  # type: ignore[index]  # one of Axis
        if record.severity is not None:
            parts["severity", severity_band(record.severity)].append(not record.right)
        if sizes[record.group] > 1:
            parts["group", record.group].append(not record.right)
        parts["source", record.source].append(not record.right)
    slices = []
    for (axis, value), wrong in parts.items():
        interval = wilson(sum(wrong), len(wrong))
        assert interval.value is not None, "a slice holds records"
        assert interval.low is not None, "a slice holds records"
        assert interval.high is not None, "a slice holds records"
        slices.append(
            ErrorSlice(axis, value, len(wrong), sum(wrong), interval.value, interval.low, interval.high,
                       len(wrong) < FEW)
        )  # fmt: skip
    order = ("defect", "location", "severity", "group", "source")
    return sorted(slices, key=lambda part: (order.index(part.axis), -part.wrong, -part.rate, part.value))


def rank_strata(records: Sequence[JudgedRecord], trained: Iterable[Sequence[Finding]]) -> list[Stratum]:
    """The strata to add records of, by expected gain; of equal gain, the rarer in training first.

    A cell of defect x location stands by itself where at least FEW defective test records hold it. All other records
    speak through their defect and through their location alone. What neither test nor training ever saw is not ranked.

    Args:
        records: test records of one model.
        trained: the findings of each training record.
    """
    bad = [record for record in records if record.defective]
    mean = sum(record.missed for record in bad) / len(bad) if bad else 0.0
    held: Counter[Key] = Counter()
    for record in bad:
        held.update({(f.defect, f.location) for f in record.findings if f.defect and f.location})
    cells = {pair for pair, n in held.items() if n >= FEW}
    tested: dict[Key, list[bool]] = defaultdict(list)
    for record in bad:
        for key in _keys(record.findings, cells):
            tested[key].append(record.missed)
    seen = Counter(key for findings in trained for key in _keys(findings, cells))
    strata = []
    for key in tested.keys() | seen.keys():
        missed, n, t = sum(tested[key]), len(tested[key]), seen[key]
        rate = (missed + PRIOR * mean) / (n + PRIOR)
        gain = rate * (1 - ((t + 1) / (t + 1 + ADDED)) ** DECAY)
        strata.append(Stratum(*key, n, missed, t, rate, gain, n < FEW))
    return sorted(strata, key=lambda s: (-s.gain, s.trained, s.defect or "", s.location or ""))


def _keys(findings: Sequence[Finding], cells: Collection[Key]) -> set[Key]:
    """The strata that a record belongs to."""
    keys: set[Key] = set()
    for finding in findings:
        if (finding.defect, finding.location) in cells:
            keys.add((finding.defect, finding.location))
        else:
            keys |= {(finding.defect, None), (None, finding.location)}
    return keys - {(None, None)}
