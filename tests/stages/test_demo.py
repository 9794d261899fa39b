"""The demo as people run it, on the embedded model: it learns, and the same seed gives the same answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.dataset.cubes import draw_record
from harness.stages.compare import trends
from harness.store import Ledger
from tests.command import Ran, run
from tests.stages.conftest import rows

pytestmark = pytest.mark.slow


def _cycles(runs: Path, n: int, tests: int, grow: str) -> Ran:
    return run(
        "cycle", "--model", "tiny", "--data", f"demo:cubes?n={n}&seed=1", "--test-data", f"demo:cubes?n={tests}&seed=2",
        "--grow", grow, "--runs", runs, "--reports", runs.parent / "reports",
    )  # fmt: skip


def test_two_runs_give_the_same_answers(tmp_path: Path) -> None:
    query = "SELECT model_role, split, sample_id, answer, p_defective FROM v_answers ORDER BY ALL"
    found = []
    for name in ("one", "two"):
        told = _cycles(tmp_path / name / "runs", 60, 12, "40")
        assert told.code == 0, told.err
        found.append(rows(tmp_path / name / "runs", query))
    assert len(found[0]) > 2 * 12
    assert found[0] == found[1]


def test_the_model_learns_as_data_grows(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    told = _cycles(runs, 400, 200, "50,100,200,400")
    assert told.code == 0, told.err
    figures = {
        (row["cycle_id"], row["model_role"]): row for row in rows(runs, "SELECT * FROM v_accuracy ORDER BY cycle_id")
    }
    base, last = figures["c0001", "base"], figures["c0004", "finetuned"]
    assert float(str(last["balanced_accuracy"])) >= max(0.8, float(str(base["balanced_accuracy"])) + 0.2)
    assert float(str(last["location_accuracy"])) >= 0.5
    tested = rows(runs, "SELECT p_value FROM comparisons WHERE cycle_id = 'c0004' AND metric = 'verdict_accuracy'")
    assert float(str(tested[0]["p_value"])) < 0.01
    over = {trend.metric: trend for trend in trends(Ledger(runs), ["c0001", "c0002", "c0003", "c0004"])}
    assert over["location_accuracy"].p_value < 0.05
    assert over["miss_rate"].p_value < 0.05
    assert "location_accuracy" in told.out
    picture = tmp_path / "fresh.jpg"
    fresh = draw_record(2, 77)
    picture.write_bytes(fresh.image)
    predicted = run("predict", "c0004", picture, "--runs", runs)
    assert predicted.code == 0, predicted.err
    said = json.loads(predicted.out)
    assert said["verdict"] == fresh.verdict == "defective"
    assert tuple(finding["location"] for finding in said["findings"]) == fresh.locations
