"""The report's part on thresholds: where P(defective) decides, how that was chosen, and what test says of it.

Enters: a Ledger and a cycle id. Leaves: a ThresholdPart with its figures, or None where none was chosen. All numbers
were computed when the thresholds were chosen; here they are drawn and put in words.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.report.figures import BAD, BASE, FINETUNED, GOOD, Figure, _figure
from harness.store import Ledger, read
from harness.store.rows import ThresholdFigureRow, ThresholdRow

RULES = {
    "threshold": "without review: defective from the low threshold on",
    "band": "with review between the two thresholds",
    "score": "of P(defective) itself",
}
MEANINGS = {
    "escape_rate": "of the truly defective: passed",
    "overkill_rate": "of the truly passed: called defective",
    "review_rate": "of all: left to a person",
    "review_rate_defective": "of the truly defective: left to a person",
    "review_rate_passed": "of the truly passed: left to a person",
    "zero_escape_overkill_rate": "of the truly passed: called defective at the highest threshold without an escape",
    "auroc": "a defective product gets the higher P than a passed one",
    "calibration_error": "mean distance of P from the share that is truly defective",
}


@dataclass(frozen=True, slots=True)
class ThresholdLine:
    """A figure on validation, where it was chosen, and on test."""

    rule: str
    name: str
    validation: str
    test: str
    meaning: str


@dataclass(frozen=True, slots=True)
class ThresholdPart:
    """What the page shows of a cycle's thresholds; `plots` are keyed as in the template."""

    low: str
    high: str
    limits: str
    chosen_at: str
    notes: tuple[str, ...]
    lines: tuple[ThresholdLine, ...]
    plots: Mapping[str, Figure]


def threshold_part(ledger: Ledger, cycle_id: str) -> ThresholdPart | None:
    """What the page of a cycle shows of its thresholds."""
    row = read.threshold(ledger, cycle_id)
    if row is None:
        return None
    return ThresholdPart(
        low="none chosen" if row.low is None else f"P(defective) < {row.low:.4g}",
        high=_high(row),
        limits=f"escapes ≤ {row.max_escape:.2%} of the defective, overkills ≤ {row.max_overkill:.2%} of the passed",
        chosen_at=f"{row.chosen_at:%Y-%m-%d %H:%M} UTC",
        notes=tuple(json.loads(row.notes)),
        lines=_lines(read.threshold_figures(ledger, cycle_id)),
        plots=_plots(row),
    )


def _high(row: ThresholdRow) -> str:
    if row.low is None:
        return "none chosen"
    return "never without review" if row.high is None else f"P(defective) ≥ {row.high:.4g}"


def _lines(rows: Sequence[ThresholdFigureRow]) -> tuple[ThresholdLine, ...]:
    found = {(row.rule, row.metric, row.split): row for row in rows}
    return tuple(
        ThresholdLine(
            rule=RULES[rule],
            name=metric,
            validation=_in_words(found.get((rule, metric, "validation"))),
            test=_in_words(found.get((rule, metric, "test"))),
            meaning=MEANINGS[metric],
        )
        for rule, metric in dict.fromkeys((row.rule, row.metric) for row in rows)
    )


def _in_words(row: ThresholdFigureRow | None) -> str:
    if row is None:
        return "–"
    if row.value is None:
        return row.method
    if row.metric == "calibration_error":
        return f"{row.value:.3f}, n = {row.n} ({row.method})"
    form = ".3f" if row.metric == "auroc" else ".1%"
    ends = "" if row.ci_low is None or row.ci_high is None else f"[{row.ci_low:{form}}, {row.ci_high:{form}}], "
    return f"{row.value:{form}} {ends}n = {row.n}"


def _plots(row: ThresholdRow) -> dict[str, Figure]:
    """The figures for which there is data."""
    curves: Mapping[str, Mapping[str, Any]] = json.loads(row.curves)
    test = curves["test"]
    plots = {}
    if any(of["curve"] for of in curves.values()):
        plots["threshold_curve"] = _escape_overkill(curves, row)
        plots["threshold_roc"] = _roc(curves)
    if any(any(counts) for counts in test["histogram"].values()):
        plots["threshold_scores"] = _histogram(test["histogram"], row)
        plots["threshold_calibration"] = _reliability(test["reliability"])
    return plots


