"""Which errors, and what to add next, on a cycle's page.

Enters: a Ledger and a cycle. Leaves: a StrataPart: of the cycle's fine-tuned model where it has answered, else what
Analyze found of the model to beat. What rests on fewer than FEW test records is hatched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.score.strata import ADDED, FEW, ErrorSlice, Stratum, error_slices, rank_strata
from harness.store import Ledger
from harness.store.rows import CycleRow
from harness.store.slices import judged, trained_findings

#: lines of the table of strata, and of each axis of the slices
STRATA, SLICES = 15, 12


@dataclass(frozen=True, slots=True)
class StratumLine:
    """A stratum in words. `mark` is "few" where it rests on few test records, else ""."""

    rank: int
    name: str
    missed: str
    rate: str
    trained: str
    gain: str
    mark: str


@dataclass(frozen=True, slots=True)
class SliceLine:
    """An error slice in words."""

    axis: str
    value: str
    wrong: str
    rate: str
    mark: str


@dataclass(frozen=True, slots=True)
class StrataPart:
    """The section."""

    subject: str
    strata: tuple[StratumLine, ...]
    strata_left: int
    slices: tuple[SliceLine, ...]
    slices_left: int
    added: int
    few: int


def strata_part(ledger: Ledger, cycle: CycleRow, analyzed: Mapping[str, Any]) -> StrataPart | None:
    """The section of a cycle's page; None where neither its own model nor Analyze has anything to show.

    Args:
        analyzed: the manifest of the cycle's stage Analyze, empty before it.
    """
    records = judged(ledger, cycle.cycle_id, "finetuned")
    if records:
        strata, slices = rank_strata(records, trained_findings(ledger, cycle.cycle_id)), error_slices(records)
        return _part("the fine-tuned model of this cycle", strata, len(strata), slices)
    if not analyzed.get("strata") and not analyzed.get("slices"):
        return None
    subject = analyzed["subject"]
    return _part(
        "the base model" if subject == "base" else f"the incumbent {subject}",
        [Stratum(**stratum) for stratum in analyzed["strata"]],
        int(analyzed["strata_seen"]),
        [ErrorSlice(**part) for part in analyzed["slices"]],
    )


def _part(subject: str, strata: Sequence[Stratum], seen: int, slices: Sequence[ErrorSlice]) -> StrataPart:
    useful = [stratum for stratum in strata if stratum.gain > 0][:STRATA]
    shown: list[ErrorSlice] = []
    for axis in dict.fromkeys(part.axis for part in slices):
        shown += [part for part in slices if part.axis == axis][:SLICES]
    return StrataPart(
        subject=subject,
        strata=tuple(
            StratumLine(
                rank=rank,
                name=s.name,
                missed=f"{s.missed} of {s.n}",
                rate=f"{s.rate:.1%}",
                trained=f"{s.trained:,}",
                gain=f"−{100 * s.gain:.1f} points",
                mark="few" if s.few else "",
            )
            for rank, s in enumerate(useful, start=1)
        ),
        strata_left=max(0, seen - len(useful)),
        slices=tuple(
            SliceLine(
                axis=part.axis,
                value=part.value,
                wrong=f"{part.wrong} of {part.n}",
                rate=f"{part.rate:.1%} [{part.low:.1%}, {part.high:.1%}]",
                mark="few" if part.few else "",
            )
            for part in shown
        ),
        slices_left=len(slices) - len(shown),
        added=ADDED,
        few=FEW,
    )
