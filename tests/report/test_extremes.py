"""An always-"passed" model, an always-"defective" one, a mute one and a perfect one, through the ledger to the page.

Each answers 12 defective and 12 passed test records: every figure must be right, finite, or named.
"""

from __future__ import annotations

import math
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binomtest

from harness.report import render_reports
from harness.report.contexts import SHOWN_FIGURES, cycle_page
from harness.store import Ledger, read
from tests.command import run
from tests.ledger_builder import EXTREMES, add_lots, build_ledger

NOW = datetime(2026, 1, 2, tzinfo=UTC)
N = 12  # records of each class
NAMES = list(EXTREMES)
CYCLES = dict(zip(NAMES, ("c0001", "c0002", "c0003", "c0004"), strict=True))

#: 5 log10 of the odds ratio with half a record added to each cell, in dB
CLEAN = 10 * math.log10(12.5 / 0.5)

EXPECTED: dict[str, dict[str, float | None]] = {
    "always passed": {
        "pass_accuracy": 1, "defect_accuracy": 0, "escape_rate": 1, "overkill_rate": 0, "miss_rate": 1,
        "false_reject_rate": 0, "verdict_accuracy": 0.5, "balanced_accuracy": 0.5, "location_accuracy": 0,
        "defect_name_accuracy": 0, "exact_accuracy": 0.5, "location_f1": 0, "parsed_rate": 1, "style_rate": 1,
        "digital_sn": 0, "auroc": 0.5,
    },
    "always defective": {
        "pass_accuracy": 0, "defect_accuracy": 1, "escape_rate": 0, "overkill_rate": 1, "miss_rate": 0,
        "false_reject_rate": 1, "verdict_accuracy": 0.5, "balanced_accuracy": 0.5, "parsed_rate": 1, "style_rate": 1,
        "digital_sn": 0, "auroc": 0.5,
    },
    "mute": {
        "pass_accuracy": 0, "defect_accuracy": 0, "escape_rate": 0, "overkill_rate": 0, "miss_rate": 1,
        "false_reject_rate": 1, "verdict_accuracy": 0, "balanced_accuracy": 0, "location_accuracy": 0,
        "defect_name_accuracy": 0, "exact_accuracy": 0, "location_f1": 0, "parsed_rate": 0, "style_rate": 0,
        "digital_sn": -CLEAN, "auroc": 0.5,
    },
    "perfect": {
        "pass_accuracy": 1, "defect_accuracy": 1, "escape_rate": 0, "overkill_rate": 0, "miss_rate": 0,
        "false_reject_rate": 0, "verdict_accuracy": 1, "balanced_accuracy": 1, "location_accuracy": 1,
        "defect_name_accuracy": 1, "exact_accuracy": 1, "location_f1": 1, "parsed_rate": 1, "style_rate": 1,
        "digital_sn": CLEAN, "auroc": 1,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    return build_ledger(tmp_path_factory.mktemp("extremes") / "runs", list(EXTREMES.values()))


def _metrics(ledger: Ledger, name: str) -> dict[str, dict[str, Any]]:
    found = read.table(
        ledger,
        "SELECT * FROM metrics WHERE cycle_id = ? AND model_role = 'finetuned' AND split = 'test' AND slice = 'all'",
        [CYCLES[name]],
    )
    return {row["metric"]: row for row in found}


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_is_right(ledger: Ledger, name: str) -> None:
    found = _metrics(ledger, name)
    accuracy = next(r for r in read.accuracies(ledger, [CYCLES[name]]) if r["model_role"] == "finetuned")
    for metric, value in EXPECTED[name].items():
        assert found[metric]["value"] == pytest.approx(value), metric
        assert accuracy[metric] == pytest.approx(value), f"v_accuracy: {metric}"
    # "always defective" names 3C: right as often as the truths have that cell, by the ledger's own truths
    named = read.table(
        ledger,
        "SELECT count(*) FILTER (true_locations = ['3C']) AS n FROM v_answers WHERE cycle_id = ? AND split = 'test' "
        "AND model_role = 'finetuned' AND true_verdict = 'defective'",
        [CYCLES[name]],
    )[0]["n"]
    if name == "always defective":
        assert found["location_accuracy"]["value"] == pytest.approx(named / N)
        assert found["location_precision"]["value"] == pytest.approx(named / (2 * N))
        assert found["location_recall"]["value"] == pytest.approx(named / N)


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_is_finite_or_named_and_claims_no_certainty(ledger: Ledger, name: str) -> None:
    for metric, row in _metrics(ledger, name).items():
        if row["value"] is None:
            assert row["method"].startswith("not defined: "), metric
            assert row["ci_low"] is None
            continue
        assert math.isfinite(row["value"]), metric
        if row["ci_low"] is None:
            assert "no scatter" in row["method"], metric
        else:
            assert math.isfinite(row["ci_low"])
            assert math.isfinite(row["ci_high"])
            assert row["ci_low"] < row["ci_high"], metric
            assert row["ci_low"] - 1e-9 <= row["value"] <= row["ci_high"] + 1e-9, metric
    sign = "<= " if name == "mute" else ">= "
    assert _metrics(ledger, name)["digital_sn"]["method"].startswith(sign), "the uncorrected ratio is infinite"


@pytest.mark.parametrize("name", NAMES)
def test_proportions_have_scipys_wilson_interval(ledger: Ledger, name: str) -> None:
    found = _metrics(ledger, name)
    for metric, n in (("miss_rate", N), ("false_reject_rate", N), ("verdict_accuracy", 2 * N), ("parsed_rate", 2 * N)):
        row = found[metric]
        theirs = binomtest(round(row["value"] * n), n).proportion_ci(0.95, method="wilson")
        assert row["n"] == n
        assert (row["ci_low"], row["ci_high"]) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


@pytest.mark.parametrize(
    ("name", "statuses", "code"),
    [
        ("always passed", ("fail", "inconclusive", "inconclusive"), 3),
        ("always defective", ("inconclusive", "fail", "inconclusive"), 3),
        ("mute", ("fail", "fail", "fail"), 3),
        # none of 12 shows at most 22.1 %: more records would decide, 24 readable answers show at least 88.3 %
        ("perfect", ("inconclusive", "inconclusive", "inconclusive"), 4),
    ],
)
def test_gates(ledger: Ledger, name: str, statuses: tuple[str, ...], code: int) -> None:
    rows = {row.gate: row for row in read.gates(ledger, CYCLES[name])}
    assert tuple(rows[gate].status for gate in ("miss_rate", "false_reject_rate", "parsed_rate")) == statuses
    assert all(row.reason for row in rows.values())
    told = run("gate", CYCLES[name], "--runs", ledger.runs)
    assert told.code == code, told.err
    assert "hint: " in told.err


def test_a_perfect_model_is_told_how_many_more_records_it_needs(ledger: Ledger) -> None:
    rows = {row.gate: row for row in read.gates(ledger, CYCLES["perfect"])}
    # 149 defective records without a miss show 2 %, 59 passed ones 5 %: MEASUREMENT section 1 and 1 - .05 ** (1 / 59)
    assert (rows["miss_rate"].records_to_decide, rows["false_reject_rate"].records_to_decide) == (149 - N, 59 - N)
    assert 0.95**59 <= 0.05 < 0.95**58
    assert "137 more defective records without a miss would show 2%" in rows["miss_rate"].reason


def test_a_mute_model_is_not_released_by_its_lack_of_escapes(ledger: Ledger, tmp_path: Path) -> None:
    shutil.copytree(ledger.runs, tmp_path / "runs")
    told = run("gate", CYCLES["mute"], "--set", "targets={escape_rate=0.5}", "--runs", tmp_path / "runs")
    assert told.code == 4
    assert "escape_rate does not count unreadable answers: set a target for miss_rate or defect_accuracy" in told.err
    rows = {row.gate: row for row in read.gates(Ledger(tmp_path / "runs"), CYCLES["mute"])}
    assert (rows["escape_rate"].status, rows["overall"].status) == ("pass", "inconclusive")
    both = ("--set", "targets={escape_rate=0.5, miss_rate=0.5}")
    assert run("gate", CYCLES["mute"], *both, "--runs", tmp_path / "runs").code == 3


@pytest.mark.parametrize("name", NAMES)
def test_comparisons_with_the_base(ledger: Ledger, name: str) -> None:
    rows = read.table(ledger, "SELECT * FROM comparisons WHERE cycle_id = ?", [CYCLES[name]])
    assert {row["metric"] for row in rows} == {"verdict_accuracy", "exact_accuracy", "location_accuracy"}
    for row in rows:
        numbers = [row[key] for key in ("baseline_value", "candidate_value", "difference", "ci_low", "ci_high")]
        assert all(math.isfinite(number) for number in numbers)
        assert -1 <= row["ci_low"] <= row["difference"] <= row["ci_high"] <= 1
        assert row["ci_low"] < row["ci_high"]
        assert row["difference"] == pytest.approx((row["fixed"] - row["broken"]) / row["n"])
        expected = binomtest(row["fixed"], row["fixed"] + row["broken"]).pvalue if row["fixed"] + row["broken"] else 1
        assert row["p_value"] == pytest.approx(expected)
        assert row["p_value"] <= row["p_holm"] <= 1
        assert row["candidate_value"] == pytest.approx(_metrics(ledger, name)[row["metric"]]["value"])


@pytest.mark.parametrize("name", NAMES)
def test_the_report_renders_in_full(ledger: Ledger, name: str, tmp_path: Path) -> None:
    rejects = {"always passed": 0, "always defective": 40, "mute": 40, "perfect": 0}[name]
    misses = {"always passed": 20, "always defective": 0, "mute": 20, "perfect": 0}[name]
    add_lots(ledger, CYCLES[name], [("may", 40, 20, misses, rejects), ("june", 40, 20, misses, rejects)])
    page = cycle_page(ledger, CYCLES[name], made_at=NOW, version="test")
    assert [line.name for line in page.figures] == list(SHOWN_FIGURES)
    shown = {line.name: line.finetuned for line in page.figures}
    assert shown["digital_sn"].startswith("≤ -" if name == "mute" else "≥ ")
    assert "p = " in shown["digital_sn"]
    assert "q = " in shown["digital_sn"]
    assert all("n = " in text or "p = " in text or "not defined" in text for text in shown.values())
    assert page.lots is not None
    assert page.lots.lines[-1].status == ("quiet" if name == "perfect" else "alarm")
    text = render_reports(ledger, [CYCLES[name]], tmp_path)[0].read_text("utf-8")
    visible = text[text.index("<main>") :]
    for heading in ("Define", "Measure", "Analyze", "Improve", "Control", "Share"):
        assert f"<h2>{heading}</h2>" in visible
    for word in (">nan", ">inf", "-inf", "NaN", "None", "nan%", "inf%"):
        assert word not in visible.split("<script")[0], word
    for word in ("NaN", "Infinity"):
        assert word not in text[: text.index("<main>")].split("plotly")[0], word
    assert visible.count('<article class="record">') == 2 * N
    index = (tmp_path / "index.html").read_text("utf-8")
    assert CYCLES[name] in index


def test_set_adds_to_a_cycles_own_targets(ledger: Ledger, tmp_path: Path) -> None:
    shutil.copytree(ledger.runs, tmp_path / "runs")
    run("gate", CYCLES["perfect"], "--set", "targets.exact_accuracy=0.5", "--runs", tmp_path / "runs")
    gates = [row.gate for row in read.gates(Ledger(tmp_path / "runs"), CYCLES["perfect"])]
    assert set(gates) == {"miss_rate", "false_reject_rate", "parsed_rate", "exact_accuracy", "overall"}
