"""The noise study: how steady are the base and the fine-tuned model when only the circumstances change?

Enters: a cycle whose Improve is finished. Leaves: rows in probabilities, noise_studies, noise_effects and noise_sn, and
the product's frozen reference. The L8 plan runs on validation, where anything may be tuned; from it come the factor
effects and the compound noise N1 and N2, under which the frozen test split is then scored once.
Both models see the same N1 and N2, the fine-tuned model's own worst: a lead of it is not owed to the choice of noise.
Cost: 8 x validation + 2 x test records a model, two passes each, no text; all of it is reused in a second study.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from harness.dataset.pool import utc_now
from harness.errors import DataError, LedgerError, ModelError
from harness.records import Sample
from harness.score.intervals import Interval, clustered_wilson
from harness.score.noise_plan import Compound, compound_noise, factor_effects, noise_plan
from harness.score.noise_sn import energy_interval, noise_sn, overall_sn
from harness.stages.answering import Respondent, base_model, samples_of
from harness.stages.probing import Task, ask, engine_of
from harness.stages.reference import Reference, reference_scores, settle_reference
from harness.stages.run import CycleRun
from harness.store import read, write
from harness.store.rows import NoiseEffectRow, NoiseSnRow, NoiseStudyRow
from harness.vlm.adapters import load_adapter

TRUTH = "truth"


@dataclass(frozen=True, slots=True)
class NoiseStudy:
    """What a noise study found."""

    study: NoiseStudyRow
    effects: list[NoiseEffectRow]
    figures: list[NoiseSnRow]

    def as_json(self) -> dict[str, Any]:
        """The study for machines; JSON has no infinity, so infinite values are the texts "inf" and "-inf"."""
        return {
            "study": asdict(self.study),
            "effects": [asdict(row) for row in self.effects],
            "figures": [
                {k: str(v) if isinstance(v, float) and math.isinf(v) else v for k, v in asdict(row).items()}
                for row in self.figures
            ],
        }


def study_noise(run: CycleRun, *, reference: str | None = None, change_reference: bool = False) -> NoiseStudy:
    """Study a cycle's base and fine-tuned model under noise, write the rows, and return them.

    Args:
        reference: the model whose scores are the signal of sn_base, see `settle_reference`.
        change_reference: allow another reference than the product's; both models are then scored on both.

    Raises:
        LedgerError: the cycle has no fine-tuned model yet, or the reference would change.
        DataError: the cycle has no validation record.
        ModelError: a model is another by its hash than the one that answered in the cycle.
    """
    validation, test = samples_of(run, "validation"), samples_of(run, "test")
    if not validation:
        raise DataError(
            f"{run.cycle_id} has no validation record, and noise levels are chosen on nothing else",
            hint="add records and run another cycle: harness cycle --data SRC",
        )
    chosen = settle_reference(run.ledger, run.cycle_id, asked=reference, change=change_reference)
    respondents = _respondents(run)
    effects, compound = _plan(run, respondents, validation)
    run.say(f"robustness: N1 is {compound.n1.describe()}; N2 is {compound.n2.describe()}")
    run.say(f"robustness: {compound.reason}")
    tasks = [Task(who, test, levels) for who in respondents for levels in (None, compound.n1, compound.n2)]
    scores = ask(run, run.bench.vlm, tasks, "robustness: N1 and N2 on test")
    truth = _truth(test)
    signals = {model: reference_scores(run, model, test, respondents) for model in chosen.all}
    figures = []
    for place, who in enumerate(respondents):
        clean, *noisy = scores[3 * place : 3 * place + 3]
        figures += _figures(run, who, clean, noisy, truth, signals, _groups(test))
    study = NoiseStudyRow(
        cycle_id=run.cycle_id,
        n1_condition=compound.n1.condition_id,
        n2_condition=compound.n2.condition_id,
        compound=compound.kind,
        reason=compound.reason,
        reference_model_id=chosen.current,
        validation_records=len(validation),
        test_records=len(test),
        engine_id=engine_of(run, run.bench.vlm, noisy=True).engine_id,
        studied_at=utc_now(),
    )
    _write(run, study, effects, figures, chosen)
    return NoiseStudy(study, effects, figures)


def _respondents(run: CycleRun) -> list[Respondent]:
    """The cycle's base and fine-tuned model, resident, and each the model that it was in the cycle."""
    roles = read.roles(run.ledger, run.cycle_id)
    if "finetuned" not in roles or "base" not in roles:
        raise LedgerError(
            f"{run.cycle_id} has no fine-tuned model yet", hint=f"finish it: harness cycle --resume {run.cycle_id}"
        )
    base, tuned = base_model(run), read.model(run.ledger, roles["finetuned"].model_id)
    if base.model_id != roles["base"].model_id:
        raise ModelError(
            f"{base.base} is model {base.model_id} now and was {roles['base'].model_id} in {run.cycle_id}",
            hint="restore the checkpoint that the cycle ran on, or run another cycle: harness cycle --data SRC",
        )
    assert tuned.adapter is not None, "a fine-tuned model has an adapter"
    load_adapter(run.bench.vlm, run.runs / tuned.adapter, run.cycle_id)
    return [Respondent("base", base, None), Respondent("finetuned", tuned, run.cycle_id)]


