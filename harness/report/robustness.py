"""The noise study's section of a cycle's page: SN ratios of both models, p and q beside them, and the factor effects.

Enters: a Ledger and a cycle id. Leaves: a RobustnessPart, or None where the cycle had no noise study. An infinite or
undefined ratio is shown by its name. Ratios are drawn together only where their yardstick is the same: the reference
model and the two noise conditions; another yardstick is another, named trace.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from harness.report import figures
from harness.report.figures import Figure, Point
from harness.store import Ledger, noise
from harness.store.rows import NoiseEffectRow, NoiseSnRow

#: figures of the table: name -> what it says
SHOWN = {
    "sn_truth": "energy ratio under N1 and N2 against the truth ±1",
    "sn_base": "energy ratio under N1 and N2 against the reference model at n0",
    "n0_sn_truth": "SN ratio against the truth; grows with the number of data",
    "n0_sn_base": "SN ratio against the reference; grows with the number of data",
    "overall_sn": "T-method: the score at n0 as an estimate of the truth",
    "overall_energy_sn": "the same as an energy ratio",
    "noise_false_reject_rate": "of the truly passed: P(defective) ≥ .5 under N1 or N2",
    "noise_miss_rate": "of the truly defective: P(defective) ≤ .5 under N1 or N2",
}
RATES = {
    "false_reject_rate": "p at n0, as answered",
    "miss_rate": "q at n0, as answered",
    "digital_sn": "both kinds of mistakes at n0 in one ratio",
}
SYMBOLS = ("circle", "square", "diamond", "cross", "triangle-up", "star")


@dataclass(frozen=True, slots=True)
class RobustnessLine:
    """A figure of both models in words. `reference` names the signal."""

    name: str
    meaning: str
    reference: str
    base: str
    finetuned: str


@dataclass(frozen=True, slots=True)
class EffectLine:
    """The effect of one factor on one model, over all validation pictures."""

    factor: str
    levels: str
    model: str
    effect: str
    moved: str
    steady: str


@dataclass(frozen=True, slots=True)
class RobustnessPart:
    """The section. `plots` go by the place where the page shows them."""

    compound: str
    records: str
    reference: str
    lines: tuple[RobustnessLine, ...]
    effects: tuple[EffectLine, ...]
    plots: dict[str, Figure]


def robustness_part(ledger: Ledger, cycle_id: str) -> RobustnessPart | None:
    """Everything that the section shows; None where there is no noise study."""
    study = noise.study(ledger, cycle_id)
    if study is None:
        return None
    effects = noise.effects(ledger, cycle_id)
    n1, n2 = (levels_in_words(condition).replace("_", " ") for condition in (study.n1_condition, study.n2_condition))
    pushes = study.compound == "factors"  # else they are runs of the plan, with the lowest and the highest mean score
    plots = {
        f"noise_effects_{role}": figures.factor_effects([asdict(e) for e in effects if e.model_role == role], role)
        for role in ("base", "finetuned")
        if any(e.model_role == role for e in effects)
    }
    past = history_plot(noise.history(ledger, cycle_id))
    if past is not None:
        plots["noise_history"] = past
    return RobustnessPart(
        compound=f"N1{' pushes s down' if pushes else ''}: {n1}. N2{' pushes s up' if pushes else ''}: {n2}. "
        f"Chosen by the fine-tuned model on validation: {study.reason.replace('_', ' ')}.",
        records=f"{study.validation_records} validation records in the 8 runs of the L8, {study.test_records} test "
        "records under N1 and N2",
        reference=study.reference_model_id,
        lines=sn_lines(ledger, cycle_id),
        effects=tuple(_effect(e) for e in effects if e.slice == "all"),
        plots=plots,
    )


def sn_lines(ledger: Ledger, cycle_id: str) -> tuple[RobustnessLine, ...]:
    """The figures of both models in words, the error rates at n0 beside the ratios."""
    found = {(r.metric, r.reference_model_id, r.model_role): r for r in noise.figures(ledger, cycle_id)}
    rates = {(r["metric"], r["model_role"]): r for r in noise.rates(ledger, cycle_id)}
    lines = []
    for metric, meaning in SHOWN.items():
        for reference in dict.fromkeys(ref for name, ref, _ in found if name == metric):
            cells = [found.get((metric, reference, role)) for role in ("base", "finetuned")]
            lines.append(RobustnessLine(metric, meaning, reference, *(_in_words(cell) for cell in cells)))
    for metric, meaning in RATES.items():
        if any(name == metric for name, _ in rates):
            cells_of = [rates.get((metric, role)) for role in ("base", "finetuned")]
            lines.append(RobustnessLine(metric, meaning, "truth", *(_rate(metric, cell) for cell in cells_of)))
    return tuple(lines)


def levels_in_words(condition_id: str) -> str:
    """As in "brightness -20 %, blur 1 px", from the id of a noise condition."""
    from harness.score.noise_plan import NoiseLevels

    return NoiseLevels(tuple(int(code) for code in condition_id.removeprefix("noise-"))).describe()


def history_plot(rows: Sequence[dict[str, object]]) -> Figure | None:
    """sn_truth and sn_base of the fine-tuned models over the cycles of one test split; None before the second study.

    A trace holds what has one yardstick; ratios of another reference, or under other noise, are never joined to it.
    Infinite ratios have no place on an axis: they stand in the table.
    """
    own = [row for row in rows if row["model_role"] == "finetuned" and _finite(row["value"])]
    if len({row["cycle_id"] for row in own}) < 2:
        return None
    yardsticks = list(dict.fromkeys(_yardstick(row) for row in own))
    series = {
        name: [
            Point(str(row["cycle_id"]), _number(row["value"]), _number(row["ci_low"]), _number(row["ci_high"]), name)
            for row in own
            if _yardstick(row) == name
        ]
        for name in yardsticks
    }
    figure = figures.intervals_over(series, title="SN ratio of the fine-tuned models, dB", x="cycle", joined=True)
    for place, trace in enumerate(figure["data"]):
        trace["marker"]["symbol"] = SYMBOLS[place % len(SYMBOLS)]
        trace["hovertemplate"] = "%{text}: %{y:.2f} dB<extra></extra>"
        trace["name"] = figures.escape(yardsticks[place])
        del trace["line"]["color"], trace["marker"]["color"]
    figure["layout"]["xaxis"]["type"] = "category"
    del figure["layout"]["yaxis"]["range"], figure["layout"]["yaxis"]["tickformat"]
    figure["layout"]["height"] = 380
    figure["layout"]["margin"]["t"] += 24 * (len(yardsticks) - 1)  # a line of the legend each
    return figure


def _yardstick(row: dict[str, object]) -> str:
    noise_of = "/".join(str(row[key]).removeprefix("noise-") for key in ("n1_condition", "n2_condition"))
    signal = "the truth" if row["metric"] == "sn_truth" else f"model {str(row['reference_model_id'])[:8]}"
    return f"{row['metric']} against {signal}, noise {noise_of}"


def _finite(value: object) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def _number(value: object) -> float | None:
    return value if isinstance(value, float) and math.isfinite(value) else None


def _in_words(row: NoiseSnRow | None) -> str:
    if row is None:
        return "not studied"
    if row.value is None:
        return row.method
    if row.metric.endswith("_rate"):
        return f"{row.value:.1%}{_ends(row.ci_low, row.ci_high, '.1%')}, n = {row.n}"
    if math.isinf(row.value):
        named = f"{_end(row.value, '')} dB: {row.method.partition('; ')[0]}"
        return named + ("" if row.ci_high is None else f"; 95 %{_ends(row.ci_low, row.ci_high, '.2f')}")
    against = " (against the signal)" if row.method.startswith("against") else ""
    beta = "" if row.beta is None else f", β = {_end(row.beta, '.3f')}"
    return f"{_end(row.value, '.2f')} dB{_ends(row.ci_low, row.ci_high, '.2f')}{beta}{against}, n = {row.n}"


def _rate(metric: str, row: dict[str, object] | None) -> str:
    if row is None:
        return "not yet answered"
    value = row["value"]
    if not isinstance(value, float):
        return str(row["method"])
    form = ".2f" if metric == "digital_sn" else ".1%"
    sign = {">=": "≥ ", "<=": "≤ "}.get(str(row["method"])[:2], "") if metric == "digital_sn" else ""
    unit = " dB" if metric == "digital_sn" else ""
    return f"{sign}{_end(value, form)}{unit}{_ends(row['ci_low'], row['ci_high'], form)}, n = {row['n']}"


def _ends(low: object, high: object, form: str) -> str:
    if not isinstance(low, float) or not isinstance(high, float):
        return ""
    return f" [{_end(low, form)}, {_end(high, form)}]"


def _end(value: float, form: str) -> str:
    return f"{value:{form}}".replace("-", "−") if math.isfinite(value) else "+∞" if value > 0 else "−∞"


def _effect(row: NoiseEffectRow) -> EffectLine:
    interval = "" if row.ci_low is None or row.ci_high is None else f" [{row.ci_low:+.3f}, {row.ci_high:+.3f}]"
    return EffectLine(
        factor=row.factor.replace("_", " "),
        levels=f"{row.low_level} → {row.high_level}",
        model=figures.ROLE_NAMES.get(row.model_role, row.model_role),
        effect=f"{row.effect:+.3f}{interval}, n = {row.n}",
        moved=f"{row.up} up, {row.down} down (sign test p = {row.p_value:.2g})",
        steady="the same way" if row.steady else "differs",
    )