def _escape_overkill(curves: Mapping[str, Mapping[str, Any]], row: ThresholdRow) -> Figure:
    """Both mistakes over the threshold; the zero-escape point of each split is marked.

    Points go from the highest score down; the mistakes at a score hold down to the next one, hence the shape "hv".
    """
    traces: list[dict[str, Any]] = []
    for split, dash in (("validation", "dot"), ("test", "solid")):
        points = [point for point in curves[split]["curve"] if point["threshold"] is not None]
        for key, name, color in (("escape_rate", "escapes", BAD), ("overkill_rate", "overkills", GOOD)):
            traces.append(
                {
                    "type": "scatter", "mode": "lines", "name": f"{name}, {split}",
                    "x": [p["threshold"] for p in points], "y": [p[key] for p in points],
                    "line": {"color": color, "width": 2, "dash": dash, "shape": "hv"},
                    "hovertemplate": f"defective from %{{x:.4g}} on: {name} %{{y:.1%}} ({split})<extra></extra>",
                }
            )  # fmt: skip
        zero = next((point for point in points if point["escape_rate"] == 0), None)
        if zero is not None:
            traces.append(
                {
                    "type": "scatter", "mode": "markers", "name": f"zero escapes, {split}", "x": [zero["threshold"]],
                    "y": [zero["overkill_rate"]],
                    "marker": {"color": GOOD, "size": 10, "symbol": "diamond" if split == "test" else "diamond-open"},
                    "hovertemplate": f"no escape from %{{x:.4g}} on: overkills %{{y:.1%}} ({split})<extra></extra>",
                }
            )  # fmt: skip
    figure = _over_p(
        traces, "Escapes and overkills over the threshold", "threshold of P(defective)", row, legend_rows=2
    )
    figure["layout"]["yaxis"].update(range=[-0.03, 1.03], tickformat=".0%")
    return figure


def _roc(curves: Mapping[str, Mapping[str, Any]]) -> Figure:
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter", "mode": "lines", "name": split,
            "x": [p["overkill_rate"] for p in curves[split]["curve"]],
            "y": [1 - p["escape_rate"] for p in curves[split]["curve"]],
            "line": {"color": FINETUNED, "width": 2, "dash": dash},
            "hovertemplate": "overkills %{x:.1%}, found %{y:.1%}<extra></extra>",
        }
        for split, dash in (("validation", "dot"), ("test", "solid"))
    ]  # fmt: skip
    traces.append(_diagonal("chance"))
    figure = _figure(
        traces, title="ROC", x="passed products called defective", y="defective products found",
        y_range=(-0.03, 1.03), percent=True,
    )  # fmt: skip
    figure["layout"]["xaxis"].update(range=[-0.03, 1.03], tickformat=".0%")
    return figure


def _histogram(counts: Mapping[str, Sequence[int]], row: ThresholdRow) -> Figure:
    traces: list[dict[str, Any]] = []
    for name, color, shape in (("passed", GOOD, ""), ("defective", BAD, "/")):
        bars = counts[name]
        traces.append(
            {
                "type": "bar", "name": f"truly {name}", "x": [(i + 0.5) / len(bars) for i in range(len(bars))],
                "y": list(bars), "marker": {"color": color, "pattern": {"shape": shape}},
                "hovertemplate": "P near %{x:.3f}: %{y} records<extra></extra>",
            }
        )  # fmt: skip
    figure = _over_p(traces, "P(defective) by true class, test", "P(defective)", row)
    figure["layout"]["yaxis"]["title"] = {"text": "test records"}
    return figure


def _reliability(bins: Sequence[Mapping[str, Any]]) -> Figure:
    points = {
        "type": "scatter", "mode": "markers", "name": "test, Wilson 95 %", "x": [part["p"] for part in bins],
        "y": [part["share"] for part in bins], "text": [f"n = {part['n']}" for part in bins],
        "marker": {"color": FINETUNED, "size": 8},
        "error_y": {
            "type": "data", "symmetric": False, "array": [part["high"] - part["share"] for part in bins],
            "arrayminus": [part["share"] - part["low"] for part in bins], "thickness": 1.2, "width": 4,
        },
        "hovertemplate": "P %{x:.3f}: %{y:.1%} defective, %{text}<extra></extra>",
    }  # fmt: skip
    figure = _figure(
        [points, _diagonal("perfectly calibrated")], title="Reliability, test", x="mean P(defective) of the bin",
        y="truly defective", y_range=(-0.03, 1.03), percent=True, legend_rows=2,
    )  # fmt: skip
    figure["layout"]["xaxis"]["range"] = [-0.03, 1.03]
    return figure


def _diagonal(name: str) -> dict[str, Any]:
    return {
        "type": "scatter", "mode": "lines", "name": name, "x": [0, 1], "y": [0, 1], "hoverinfo": "skip",
        "line": {"color": BASE, "width": 1, "dash": "dash"},
    }  # fmt: skip


def _over_p(traces: Sequence[dict[str, Any]], title: str, x: str, row: ThresholdRow, *, legend_rows: int = 1) -> Figure:
    """A figure over [0, 1] with strokes at the thresholds."""
    figure = _figure(traces, title=title, x=x, height=360, legend_rows=legend_rows)
    figure["layout"]["xaxis"]["range"] = [-0.02, 1.02]
    figure["layout"]["shapes"] = [
        {"type": "line", "x0": at, "x1": at, "yref": "paper", "y0": 0, "y1": 1,
         "line": {"width": 1.5, "dash": "dashdot", "color": "#7d8590"}}
        for at in dict.fromkeys((row.low, row.high)) if at is not None
    ]  # fmt: skip
    return figure
