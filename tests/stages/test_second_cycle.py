"""A second cycle after more data does only what is new: base answers and picture features are known."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness.dataset.cubes import generate
from harness.vlm.phi3v.vision import Phi3VImageEmbedding
from tests.command import run
from tests.imagefolder import write_imagefolder
from tests.stages.conftest import rows
from tests.tiny_vlm import checkpoint


def test_only_new_work_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    forward = Phi3VImageEmbedding.forward

    def counted(self: Phi3VImageEmbedding, pixel_values: torch.Tensor, image_sizes: torch.Tensor) -> list[torch.Tensor]:
        seen.append(len(pixel_values))
        return forward(self, pixel_values, image_sizes)

    monkeypatch.setattr(Phi3VImageEmbedding, "forward", counted)
    runs = tmp_path / "runs"

    def cycle(lot: str, n: int, seed: int, cap: int) -> str:
        write_imagefolder(tmp_path / lot, generate(n, seed))
        told = run(
            "cycle", "--data", tmp_path / lot, "--runs", runs, "--reports", tmp_path / "reports", "--recipe", "tiny",
            "--model", checkpoint("phi3v"), "--set", "train.epochs=1", "--set", "train.packing=true",
            "--set", "answer.max_new_tokens=4", "--test-cap", cap,
        )  # fmt: skip
        assert told.code == 0, told.err
        return told.err

    def used(cycle_id: str, *splits: str) -> set[object]:
        members = rows(runs, f"SELECT sample_id, split FROM memberships WHERE cycle_id = '{cycle_id}'")
        return {member["sample_id"] for member in members if member["split"] in splits}

    every = ("train", "validation", "test")
    cycle("first", 24, 1, 8)
    assert sum(seen) == len(used("c0001", *every)) == 24, "each once, for base, training and fine-tuned model together"
    seen.clear()
    closed = len(used("c0001", "test"))
    said = cycle("second", 10, 2, closed - 1)
    assert f"a test cap of {closed - 1} has no effect: the test split stays closed ({closed} records)" in said
    new = used("c0002", *every) - used("c0001", *every)
    assert sum(seen) == len(new) > 0
    base = rows(runs, "SELECT reused, answered FROM roles WHERE model_role = 'base' AND cycle_id = 'c0002'")[0]
    assert base["answered"] == len(used("c0002", "validation") - used("c0001", "validation"))
    assert base["reused"] == len(used("c0001", "test") | (used("c0001", "validation") & used("c0002", "validation")))
