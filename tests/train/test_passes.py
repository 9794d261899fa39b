"""How a step is split: the result is the same, and a memory that runs out costs time alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from harness.errors import ModelError
from harness.records import Sample
from harness.train.collate import InspectionCollator
from harness.train.passes import Passes, first_passes, memory_share, passes_that_fit, recomputing, smaller_passes
from harness.train.recipe import TrainRecipe
from harness.train.run import TrainResult, train_adapter
from harness.train.trainer import AdapterTrainer
from harness.vlm.load import Vlm, load_vlm
from tests import tiny_vlm

#: Three steps an epoch over eleven records, without dropout, so that only the order of sums differs.
RECIPE = TrainRecipe(
    lora_r=4, lora_alpha=8, lora_dropout=0.0, epochs=3, batch_size=2, accumulation=2, learning_rate=5e-3, packing=True,
    log_every=1,
)  # fmt: skip


@pytest.fixture
def phi3v() -> Vlm:
    return load_vlm(str(tiny_vlm.checkpoint("phi3v")), device="cpu")


def _train(vlm: Vlm, samples: list[Sample], folder: Path, recipe: TrainRecipe, **settings: Any) -> TrainResult:
    return train_adapter(
        vlm, samples[:9], samples[9:], recipe, folder, **({"seed": 7, "say": lambda _: None} | settings)
    )


def _same(one: TrainResult, other: TrainResult) -> None:
    assert one.steps == other.steps
    for row, again in zip(one.log, other.log, strict=True):
        assert again.step == row.step
        assert (again.loss or again.eval_loss) == pytest.approx(row.loss or row.eval_loss, rel=1e-3)
    weights, others = (load_file(result.adapter / "adapter_model.safetensors") for result in (one, other))
    for name, tensor in weights.items():
        torch.testing.assert_close(others[name], tensor, rtol=0.02, atol=2e-4)


@pytest.fixture
def passes_seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Records of each training pass."""
    seen: list[int] = []
    step = AdapterTrainer.training_step

    def counted(self: AdapterTrainer, model: Any, inputs: dict[str, Any], *args: Any, **settings: Any) -> Any:
        seen.append(len(inputs["cu_seq_lens_q"]) - 1 if "cu_seq_lens_q" in inputs else len(inputs["input_ids"]))
        return step(self, model, inputs, *args, **settings)

    monkeypatch.setattr(AdapterTrainer, "training_step", counted)
    return seen


@pytest.fixture
def memory_for(monkeypatch: pytest.MonkeyPatch, passes_seen: list[int]) -> Callable[[int, int], None]:
    """Lets passes of more than so many records run out of memory, from the so-manyth pass on."""
    step = AdapterTrainer.training_step

    def limit(records: int, start: int = 0) -> None:
        def limited(self: AdapterTrainer, *args: Any, **settings: Any) -> Any:
            result = step(self, *args, **settings)
            if len(passes_seen) > start and passes_seen[-1] > records:
                raise torch.OutOfMemoryError("a full memory, played by a test")
            return result

        monkeypatch.setattr(AdapterTrainer, "training_step", limited)

    return limit


def test_a_packed_run_is_a_padded_one(
    phi3v: Vlm, samples: list[Sample], tmp_path: Path, passes_seen: list[int]
) -> None:
    padded = _train(phi3v, samples, tmp_path / "padded", replace(RECIPE, packing=False))
    assert max(passes_seen) == 2
    passes_seen.clear()
    packed = _train(phi3v, samples, tmp_path / "packed", RECIPE)
    assert passes_seen == [4, 4, 1] * 3, "a step is one row"
    _same(padded, packed)


def test_a_family_that_takes_no_packed_rows_says_so(llava: Vlm, samples: list[Sample], tmp_path: Path) -> None:
    said: list[str] = []
    _train(llava, samples, tmp_path, replace(RECIPE, epochs=1), say=said.append)
    assert any("takes no packed rows: rows are padded" in line for line in said)


def test_out_of_memory_halves_the_pass_and_goes_on(
    phi3v: Vlm,
    samples: list[Sample],
    tmp_path: Path,
    passes_seen: list[int],
    memory_for: Callable[[int, int], None],
) -> None:
    wanted = _train(phi3v, samples, tmp_path / "enough", RECIPE)
    passes_seen.clear()
    memory_for(1, 4)  # in the second epoch, behind the first checkpoint
    said: list[str] = []
    found = _train(phi3v, samples, tmp_path / "short", RECIPE, say=said.append)
    assert [line for line in said if "out of memory" in line] == [
        "out of memory: going on at step 3 with 2 records a pass",
        "out of memory: going on at step 3 with 1 records a pass",
    ]
    assert passes_seen == [4, 4, 1, 4, 4, 2] + [1] * 18
    _same(wanted, found)


