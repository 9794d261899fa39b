"""harness curve over a real ledger: what is joined, what is refused and why, and what a target needs."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.errors import ConfigError, LedgerError, SplitError
from harness.report import render_reports
from harness.report.contexts import cycle_page
from harness.stages.curve import learning_curves
from harness.store import Ledger, read, write
from harness.store.curves import family, named_family
from harness.store.rows import MembershipRow
from tests.command import run
from tests.grown_ledger import add_cycle

SIZES = {"c0003": (200, 23), "c0004": (400, 24), "c0005": (800, 24)}


@pytest.fixture(scope="module")
def built(built_ledger: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """c0001 (50 records), c0002 (100), and three more on the same curve."""
    runs = tmp_path_factory.mktemp("grown") / "runs"
    shutil.copytree(built_ledger, runs)
    for cycle_id, (size, right) in SIZES.items():
        add_cycle(Ledger(runs), cycle_id, size, right)
    return runs


@pytest.fixture
def grown(built: Path, tmp_path: Path) -> Ledger:
    """A copy of it for one test."""
    shutil.copytree(built, tmp_path / "grown")
    return Ledger(tmp_path / "grown", tell=lambda _: None)


def test_comparable_cycles_are_joined_by_size(grown: Ledger) -> None:
    found = family(grown, "c0003")
    assert [(c.cycle_id, c.train_records) for c in found.joined] == [
        ("c0001", 50), ("c0002", 100), ("c0003", 200), ("c0004", 400), ("c0005", 800),
    ]  # fmt: skip
    assert found.left_out == ()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"split_id": "split-2"}, "test split split-2, not split-1"),
        ({"base": "another"}, "base model tiny (another), not tiny (base)"),
        ({"settings": {"train.epochs": 9}}, "train.epochs = 9, not 4"),
        ({"settings": {"lora.r": 64}}, "lora.r = 64, not 16"),
        ({"settings": {"answer.max_new_tokens": 5}}, "answer.max_new_tokens = 5, not 48"),
        ({"model": "c0005"}, "its model is that of c0005 over again"),
    ],
    ids=["split", "base", "epochs", "rank", "budget", "the same model"],
)  # fmt: skip
def test_what_is_not_comparable_is_left_out_with_its_reason(grown: Ledger, changes: dict, why: str) -> None:  # type: ignore[type-arg]
    add_cycle(grown, "c0006", 1600, 24, **changes)
    found = family(grown, "c0005")
    assert "c0006" not in [c.cycle_id for c in found.joined]
    assert [out.cycle_id for out in found.left_out] == ["c0006"]
    assert why in found.left_out[0].why
    with pytest.raises(SplitError, match="not comparable: c0006"):
        named_family(grown, ["c0005", "c0006"])
    assert len(named_family(grown, ["c0005", "c0004"]).joined) == 2


def test_settings_that_change_speed_alone_and_seeds_do_not_part_cycles(grown: Ledger) -> None:
    changed = {"train.workers": 3, "train.eval_batch_size": 1, "train.tracker": "mlflow", "answer.batch_size": 1}
    add_cycle(grown, "c0006", 800, 23, settings=changed, seed=7)
    assert ("c0006", 7) in [(c.cycle_id, c.seed) for c in family(grown, "c0001").joined]


def test_other_truths_are_told(grown: Ledger) -> None:
    row = read.memberships(grown, "c0005", ("test",))[0]
    with grown.writing() as connection:
        moved = MembershipRow(row.cycle_id, row.sample_id, row.split, row.truth_version + 1, row.reason)
        write.upsert(connection, [moved], ("cycle_id", "sample_id"))
    out = family(grown, "c0001").left_out
    assert [o.cycle_id for o in out] == ["c0005"]
    assert "other truths" in out[0].why
    assert "harness rescore" in out[0].why


def test_an_unscored_cycle_is_left_out(grown: Ledger) -> None:
    with grown.writing() as connection:
        write.delete(connection, "roles", cycle_id="c0005")
    out = family(grown, "c0001").left_out
    assert [(o.cycle_id, o.why) for o in out] == [("c0005", "it has no scores of a fine-tuned model yet")]


def test_the_charter_is_answered_target_by_target(grown: Ledger) -> None:
    found = learning_curves(grown)
    targets = json.loads(read.cycle(grown, "c0005").config)["targets"]
    assert [(line.metric, line.target) for line in found.lines] == list(targets.items())
    by_name = {line.metric: line for line in found.lines}
    assert by_name["miss_rate"].n == 12, "the truly defective alone"
    assert by_name["parsed_rate"].n == 24
    assert by_name["miss_rate"].records == 800
    assert by_name["miss_rate"].value == 0.0
    assert by_name["parsed_rate"].estimable
    assert "met with 50 training records" in by_name["parsed_rate"].answer


def test_a_metric_without_a_target_shows_the_curve(grown: Ledger) -> None:
    line = learning_curves(grown, metric="exact_accuracy").lines[0]
    assert line.target is None
    assert line.a is not None
    assert "with twice the records" in line.answer


def test_mistakes_in_asking(grown: Ledger, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no curve is known"):
        learning_curves(grown, metric="beauty")
    with pytest.raises(ConfigError, match="needs --metric"):
        learning_curves(grown, target=0.5)
    with pytest.raises(ConfigError, match="outside"):
        learning_curves(grown, metric="miss_rate", target=5)
    with pytest.raises(LedgerError, match="no cycle of product other"):
        learning_curves(grown, product="other")
    told = run("curve", "--runs", tmp_path / "nowhere")
    assert told.code == 1
    assert "hint:" in told.err


def test_the_command_prints_a_table_and_json(grown: Ledger) -> None:
    told = run("curve", "--metric", "miss_rate", "--target", "0.1", "--runs", grown.runs)
    assert told.code == 0, told.err
    assert "miss_rate" in told.out
    assert "c0001 (50), c0002 (100)" in told.err
    said = json.loads(run("curve", "--metric", "miss_rate", "--target", "0.1", "--json", "--runs", grown.runs).out)
    line = said["lines"][0]
    assert line["estimable"]
    assert 50 < line["needed"] < 200, "6 of 12 missed at 50 records, 1 of 12 at 100"
    assert line["low"] <= line["needed"]
    few = run("curve", "c0001", "c0002", "--runs", grown.runs)
    assert few.code == 0, few.err
    assert "2 sizes of training data, at least 4 are needed" in " ".join(few.out.split())
    add_cycle(grown, "c0006", 1600, 24, split_id="split-2")
    mixed = run("curve", "c0001", "c0006", "--runs", grown.runs)
    assert mixed.code == 1
    assert "test split split-2" in mixed.err


def test_the_report_draws_fit_and_band_and_says_what_is_needed(grown: Ledger, tmp_path: Path) -> None:
    go = pytest.importorskip("plotly.graph_objects")
    page = cycle_page(grown, "c0005", made_at=datetime(2026, 1, 2, tzinfo=UTC), version="test")
    assert page.curve is not None
    figure = page.plots["curve_verdict_accuracy"]
    go.Figure(figure)
    names = [trace.get("name") for trace in figure["data"]]
    assert names == [None, None, "fit", "fit, extrapolated", "base", "fine-tuned"]
    assert {need.metric: need.mark for need in page.curve.needs}["parsed_rate"] == "estimable"
    add_cycle(grown, "c0006", 1600, 24, split_id="split-2")
    text = render_reports(grown, ["c0005"], tmp_path / "reports")[0].read_text("utf-8")
    assert "training records needed" in text
    assert "c0006: test split split-2, not split-1 as c0005" in text


def test_two_cycles_are_points_without_a_curve(built_ledger: Path) -> None:
    page = cycle_page(Ledger(built_ledger), "c0002", made_at=datetime(2026, 1, 2, tzinfo=UTC), version="test")
    assert page.curve is not None
    assert "2 sizes of training data" in page.curve.note
    assert [trace.get("name") for trace in page.plots["curve_exact_accuracy"]["data"]] == ["base", "fine-tuned"]
