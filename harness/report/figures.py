"""Plotly figures as plain dictionaries: what plotly.js draws, without the seconds that importing plotly takes.

Enters: numbers and names. Leaves: {"data", "layout"} dictionaries (a test validates them with plotly itself). Plotly
reads a subset of HTML in labels and hover texts, so every word that comes from data or models is escaped here.
Colours work on light and on dark: the page's script sets text and grid colours by the reader's scheme.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

BASE, FINETUNED, GOOD, BAD = "#8a8f98", "#2f6fde", "#1a8f5a", "#d1495b"
ROLE_COLORS = {"base": BASE, "finetuned": FINETUNED}
ROLE_NAMES = {"base": "base", "finetuned": "fine-tuned"}
#: a cell with fewer defective test records is hatched: its figure says little
FEW = 10

Figure = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Point:
    """A value with its interval over some x. `value` None is left out; `label` is shown on hovering."""

    x: float | str
    value: float | None
    low: float | None
    high: float | None
    label: str


def escape(text: object) -> str:
    """Text that Plotly shows as it is written."""
    return html.escape(str(text), quote=True)


def intervals_over(series: Mapping[str, Sequence[Point]], *, title: str, x: str, joined: bool) -> Figure:
    """Base and fine-tuned over training records or cycles, with 95 % intervals; joined only where comparable."""
    traces = []
    for role, points in series.items():
        shown = [point for point in points if point.value is not None]
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers" if joined else "markers",
                "name": ROLE_NAMES.get(role, escape(role)),
                "x": [point.x if isinstance(point.x, int | float) else escape(point.x) for point in shown],
                "y": [point.value for point in shown],
                "text": [escape(point.label) for point in shown],
                "hovertemplate": "%{text}: %{y:.1%}<extra></extra>",
                "line": {"color": ROLE_COLORS.get(role), "width": 2},
                "marker": {
                    "color": ROLE_COLORS.get(role),
                    "size": 8,
                    "symbol": "circle" if role == "base" else "square",
                },
                "error_y": {
                    "type": "data",
                    "symmetric": False,
                    "array": [_above(point) for point in shown],
                    "arrayminus": [_below(point) for point in shown],
                    "thickness": 1.2,
                    "width": 4,
                },
            }
        )
    return _figure(traces, title=title, x=x, y_range=(-0.03, 1.03), percent=True)


def _above(point: Point) -> float:
    return 0.0 if point.high is None or point.value is None else max(0.0, point.high - point.value)


def _below(point: Point) -> float:
    return 0.0 if point.low is None or point.value is None else max(0.0, point.value - point.low)


def pareto(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Missed test records by defect name; the order is the base model's."""
    names = list(dict.fromkeys(row["defect"] for row in rows))
    traces = []
    for role in ("base", "finetuned"):
        of_role = {row["defect"]: row for row in rows if row["model_role"] == role}
        if of_role:
            traces.append(
                {
                    "type": "bar",
                    "name": ROLE_NAMES[role],
                    "x": [escape(name) for name in names],
                    "y": [of_role[name]["missed"] if name in of_role else 0 for name in names],
                    "text": [_missed(of_role.get(name)) for name in names],
                    "textposition": "outside",
                    "textangle": 0,
                    "cliponaxis": False,
                    "hovertemplate": "%{x}: %{text} missed<extra></extra>",
                    "marker": {"color": ROLE_COLORS[role], "pattern": {"shape": "/" if role == "base" else ""}},
                }
            )
    figure = _figure(traces, title="Missed test records by defect", x="", y="missed records")
    figure["layout"]["yaxis"]["rangemode"] = "tozero"
    return figure


def _missed(row: Mapping[str, Any] | None) -> str:
    return "" if row is None else f"{row['missed']} of {row['records']}"


def heat_map(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], names: Sequence[str], *, title: str) -> Figure:
    """Share of the defects at each cell that the answers name; cells with few records are marked with their n."""
    by_cell = {row["location"]: row for row in rows}
    shares, texts, hovers, hatched = [], [], [], []
    for place, name in enumerate(names):
        line, labels, tips = [], [], []
        for spot, column in enumerate(columns):
            row = by_cell.get(f"{column}{name}")
            n = int(row["defective"]) if row else 0
            line.append(row["found"] / n if row and n else None)
            labels.append(f"{row['found']}/{n}" if row and n else "–")
            wrong = int(row["wrongly_named"]) if row else 0
            tips.append(
                escape(f"{column}{name}: {row['found'] if row else 0} of {n} found, wrongly named {wrong} times")
            )
            if n < FEW:
                hatched.append(_hatch(spot, place))
        shares.append(line)
        texts.append(labels)
        hovers.append(tips)
    trace = {
        "type": "heatmap", "x": [escape(c) for c in columns], "y": [escape(r) for r in names], "z": shares,
        "text": texts, "texttemplate": "%{text}", "customdata": hovers, "hovertemplate": "%{customdata}<extra></extra>",
        "zmin": 0, "zmax": 1, "colorscale": [[0, "#d1495b"], [0.5, "#e9c46a"], [1, "#2a9d8f"]], "xgap": 2, "ygap": 2,
        "colorbar": {"title": {"text": "found"}, "tickformat": ".0%", "thickness": 12},
        "textfont": {"color": "#10141a"},
    }  # fmt: skip
    figure = _figure([trace], title=title, x="")
    figure["layout"]["yaxis"].update(autorange="reversed", type="category", showgrid=False)
    figure["layout"]["xaxis"].update(type="category", side="top", showgrid=False)
    figure["layout"]["shapes"] = hatched
    return figure


