"""The noise study: how steady are the base and the fine-tuned model when only the circumstances change?

Enters: a cycle whose Improve is finished. Leaves: rows in probabilities, noise_studies, noise_effects and noise_sn, and
the product's frozen reference. The L8 plan runs on validation, where anything may be tuned; from it come the factor
effects and the compound noise N1 and N2, under which the frozen test split is then scored once.
Both models see the same N1 and N2, the fine-tuned model's own worst: a lead of it is not owed to the choice of noise.
Cost: 8 x validation + 2 x test records a model, two passes each, no text; all of it is reused in a second study.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from harness.dataset.pool import utc_now
from harness.errors import DataError, LedgerError, ModelError
from harness.records import Sample
from harness.score.noise_plan import Compound, compound_noise, factor_effects, noise_plan
from harness.stages.answering import Respondent, base_model, samples_of
from harness.stages.noise_rows import effect_rows, figure_rows, groups_of, truth_scores
from harness.stages.probing import Task, ask, engine_of
from harness.stages.reference import Reference, reference_scores, settle_reference
from harness.stages.run import CycleRun
from harness.store import Ledger, read, write
from harness.store.rows import NoiseEffectRow, NoiseSnRow, NoiseStudyRow
from harness.vlm.adapters import load_adapter


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
    if not {"base", "finetuned"} <= read.roles(run.ledger, run.cycle_id).keys():
        raise LedgerError(
            f"{run.cycle_id} has no fine-tuned model yet", hint=f"finish it: harness cycle --resume {run.cycle_id}"
        )
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
    truth = truth_scores(test)
    signals = {model: reference_scores(run, model, test, respondents) for model in chosen.all}
    figures = []
    for place, who in enumerate(respondents):
        clean, *noisy = scores[3 * place : 3 * place + 3]
        figures += figure_rows(run.cycle_id, who, clean, noisy, truth, signals, groups_of(test))
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
    found = NoiseStudy(study, effects, figures)
    store_study(run.ledger, found, chosen, say=run.say)
    return found


def _respondents(run: CycleRun) -> list[Respondent]:
    """The cycle's base and fine-tuned model, resident, and each the model that it was in the cycle."""
    roles = read.roles(run.ledger, run.cycle_id)
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
    truth, groups = truth_scores(validation), groups_of(validation)
    rows = [row for role, runs in by_role.items() for row in effect_rows(run.cycle_id, role, runs, truth, groups)]
    tuned = by_role["finetuned"]
    return rows, compound_noise(tuned, factor_effects(tuned, groups))


def store_study(ledger: Ledger, found: NoiseStudy, chosen: Reference, *, say: Callable[[str], None]) -> None:
    """Write a study's rows and, in the same transaction, the product's reference."""
    study, cycle_id = found.study, found.study.cycle_id
    product = read.product(ledger, read.cycle(ledger, cycle_id).product)
    assert product is not None, "Define writes the product"
    with ledger.writing() as connection:
        write.replace(connection, "noise_studies", [study], cycle_id=cycle_id)
        write.replace(connection, "noise_effects", found.effects, cycle_id=cycle_id)
        write.replace(connection, "noise_sn", found.figures, cycle_id=cycle_id)
        if product.reference_model_id != chosen.current:
            changed = replace(product, reference_model_id=chosen.current)
            write.replace(connection, "products", [changed], product=product.product)
    if chosen.former is not None:
        say(f"robustness: the reference of {product.product} is model {chosen.current} now, no longer {chosen.former}")
    elif product.reference_model_id is None:
        say(f"robustness: the reference of {product.product} is model {chosen.current}, frozen from now on")
