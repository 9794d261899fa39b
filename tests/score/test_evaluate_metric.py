"""`evaluate.load` on texts gives the very figures that the ledger holds of the same answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.score.evaluate_metric import PATH
from harness.store import Ledger, read

# `evaluate` reads its settings when it is imported, and another test may have imported it: hence a process of its own,
# one for all cases, because importing it takes seconds.
_CHILD = """
import json, sys, evaluate
asked = json.load(sys.stdin)
metric = evaluate.load(asked["path"])
told = {}
for name, arguments in asked["cases"].items():
    try:
        told[name] = metric.compute(**arguments)
    except ValueError as error:
        told[name] = {"error": str(error)}
print(json.dumps(told))
"""
TEXTS: dict[str, dict[str, Any]] = {
    "texts": {
        "predictions": ["NG. 5U is missing.", "OK", "The product is passed."],
        "references": ["Defective: 5U is missing.", "The product is passed.", "Defective: 3C is stained."],
    },
    "truths": {
        "predictions": ["5U is missing, NG"],
        "references": ["see the photo"],
        "truths": [{"verdict": "defective", "findings": [{"location": "5U", "defect": "missing"}]}],
    },
    "unread": {"predictions": ["OK", "OK"], "references": ["passed", "cubes of many colours"]},
}
ROLES = (("c0001", "base"), ("c0002", "finetuned"))


@pytest.fixture(scope="module")
def told(built_ledger: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the metric says of each case, loaded from the package by its path, without a network."""
    cases = {
        **TEXTS,
        **{f"{cycle} {role}": from_the_ledger(Ledger(built_ledger), cycle, role) for cycle, role in ROLES},
    }
    child = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _CHILD],
        input=json.dumps({"path": PATH, "cases": cases}), capture_output=True, text=True, check=False,
        env={**os.environ, "HF_HOME": str(tmp_path_factory.mktemp("hub")), "HF_HUB_OFFLINE": "1",
             "HF_EVALUATE_OFFLINE": "1"},
    )  # fmt: skip
    assert child.returncode == 0, child.stderr
    return dict(json.loads(child.stdout.splitlines()[-1]))


def from_the_ledger(ledger: Ledger, cycle_id: str, role: str) -> dict[str, Any]:
    """The texts of a role's test answers, and what the product reads them with."""
    product = read.product(ledger, "default")
    assert product is not None
    answers = read.table(
        ledger,
        "SELECT answer, reference, p_defective FROM v_answers WHERE cycle_id = ? AND model_role = ? "
        "AND split = 'test' AND condition_id = 'n0' AND repeat = 0 ORDER BY sample_id",
        [cycle_id, role],
    )
    grid = json.loads(product.grid)
    return {
        "predictions": [row["answer"] for row in answers],
        "references": [row["reference"] for row in answers],
        "p_defective": [row["p_defective"] for row in answers],
        "vocabulary": json.loads(product.vocabulary),
        "exact_vocabulary": True,
        "columns": grid["columns"],
        "rows": grid["rows"],
        "forms": product.forms,
        "intervals": True,
    }


@pytest.mark.parametrize(("cycle_id", "role"), ROLES)
def test_the_figures_of_a_ledger(cycle_id: str, role: str, built_ledger: Path, told: dict[str, dict[str, Any]]) -> None:
    said = told[f"{cycle_id} {role}"]
    stored = read.table(
        Ledger(built_ledger),
        "SELECT metric, value, ci_low, ci_high, n, method FROM metrics WHERE cycle_id = ? AND model_role = ? "
        "AND split = 'test' AND condition_id = 'n0' AND slice = 'all'",
        [cycle_id, role],
    )
    assert {row["metric"] for row in stored} == set(said)
    for row in stored:
        name = row.pop("metric")
        assert said[name] == pytest.approx(row), name


def test_values_alone(told: dict[str, dict[str, Any]]) -> None:
    """Two of three verdicts right by hand, one of them at the right cell; nothing is asked of P(defective)."""
    said = told["texts"]
    assert said["verdict_accuracy"] == pytest.approx(2 / 3)
    assert said["location_accuracy"] == said["miss_rate"] == pytest.approx(1 / 2)
    assert said["auroc"] is None
    assert "style_rate" not in said


def test_truths_beside_the_texts(told: dict[str, dict[str, Any]]) -> None:
    assert told["truths"]["exact_accuracy"] == 1.0


def test_references_without_a_verdict_are_told(told: dict[str, dict[str, Any]]) -> None:
    assert "1 of 2 references state no truth, the first is number 1" in told["unread"]["error"]
