"""One raised product for the tests of this folder: three small cycles on drawn cubes, run once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from harness.dataset.cubes import generate
from harness.dataset.fingerprint import fingerprint_picture
from tests.command import Ran, run
from tests.imagefolder import read_metadata, write_imagefolder, write_metadata
from tests.tiny_vlm import checkpoint


@dataclass(frozen=True)
class Raised:
    """A runs folder after c0001 (first lot), c0002 (second lot) and c0003 (first lot with one label corrected)."""

    runs: Path
    reports: Path
    first: Path
    second: Path
    corrected: Path
    told: tuple[Ran, ...]
    before_rescore: Path


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def cycle(runs: Path, reports: Path, *words: object) -> Ran:
    """A small cycle: one epoch, few records."""
    return run(
        "cycle", *words, "--runs", runs, "--reports", reports, "--model", checkpoint("idefics3"), "--recipe", "tiny",
        "--set", "train.epochs=1", "--set", "answer.max_new_tokens=8", "--test-cap", 8,
    )  # fmt: skip


def frozen_split(runs: Path, cycle_id: str) -> list[str]:
    """The test split of a cycle, as its ledger has it."""
    query = f"SELECT sample_id FROM memberships WHERE cycle_id = '{cycle_id}' AND split = 'test' ORDER BY 1"
    return [row["sample_id"] for row in json.loads(run("sql", query, "--format", "json", "--runs", runs).out)]


def rows(runs: Path, query: str) -> list[dict[str, object]]:
    """What `harness sql` gives, as dictionaries."""
    found = run("sql", query, "--format", "json", "--runs", runs)
    assert found.code == 0, found.err
    return list(json.loads(found.out))


@pytest.fixture(scope="session")
def raised(tmp_path_factory: pytest.TempPathFactory) -> Raised:
    """Three cycles of one product."""
    home = tmp_path_factory.mktemp("raised")
    runs, reports = home / "runs", home / "reports"
    first, second, corrected = home / "first", home / "second", home / "corrected"
    write_imagefolder(first, generate(60, 1))
    write_imagefolder(second, generate(40, 2))
    told = [cycle(runs, reports, "--data", first, "--train-cap", 16)]
    told.append(cycle(runs, reports, "--data", second, "--train-cap", 200))
    write_imagefolder(corrected, generate(60, 1))
    _correct_one_test_label(corrected, runs)
    told.append(cycle(runs, reports, "--data", corrected, "--train-cap", 16))
    return Raised(runs, reports, first, second, corrected, tuple(told), home)


def _correct_one_test_label(folder: Path, runs: Path) -> None:
    """Turn the label of one record of the frozen test split over, in the data."""
    query = (
        "SELECT image_id FROM samples s JOIN memberships m USING (sample_id) WHERE m.cycle_id = 'c0001' "
        "AND m.split = 'test' ORDER BY sample_id LIMIT 1"
    )
    wanted = rows(runs, query)[0]["image_id"]
    lines = read_metadata(folder)
    hits = 0
    for line in lines:
        if fingerprint_picture((folder / line["file_name"]).read_bytes()).image_id == wanted:
            hits += 1
            if line["verdict"] == "passed":
                line.update(verdict="defective", locations=["5C"], defects=["stain"])
                line["answer"] = "The product in the bottom image is defective. Location: 5C, Defect: stain."
            else:
                line.update(verdict="passed", locations=[], defects=[])
                line["answer"] = "The product in the bottom image is passed. No difference is found."
    assert hits == 1
    write_metadata(folder, lines)
