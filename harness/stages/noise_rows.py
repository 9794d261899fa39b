"""Scores under noise -> the rows of a noise study. Needs no model.

Enters: scores s in [-1, 1] of the same records, a sequence a run, with the records' truth, reference signals and
groups. Leaves: rows of noise_effects (from the eight runs of the L8) and of noise_sn (from n0, N1 and N2).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from harness.records import Role, Sample
from harness.score.intervals import Interval, clustered_wilson
from harness.score.noise_plan import factor_effects
from harness.score.noise_sn import energy_interval, noise_sn, overall_sn
from harness.stages.answering import Respondent
from harness.store.rows import NoiseEffectRow, NoiseSnRow

#: stands in reference_model_id where the signal is the truth
TRUTH = "truth"


def effect_rows(
    cycle_id: str, role: Role, runs: Sequence[Sequence[float]], truth: Sequence[float], groups: Sequence[str] | None
) -> list[NoiseEffectRow]:
    """The factors' effects on one model, over all records and over each class of them.

    Args:
        runs: the scores of the same records in the eight runs of the plan.
        truth: -1 or +1, one a record.
        groups: the records' groups; None where each stands alone.
    """
    rows = []
    for name, wanted in (("all", (-1.0, 1.0)), ("truth=passed", (-1.0,)), ("truth=defective", (1.0,))):
        places = [place for place, value in enumerate(truth) if value in wanted]
        if not places:
            continue
        of_slice = [[scores[place] for place in places] for scores in runs]
        for e in factor_effects(of_slice, None if groups is None else [groups[place] for place in places]):
            assert e.effect.value is not None, "a slice has pictures"
            rows.append(
                NoiseEffectRow(
                    cycle_id=cycle_id,
                    model_role=role,
                    slice=name,
                    factor=e.factor.name,
                    low_level=e.factor.text(1),
                    high_level=e.factor.text(2),
                    low_mean=e.low_mean,
                    high_mean=e.high_mean,
                    effect=e.effect.value,
                    ci_low=e.effect.low,
                    ci_high=e.effect.high,
                    up=e.up,
                    down=e.down,
                    p_value=e.p_value,
                    steady=e.steady,
                    n=len(places),
                )
            )
    return rows


def figure_rows(
    cycle_id: str,
    who: Respondent,
    clean: Sequence[float],
    noisy: Sequence[Sequence[float]],
    truth: Sequence[float],
    signals: Mapping[str, Sequence[float]],
    groups: Sequence[str] | None,
) -> list[NoiseSnRow]:
    """Every figure of one model on the test split.

    Args:
        clean: its scores at n0.
        noisy: its scores under N1 and under N2.
        signals: model id -> a reference model's scores at n0; sn_base is computed against each.
    """

    def row(metric: str, reference: str, found: Interval, beta: float | None) -> NoiseSnRow:
        return NoiseSnRow(
            cycle_id, who.role, who.model.model_id, metric, reference,
            found.value, found.low, found.high, beta, found.n, found.method,
        )  # fmt: skip

    rows = []
    for name, reference, signal in [("truth", TRUTH, truth), *(("base", m, s) for m, s in signals.items())]:
        sn = noise_sn(signal, noisy)
        plain = Interval(sn.n0_sn, None, None, sn.records, sn.remark or "grows with the number of data: no interval")
        rows.append(row(f"sn_{name}", reference, energy_interval(signal, noisy, groups), sn.beta))
        rows.append(row(f"n0_sn_{name}", reference, plain, sn.beta))
    if len(truth) > 1:
        overall = overall_sn(truth, clean)
        for metric, value in (("overall_sn", overall.eta), ("overall_energy_sn", overall.energy_sn)):
            method = overall.remark or "T-method, s at n0 against the truth"
            rows.append(row(metric, TRUTH, Interval(value, None, None, overall.n, method), overall.beta))
    parts = groups or [str(place) for place in range(len(truth))]
    for metric, sign in (("noise_false_reject_rate", -1.0), ("noise_miss_rate", 1.0)):
        places = [place for place, value in enumerate(truth) if value == sign]
        wrong = [any(scores[place] * sign <= 0 for scores in noisy) for place in places]
        rows.append(row(metric, TRUTH, clustered_wilson(wrong, [parts[place] for place in places]), None))
    assert all(r.value is None or not math.isnan(r.value) for r in rows)
    return rows


def truth_scores(samples: Sequence[Sample]) -> list[float]:
    """The truth as a score: -1 passed, +1 defective."""
    truths = [sample.truth for sample in samples]
    return [1.0 if truth is not None and truth.verdict == "defective" else -1.0 for truth in truths]


def groups_of(samples: Sequence[Sample]) -> list[str] | None:
    """The records' groups where any holds more than one of them, else None."""
    groups = [sample.group for sample in samples]
    return groups if len(set(groups)) < len(groups) else None
