"""transformers.Trainer, told what a recipe means; and what happens beside its loop: rows, sealed checkpoints, a bar.

Enters: a Vlm with a fresh adapter, samples, a recipe. Leaves: a Trainer ready to run.
Imports transformers at once: only run.py imports this module, when a run starts.
"""

from __future__ import annotations

import contextlib
import copy
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback, TrainingArguments

from harness.records import Sample
from harness.train.checkpoints import CHECKPOINTS, seal
from harness.train.collate import InspectionCollator
from harness.train.log import TrainingLog, in_words
from harness.train.passes import Passes, computes_in
from harness.train.recipe import TrainRecipe
from harness.vlm.packing import running

if TYPE_CHECKING:
    from harness.vlm.load import Vlm


class AdapterTrainer(Trainer):  # type: ignore[misc, unused-ignore]
    """A Trainer whose checkpoints hold the adapter alone, and which evaluates padded rows where it trains packed ones.

    Args:
        attention: of packed rows; None where rows are padded.
        eval_collator: builds padded batches.
    """

    data_collator: Any

    def __init__(self, *, attention: str | None, eval_collator: InspectionCollator, **settings: Any) -> None:
        super().__init__(**settings)
        self.attention = attention
        self.eval_collator = eval_collator

    def training_step(self, model: Any, *args: Any, **settings: Any) -> Any:
        """Forward and backward of one pass."""
        with self._attending(model):
            return super().training_step(model, *args, **settings)

    def prediction_step(self, model: Any, *args: Any, **settings: Any) -> Any:
        """Forward of an evaluation's batch."""
        with self._attending(model):
            return super().prediction_step(model, *args, **settings)

    def _attending(self, model: Any) -> contextlib.AbstractContextManager[None]:
        if self.attention is None:
            return contextlib.nullcontext()
        return running(self.accelerator.unwrap_model(model), self.attention)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """A mean over padded batches counts records; one over packed rows would count rows."""
        train_collator = self.data_collator
        self.data_collator = self.eval_collator
        try:
            return super().get_eval_dataloader(eval_dataset)
        finally:
            self.data_collator = train_collator

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        # Trainer's own would ask the Hub, at every checkpoint, whether the base's vocabulary was changed.
        assert output_dir is not None
        model: Any = self.model
        model.save_pretrained(output_dir, state_dict=state_dict, save_embedding_layers=False)


class RunCallback(TrainerCallback):  # type: ignore[misc, unused-ignore]
    """Logs, seals and shows.

    Args:
        log: takes the rows.
        evaluates: whether there are validation records.
        bar: whether stderr is a terminal; without one, rows are said as lines.
    """

    def __init__(self, log: TrainingLog, *, evaluates: bool, bar: bool) -> None:
        self.log = log
        self.evaluates = evaluates
        self.bar: Progress | None = None
        if bar:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self.bar = Progress(*columns, console=Console(stderr=True))

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Open the bar where the run stands."""
        if self.bar is not None and state.is_world_process_zero:
            self.task = self.bar.add_task("training", total=state.max_steps, completed=state.global_step)
            self.bar.start()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """At the last step log, evaluate and save, though it be no multiple of the steps between."""
        if self.bar is not None:
            self.bar.update(self.task, completed=state.global_step)
        if state.global_step >= state.max_steps:
            control.should_log = True
            if args.eval_strategy == "steps":
                control.should_evaluate = self.evaluates
            if args.save_strategy == "steps":
                control.should_save = True

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        """Take a row."""
        if not state.is_world_process_zero:
            return
        row = self.log.add(state.global_step, float(state.epoch or 0.0), logs or {})
        if row is None:
            return
        if self.bar is None:
            self.log.say(in_words(row))
        else:
            self.bar.update(self.task, description=in_words(row))

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Seal the checkpoint that was just written."""
        if state.is_world_process_zero:
            seal(Path(args.output_dir) / f"checkpoint-{state.global_step}")

    def close(self) -> None:
        """Put the terminal back in order, also after an interrupt."""
        if self.bar is not None:
            self.bar.stop()


def build_trainer(
    vlm: Vlm,
    train: Sequence[Sample],
    validation: Sequence[Sample],
    recipe: TrainRecipe,
    folder: Path,
    seed: int,
    collator: InspectionCollator,
    callback: RunCallback,
    passes: Passes,
) -> AdapterTrainer:
    """Translate the recipe into Trainer's arguments."""
    half = computes_in(vlm, recipe)
    if recipe.workers:
        # The parent's tokenizer has run already; its threads would not survive the fork into the loader's processes.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    every: dict[str, dict[str, Any]] = {
        name: {"strategy": "epoch"} if when == "epoch" else {"strategy": "steps", "steps": when}
        for name, when in (("eval", recipe.evaluate_every), ("save", recipe.saves))
    }
    best = recipe.best_by == "eval_loss" and bool(validation)
    steps = math.ceil(len(train) / (passes.records * passes.a_step)) * recipe.epochs
    args = TrainingArguments(
        output_dir=str((folder / CHECKPOINTS).absolute()),
        run_name=str(folder),
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=passes.records,
        # Whatever the passes: the mean over batches, which chooses the checkpoint, depends on it.
        per_device_eval_batch_size=recipe.eval_batch_size,
        gradient_accumulation_steps=passes.a_step,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.schedule,
        # Below 1 it is a share of all steps; 1 itself would mean one step. Less than a step would be rounded up to one,
        # which has no learning rate.
        warmup_steps=min(recipe.warmup_ratio, 1 - 1e-9) if steps * recipe.warmup_ratio >= 1 else 0,
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
        train_sampling_strategy="random" if recipe.shuffle else "sequential",
        eval_strategy=every["eval"]["strategy"] if validation else "no",
        eval_steps=every["eval"].get("steps"),
        save_strategy=every["save"]["strategy"],
        save_steps=every["save"].get("steps", 500),
        save_total_limit=2,
        load_best_model_at_end=best,
        metric_for_best_model="eval_loss" if validation else None,
        greater_is_better=False if validation else None,
        logging_steps=recipe.log_every or _log_every(len(train), recipe),
        logging_nan_inf_filter=False,
        prediction_loss_only=True,
        bf16=half == torch.bfloat16,
        fp16=half == torch.float16,
        use_cpu=vlm.device.type == "cpu",
        seed=seed,
        data_seed=seed,
        dataloader_num_workers=recipe.workers,
        dataloader_pin_memory=vlm.device.type == "cuda",
        accelerator_config={"non_blocking": vlm.device.type == "cuda"},
        remove_unused_columns=False,
        label_names=["labels"],
        report_to=[recipe.tracker] if recipe.tracker else "none",
        disable_tqdm=True,
    )
    # Several GPUs in one process would mean DataParallel, which splits a picture's tiles from its prompt; several GPUs
    # are used through `accelerate launch`, one process each.
    args._n_gpu = min(args.n_gpu, 1)
    padded = copy.copy(collator)
    padded.packs = False
    trainer = AdapterTrainer(
        attention=collator.attention,
        eval_collator=padded,
        model=vlm.model,
        args=args,
        data_collator=collator,
        train_dataset=list(train),
        eval_dataset=list(validation) or None,
        callbacks=[callback],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    return trainer


def _log_every(records: int, recipe: TrainRecipe) -> int:
    """Ten rows an epoch, or one a step where an epoch has fewer."""
    return max(1, records // (recipe.batch_size * recipe.accumulation * 10))
