"""The training run: LoRA through peft and transformers.Trainer, so accelerate, trackers and resume come with it.

    FOLDER/checkpoints/          see checkpoints.py
    FOLDER/training_log.jsonl    one row a line, as it is logged
    FOLDER/adapter/              the adapter, in peft's layout (safetensors); written last

Enters: a Vlm, training and validation samples, a recipe. Leaves: the folder and a TrainResult; the Vlm is then the bare
base again, and `load_adapter` puts the result on it.
Costs: only the adapter has gradients and optimizer state; two checkpoints are kept (the best and the last). On the CPU
the same seed gives the same adapter, resumed or not; on a GPU up to the order of its sums.
"""

from __future__ import annotations

import gc
import logging
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import ConfigError, DataError, ModelError
from harness.records import Sample
from harness.train.checkpoints import CHECKPOINTS, last_whole, open_run, run_identity, step_of
from harness.train.collate import InspectionCollator, takes_answers_alone
from harness.train.log import TrainingLog, TrainingRow
from harness.train.lora import TrainableShare, lora_targets, trainable_share
from harness.train.passes import Passes, computes_in, passes_that_fit, recomputing, smaller_passes
from harness.train.recipe import TrainRecipe
from harness.vlm.adapters import TRAINED, attach_adapter, detach_adapters
from harness.vlm.features import prepare_features
from harness.vlm.fused import kernels_for
from harness.vlm.identity import adapter_hash
from harness.vlm.packing import packed_attention, takes_packed

if TYPE_CHECKING:
    from harness.vlm.load import Vlm

__all__ = ["TrainResult", "adapter_hash", "train_adapter"]

