"""The GPU benchmarks run through on a CPU, scaled down; their figures mean nothing there, their formulas do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.record import RESULTS, ROOT, shown

CYCLE = """--dry --train 8 --validation 2 --test 2 --epochs 1 --steps 1 --warmup 0 --answers 1 --evaluated 1
    --new-tokens 2 --variants trl,seed,ours --set workers=0"""
SCORING = "--dry --test 2 --alone 1 --batches 1,2 --new-tokens 2 --steps 1"


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """What both wrote; in a process of their own, since rivals warn of what their users do. TRL is not installed."""
    place = tmp_path_factory.mktemp("gpu")
    before = RESULTS.read_bytes()
    common = ["--work", str(place / "work"), "--out"]
    calls = [
        f"{name}.main({[*words.split(), *common, str(place / name)]})"
        for name, words in (("cycle_gpu", CYCLE), ("scoring_gpu", SCORING))
    ]
    code = "; ".join(
        ["import sys", "sys.modules['trl'] = None", "from benchmarks import cycle_gpu, scoring_gpu", *calls]
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert RESULTS.read_bytes() == before, "a dry run is no result"
    return {name: json.loads((place / name).read_text()) for name in ("cycle_gpu", "scoring_gpu")}


def test_every_part_of_the_cycle_is_measured(books: dict[str, dict]) -> None:
    book = books["cycle_gpu"]
    assert book["trl"] == {"error": "trl is not installed"}
    for run in ("ours before seed", "seed", "ours after seed"):
        assert len(book[run]["losses"]) == 1
        assert book[run]["seconds_a_step"] > 0
    # Nothing is drawn at random before the first step but the adapter's A, and B is 0.
    assert book["ours before seed"]["losses"] == book["ours after seed"]["losses"]
    stages = book["ours, whole cycle"]["stages"]
    assert set(stages) == {"loading", "features", "scoring base", "training", "evaluation", "scoring fine-tuned"}
    assert all(seconds > 0 and done == wanted for seconds, done, wanted in stages.values())
    assert book["cycles"]["ours"] == pytest.approx(sum(seconds for seconds, _, _ in stages.values()))


def test_floors_count_the_decoders_products(books: dict[str, dict]) -> None:
    book = books["cycle_gpu"]
    # Two layers of width 64: qkv, output, gate and up, down.
    parameters = 2 * (64 * 192 + 64 * 64 + 64 * 256 + 128 * 64)
    assert book["floors"]["training_flops"] == 4 * parameters * book["tokens"]["whole"]
    assert book["floors"]["training"] == pytest.approx(book["floors"]["training_flops"] / book["machine"]["matmul"])
    # The pictures have 4 tiles of 2 x 2 tokens, the overview, and the separators.
    assert book["tokens"]["prompt"] > (4 + 1) * 4 + 1 + (2 + 1) * 2


def test_both_models_answer_at_every_batch_size(books: dict[str, dict]) -> None:
    rows = {row["way"]: row for row in books["scoring_gpu"]["answering"]["rows"]}
    assert list(rows) == ["generate before", "ours 1", "ours 2", "generate after"]
    for row in rows.values():  # fp32: the texts are those of one by one
        assert row["share_differing"] == {"base": 0.0, "finetuned": 0.0}
    assert rows["ours 2"]["seconds_with_features"] > rows["ours 2"]["seconds"]


def test_a_command_line_names_no_machine() -> None:
    assert shown(str(ROOT / "benchmarks" / "cli_cpu.py")) == "benchmarks/cli_cpu.py"
    assert shown(str(Path("/home/someone/hub"))) == ".../hub"
    assert [shown(word) for word in ("--hub", "4", "a/b")] == ["--hub", "4", "a/b"]
