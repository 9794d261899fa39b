"""The section on watched lots: a line a lot, and the control charts of the frozen model's mistakes.

Enters: the ledger's lots of a cycle. Leaves: a LotsPart with its figures, or None where no lot was watched.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.report.figures import BAD, BASE, FINETUNED, Figure, _figure, escape
from harness.score.charts import Chart
from harness.score.lots import alarms_of, charts_of_lots
from harness.store import Ledger, lots
from harness.store.rows import CycleRow, LotRow

AMBER = "#c8871e"


@dataclass(frozen=True, slots=True)
class LotLine:
    """A watched lot in words. `status` is "alarm" or "quiet", by the charts as they are drawn now."""

    number: str
    lot: str
    watched: str
    missed: str
    rejected: str
    unreadable: str
    left_out: str
    status: str
    alarms: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LotsPart:
    """Everything that the section shows. `plots` holds the keys of its figures, in order."""

    release: str
    lines: tuple[LotLine, ...]
    notes: tuple[str, ...]
    plots: tuple[str, ...]
    figures: Mapping[str, Figure]


def lots_part(ledger: Ledger, cycle: CycleRow) -> LotsPart | None:
    """The section of a cycle; None where none of its lots was watched."""
    rows = lots.lots(ledger, cycle.cycle_id)
    if not rows:
        return None
    charts = charts_of_lots(rows, json.loads(cycle.config)["targets"])
    figures = _figures(charts)
    promoted = lots.released(ledger, cycle.cycle_id)
    return LotsPart(
        release="The model was promoted." if promoted else "The model was never promoted: these lots are a trial.",
        lines=tuple(_line(row, charts) for row in rows),
        notes=tuple(dict.fromkeys(f"{chart.metric}: {note}" for chart in charts for note in chart.notes)),
        plots=tuple(figures),
        figures=figures,
    )


def _line(row: LotRow, charts: Sequence[Chart]) -> LotLine:
    alarms = alarms_of(charts, row.lot)
    notes = [f"{c.metric} {p.note}" for c in charts for p in c.points if p.lot == row.lot and p.note and p.n]
    return LotLine(
        number=str(row.number),
        lot=row.lot,
        watched=f"{row.watched_at:%Y-%m-%d %H:%M}",
        missed=_share(row.misses, row.defective),
        rejected=_share(row.false_rejects, row.passed),
        unreadable=str(row.unreadable),
        left_out=str(row.left_out),
        status="alarm" if alarms else "quiet",
        alarms=tuple(alarms),
        notes=tuple(notes),
    )


def _share(mistakes: int, n: int) -> str:
    return f"{mistakes} of {n} ({mistakes / n:.1%})" if n else "no such record"


def _figures(charts: Sequence[Chart]) -> dict[str, Figure]:
    found = {}
    for metric in dict.fromkeys(chart.metric for chart in charts):
        own = {chart.name: chart for chart in charts if chart.metric == metric}
        found[f"lots_{metric}_p"] = _rates(own["p"], f"{metric}: p chart and Laney p'", own["laney_p"])
        found[f"lots_{metric}_ewma"] = _rates(own["ewma"], f"{metric}: EWMA")
        found[f"lots_{metric}_cusum"] = _rates(own["cusum"], f"{metric}: CUSUM")
    return found


def _rates(chart: Chart, title: str, other: Chart | None = None) -> Figure:
    """The points of a chart with centre and limits; those of another chart of the same points beside them.

    The axis has the lots' places in the table above it: their names are long.
    """
    places = [str(place) for place in range(1, len(chart.points) + 1)]
    alarming = {p.lot for c in (chart, other) if c is not None for p in c.points if p.alarm}
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter", "mode": "lines+markers", "name": "lot", "x": places,
            "y": [point.value for point in chart.points],
            "text": [f"{escape(point.lot)}: {point.mistakes} of {point.n}" for point in chart.points],
            "hovertemplate": "lot %{x}, %{text}: %{y:.4g}<extra></extra>", "line": {"color": FINETUNED, "width": 2},
            "marker": {
                "size": [12 if point.lot in alarming else 7 for point in chart.points],
                "color": [BAD if point.lot in alarming else FINETUNED for point in chart.points],
                "symbol": ["x" if point.lot in alarming else "circle" for point in chart.points],
            },
        }
    ]  # fmt: skip
    if chart.center is not None and chart.name != "cusum":
        traces.append(_rule(places, [chart.center] * len(places), "centre", BASE, "dot"))
    for limits, color, dash, label in ((chart, BAD, "dash", "limit"), (other, AMBER, "dashdot", "limit of p'")):
        if limits is None:
            continue
        ends = [("high", [p.high for p in limits.points]), ("low", [p.low for p in limits.points])]
        shown = [values for _, values in ends if any(value is not None for value in values)]
        traces += [
            {**_rule(places, values, label, color, dash), "legendgroup": label, "showlegend": place == 0}
            for place, values in enumerate(shown)
        ]
    figure = _figure(traces, title=title, x="lot", percent=chart.name != "cusum", legend_rows=1 if other is None else 2)
    figure["layout"]["xaxis"]["type"] = "category"
    figure["layout"]["yaxis"]["rangemode"] = "tozero"
    if not any(value for trace in traces for value in trace["y"]):
        figure["layout"]["yaxis"]["range"] = [0, 0.1]  # nothing but zeros: the drawing would reach to 100 %
    return figure


def _rule(x: Sequence[str], y: Sequence[float | None], name: str, color: str, dash: str) -> dict[str, Any]:
    return {
        "type": "scatter", "mode": "lines", "name": name, "x": list(x), "y": list(y), "hoverinfo": "skip",
        "line": {"color": color, "width": 1.4, "dash": dash, "shape": "hvh"},
    }  # fmt: skip