ADAPTER = "adapter"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a run left.

    `adapter` is its folder, `fit_records` the records that made gradients, `steps` the optimizer steps of the whole
    run, `seconds` those of all its parts, `resumed_from` the step that this part began at (None: at 0).
    `best_step` is the step of the lowest validation loss, `best_eval_loss` (mean over the validation batches, nats per
    answer token); the adapter is that step's, unless the recipe keeps the last. Both are None without validation.
    `peak_memory_gib` is the most that this part allocated on a CUDA device, None elsewhere.
    """

    adapter: Path
    adapter_hash: str
    log: tuple[TrainingRow, ...]
    trainable: TrainableShare
    fit_records: int
    steps: int
    epochs: float
    best_step: int | None
    best_eval_loss: float | None
    seconds: float
    peak_memory_gib: float | None
    resumed_from: int | None


def train_adapter(
    vlm: Vlm,
    train: Sequence[Sample],
    validation: Sequence[Sample],
    recipe: TrainRecipe,
    folder: Path,
    *,
    seed: int,
    resume: bool = False,
    on_log: Callable[[TrainingRow], None] | None = None,
    say: Callable[[str], None] = logger.warning,
) -> TrainResult:
    """Train a fresh adapter on the reference answers of `train`.

    Args:
        validation: what evaluation and the choice of the best checkpoint see; may be empty, then the last one is kept.
        folder: this run's own folder.
        seed: of the adapter's first weights, the order of the records and the dropout.
        resume: go on from the last whole checkpoint in the folder, where there is one.
        on_log: called with every row as it is logged.
        say: told in one line what people should know: the share trained, the resume, rows where there is no terminal.

    Raises:
        ConfigError: targets that match nothing, a tracker that is not installed, or a resume with other settings.
        DataError: no training records, or a record that cannot be trained on (found before the first step).
        ModelError: out of memory, or a loss that is not finite.
    """
    import torch
    from transformers import set_seed

    if not train:
        raise DataError("there are no training records", hint="add data: harness cycle --data SRC")
    _check_tracker(recipe.tracker)
    if recipe.precision == "bf16" and vlm.dtype == torch.float16:
        raise ConfigError(
            "a model loaded in fp16 cannot be trained in bf16", hint="--set model.dtype=bf16 or train.precision=auto"
        )
    collator = InspectionCollator(vlm.processor, stop_token_ids=vlm.stop_token_ids, pad_token_id=vlm.pad_token_id)
    for sample in (*train, *validation):
        collator.completion(sample)
    identity = run_identity(recipe, seed=seed, base_hash=vlm.base_hash, train=train, validation=validation)
    detach_adapters(vlm)
    targets = lora_targets(vlm.base, recipe.lora_targets)
    checkpoint = open_run(folder, identity, resume=resume)
    if checkpoint is not None:
        say(f"resuming at step {step_of(checkpoint)} ({checkpoint})")
    elif resume and (folder / CHECKPOINTS).exists():
        say(f"no whole checkpoint in {folder / CHECKPOINTS}: training starts at step 0")
    log = TrainingLog(folder, after_step=step_of(checkpoint) if checkpoint else 0, on_log=on_log, say=say)
    use_cache = getattr(vlm.base.config, "use_cache", None)
    set_seed(seed)
    try:
        share = _attach(vlm, recipe, targets)
        part = f"{share.share_of_base:.4%} of the base model"
        say(f"training {share.trainable:,} parameters on {len(targets)} layers: {part}")
        if vlm.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(vlm.device)
        if prepare_features(vlm, (*train, *validation)):
            collator.features = vlm.features
        collator.answers_alone = takes_answers_alone(vlm)
        collator.attention = _row_attention(vlm, recipe, say)
        # Tried here: within a layer that computes its activations again, the trial would be recorded with them.
        kernels_for(torch.empty(0, dtype=computes_in(vlm, recipe) or vlm.dtype, device=vlm.device))
        passes = passes_that_fit(vlm, collator, train, recipe, say)
        while True:
            try:
                state = _fit(vlm, train, validation, recipe, folder, seed, collator, log, checkpoint, passes)
                break
            except torch.OutOfMemoryError as error:
                passes = smaller_passes(vlm, passes, recipe, error)
            # Behind the handler, where the error and the tensors that its traceback holds are gone.
            checkpoint = last_whole(folder)
            reached = step_of(checkpoint) if checkpoint else 0
            say(f"out of memory: going on at step {reached} with {passes}")
            log.rewind(reached)
            set_seed(seed)
            _attach(vlm, recipe, targets)
        peak = torch.cuda.max_memory_allocated(vlm.device) / 2**30 if vlm.device.type == "cuda" else None
        return TrainResult(
            adapter=folder / ADAPTER,
            adapter_hash=adapter_hash(folder / ADAPTER),
            log=log.rows,
            trainable=share,
            fit_records=len(train),
            steps=state.global_step,
            epochs=float(state.epoch or 0.0),
            best_step=state.best_global_step if validation else None,
            best_eval_loss=state.best_metric if validation else None,
            seconds=log.seconds,
            peak_memory_gib=peak,
            resumed_from=step_of(checkpoint) if checkpoint else None,
        )
    finally:
        vlm.base.config.use_cache = use_cache
        detach_adapters(vlm)
        vlm.model.eval()
        gc.collect()
        torch.cuda.empty_cache()


def _attach(vlm: Vlm, recipe: TrainRecipe, targets: Sequence[str]) -> TrainableShare:
    """Put a fresh adapter on exactly the layers meant; peft matches names from their end."""
    from peft import LoraConfig

    config = LoraConfig(
        r=recipe.lora_r,
        lora_alpha=recipe.lora_alpha,
        lora_dropout=recipe.lora_dropout,
        target_modules=list(targets),
        bias="none",
        task_type="CAUSAL_LM",
    )
    attach_adapter(vlm, config)
    adapted = {name for name, module in vlm.base.named_modules() if hasattr(module, "lora_A")}
    if odd := sorted(adapted ^ set(targets)):
        raise ModelError(
            f"the adapter sits on other layers than were meant: {', '.join(odd[:5])}",
            hint="name the modules in full: --set 'lora.targets=[...]'",
        )
    return trainable_share(vlm.model)


def _fit(
    vlm: Vlm,
    train: Sequence[Sample],
    validation: Sequence[Sample],
    recipe: TrainRecipe,
    folder: Path,
    seed: int,
    collator: InspectionCollator,
    log: TrainingLog,
    checkpoint: Path | None,
    passes: Passes,
) -> Any:
    """Run the Trainer and save the adapter; gives the trainer's last state."""
    from harness.train.trainer import RunCallback, build_trainer

    callback = RunCallback(log, evaluates=bool(validation), bar=sys.stderr.isatty())
    try:
        trainer = build_trainer(vlm, train, validation, recipe, folder, seed, collator, callback, passes)
        with recomputing(vlm.base, passes.checkpointing):
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    finally:
        callback.close()
    if recipe.best_by == "eval_loss" and validation:
        _check_best(trainer.state)
    if trainer.is_world_process_zero():
        _save_adapter(vlm, folder / ADAPTER)
    trainer.accelerator.wait_for_everyone()
    return trainer.state


def _row_attention(vlm: Vlm, recipe: TrainRecipe, say: Callable[[str], None]) -> str | None:
    """The attention of packed rows; None where rows are padded."""
    if not recipe.packing:
        return None
    if not takes_packed(vlm):
        say(f"{type(vlm.base).__name__} takes no packed rows: rows are padded")
        return None
    return packed_attention(vlm)


def _check_tracker(tracker: str | None) -> None:
    if tracker is None:
        return
    from transformers import integrations

    trackers: Any = integrations
    available = trackers.get_available_reporting_integrations()
    if tracker not in available:
        raise ConfigError(
            f"the tracker {tracker!r} is not installed (installed: {', '.join(available) or 'none'})",
            hint=f"install it into this environment: pip install {tracker}",
        )


def _check_best(state: Any) -> None:
    """Trainer keeps the last weights, with a line in the log, when the best checkpoint is gone."""
    best = state.best_model_checkpoint
    if best is None or not (Path(best) / "adapter_model.safetensors").is_file():
        raise ModelError(
            f"the best checkpoint is gone: {best}", hint="the folder was moved or changed during training: train again"
        )


def _save_adapter(vlm: Vlm, folder: Path) -> None:
    """Whole or not at all: written beside and renamed."""
    part = folder.with_name(folder.name + ".part")
    for leftover in (part, folder):
        if leftover.exists():
            shutil.rmtree(leftover)
    vlm.model.save_pretrained(str(part), selected_adapters=[TRAINED], save_embedding_layers=False)
    part.rename(folder)