def test_out_of_memory_at_the_start_begins_again(
    phi3v: Vlm, samples: list[Sample], tmp_path: Path, memory_for: Callable[[int, int], None]
) -> None:
    wanted = _train(phi3v, samples, tmp_path / "enough", RECIPE)
    memory_for(2, 0)
    found = _train(phi3v, samples, tmp_path / "short", RECIPE)
    _same(wanted, found)


def test_where_not_even_one_record_fits(
    phi3v: Vlm, samples: list[Sample], tmp_path: Path, memory_for: Callable[[int, int], None]
) -> None:
    memory_for(0, 0)
    said: list[str] = []
    with pytest.raises(ModelError, match="with 1 records a pass, activations computed again"):
        _train(phi3v, samples, tmp_path, RECIPE, say=said.append)
    assert said[-1].endswith("1 records a pass, activations computed again")
    assert not any(getattr(module, "gradient_checkpointing", False) for module in phi3v.base.modules())


@pytest.mark.parametrize(
    ("recipe", "wanted"),
    [
        (RECIPE, [(4, 1, False), (2, 2, False), (1, 4, False), (1, 4, True)]),
        (replace(RECIPE, packing=False), [(2, 2, False), (1, 4, False), (1, 4, True)]),
        (replace(RECIPE, batch_size=9, accumulation=1), [(9, 1, False), (3, 3, False), (1, 9, False), (1, 9, True)]),
        (replace(RECIPE, gradient_checkpointing=True), [(4, 1, True), (2, 2, True), (1, 4, True)]),
        (replace(RECIPE, gradient_checkpointing=False), [(4, 1, False), (2, 2, False), (1, 4, False)]),
    ],
)
def test_a_step_keeps_its_records(phi3v: Vlm, recipe: TrainRecipe, wanted: list[tuple[int, int, bool]]) -> None:
    passes = [first_passes(recipe)]
    for _ in wanted[1:]:
        passes.append(smaller_passes(phi3v, passes[-1], recipe))
    assert passes == [Passes(*one) for one in wanted]
    with pytest.raises(ModelError, match="does not fit"):
        smaller_passes(phi3v, passes[-1], recipe)


def test_a_trial_leaves_nothing_behind(phi3v: Vlm, samples: list[Sample]) -> None:
    collator = InspectionCollator(phi3v.processor, stop_token_ids=phi3v.stop_token_ids, pad_token_id=phi3v.pad_token_id)
    phi3v.base.requires_grad_(True)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    assert memory_share(phi3v, collator, samples, Passes(2, 1, True), None) == 0.0
    assert torch.equal(torch.get_rng_state(), before)
    assert all(parameter.grad is None for parameter in phi3v.base.parameters())
    assert not phi3v.model.training


def test_a_trial_that_runs_out_of_memory(phi3v: Vlm, samples: list[Sample], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("a full memory, played by a test")

    monkeypatch.setattr("harness.train.passes._pass", full)
    collator = InspectionCollator(None, stop_token_ids=(), pad_token_id=0)
    assert memory_share(phi3v, collator, samples, Passes(1, 1, False), None) == math.inf


@pytest.mark.parametrize(
    ("shares", "wanted"),
    [
        ([0.5], (4, 1, False)),
        ([0.95, 0.5], (2, 2, False)),
        ([math.inf, math.inf, math.inf, 0.95], (1, 4, True)),  # it ran: more than FULL, but nothing smaller exists
        ([math.inf] * 4, None),
    ],
)
def test_the_first_passes_that_leave_room(
    phi3v: Vlm,
    samples: list[Sample],
    monkeypatch: pytest.MonkeyPatch,
    shares: list[float],
    wanted: tuple[int, int, bool] | None,
) -> None:
    left = iter(shares)
    monkeypatch.setattr("harness.train.passes.memory_share", lambda *_: next(left))
    monkeypatch.setattr("torch.cuda.reset_peak_memory_stats", lambda *_: None)
    monkeypatch.setattr(phi3v, "device", torch.device("cuda"))
    said: list[str] = []
    collator = InspectionCollator(None, stop_token_ids=(), pad_token_id=0)
    if wanted is None:
        with pytest.raises(ModelError, match="does not fit"):
            passes_that_fit(phi3v, collator, samples, RECIPE, said.append)
        return
    assert passes_that_fit(phi3v, collator, samples, RECIPE, said.append) == Passes(*wanted)
    assert len(said) == (wanted != (4, 1, False))


def test_activations_are_kept_again_after_an_error(phi3v: Vlm) -> None:
    def on() -> bool:
        return any(getattr(module, "gradient_checkpointing", False) for module in phi3v.base.modules())

    with pytest.raises(ZeroDivisionError), recomputing(phi3v.base, True):
        1 / on() - 1 / (not on())
    assert not on()
