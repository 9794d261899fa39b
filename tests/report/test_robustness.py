"""The noise study's section: degenerate models get right, named figures; different yardsticks are never joined."""

from __future__ import annotations

import dataclasses
import json
import math
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.records import Role
from harness.report import render_reports
from harness.report.contexts import cycle_page
from harness.report.robustness import RobustnessLine, history_plot, robustness_part
from harness.score.noise_plan import compound_noise, factor_effects
from harness.stages.answering import Respondent
from harness.stages.noise_rows import effect_rows, figure_rows
from harness.stages.reference import Reference
from harness.stages.robustness import NoiseStudy, store_study
from harness.store import Ledger, read, write
from harness.store.rows import ModelRow, NoiseStudyRow
from tests.command import run

NOW = datetime(2026, 1, 2, tzinfo=UTC)
TRUTH = [1.0, -1.0] * 12
VALIDATION = [1.0, -1.0] * 2

#: a score for each truth
MODELS = {
    "passed": {1.0: -1.0, -1.0: -1.0},
    "defective": {1.0: 1.0, -1.0: 1.0},
    "mute": {1.0: 0.0, -1.0: 0.0},
    "perfect": {1.0: 1.0, -1.0: -1.0},
    "mirrored": {1.0: -1.0, -1.0: 1.0},
    "shy": {1.0: 0.8, -1.0: -0.2},
}


def write_study(
    ledger: Ledger, cycle_id: str, name: str, reference: str = "base", former: str | None = None
) -> dict[tuple[str, str, str], RobustnessLine]:
    """Write the study of a cycle whose two models both always score as MODELS[name] says."""
    test, validation = ([MODELS[name][t] for t in truth] for truth in (TRUTH, VALIDATION))
    effects, figures = [], []
    roles: tuple[Role, Role] = ("base", "finetuned")
    chosen = Reference(reference, former)
    for role in roles:
        effects += effect_rows(cycle_id, role, [validation] * 8, VALIDATION, None)
        who = Respondent(role, ModelRow(role, "base", "tiny", None, None, None, datetime(2026, 1, 2)), None)
        figures += figure_rows(cycle_id, who, test, [test, test], TRUTH, dict.fromkeys(chosen.all, test), None)
    compound = compound_noise([validation] * 8, factor_effects([validation] * 8))
    study = NoiseStudyRow(
        cycle_id, compound.n1.condition_id, compound.n2.condition_id, compound.kind, compound.reason, reference,
        len(VALIDATION), len(TRUTH), "engine", datetime(2026, 1, 2),
    )  # fmt: skip
    store_study(ledger, NoiseStudy(study, effects, figures), chosen, say=lambda _: None)
    part = robustness_part(ledger, cycle_id)
    assert part is not None
    return {(line.name, line.reference, who): line for line in part.lines for who in roles}


N = "n = 24 pictures x 2 noise levels"


@pytest.mark.parametrize(
    ("name", "sn_truth", "sn_base", "overall", "p", "q"),
    [
        ("passed", f"−∞ dB: nothing follows the signal, {N}; 95 % [−∞, ", f"+∞ dB: no variation seen, {N}", "−∞ dB",
         "0.0%", "100.0%"),
        ("defective", f"−∞ dB: nothing follows the signal, {N}; 95 % [−∞, ", f"+∞ dB: no variation seen, {N}", "−∞ dB",
         "100.0%", "0.0%"),
        ("mute", "not defined: every score under noise is 0", "not defined: the signal is 0", "not defined", "100.0%",
         "100.0%"),
        ("perfect", f"+∞ dB: no variation seen, {N}", f"+∞ dB: no variation seen, {N}", "+∞ dB: no variation", "0.0%",
         "0.0%"),
        ("mirrored", f"+∞ dB: no variation seen, {N}, and against the signal", f"+∞ dB: no variation seen, {N}",
         "+∞ dB", "100.0%", "100.0%"),
    ],
)  # fmt: skip
def test_degenerate_models(
    ledger_folder: Path, tmp_path: Path, name: str, sn_truth: str, sn_base: str, overall: str, p: str, q: str
) -> None:
    ledger = Ledger(ledger_folder)
    lines = write_study(ledger, "c0001", name)
    for metric, reference, wanted in (
        ("sn_truth", "truth", sn_truth),
        ("sn_base", "base", sn_base),
        ("overall_sn", "truth", overall),
        ("noise_false_reject_rate", "truth", p),
        ("noise_miss_rate", "truth", q),
    ):
        line = lines[metric, reference, "base"]
        assert line.base == line.finetuned
        assert line.base.startswith(wanted)
    assert {"false_reject_rate", "miss_rate", "digital_sn"} <= {metric for metric, _, _ in lines}, "p and q beside"
    text = render_reports(ledger, ["c0001"], tmp_path)[0].read_text("utf-8")
    assert "Noise study" in text
    for word in (">inf<", ">nan<", ">None<", "Infinity", "NaN"):
        assert word not in text


