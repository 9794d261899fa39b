"""The settings of a training run, checked. Light: standard library only; the configuration builds one.

Enters: numbers and names. Leaves: a frozen TrainRecipe, or one ConfigError that names every setting that cannot be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.errors import ConfigError

#: transformers' schedules that need no settings beyond a warm-up.
SCHEDULES = (
    "constant",
    "constant_with_warmup",
    "cosine",
    "cosine_with_restarts",
    "inverse_sqrt",
    "linear",
    "polynomial",
)


@dataclass(frozen=True, slots=True)
class TrainRecipe:
    """How an adapter is trained.

    `lora_targets` is a name set or a list of module names (train/lora.py). `batch_size` counts records per device;
    an optimizer step takes batch_size x accumulation records per device. `packing` lays a step's records in one row
    without padding, where the model can; `gradient_checkpointing` "auto" computes activations again only where one
    record's do not fit the memory (train/passes.py). `warmup_ratio` is a share of all steps;
    the schedule "constant" ignores it. `evaluate_every` and `save_every` are "epoch" or optimizer steps; `save_every`
    None saves where it evaluates. `best_by` "eval_loss" keeps the checkpoint of the lowest validation loss, "last" the
    last. `log_every` None logs ten times an epoch. `tracker` is a tracker's name or None; `precision` "auto" follows
    the model's dtype; `workers` are the processes that prepare batches, 0 for none.
    """

    lora_r: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.05
    lora_targets: str | Sequence[str] = "decoder"
    epochs: float = 4
    batch_size: int = 4
    eval_batch_size: int = 8
    accumulation: int = 2
    learning_rate: float = 1e-4
    schedule: str = "cosine"
    warmup_ratio: float = 0.1
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    shuffle: bool = True
    packing: bool = False
    gradient_checkpointing: bool | Literal["auto"] = "auto"
    evaluate_every: Literal["epoch"] | int = "epoch"
    save_every: Literal["epoch"] | int | None = None
    best_by: Literal["eval_loss", "last"] = "eval_loss"
    tracker: str | None = None
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    workers: int = 0
    log_every: int | None = None

    def __post_init__(self) -> None:
        problems = [
            f"{name} must be at least 1, got {value}"
            for name in ("lora_r", "lora_alpha", "batch_size", "eval_batch_size", "accumulation", "log_every")
            if (value := getattr(self, name)) is not None and value < 1
        ]
        problems += [
            f"{name} must be above 0, got {value}"
            for name in ("epochs", "learning_rate")
            if not (value := getattr(self, name)) > 0
        ]
        problems += [
            f"{name} must not be negative, got {value}"
            for name in ("weight_decay", "max_grad_norm", "workers")
            if not (value := getattr(self, name)) >= 0
        ]
        if not 0 <= self.warmup_ratio <= 1:
            problems.append(f"warmup_ratio must lie in [0, 1], got {self.warmup_ratio}")
        if not 0 <= self.lora_dropout < 1:
            problems.append(f"lora_dropout must lie in [0, 1), got {self.lora_dropout}")
        problems += [
            f"{name} must be 'epoch' or a number of steps of at least 1, got {value!r}"
            for name in ("evaluate_every", "save_every")
            if (value := getattr(self, name)) not in ("epoch", None) and (isinstance(value, str) or value < 1)
        ]
        if self.schedule not in SCHEDULES:
            problems.append(f"schedule {self.schedule!r} is unknown (known: {', '.join(SCHEDULES)})")
        if self.best_by == "eval_loss" and not self._saves_where_it_evaluates():
            problems.append(
                f"best_by 'eval_loss' keeps only what is saved where it is evaluated: save_every {self.save_every!r} "
                f"does not fit evaluate_every {self.evaluate_every!r}"
            )
        if problems:
            raise ConfigError("the recipe cannot be used: " + "; ".join(problems), hint="correct [lora] or [train]")

    @property
    def saves(self) -> Literal["epoch"] | int:
        """When a checkpoint is written."""
        return self.evaluate_every if self.save_every is None else self.save_every

    def _saves_where_it_evaluates(self) -> bool:
        if isinstance(self.saves, int) and isinstance(self.evaluate_every, int) and self.evaluate_every > 0:
            return self.saves % self.evaluate_every == 0
        return self.saves == self.evaluate_every
