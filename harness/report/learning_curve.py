"""The learning curve on a cycle's page: points, fit, band, and the records that each target of the charter needs.

Enters: a Ledger and a cycle. Leaves: a CurvePart. The points are those of all comparable cycles (store/curves.py says
which, and why others are not); a curve is drawn where there are sizes enough, up to twice the largest of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.report import figures
from harness.report.figures import FINETUNED, Figure, Point
from harness.score.aggregate import PROPORTIONS
from harness.score.curve_target import records_needed
from harness.score.learning_curve import LearningCurve, band, metric_curve
from harness.store import Ledger, pages
from harness.store.curves import family, family_answers
from harness.store.rows import CycleRow

#: what is drawn beside the targets of the charter
CURVES = {
    "verdict_accuracy": "Verdict right",
    "location_accuracy": "All cells right (of the defective)",
    "exact_accuracy": "Everything right",
}
#: points along a drawn curve
STEPS = 60


@dataclass(frozen=True, slots=True)
class NeedLine:
    """What one target needs, in words. `mark` is "estimable" or "not estimable"."""

    metric: str
    target: str
    seen: str
    mark: str
    answer: str


@dataclass(frozen=True, slots=True)
class CurvePart:
    """The section. `note` says how the curve was fitted, or why there is none."""

    plots: Mapping[str, Figure]
    needs: tuple[NeedLine, ...]
    note: str
    cycles: str
    left_out: tuple[str, ...]


def curve_part(ledger: Ledger, cycle: CycleRow) -> CurvePart | None:
    """The section of a cycle's page; None before its fine-tuned model was scored."""
    found = family(ledger, cycle.cycle_id)
    joined = [item.cycle_id for item in found.joined]
    if cycle.cycle_id not in joined:
        return None
    answers = family_answers(ledger, found)
    charter: dict[str, float] = json.loads(cycle.config).get("targets") or {}
    targets = {metric: limit for metric, limit in charter.items() if metric in PROPORTIONS}
    curves = {
        metric: metric_curve(metric, answers.sizes, answers.scores, answers.defective, answers.groups)
        for metric in dict.fromkeys((*CURVES, *targets))
    }
    rows = pages.learning_curve(ledger, joined)
    methods = [
        f"{title}: {curves[metric].method or f'no curve, {curves[metric].reason}'}" for metric, title in CURVES.items()
    ]
    return CurvePart(
        plots={
            f"curve_{metric}": _plot(metric, title, rows, curves[metric])
            for metric, title in CURVES.items()
            if any(row["metric"] == metric for row in rows)
        },
        needs=tuple(_need(metric, limit, curves[metric]) for metric, limit in targets.items()),
        note=". ".join(methods),
        cycles=", ".join(f"{item.cycle_id} ({item.train_records:,}, seed {item.seed})" for item in found.joined),
        left_out=tuple(f"{item.cycle_id}: {item.why}" for item in found.left_out),
    )


def _need(metric: str, limit: float, curve: LearningCurve) -> NeedLine:
    needed = records_needed(curve, limit)
    return NeedLine(
        metric=metric,
        target=f"{'≤' if curve.mistakes else '≥'} {limit:.2%}",
        seen=f"{curve.at_largest:.1%} at {curve.largest:,}, n = {curve.n}" if curve.points else "no such record",
        mark="estimable" if needed.estimable else "not estimable",
        answer=needed.sentence.removeprefix("not estimable: "),
    )


def _plot(metric: str, title: str, rows: Sequence[Mapping[str, Any]], curve: LearningCurve) -> Figure:
    series = {
        role: [
            Point(row["train_records"], row["value"], row["ci_low"], row["ci_high"], row["cycle_id"])
            for row in rows
            if row["metric"] == metric and row["model_role"] == role
        ]
        for role in ("base", "finetuned")
    }
    # Without a fit the points are joined by hand, as far as there is one a size.
    single = all(len({point.x for point in points}) == len(points) for points in series.values())
    figure = figures.intervals_over(series, title=title, x="training records", joined=curve.law is None and single)
    if curve.law is not None:
        figure["data"] = [*_fit(curve), *figure["data"]]
    return figure


def _fit(curve: LearningCurve) -> list[dict[str, Any]]:
    """The band and the fitted line; dashed beyond the sizes measured."""
    ratio = 2 * curve.largest / curve.smallest
    points = band(curve, [curve.smallest * ratio ** (step / STEPS) for step in range(STEPS + 1)])
    measured = [point for point in points if point.n <= curve.largest]
    ahead = [point for point in points if point.n >= measured[-1].n]
    edge: dict[str, Any] = {
        "type": "scatter", "mode": "lines", "hoverinfo": "skip", "showlegend": False, "line": {"width": 0},
        "x": [point.n for point in points],
    }  # fmt: skip
    hover = "fit at %{x:.0f}: %{y:.1%}<extra></extra>"
    return [
        {**edge, "y": [point.low for point in points]},
        {**edge, "y": [point.high for point in points], "fill": "tonexty", "fillcolor": "rgba(47,111,222,0.16)"},
        *(
            {
                "type": "scatter", "mode": "lines", "name": name, "showlegend": dash == "solid",
                "x": [point.n for point in part], "y": [point.value for point in part], "hovertemplate": hover,
                "line": {"color": FINETUNED, "width": 1.5, "dash": dash},
            }
            for name, part, dash in (("fit", measured, "solid"), ("fit, extrapolated", ahead, "dash"))
        ),
    ]  # fmt: skip
