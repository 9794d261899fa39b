"""A cycle that ends in an error: it is failed in the ledger, and leaves the next one free where nobody was judged."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.dataset.cubes import generate
from tests.command import Ran, run
from tests.imagefolder import write_imagefolder
from tests.stages.conftest import frozen_split, rows
from tests.tiny_vlm import checkpoint


@pytest.fixture
def lot(tmp_path: Path) -> Path:
    folder = tmp_path / "lot"
    write_imagefolder(folder, generate(40, 1))
    return folder


def cycle(tmp_path: Path, *words: object, model: object) -> Ran:
    return run(
        "cycle", *words, "--runs", tmp_path / "runs", "--reports", tmp_path / "reports", "--model", model,
        "--recipe", "tiny", "--train-cap", 16, "--set", "train.epochs=1", "--set", "answer.max_new_tokens=4",
    )  # fmt: skip


def status(tmp_path: Path) -> dict[object, object]:
    found = rows(tmp_path / "runs", "SELECT cycle_id, status FROM cycles ORDER BY 1")
    return {row["cycle_id"]: row["status"] for row in found}


def without_weights(folder: Path) -> Path:
    shutil.copytree(checkpoint("idefics3"), folder)
    for weights in folder.glob("*.safetensors"):
        weights.unlink()
    return folder


def test_a_cycle_without_a_model_fails_and_the_next_closes_the_split_anew(lot: Path, tmp_path: Path) -> None:
    for number, model in enumerate((tmp_path / "misspelt", without_weights(tmp_path / "hollow")), start=1):
        told = cycle(tmp_path, "--data", lot, "--test-cap", 3, model=model)
        assert told.code == 1
        assert [line for line in told.err.splitlines() if str(model) in line and line.startswith("error: ")]
        assert status(tmp_path)[f"c000{number}"] == "failed"
    frozen = frozen_split(tmp_path / "runs", "c0001")
    assert len(frozen) == 3
    told = cycle(tmp_path, "--data", lot, "--test-cap", 6, model=checkpoint("idefics3"))
    assert told.code == 0, told.err
    assert "it was closed anew" in told.err
    assert len(frozen_split(tmp_path / "runs", "c0003")) == 6, "nobody was judged on the first split"
    told = cycle(tmp_path, "--data", lot, "--test-cap", 4, model=checkpoint("idefics3"))
    assert "a test cap of 4 has no effect" in told.err, "now somebody was"
    assert status(tmp_path) == {"c0001": "failed", "c0002": "failed", "c0003": "done", "c0004": "done"}
    assert frozen_split(tmp_path / "runs", "c0001") == frozen, "what a failed cycle was defined on is kept"


def test_a_failed_cycle_is_resumed_with_its_model_in_place(lot: Path, tmp_path: Path) -> None:
    late = tmp_path / "late"
    assert cycle(tmp_path, "--data", lot, "--test-cap", 3, model=late).code == 1
    shutil.copytree(checkpoint("idefics3"), late)
    told = run("cycle", "--resume", "c0001", "--runs", tmp_path / "runs", "--reports", tmp_path / "reports")
    assert told.code == 0, told.err
    assert status(tmp_path) == {"c0001": "done"}


def test_a_split_with_answers_stays_closed(lot: Path, tmp_path: Path) -> None:
    told = cycle(
        tmp_path, "--data", lot, "--test-cap", 3, "--set", 'lora.targets=["nowhere"]',
        model=checkpoint("idefics3"),
    )  # fmt: skip
    assert told.code == 1
    assert status(tmp_path) == {"c0001": "failed"}
    assert rows(tmp_path / "runs", "SELECT model_role FROM roles") == [{"model_role": "base"}]
    told = cycle(tmp_path, "--data", lot, "--test-cap", 6, model=tmp_path / "misspelt")
    assert "stays closed (3 records)" in told.err


def test_a_define_that_fails_leaves_the_split_open(lot: Path, tmp_path: Path) -> None:
    """All records are test records, none is left to train on; nobody is judged on such a split."""
    model = checkpoint("idefics3")
    told = cycle(tmp_path, "--data", lot, "--test-data", lot, "--test-cap", 3, model=model)
    assert told.code == 1
    assert "no training record is left" in told.err
    more = tmp_path / "more"
    write_imagefolder(more, generate(24, 8))
    told = cycle(tmp_path, "--data", more, "--test-cap", 5, model=model)
    assert told.code == 0, told.err
    assert "it was closed anew" in told.err
    assert len(frozen_split(tmp_path / "runs", "c0002")) == 5


def test_a_ledger_that_lost_its_rows_keeps_the_split(lot: Path, tmp_path: Path) -> None:
    """The answers of the cycle that closed it lie beside the database, and were given on it."""
    model = checkpoint("idefics3")
    assert cycle(tmp_path, "--data", lot, "--test-cap", 3, model=model).code == 0
    (tmp_path / "runs" / "harness.duckdb").unlink()
    told = cycle(tmp_path, "--data", lot, "--test-cap", 6, model=model)
    assert "it was closed anew" not in told.err
    assert "stays closed (3 records)" in told.err
