"""The training log on disk, over a kill and a resume."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import ModelError
from harness.train.log import TRAINING_LOG, TrainingLog, TrainingRow, in_words


def _log(folder: Path, after_step: int = 0) -> TrainingLog:
    return TrainingLog(folder, after_step=after_step, on_log=None, say=lambda _: None)


def test_rows_are_kept_and_written(tmp_path: Path) -> None:
    seen: list[TrainingRow] = []
    log = TrainingLog(tmp_path, after_step=0, on_log=seen.append, say=lambda _: None)
    log.add(2, 1.0, {"loss": 0.5, "grad_norm": 1.5, "learning_rate": 1e-4})
    log.add(2, 1.0, {"eval_loss": 0.75, "eval_runtime": 3.0})
    assert log.add(2, 1.0, {"train_runtime": 9.0, "train_loss": 0.5}) is None
    assert [(r.step, r.loss, r.eval_loss, r.learning_rate, r.grad_norm) for r in log.rows] == [
        (2, 0.5, None, 1e-4, 1.5),
        (2, None, 0.75, None, None),
    ]
    assert tuple(seen) == log.rows
    assert 0 <= log.rows[0].seconds <= log.rows[1].seconds <= log.seconds
    assert _log(tmp_path, after_step=2).rows == log.rows


def test_a_resume_drops_what_will_be_done_again(tmp_path: Path) -> None:
    log = _log(tmp_path)
    for step in (1, 2, 3):
        log.add(step, step / 2, {"loss": 1 / step})
    with (tmp_path / TRAINING_LOG).open("a") as file:
        file.write('{"step": 4, "epo')
    resumed = _log(tmp_path, after_step=2)
    assert [row.step for row in resumed.rows] == [1, 2]
    assert resumed.seconds >= log.rows[1].seconds
    resumed.add(3, 1.5, {"loss": 0.25})
    assert [(row.step, row.loss) for row in _log(tmp_path, after_step=9).rows] == [(1, 1.0), (2, 0.5), (3, 0.25)]
    assert _log(tmp_path).rows == ()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"loss": float("nan")}, "the loss is nan at step 7"),
        ({"loss": float("inf")}, "the loss is inf at step 7"),
        ({"eval_loss": float("nan")}, "the validation loss is nan at step 7"),
    ],
)
def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path, values: dict[str, float], words: str) -> None:
    log = _log(tmp_path)
    with pytest.raises(ModelError, match=words):
        log.add(7, 1.0, values)
    # The row is on disk all the same: it says where it happened.
    assert len((tmp_path / TRAINING_LOG).read_text().splitlines()) == 1


def test_in_words(tmp_path: Path) -> None:
    log = _log(tmp_path)
    log.add(10, 0.5, {"loss": 0.51234})
    log.add(10, 0.5, {"eval_loss": 0.6})
    assert [in_words(row) for row in log.rows] == [
        "step 10, epoch 0.50: loss 0.5123",
        "step 10, epoch 0.50: validation loss 0.6000",
    ]
