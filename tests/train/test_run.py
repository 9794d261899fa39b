"""Whole training runs of the tiny models: they learn, they repeat, and a kill costs nothing but time."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from harness.answer.condition import Condition, Decoding
from harness.answer.generate import answer_batches
from harness.answer.verdict import VerdictOpenings
from harness.errors import ConfigError, DataError, ModelError
from harness.records import Sample
from harness.train.checkpoints import is_whole, last_whole, step_of
from harness.train.log import TRAINING_LOG, TrainingRow
from harness.train.recipe import TrainRecipe
from harness.train.run import TrainResult, adapter_hash, train_adapter
from harness.vlm.adapters import check_adapter, load_adapter, use_adapter
from harness.vlm.batch import prompt_batch
from harness.vlm.load import Vlm, load_vlm
from tests import tiny_vlm

#: Four optimizer steps an epoch over eight records, with dropout, so that random states matter.
RECIPE = TrainRecipe(
    lora_r=4,
    lora_alpha=8,
    lora_dropout=0.1,
    epochs=3,
    batch_size=1,
    eval_batch_size=4,
    accumulation=2,
    learning_rate=5e-3,
    gradient_checkpointing=False,
    log_every=1,
)


def _train(vlm: Vlm, samples: list[Sample], folder: Path, recipe: TrainRecipe = RECIPE, **settings: Any) -> TrainResult:
    settings = {"seed": 7, "say": lambda _: None} | settings
    return train_adapter(vlm, samples[:8], samples[8:], recipe, folder, **settings)


@pytest.fixture(scope="module")
def uninterrupted(samples: list[Sample], tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    """What RECIPE ends with when nothing happens."""
    vlm = load_vlm(str(tiny_vlm.checkpoint("idefics3")), device="cpu")
    return _train(vlm, samples, tmp_path_factory.mktemp("uninterrupted"))


def test_it_learns_a_handful_of_records_verbatim(vlm: Vlm, samples: list[Sample], tmp_path: Path) -> None:
    records = samples[:4]
    recipe = replace(
        RECIPE,
        lora_r=16,
        lora_alpha=32,
        lora_dropout=0.0,
        epochs=40,
        batch_size=4,
        accumulation=1,
        learning_rate=1e-2,
        schedule="constant",
        log_every=20,
    )
    base = prompt_batch(vlm.processor, records)
    with torch.no_grad():
        before = vlm.base(**base).logits
    result = train_adapter(vlm, records, [], recipe, tmp_path, seed=1, say=lambda _: None)
    assert result.log[-1].loss is not None
    assert result.log[0].loss is not None
    assert result.log[-1].loss < 0.1 < result.log[0].loss
    assert (result.best_step, result.best_eval_loss) == (None, None)
    # The model is the bare base again.
    assert vlm.model is vlm.base
    with torch.no_grad():
        assert torch.equal(vlm.base(**base).logits, before)
    load_adapter(vlm, result.adapter, "c0001")
    assert check_adapter(vlm, records[0], "c0001") > 0
    openings = VerdictOpenings(
        "The product in the bottom image is passed", "The product in the bottom image is defective"
    )
    condition = Condition("n0", decoding=Decoding(max_new_tokens=40))
    with use_adapter(vlm, "c0001"):
        batches = answer_batches(vlm, records, model_id="m", condition=condition, batch_size=4, openings=openings)
        answers = {answer.sample_id: answer for batch in batches for answer in batch}
    for sample in records:
        answer = answers[sample.sample_id]
        assert answer.text == sample.reference
        assert answer.finish_reason == "stop"
        assert answer.p_defective is not None
        assert (answer.p_defective > 0.99) == (sample.truth.verdict == "defective")
        assert (answer.p_defective < 0.01) == (sample.truth.verdict == "passed")


def test_what_a_run_leaves(uninterrupted: TrainResult) -> None:
    result = uninterrupted
    assert (result.steps, result.epochs, result.fit_records, result.resumed_from) == (12, 3.0, 8, None)
    assert result.peak_memory_gib is None
    assert result.adapter_hash == adapter_hash(result.adapter)
    weights = load_file(result.adapter / "adapter_model.safetensors")
    assert sum(weight.numel() for weight in weights.values()) == result.trainable.trainable
    assert all(weight.dtype == torch.float32 for weight in weights.values())
    training = [row for row in result.log if row.loss is not None]
    validation = [row for row in result.log if row.eval_loss is not None]
    assert [row.step for row in training] == list(range(1, 13))
    assert [(row.step, row.epoch) for row in validation] == [(4, 1.0), (8, 2.0), (12, 3.0)]
    assert all(row.grad_norm is not None and row.grad_norm > 0 for row in training)
    # Warm-up over two of twelve steps to the full rate, then a cosine towards 0.
    rates = [row.learning_rate or 0.0 for row in training]
    assert max(rates) == pytest.approx(RECIPE.learning_rate)
    assert rates.index(max(rates)) == 2
    assert result.best_eval_loss == min(row.eval_loss or 0.0 for row in validation)
    assert result.best_step == min(validation, key=lambda row: row.eval_loss or 0.0).step
    on_disk = [
        TrainingRow(**json.loads(line)) for line in (result.adapter.parent / TRAINING_LOG).read_text().splitlines()
    ]
    assert tuple(on_disk) == result.log
    assert result.seconds >= result.log[-1].seconds


def test_the_best_checkpoint_is_the_adapter(samples: list[Sample], idefics3: Vlm, tmp_path: Path) -> None:
    # A rate so high that the validation loss rises again within four epochs.
    recipe = replace(RECIPE, learning_rate=0.05, schedule="constant", lora_dropout=0.0, epochs=4)
    best = _train(idefics3, samples, tmp_path / "best", recipe)
    last = _train(idefics3, samples, tmp_path / "last", replace(recipe, best_by="last"))
    assert best.log == tuple(replace(row, seconds=mine.seconds) for row, mine in zip(last.log, best.log, strict=True))
    assert best.best_step is not None
    assert best.best_step < best.steps
    kept = load_file(tmp_path / "best" / "checkpoints" / f"checkpoint-{best.best_step}" / "adapter_model.safetensors")
    found = load_file(best.adapter / "adapter_model.safetensors")
    assert all(torch.equal(found[name], weight) for name, weight in kept.items())
    end = load_file(tmp_path / "last" / "checkpoints" / "checkpoint-16" / "adapter_model.safetensors")
    found = load_file(last.adapter / "adapter_model.safetensors")
    assert all(torch.equal(found[name], weight) for name, weight in end.items())
    assert best.adapter_hash != last.adapter_hash


def test_the_same_seed_gives_the_same_adapter(
    uninterrupted: TrainResult, samples: list[Sample], idefics3: Vlm, tmp_path: Path
) -> None:
    torch.manual_seed(999)
    again = _train(idefics3, samples, tmp_path / "again")
    assert again.adapter_hash == uninterrupted.adapter_hash
    assert [(r.step, r.loss, r.eval_loss) for r in again.log] == [
        (r.step, r.loss, r.eval_loss) for r in uninterrupted.log
    ]
    other = _train(idefics3, samples, tmp_path / "other", seed=8)
    assert other.adapter_hash != uninterrupted.adapter_hash


def test_checkpointing_activations_changes_memory_not_the_result(
    uninterrupted: TrainResult, samples: list[Sample], idefics3: Vlm, tmp_path: Path
) -> None:
    result = _train(idefics3, samples, tmp_path, replace(RECIPE, gradient_checkpointing=True))
    losses, wanted = ([row.loss or row.eval_loss for row in run.log] for run in (result, uninterrupted))
    assert losses == pytest.approx(wanted, rel=1e-5)
    assert not any(getattr(module, "gradient_checkpointing", False) for module in idefics3.base.modules())


def test_without_shuffling_the_order_is_the_records_own(
    samples: list[Sample], idefics3: Vlm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.train.collate import InspectionCollator

    order: list[str] = []
    call = InspectionCollator.__call__

    def watch(self: InspectionCollator, batch: Any) -> Any:
        order.extend(sample.sample_id for sample in batch)
        return call(self, batch)

    monkeypatch.setattr(InspectionCollator, "__call__", watch)
    names = [sample.sample_id for sample in samples[:8]]
    recipe = replace(RECIPE, shuffle=False, epochs=2, batch_size=2)
    train_adapter(idefics3, samples[:8], [], recipe, tmp_path / "ordered", seed=7, say=lambda _: None)
    assert order == names * 2
    order.clear()
    recipe = replace(recipe, shuffle=True)
    train_adapter(idefics3, samples[:8], [], recipe, tmp_path / "shuffled", seed=7, say=lambda _: None)
    assert sorted(order[:8]) == sorted(order[8:]) == names
    assert order[:8] != names
    assert order[:8] != order[8:]


def test_evaluating_and_saving_by_steps_ends_with_both(samples: list[Sample], idefics3: Vlm, tmp_path: Path) -> None:
    # Twelve steps: 5, 10 and, though it is no multiple of 5, the last.
    result = _train(idefics3, samples, tmp_path, replace(RECIPE, evaluate_every=5))
    assert [row.step for row in result.log if row.eval_loss is not None] == [5, 10, 12]
    assert is_whole(tmp_path / "checkpoints" / "checkpoint-12")
    assert len(list((tmp_path / "checkpoints").iterdir())) <= 3


class _StopAt:
    """Interrupts the run, as Ctrl-C does, when a row of this step is logged."""

    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self, row: TrainingRow) -> None:
        if row.step == self.step:
            raise KeyboardInterrupt


def _log_without_time(result: TrainResult) -> list[TrainingRow]:
    return [replace(row, seconds=0.0) for row in result.log]


@pytest.mark.parametrize("stop_at", [5, 7, 11])
def test_resumed_is_uninterrupted(
    uninterrupted: TrainResult, samples: list[Sample], idefics3: Vlm, tmp_path: Path, stop_at: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        _train(idefics3, samples, tmp_path, on_log=_StopAt(stop_at))
    assert idefics3.model is idefics3.base
    assert not (tmp_path / "adapter").exists()
    told: list[str] = []
    result = _train(idefics3, samples, tmp_path, resume=True, say=told.append)
    assert result.resumed_from == stop_at // 4 * 4
    assert any(f"resuming at step {result.resumed_from}" in line for line in told)
    assert result.adapter_hash == uninterrupted.adapter_hash
    assert _log_without_time(result) == _log_without_time(uninterrupted)
    assert (result.best_step, result.best_eval_loss) == (uninterrupted.best_step, uninterrupted.best_eval_loss)


def test_a_resume_in_mid_epoch_is_uninterrupted(samples: list[Sample], idefics3: Vlm, tmp_path: Path) -> None:
    recipe = replace(RECIPE, evaluate_every=3)
    whole = _train(idefics3, samples, tmp_path / "whole", recipe)
    with pytest.raises(KeyboardInterrupt):
        _train(idefics3, samples, tmp_path / "cut", recipe, on_log=_StopAt(8))
    result = _train(idefics3, samples, tmp_path / "cut", recipe, resume=True)
    assert result.resumed_from == 6
    assert result.adapter_hash == whole.adapter_hash


def test_a_half_written_checkpoint_is_passed_over(
    uninterrupted: TrainResult, samples: list[Sample], idefics3: Vlm, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        _train(idefics3, samples, tmp_path, on_log=_StopAt(9))
    last = last_whole(tmp_path)
    assert last is not None
    assert step_of(last) == 8
    weights = last / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    result = _train(idefics3, samples, tmp_path, resume=True)
    assert result.resumed_from == 4
    assert result.adapter_hash == uninterrupted.adapter_hash


def test_with_no_whole_checkpoint_it_starts_again_and_says_so(
    uninterrupted: TrainResult, samples: list[Sample], idefics3: Vlm, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        _train(idefics3, samples, tmp_path, on_log=_StopAt(5))
    for seal in (tmp_path / "checkpoints").glob("*/whole.json"):
        seal.unlink()
    told: list[str] = []
    result = _train(idefics3, samples, tmp_path, resume=True, say=told.append)
    assert result.resumed_from is None
    assert any("no whole checkpoint" in line for line in told)
    assert result.adapter_hash == uninterrupted.adapter_hash


def test_resuming_a_finished_run_gives_its_result_again(
    uninterrupted: TrainResult, samples: list[Sample], idefics3: Vlm, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    finished = _train(idefics3, samples, folder)
    (finished.adapter / "leftover").touch()
    again = _train(idefics3, samples, folder, resume=True)
    assert again.resumed_from == 12
    assert again.adapter_hash == finished.adapter_hash == uninterrupted.adapter_hash
    assert again.log == finished.log
    assert not (again.adapter / "leftover").exists()
    with pytest.raises(ConfigError, match="started with other settings: seed 7 -> 8"):
        _train(idefics3, samples, folder, resume=True, seed=8)


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_process_killed_in_training_resumes(
    uninterrupted: TrainResult, samples: list[Sample], idefics3: Vlm, tmp_path: Path
) -> None:
    program = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        import torch
        from harness.train.run import train_adapter
        from harness.vlm.load import load_vlm
        from tests.tiny_vlm import draw_samples
        from tests.train.test_run import RECIPE
        torch.set_num_threads(1)
        model, pictures, folder = sys.argv[1:]
        samples = draw_samples(Path(pictures), 11)
        vlm = load_vlm(model, device="cpu")
        tell = lambda row: print(row.step, flush=True)
        train_adapter(vlm, samples[:8], samples[8:], RECIPE, Path(folder), seed=7, on_log=tell, say=lambda _: None)
        """
    )
    root = Path(__file__).resolve().parents[2]
    folder = tmp_path / "run"
    arguments = [idefics3.model_ref, str(tmp_path / "pictures"), str(folder)]
    process = subprocess.Popen([sys.executable, "-c", program, *arguments], cwd=root, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= 6:
            break
    process.send_signal(signal.SIGKILL)
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    assert not (folder / "adapter").exists()
    # The same records, drawn again elsewhere: the run is the same, since pictures go by their records' ids.
    result = _train(idefics3, samples, folder, resume=True)
    assert result.resumed_from in (4, 8)
    assert result.adapter_hash == uninterrupted.adapter_hash


def test_workers_prepare_the_same_batches(
    uninterrupted: TrainResult, samples: list[Sample], idefics3: Vlm, tmp_path: Path
) -> None:
    result = _train(idefics3, samples, tmp_path, replace(RECIPE, workers=1))
    assert result.adapter_hash == uninterrupted.adapter_hash


def test_runs_that_cannot_begin(samples: list[Sample], idefics3: Vlm, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there are no training records"):
        train_adapter(idefics3, [], samples, RECIPE, tmp_path, seed=1)
    with pytest.raises(ConfigError, match="the tracker 'comet_ml' is not installed"):
        _train(idefics3, samples, tmp_path, replace(RECIPE, tracker="comet_ml"))
    with pytest.raises(ConfigError, match="match no linear layer: qkv_proj"):
        _train(idefics3, samples, tmp_path, replace(RECIPE, lora_targets=["qkv_proj"]))
    half = load_vlm(idefics3.model_ref, device="cpu", dtype="fp16")
    with pytest.raises(ConfigError, match="loaded in fp16 cannot be trained in bf16"):
        _train(half, samples, tmp_path, replace(RECIPE, precision="bf16"))
    # A bad record among the last is found before the first step.
    bad = [*samples[:10], replace(samples[10], reference="passed<image>")]
    with pytest.raises(DataError, match="record sample-010: the answer"):
        _train(idefics3, bad, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert idefics3.model is idefics3.base


def test_a_loss_that_is_no_number_ends_the_run(samples: list[Sample], idefics3: Vlm, tmp_path: Path) -> None:
    with torch.no_grad():
        idefics3.base.lm_head.weight[:] = float("inf")
    with pytest.raises(ModelError, match="the loss is nan at step 1"):
        _train(idefics3, samples, tmp_path)
    assert idefics3.model is idefics3.base


def test_a_best_checkpoint_that_vanishes_is_told(samples: list[Sample], idefics3: Vlm, tmp_path: Path) -> None:
    recipe = replace(RECIPE, learning_rate=0.05, schedule="constant", lora_dropout=0.0, epochs=4)

    def remove_best(row: TrainingRow) -> None:
        if row.step == recipe.epochs * 4:
            shutil.rmtree(tmp_path / "checkpoints" / "checkpoint-8", ignore_errors=True)

    with pytest.raises(ModelError, match=r"the best checkpoint is gone: .*checkpoint-8"):
        _train(idefics3, samples, tmp_path, recipe, on_log=remove_best)
    assert not (tmp_path / "adapter").exists()


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar_instead_of_lines(
    samples: list[Sample], idefics3: Vlm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    told: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        _train(idefics3, samples, tmp_path, on_log=_StopAt(3), say=told.append)
    _train(idefics3, samples, tmp_path, replace(RECIPE, epochs=1), say=told.append)
    assert all(line.startswith("training 8,192 parameters") for line in told)
    shown = terminal.getvalue()
    assert "4/4" in shown
    assert "validation loss" in shown
    # The cursor is hidden while the bar lives, and shown again after an interrupt as after the end.
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 2


def test_rows_are_told_as_lines_without_a_terminal(
    samples: list[Sample], idefics3: Vlm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    told: list[str] = []
    _train(idefics3, samples, tmp_path, replace(RECIPE, epochs=1), say=told.append)
    assert told[0].startswith("training 8,192 parameters on 14 layers: 5.1375% of the base model")
    assert [line.split(":")[0] for line in told[1:]] == [
        "step 1, epoch 0.25",
        "step 2, epoch 0.50",
        "step 3, epoch 0.75",
        "step 4, epoch 1.00",
        "step 4, epoch 1.00",
    ]


def test_a_single_step_has_a_learning_rate(idefics3: Vlm, samples: list[Sample], tmp_path: Path) -> None:
    """A warm-up of a tenth of one step is no warm-up."""
    recipe = replace(RECIPE, epochs=1, batch_size=4, accumulation=1, warmup_ratio=0.1)
    result = train_adapter(idefics3, samples[:4], [], recipe, tmp_path / "run", seed=7, say=lambda _: None)
    assert result.steps == 1
    load_adapter(idefics3, result.adapter, "c0001")
    assert check_adapter(idefics3, samples[0], "c0001") > 0


def test_kernels_are_tried_before_any_pass(
    idefics3: Vlm, samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a layer that computes its activations again, their trial would break both."""
    from harness.train import run

    order: list[str] = []
    fits = run.passes_that_fit
    monkeypatch.setattr(run, "kernels_for", lambda x: order.append(f"kernels for {x.dtype}"))
    monkeypatch.setattr(run, "passes_that_fit", lambda *args: order.append("passes") or fits(*args))
    _train(idefics3, samples, tmp_path)
    assert order == ["kernels for torch.float32", "passes"]
