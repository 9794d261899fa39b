"""What only a CUDA device shows: bf16 answers, and a memory that really runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from harness.answer.condition import Condition, Decoding
from harness.answer.generate import answer_batches
from harness.answer.verdict import VerdictOpenings
from harness.errors import ModelError
from harness.records import Sample
from harness.train.recipe import TrainRecipe
from harness.train.run import train_adapter
from harness.vlm.adapters import check_adapter, load_adapter, use_adapter
from harness.vlm.load import Vlm, load_vlm
from tests import tiny_vlm

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

GREEDY = Condition("n0", decoding=Decoding(max_new_tokens=24))
OPENINGS = VerdictOpenings("The product in the bottom image is passed", "The product in the bottom image is defective")


@pytest.fixture
def limit_memory() -> Iterator[Callable[[int], None]]:
    """Limits what torch may allocate, in bytes."""
    total = torch.cuda.get_device_properties(0).total_memory

    def limit(allowed: int) -> None:
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(allowed / total)

    yield limit
    torch.cuda.set_per_process_memory_fraction(1.0)


def _reserved(run: Callable[[], object]) -> int:
    """Bytes of device memory that a run takes."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    run()
    return torch.cuda.max_memory_reserved()


def _texts(vlm: Vlm, samples: list[Sample], batch_size: int, told: list[str] | None = None) -> dict[str, str]:
    said = told if told is not None else []
    batches = answer_batches(
        vlm, samples, model_id="m", condition=GREEDY, batch_size=batch_size, openings=OPENINGS, say=said.append
    )
    return {answer.sample_id: answer.text for batch in batches for answer in batch}


def test_batches_of_one_and_eight_in_fp32(samples: list[Sample]) -> None:
    vlm = load_vlm(str(tiny_vlm.checkpoint("idefics3")), dtype="fp32")
    assert _texts(vlm, samples, 1) == _texts(vlm, samples, 8)


def test_a_memory_that_runs_out_halves_the_batch(samples: list[Sample], limit_memory: Callable[[int], None]) -> None:
    vlm = load_vlm(str(tiny_vlm.checkpoint("idefics3")), dtype="fp32")
    many = [replace(samples[n % len(samples)], sample_id=f"record-{n:04d}") for n in range(2048)]
    wanted: dict[str, str] = {}
    small = _reserved(lambda: _texts(vlm, many[:64], 8))
    large = _reserved(lambda: wanted.update(_texts(vlm, many, 2048)))
    assert large > 2 * small
    limit_memory((small + large) // 2)
    told: list[str] = []
    found = _texts(vlm, many, 2048, told)
    assert told[0] == "out of memory with 2048 records a batch: going on with 1024"
    assert len(found) == 2048
    # The logits of another batch size differ in their last bits, and one token in a thousand may with them.
    assert sum(found[key] != text for key, text in wanted.items()) <= 20


def test_training_in_bf16_and_its_memory(
    samples: list[Sample], tmp_path: Path, limit_memory: Callable[[int], None]
) -> None:
    vlm = load_vlm(str(tiny_vlm.checkpoint("idefics3")))
    assert vlm.dtype == torch.bfloat16
    recipe = TrainRecipe(
        lora_r=16, lora_alpha=32, epochs=60, batch_size=4, accumulation=1, learning_rate=1e-2, schedule="constant"
    )
    told: list[str] = []
    result = train_adapter(vlm, samples[:4], samples[4:6], recipe, tmp_path / "run", seed=1, say=told.append)
    losses = [row.loss for row in result.log if row.loss is not None]
    assert losses[-1] < 0.2 * losses[0]
    assert result.peak_memory_gib is not None
    assert 0 < result.peak_memory_gib < 1
    load_adapter(vlm, result.adapter, "c0001")
    assert check_adapter(vlm, samples[0], "c0001") > 0
    with use_adapter(vlm, "c0001"):
        texts = _texts(vlm, samples[:4], 4)
    assert sum(texts[sample.sample_id] == sample.reference for sample in samples[:4]) >= 3
    limit_memory(torch.cuda.memory_reserved() + 2**21)
    many = [replace(samples[n % len(samples)], sample_id=f"record-{n:04d}") for n in range(512)]
    with pytest.raises(
        ModelError, match="training does not fit the memory of cuda:0 with 1 records a pass, activations"
    ):
        train_adapter(vlm, many, [], replace(recipe, batch_size=512), tmp_path / "big", seed=1, say=told.append)
    assert vlm.model is vlm.base