def test_plotly_draws_the_effects(ledger_folder: Path) -> None:
    go = pytest.importorskip("plotly.graph_objects")
    ledger = Ledger(ledger_folder)
    write_study(ledger, "c0001", "perfect")
    plots = cycle_page(ledger, "c0001", made_at=NOW, version="test").plots
    for role in ("base", "finetuned"):
        figure = go.Figure(plots[f"noise_effects_{role}"])
        assert len(figure.data) == 3
        factors, levels = figure.data[0].x
        assert list(dict.fromkeys(zip(factors, levels, strict=True))) == [
            ("brightness", "-20 %"), ("brightness", "+20 %"), ("gaussian noise", "0"), ("gaussian noise", "10"),
            ("jpeg quality", "95"), ("jpeg quality", "60"), ("shift", "0 %"), ("shift", "2 %"), ("blur", "0 px"),
            ("blur", "1 px"), ("rotation", "-1°"), ("rotation", "+1°"), ("prompt", "canonical"),
            ("prompt", "paraphrased"),
        ]  # fmt: skip
        assert list(figure.data[0].y)[:3] == [0.0, 0.0, None], "a gap between two factors"


def test_the_gate_on_sn_truth(ledger_folder: Path, tmp_path: Path) -> None:
    """4.44 dB of scores .8 and -.2: S_beta = 12 and S_N = 4.32 in all."""
    ledger = Ledger(ledger_folder)
    target = ["gate", "c0001", "--runs", ledger_folder, "--json"]
    first = run(*target, "--set", "targets.sn_truth=3")
    (gate,) = [row for row in json.loads(first.out) if row["gate"] == "sn_truth"]
    assert (gate["status"], gate["target"], gate["value"]) == ("inconclusive", 3.0, None)
    assert gate["reason"] == "no noise study yet: harness robustness c0001, then harness gate c0001"
    write_study(ledger, "c0001", "shy")
    for limit, status in ((2.5, "pass"), (4.0, "inconclusive"), (7.5, "fail")):
        again = run(*target, "--set", f"targets.sn_truth={limit}")
        (gate,) = [row for row in json.loads(again.out) if row["gate"] == "sn_truth"]
        assert gate["value"] == pytest.approx(10 * math.log10(12 / 4.32))
        assert (gate["status"], gate["direction"], gate["n"]) == (status, "at_least", 24), gate["reason"]
    text = render_reports(ledger, ["c0001"], tmp_path)[0].read_text("utf-8")
    assert "≥ 7.50 dB" in text
    assert "4.44 dB" in text
    curve = run("curve", "c0001", "c0002", "--runs", ledger_folder)
    assert curve.code == 0, "a target in dB has no learning curve"


def test_a_cycle_without_a_study_has_no_section(built_ledger: Path) -> None:
    assert cycle_page(Ledger(built_ledger), "c0001", made_at=NOW, version="test").robustness is None


def test_both_references_stand_in_the_table_after_a_change(ledger_folder: Path) -> None:
    ledger = Ledger(ledger_folder)
    write_study(ledger, "c0001", "perfect")
    lines = write_study(ledger, "c0002", "perfect", reference="c0001", former="base")
    assert {reference for metric, reference, _ in lines if metric == "sn_base"} == {"base", "c0001"}
    product = read.product(ledger, "default")
    assert product is not None
    assert product.reference_model_id == "c0001"


def test_ratios_of_different_yardsticks_are_never_joined(ledger_folder: Path) -> None:
    go = pytest.importorskip("plotly.graph_objects")
    row = {
        "cycle_id": "c0001", "model_role": "finetuned", "metric": "sn_base", "reference_model_id": "base", "value": 3.0,
        "ci_low": 1.0, "ci_high": 5.0, "method": "", "n1_condition": "noise-1111111", "n2_condition": "noise-2222222",
    }  # fmt: skip
    assert history_plot([row]) is None, "one cycle is no history"
    second = row | {"cycle_id": "c0002", "ci_low": -math.inf}
    same = history_plot([row, second])
    assert same is not None
    assert [list(trace["x"]) for trace in same["data"]] == [["c0001", "c0002"]]
    for other in ({"reference_model_id": "c0001"}, {"n1_condition": "noise-1111112"}, {"metric": "sn_truth"}):
        found = history_plot([row, second | other])
        assert found is not None
        assert [list(trace["x"]) for trace in found["data"]] == [["c0001"], ["c0002"]]
        names = [trace["name"] for trace in found["data"]]
        assert len(set(names)) == 2
        go.Figure(found)
    assert history_plot([row, second | {"value": math.inf}]) is None, "an infinite ratio has no place on an axis"


def test_a_study_of_another_cycle_stays(ledger_folder: Path) -> None:
    ledger = Ledger(ledger_folder)
    write_study(ledger, "c0001", "perfect")
    before = robustness_part(ledger, "c0001")
    write_study(ledger, "c0002", "passed")
    assert robustness_part(ledger, "c0001") == before
    write_study(ledger, "c0002", "perfect")
    assert len(read.rows(ledger, NoiseStudyRow)) == 2, "a second study replaces the first"


def test_infinities_survive_the_ledger(ledger_folder: Path) -> None:
    ledger = Ledger(ledger_folder)
    write_study(ledger, "c0001", "passed")
    found = read.table(ledger, "SELECT metric, value, ci_low FROM noise_sn WHERE metric LIKE 'sn_%' ORDER BY ALL")
    assert [(row["metric"], row["value"]) for row in found] == [
        ("sn_base", math.inf), ("sn_base", math.inf), ("sn_truth", -math.inf), ("sn_truth", -math.inf),
    ]  # fmt: skip
    study = read.rows(ledger, NoiseStudyRow)[0]
    with ledger.writing() as connection:
        write.replace(connection, "noise_studies", [dataclasses.replace(study, reason="</script>x")], cycle_id="c0001")
    part = robustness_part(ledger, "c0001")
    assert part is not None
    assert "</script>x" in part.compound
