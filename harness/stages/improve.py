"""Improve: teach an adapter, answer the same records with it, and hold both sets of answers against each other.

Enters: the training and validation records, the resident base model. Leaves: runs/<cycle>/improve/adapter, the
training log, the fine-tuned model's answers, scored, and the paired comparisons with the base and the incumbent; rows
in models, conditions, answers, roles, findings, scores, metrics, comparisons and training_log.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

from harness.dataset.pool import utc_now
from harness.errors import ModelError
from harness.stages.answering import Respondent, answer_role, base_model, model_id, samples_of
from harness.stages.compare import compare_roles
from harness.stages.run import CycleRun
from harness.stages.scoring import score_role
from harness.store import read, write
from harness.store.rows import ModelRow, TrainingLogRow
from harness.train.recipe import TrainRecipe
from harness.train.run import train_adapter
from harness.vlm.adapters import check_adapter, load_adapter


def improve(run: CycleRun) -> dict[str, Any]:
    """Do the stage's work and return its manifest."""
    folder = run.stage_folder("improve")
    vlm = run.bench.vlm
    train, validation = samples_of(run, "train"), samples_of(run, "validation")
    result = train_adapter(
        vlm, train, validation, recipe_of(run), folder, seed=run.config.seed, resume=True, say=run.say
    )
    share = result.trainable
    _write_training(run, result.log, share.trainable, share.share_of_base)
    load_adapter(vlm, result.adapter, run.cycle_id)
    change = check_adapter(vlm, (validation or train)[0], run.cycle_id)
    base = base_model(run)
    model = ModelRow(
        model_id=model_id(vlm.base_hash, result.adapter_hash),
        kind="cycle",
        base=base.base,
        revision=base.revision,
        adapter_hash=result.adapter_hash,
        adapter=result.adapter.relative_to(run.runs).as_posix(),
        created_at=utc_now(),
    )
    role = answer_role(run, "improve", Respondent("finetuned", model, run.cycle_id))
    product = read.product(run.ledger, run.config.product)
    assert product is not None, "Define writes the product"
    cycle = read.cycle(run.ledger, run.cycle_id)
    score_role(run.ledger, cycle, product, role)
    notes = _compare_in_words(run, "base")
    incumbent = read.incumbent(run.ledger, run.config.product, before=run.cycle_id)
    if incumbent is not None:
        incumbent_role = _incumbent(run, incumbent)
        score_role(run.ledger, cycle, product, incumbent_role)
        notes += _compare_in_words(run, "incumbent")
    for note in notes:
        run.say(f"improve: {note}")
    return {
        "trainable_parameters": share.trainable,
        "trainable_share": share.share_of_base,
        "steps": result.steps,
        "epochs": result.epochs,
        "best_step": result.best_step,
        "best_eval_loss": result.best_eval_loss,
        "adapter": model.adapter,
        "model_id": model.model_id,
        "logit_change": change,
        "answered": role.answered,
        "reused": role.reused,
        "incumbent": incumbent,
        "notes": notes,
    }


def recipe_of(run: CycleRun) -> TrainRecipe:
    """The configuration as the train room takes it."""
    lora, train = run.config.lora, run.config.train
    return TrainRecipe(
        lora_r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        lora_targets=lora.targets,
        **train.model_dump(),
    )


def _incumbent(run: CycleRun, cycle_id: str) -> Any:
    """The incumbent's answers to this cycle's records: mostly reused; its adapter is loaded only where some lack."""
    role = read.roles(run.ledger, cycle_id).get("finetuned")
    if role is None:
        raise ModelError(
            f"the incumbent {cycle_id} has no fine-tuned model in the ledger",
            hint=f"finish it: harness cycle --resume {cycle_id}",
        )
    model = read.model(run.ledger, role.model_id)
    assert model.adapter is not None, "a fine-tuned model has an adapter"
    folder = run.runs / model.adapter
    load_adapter(run.bench.vlm, folder, cycle_id)
    return answer_role(run, "improve", Respondent("incumbent", model, cycle_id))


def _compare_in_words(run: CycleRun, baseline: Any) -> list[str]:
    return [
        f"{c.metric} {c.baseline:.1%} ({baseline}) -> {c.candidate:.1%}: {c.difference:+.1%} "
        f"[{c.ci_low:+.1%}, {c.ci_high:+.1%}], n = {c.n}, p = {c.p_value:.2g} (Holm {c.p_holm:.2g})"
        for c in compare_roles(run.ledger, run.cycle_id, baseline)
    ]


def _write_training(run: CycleRun, log: Any, trainable: int, share: float) -> None:
    rows = [TrainingLogRow(cycle_id=run.cycle_id, **asdict(entry)) for entry in log]
    cycle = read.cycle(run.ledger, run.cycle_id)
    changed = replace(
        cycle,
        model=run.bench.vlm.model_ref,
        device=str(run.bench.vlm.device),
        trainable_parameters=trainable,
        trainable_share=share,
        config=json.dumps(json.loads(cycle.config)),
    )
    with run.ledger.writing() as connection:
        write.replace(connection, "training_log", rows, cycle_id=run.cycle_id)
        write.replace(connection, "cycles", [changed], cycle_id=run.cycle_id)
