"""The control charts of watched lots: of miss_rate over their defective records, of false_reject_rate over the passed.

Enters: lots in the order in which they were watched, and the targets of the release. Leaves: four charts a metric, and
the alarms of a lot in words. Unreadable answers are among the mistakes of either metric.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from harness.score.charts import Chart, LotCount, cusum_chart, ewma_chart, laney_chart, p_chart

#: metric -> what the CUSUM accepts where the release has no target for it
ACCEPTED = {"miss_rate": 0.02, "false_reject_rate": 0.05}
#: the CUSUM's rejected rate over its accepted one: .02 -> .05
REJECTED = 2.5
_OPPOSITE = {"miss_rate": "defect_accuracy", "false_reject_rate": "pass_accuracy"}


class CountedLot(Protocol):
    """A lot as the charts see it, such as a row of the ledger's lots."""

    @property
    def lot(self) -> str: ...  # noqa: D102  # the columns of the table lots say what each means
    @property
    def passed(self) -> int: ...  # noqa: D102
    @property
    def defective(self) -> int: ...  # noqa: D102
    @property
    def misses(self) -> int: ...  # noqa: D102
    @property
    def false_rejects(self) -> int: ...  # noqa: D102


def charts_of_lots(lots: Sequence[CountedLot], targets: Mapping[str, float]) -> tuple[Chart, ...]:
    """p, Laney p', EWMA and CUSUM of miss_rate, then of false_reject_rate.

    Args:
        lots: in the order in which they were watched.
        targets: metric -> limit, as the release was judged by; the CUSUM accepts it.
    """
    misses = [LotCount(lot.lot, lot.misses, lot.defective) for lot in lots]
    rejects = [LotCount(lot.lot, lot.false_rejects, lot.passed) for lot in lots]
    found: list[Chart] = []
    for metric, counts in (("miss_rate", misses), ("false_reject_rate", rejects)):
        accepted = accepted_rate(metric, targets)
        found += [
            p_chart(metric, counts),
            laney_chart(metric, counts),
            ewma_chart(metric, counts),
            cusum_chart(metric, counts, accepted=accepted, rejected=rejected_rate(accepted)),
        ]
    return tuple(found)


def alarms_of(charts: Sequence[Chart], lot: str) -> list[str]:
    """What the charts say of one lot, in words; empty where no chart alarms."""
    return [
        f"{chart.metric} {point.alarm}"
        for chart in charts
        for point in chart.points
        if point.lot == lot and point.alarm
    ]


def accepted_rate(metric: str, targets: Mapping[str, float]) -> float:
    """The rate of mistakes that the release promises: its target, also where that is written as an accuracy."""
    opposite = _OPPOSITE[metric]
    limit = targets[metric] if metric in targets else 1 - targets[opposite] if opposite in targets else 0.0
    return limit if 0 < limit < 1 else ACCEPTED[metric]


def rejected_rate(accepted: float) -> float:
    """REJECTED times the accepted rate, or half way from it to 1 where that is less."""
    return min(REJECTED * accepted, (1 + accepted) / 2)
