"""Checkpoints that a kill left half-written are passed over, and a resume is of the same run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import ConfigError
from harness.records import Sample
from harness.train.checkpoints import CHECKPOINTS, WHOLE, is_whole, last_whole, open_run, run_identity, seal, step_of
from harness.train.recipe import TrainRecipe


def _checkpoint(folder: Path, step: int, *, best: Path | None = None, sealed: bool = True) -> Path:
    path = folder / CHECKPOINTS / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "adapter_model.safetensors").write_bytes(bytes(range(200)))
    (path / "optimizer.pt").write_bytes(b"moments")
    state = {"best_model_checkpoint": None if best is None else str(best.absolute())}
    (path / "trainer_state.json").write_text(json.dumps(state))
    if sealed:
        seal(path)
    return path


def test_the_last_one_is_taken_by_number_not_by_name(tmp_path: Path) -> None:
    for step in (9, 10, 100):
        _checkpoint(tmp_path, step)
    found = last_whole(tmp_path)
    assert found is not None
    assert step_of(found) == 100
    assert last_whole(tmp_path / "nowhere") is None


def _unseal(path: Path) -> None:
    (path / WHOLE).unlink()


def _tear_seal(path: Path) -> None:
    (path / WHOLE).write_text((path / WHOLE).read_text()[:20])


def _tear_weights(path: Path) -> None:
    file = path / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:100])


def _flip_bit(path: Path) -> None:
    file = path / "adapter_model.safetensors"
    file.write_bytes(b"\xff" + file.read_bytes()[1:])


def _lose_optimizer(path: Path) -> None:
    (path / "optimizer.pt").unlink()


@pytest.mark.parametrize("damage", [_unseal, _tear_seal, _tear_weights, _flip_bit, _lose_optimizer])
def test_a_damaged_one_is_passed_over(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    earlier, later = _checkpoint(tmp_path, 10), _checkpoint(tmp_path, 20)
    assert last_whole(tmp_path) == later
    damage(later)
    assert not is_whole(later)
    assert last_whole(tmp_path) == earlier
    damage(earlier)
    assert last_whole(tmp_path) is None


def test_one_whose_best_is_gone_is_passed_over(tmp_path: Path) -> None:
    first = _checkpoint(tmp_path, 10)
    second = _checkpoint(tmp_path, 20, best=first)
    third = _checkpoint(tmp_path, 30, best=tmp_path / CHECKPOINTS / "checkpoint-30")
    assert last_whole(tmp_path) == third
    _tear_weights(third)
    assert last_whole(tmp_path) == second
    _tear_weights(first)
    assert last_whole(tmp_path) is None


def test_a_resume_is_of_the_same_run(tmp_path: Path, samples: list[Sample]) -> None:
    recipe = TrainRecipe()

    def identity(recipe: TrainRecipe = recipe, records: list[Sample] = samples[:4], seed: int = 1) -> dict[str, object]:
        return run_identity(recipe, seed=seed, base_hash="b", train=records, validation=samples[4:6])

    assert open_run(tmp_path / "run", identity(), resume=True) is None
    made = _checkpoint(tmp_path / "run", 10)
    assert open_run(tmp_path / "run", identity(), resume=True) == made
    # What does not change the adapter may change; a list of targets may come as any sequence.
    assert open_run(tmp_path / "run", identity(replace(recipe, workers=3, tracker="wandb")), resume=True) == made
    relabelled = [replace(samples[0], reference="The product in the bottom image is defective."), *samples[1:4]]
    for other, words in [
        (identity(replace(recipe, lora_r=8)), "lora_r 16 -> 8"),
        (identity(seed=2), "seed 1 -> 2"),
        (identity(records=samples[:3]), "train '"),
        (identity(records=samples[:4][::-1]), "train '"),
        (identity(records=relabelled), "train '"),
    ]:
        with pytest.raises(ConfigError, match=f"started with other settings: {words}"):
            open_run(tmp_path / "run", other, resume=True)
    # Without resume, the earlier run gives way.
    assert open_run(tmp_path / "run", identity(seed=2), resume=False) is None
    assert not made.exists()
    assert open_run(tmp_path / "run", identity(seed=2), resume=True) is None


def test_targets_as_list_or_tuple_are_the_same_run(samples: list[Sample]) -> None:
    one, other = (
        run_identity(TrainRecipe(lora_targets=targets), seed=1, base_hash="b", train=samples, validation=[])
        for targets in (["q_proj"], ("q_proj",))
    )
    assert json.loads(json.dumps(one)) == other


def test_a_run_of_an_older_harness_is_the_same_run(samples: list[Sample], tmp_path: Path) -> None:
    """How a step is split was not written down, or is written down otherwise: it does not make another run."""

    def identity(recipe: TrainRecipe) -> dict[str, object]:
        return run_identity(recipe, seed=1, base_hash="b", train=samples, validation=[])

    made = open_run(tmp_path / "run", identity(TrainRecipe()) | {"gradient_checkpointing": True}, resume=False)
    assert made is None
    packed = replace(TrainRecipe(), packing=True, gradient_checkpointing=False)
    assert open_run(tmp_path / "run", identity(packed), resume=True) is None
