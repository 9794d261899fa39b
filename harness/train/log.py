"""The training log: rows as they are logged, on disk and for the ledger.

Enters: what Trainer logs. Leaves: FOLDER/training_log.jsonl and a list of rows. A resumed run keeps the rows up to the
checkpoint that it goes on from and drops those of steps that will be done again. No torch here.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.errors import ModelError

TRAINING_LOG = "training_log.jsonl"


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """One logged step. A row holds either the training loss (mean since the row before), or the validation loss.

    `step` counts optimizer steps, `epoch` passes over the training records, losses are in nats per answer token,
    `grad_norm` is before clipping, `seconds` since training began, over all its parts.
    """

    step: int
    epoch: float
    loss: float | None
    eval_loss: float | None
    learning_rate: float | None
    grad_norm: float | None
    seconds: float


class TrainingLog:
    """Collects rows and writes each at once.

    Args:
        folder: where the file is.
        after_step: rows up to this step are kept from an earlier part of the run; 0 starts a new file.
        on_log: called with each new row.
        say: told each new row in words, unless a progress bar shows it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        after_step: int,
        on_log: Callable[[TrainingRow], None] | None,
        say: Callable[[str], None],
    ) -> None:
        self.path = folder / TRAINING_LOG
        self._on_log = on_log
        self.say = say
        self.rewind(after_step)
        self._before = self._rows[-1].seconds if self._rows else 0.0
        self._start = time.monotonic()

    def rewind(self, step: int) -> None:
        """Forget the rows behind a step; the clock goes on."""
        self._rows = [row for row in _read(self.path) if row.step <= step]
        part = self.path.with_suffix(".part")
        part.write_text("".join(_line(row) for row in self._rows), "utf-8")
        part.replace(self.path)

    @property
    def rows(self) -> tuple[TrainingRow, ...]:
        """All rows of the run so far."""
        return tuple(self._rows)

    @property
    def seconds(self) -> float:
        """Seconds since training began, without the time between a kill and its resume."""
        return self._before + time.monotonic() - self._start

    def add(self, step: int, epoch: float, values: Mapping[str, float]) -> TrainingRow | None:
        """Take what Trainer logs; None where it is neither a training nor a validation loss.

        Raises:
            ModelError: the loss is not finite.
        """
        loss, eval_loss = values.get("loss"), values.get("eval_loss")
        if loss is None and eval_loss is None:
            return None
        row = TrainingRow(
            step=step,
            epoch=epoch,
            loss=loss,
            eval_loss=eval_loss,
            learning_rate=values.get("learning_rate"),
            grad_norm=values.get("grad_norm"),
            seconds=self.seconds,
        )
        self._rows.append(row)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_line(row))
        if self._on_log is not None:
            self._on_log(row)
        for name, value in (("loss", loss), ("validation loss", eval_loss)):
            if value is not None and not math.isfinite(value):
                raise ModelError(
                    f"the {name} is {value} at step {step}", hint="train more gently: --set train.learning_rate=1e-5"
                )
        return row


def in_words(row: TrainingRow) -> str:
    """A row for people."""
    if row.eval_loss is not None:
        return f"step {row.step}, epoch {row.epoch:.2f}: validation loss {row.eval_loss:.4f}"
    return f"step {row.step}, epoch {row.epoch:.2f}: loss {row.loss:.4f}"


def _line(row: TrainingRow) -> str:
    return json.dumps(asdict(row)) + "\n"


def _read(path: Path) -> list[TrainingRow]:
    """The rows of an earlier part; a last line torn by a kill is left out."""
    if not path.exists():
        return []
    whole, _, _ = path.read_text("utf-8").rpartition("\n")
    return [TrainingRow(**json.loads(line)) for line in whole.splitlines()]