def _hatch(column: int, row: int) -> dict[str, Any]:
    """A stroke through a cell: its figure rests on few records."""
    return {
        "type": "line", "x0": column - 0.44, "x1": column + 0.44, "y0": row + 0.42, "y1": row - 0.42,
        "line": {"width": 1, "dash": "dot", "color": "#7d8590"},
    }  # fmt: skip


def confusion(rows: Sequence[Mapping[str, Any]], role: str) -> Figure:
    """True verdict by verdict read."""
    truths, reads = ("passed", "defective"), ("passed", "defective", "unreadable")
    counts = {
        (row["true_verdict"], row["verdict"] or "unreadable"): row["n"] for row in rows if row["model_role"] == role
    }
    values = [[counts.get((truth, read), 0) for read in reads] for truth in truths]
    totals = [sum(line) or 1 for line in values]
    trace = {
        "type": "heatmap", "x": list(reads), "y": [f"truly {truth}" for truth in truths],
        "z": [[value / total for value in line] for line, total in zip(values, totals, strict=True)],
        "text": [[str(value) for value in line] for line in values], "texttemplate": "%{text}",
        "hovertemplate": "%{y}, called %{x}: %{text}<extra></extra>", "zmin": 0, "zmax": 1, "showscale": False,
        "colorscale": [[0, "#eef2f7"], [1, "#7aa5ee"]], "xgap": 2, "ygap": 2, "textfont": {"color": "#10141a"},
    }  # fmt: skip
    figure = _figure([trace], title=ROLE_NAMES[role], x="called", height=240)
    figure["layout"]["yaxis"].update(autorange="reversed", showgrid=False)
    figure["layout"]["xaxis"].update(showgrid=False)
    return figure


def training(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Training and validation loss over optimizer steps."""
    traces = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": name,
            "x": [row["step"] for row in rows if row[key] is not None],
            "y": [row[key] for row in rows if row[key] is not None],
            "line": {"color": color, "width": 2},
            "marker": {"size": 5},
            "hovertemplate": "step %{x}: %{y:.4f}<extra></extra>",
        }
        for key, name, color in (("loss", "training", BASE), ("eval_loss", "validation", FINETUNED))
    ]
    return _figure(traces, title="Loss, nats per answer token", x="optimizer step")


def factor_effects(rows: Sequence[Mapping[str, Any]], role: str) -> Figure:
    """The mean score at both levels of each noise factor (要因効果図), by the truth of the pictures."""
    looks = {
        "all": ("all", ROLE_COLORS[role], "circle"),
        "truth=passed": ("truly passed", GOOD, "square"),
        "truth=defective": ("truly defective", BAD, "diamond"),
    }
    traces = []
    for part, (name, color, symbol) in looks.items():
        own = [row for row in rows if row["slice"] == part]
        if own:
            # A gap after each factor: a line joins the two levels of one factor, never two factors.
            spots = [spot for row in own for spot in (*_levels(row), _levels(row)[1])]
            y = [mean for row in own for mean in (row["low_mean"], row["high_mean"], None)]
            traces.append(
                {
                    "type": "scatter", "mode": "lines+markers", "name": f"{name}, n = {own[0]['n']}",
                    "x": [[factor for factor, _ in spots], [level for _, level in spots]], "y": y,
                    "connectgaps": False, "line": {"color": color, "width": 2},
                    "marker": {"color": color, "size": 8, "symbol": symbol},
                    "hovertemplate": "%{x}: s = %{y:.3f}<extra></extra>",
                }
            )  # fmt: skip
    title = f"Factor effects on validation, {ROLE_NAMES[role]}"
    figure = _figure(traces, title=title, x="", y="mean s = 2 P(defective) − 1", height=360)
    figure["layout"]["xaxis"].update(type="multicategory", tickangle=0, tickfont={"size": 10})
    return figure


def _levels(row: Mapping[str, Any]) -> tuple[tuple[str, str], tuple[str, str]]:
    """The two places of a factor on the axis: its name, and a short word for each level."""
    name = escape(str(row["factor"]).replace("_", " "))
    low, high = (
        escape(str(row[key]).removeprefix("sigma ").replace(" degree", "°")) for key in ("low_level", "high_level")
    )
    return (name, low), (name, high)


def _figure(
    traces: Sequence[Any],
    *,
    title: str,
    x: str,
    y: str = "",
    y_range: tuple[float, float] | None = None,
    percent: bool = False,
    height: int = 320,
    legend_rows: int = 1,
) -> Figure:
    """A figure with its legend between title and axes; `legend_rows` lines are left free for it."""
    yaxis: dict[str, Any] = {"title": {"text": y}, "automargin": True, "zeroline": False}
    if y_range is not None:
        yaxis["range"] = list(y_range)
    if percent:
        yaxis["tickformat"] = ".0%"
    return {
        "data": list(traces),
        "layout": {
            "title": {
                "text": title, "font": {"size": 14}, "x": 0.02, "xanchor": "left",
                "yref": "container", "y": 1, "yanchor": "top", "pad": {"t": 8},
            },
            "height": height,
            "margin": {"l": 48, "r": 16, "t": 40 + 24 * legend_rows, "b": 44},
            "xaxis": {"title": {"text": x}, "automargin": True, "zeroline": False},
            "yaxis": yaxis,
            "legend": {"orientation": "h", "x": 1, "xanchor": "right", "y": 1.01, "yanchor": "bottom"},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "barmode": "group",
        },
    }  # fmt: skip
