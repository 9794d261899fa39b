"""The report's part on gauge studies: what the ledger's gauge_figures say, a table for each study.

Enters: a Ledger and a cycle id. Leaves: a GaugePart, or None where no study was made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.score.gauge import MEANINGS, gauge_notes, raters_of
from harness.store import Ledger, read
from harness.store.rows import GaugeFigureRow


@dataclass(frozen=True, slots=True)
class GaugeLine:
    """A figure of an appraiser in words; `rule` is the rule of thumb's word."""

    rater: str
    name: str
    value: str
    n: str
    rule: str
    meaning: str
    method: str


@dataclass(frozen=True, slots=True)
class GaugeStudy:
    """One study: how the trials were asked, what to know, and its figures."""

    title: str
    lines: tuple[GaugeLine, ...]
    notes: tuple[str, ...]
    query: str


@dataclass(frozen=True, slots=True)
class GaugePart:
    """Every study of a cycle, the newest first."""

    studies: tuple[GaugeStudy, ...]


def gauge_part(ledger: Ledger, cycle_id: str) -> GaugePart | None:
    """What the page of a cycle shows of its gauge studies."""
    rows = read.gauge_figures(ledger, cycle_id)
    conditions = dict.fromkeys(row.condition_id for row in rows)
    studies = [_study(cycle_id, [row for row in rows if row.condition_id == name]) for name in conditions]
    return GaugePart(tuple(studies)) if studies else None


def _study(cycle_id: str, rows: Sequence[GaugeFigureRow]) -> GaugeStudy:
    first = rows[0]
    raters = raters_of(row.rater for row in rows)
    asked = "greedy" if first.temperature is None else f"sampled at temperature {first.temperature:g}"
    trials = "1 trial" if first.repeats == 1 else f"{first.repeats} trials"
    notes = gauge_notes(first.temperature, first.repeats, len(raters))
    notes.append(f"Read by parser version {first.parser_version}; harness rescore judges the trials again.")
    return GaugeStudy(
        title=f"{', '.join(raters)}: {trials} a test picture, {asked} ({first.studied_at:%Y-%m-%d %H:%M} UTC)",
        lines=tuple(_line(row) for row in rows),
        notes=tuple(notes),
        query=(
            f"harness sql \"SELECT sample_id FROM v_answers WHERE cycle_id = '{cycle_id}' AND split = 'test' "
            f"AND model_role = 'finetuned' AND condition_id = '{first.condition_id}' "
            "GROUP BY 1 HAVING count(DISTINCT coalesce(verdict, 'unreadable')) > 1\""
        ),
    )


def _line(row: GaugeFigureRow) -> GaugeLine:
    form = ".3f" if row.metric.endswith("kappa") else ".1%"
    value = "–" if row.value is None else f"{row.value:{form}}"
    if row.ci_low is not None and row.ci_high is not None:
        value += f" [{row.ci_low:{form}}, {row.ci_high:{form}}]"
    return GaugeLine(row.rater, row.metric, value, f"{row.n:,}", row.rule, MEANINGS[row.metric], row.method)