def _plan(
    run: CycleRun, respondents: Sequence[Respondent], validation: Sequence[Sample]
) -> tuple[list[NoiseEffectRow], Compound]:
    """The L8 on validation: the effects of every model, and the compound noise of the fine-tuned one."""
    plan = noise_plan()
    tasks = [Task(who, validation, levels) for who in respondents for levels in plan]
    scores = ask(run, run.bench.vlm, tasks, "robustness: L8 on validation")
    by_role = {who.role: scores[len(plan) * place : len(plan) * (place + 1)] for place, who in enumerate(respondents)}
    truth, groups = _truth(validation), _groups(validation)
    rows = [row for role, runs in by_role.items() for row in _effect_rows(run.cycle_id, role, runs, truth, groups)]
    tuned = by_role["finetuned"]
    return rows, compound_noise(tuned, factor_effects(tuned, groups))


def _effect_rows(
    cycle_id: str, role: str, runs: Sequence[Sequence[float]], truth: Sequence[float], groups: Sequence[str] | None
) -> list[NoiseEffectRow]:
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
                    model_role="base" if role == "base" else "finetuned",
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


def _figures(
    run: CycleRun,
    who: Respondent,
    clean: Sequence[float],
    noisy: Sequence[Sequence[float]],
    truth: Sequence[float],
    signals: Mapping[str, Sequence[float]],
    groups: Sequence[str] | None,
) -> list[NoiseSnRow]:
    """Every figure of one model on the test split."""

    def row(metric: str, reference: str, found: Interval, beta: float | None) -> NoiseSnRow:
        return NoiseSnRow(
            run.cycle_id, who.role, who.model.model_id, metric, reference,
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
        wrong = [(s * sign <= 0, g) for run_ in noisy for s, t, g in zip(run_, truth, parts, strict=True) if t == sign]
        found = clustered_wilson([w for w, _ in wrong], [g for _, g in wrong])
        rows.append(row(metric, TRUTH, found, None))
    assert all(r.value is None or not math.isnan(r.value) for r in rows)
    return rows


def _truth(samples: Sequence[Sample]) -> list[float]:
    """The truth as a score: -1 passed, +1 defective."""
    truths = [sample.truth for sample in samples]
    return [1.0 if truth is not None and truth.verdict == "defective" else -1.0 for truth in truths]


def _groups(samples: Sequence[Sample]) -> list[str] | None:
    """The records' groups where any holds more than one of them, else None."""
    groups = [sample.group for sample in samples]
    return groups if len(set(groups)) < len(groups) else None


def _write(
    run: CycleRun,
    study: NoiseStudyRow,
    effects: Sequence[NoiseEffectRow],
    figures: Sequence[NoiseSnRow],
    chosen: Reference,
) -> None:
    """The study's rows and, in the same transaction, the product's reference."""
    product = read.product(run.ledger, run.config.product)
    assert product is not None, "Define writes the product"
    with run.ledger.writing() as connection:
        write.replace(connection, "noise_studies", [study], cycle_id=run.cycle_id)
        write.replace(connection, "noise_effects", effects, cycle_id=run.cycle_id)
        write.replace(connection, "noise_sn", figures, cycle_id=run.cycle_id)
        if product.reference_model_id != chosen.current:
            changed = replace(product, reference_model_id=chosen.current)
            write.replace(connection, "products", [changed], product=product.product)
    if chosen.former is not None:
        run.say(
            f"robustness: the reference of {product.product} is model {chosen.current} now, no longer {chosen.former}"
        )
    elif product.reference_model_id is None:
        run.say(f"robustness: the reference of {product.product} is model {chosen.current}, frozen from now on")
