"""The pages: rendered from a real ledger, whole, escaped, and sound in a real browser."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from harness.errors import UnknownCycle
from harness.parse import PARSER_VERSION
from harness.report import figures, render_reports
from harness.report.contexts import SHOWN_FIGURES, cycle_page, index_page
from harness.store import Ledger, read, write
from harness.store import pages as pages_of
from harness.store.rows import MetricRow
from tests.report.conftest import open_page

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture(scope="module")
def pages(built_ledger: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    reports = tmp_path_factory.mktemp("reports")
    render_reports(Ledger(built_ledger), None, reports)
    return reports


def test_the_six_sections_in_order(pages: Path) -> None:
    text = (pages / "c0001" / "index.html").read_text("utf-8")
    places = [
        text.index(f"<h2>{name}</h2>") for name in ("Define", "Measure", "Analyze", "Improve", "Control", "Share")
    ]
    assert places == sorted(places)


def test_every_figure_stands_with_n_and_interval(built_ledger: Path) -> None:
    page = cycle_page(Ledger(built_ledger), "c0002", made_at=NOW, version="test")
    assert [line.name for line in page.figures] == list(SHOWN_FIGURES)
    verdict = page.figures[0]
    # 23 of 24 right; Wilson 95 % by hand: (p + z2/2n +- z sqrt(p(1-p)/n + z2/4n2)) / (1 + z2/n)
    assert verdict.finetuned == "95.8% [79.8%, 99.3%], n = 24"
    assert {line.against for line in page.comparisons} == {"base"}
    first = page.comparisons[0]
    # 23 of 24 against none right: 95.8 points and 23 fixed; the exact two-sided p is 2 / 2^23
    assert first.metric == "exact_accuracy"
    assert first.difference.startswith("+95.8 [+")
    assert first.pairs == "n = 24: 23 fixed, 0 broken"
    assert first.p_value == f"{2 / 2**23:.2g}"


def test_flips_come_first(built_ledger: Path) -> None:
    page = cycle_page(Ledger(built_ledger), "c0001", made_at=NOW, version="test")
    order = [item.change for item in page.gallery]
    assert order == sorted(order, key=["fixed", "broken", "wrong", "right"].index)
    assert len(order) == page.gallery_total == 24


def test_many_fixed_records_hide_no_wrong_one(built_ledger: Path) -> None:
    """c0002: 23 fixed, 1 wrong, and a place for four: the wrong one is there, and the rest is fixed ones."""
    shown = pages_of.gallery(Ledger(built_ledger), "c0002", 4)
    assert [row["change"] for row in shown] == ["fixed"] * 3 + ["wrong"]
    assert shown[0]["total"] == 24


def test_nothing_hostile_gets_through_unescaped(pages: Path) -> None:
    text = (pages / "c0001" / "index.html").read_text("utf-8")
    assert "&lt;script&gt;document.title" in text
    assert "<script>document.title" not in text
    assert "<img src=x" not in text
    assert "{{ 7 * 7 }}" in text, "templates do not read what models say"


def test_an_unknown_cycle_writes_nothing(built_ledger: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownCycle):
        render_reports(Ledger(built_ledger), ["c0001", "c0077"], tmp_path / "reports")
    assert not (tmp_path / "reports").exists()


def test_pages_survive_what_is_missing(ledger_folder: Path, tmp_path: Path) -> None:
    """No stages, no comparisons, undefined and infinite figures, a picture that is gone."""
    ledger = Ledger(ledger_folder)
    (ledger_folder / "pool" / "images" / "00.png").unlink()
    undefined = MetricRow(
        "c0001", "base", "test", "n0", "all", PARSER_VERSION, "auroc", None, None, None, 0, "not defined: no class"
    )
    infinite = dataclasses.replace(undefined, metric="digital_sn", value=float("inf"), ci_low=None, method="x; p = 0")
    with ledger.writing() as connection:
        for table in ("stages", "comparisons", "training_log", "gates"):
            write.delete(connection, table, cycle_id="c0001")
        write.upsert(connection, [undefined, infinite], ("cycle_id", "model_role", "metric", "slice", "split"))
    paths = render_reports(ledger, ["c0001"], tmp_path / "reports")
    text = paths[0].read_text("utf-8")
    assert "The picture is missing from the pool." in text
    assert "not defined: no class" in text
    assert "harness cycle --resume c0001" in text
    assert "not judged" in text


def test_an_empty_ledger_has_an_index(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    with ledger.writing():
        pass
    assert "holds no cycle yet" in render_reports(ledger, None, tmp_path / "reports")[0].read_text("utf-8")


def test_figures_are_valid_plotly(built_ledger: Path) -> None:
    go = pytest.importorskip("plotly.graph_objects")
    ledger = Ledger(built_ledger)
    plots = dict(cycle_page(ledger, "c0002", made_at=NOW, version="test").plots)
    plots |= index_page(ledger, made_at=NOW, version="test").products[0].plots
    assert {"pareto", "grid_base", "grid_finetuned", "confusion_base", "training", "curve_verdict_accuracy"} <= set(
        plots
    )
    for figure in plots.values():
        go.Figure(figure)  # raises on any property that plotly does not know


def test_figures_escape_names() -> None:
    rows = [{"model_role": "base", "defect": "<b>x</b>", "records": 1, "missed": 1}]
    assert "<b>" not in json.dumps(figures.pareto(rows))


def test_standalone_pages_need_nothing_beside_them(built_ledger: Path, tmp_path: Path) -> None:
    paths = render_reports(Ledger(built_ledger), ["c0001"], tmp_path / "reports", standalone=True)
    text = paths[0].read_text("utf-8")
    assert "data:image/jpeg;base64," in text
    assert not (tmp_path / "reports" / "assets").exists()
    assert not (tmp_path / "reports" / "c0001" / "pictures").exists()


def test_the_incumbent_is_the_one_that_passed_or_was_promoted(built_ledger: Path) -> None:
    assert read.incumbent(Ledger(built_ledger), "default") is None


@pytest.mark.browser
@pytest.mark.parametrize("page", ["index.html", "c0001/index.html", "c0002/index.html"])
@pytest.mark.parametrize("width", [1280, 400])
def test_in_a_real_browser(browser: Any, pages: Path, page: str, width: int) -> None:
    open_page(browser, (pages / page).as_uri(), width)
    assert browser.get_log("browser") == []
    assert "owned" not in browser.title
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    broken = "return [...document.images].filter(i => i.complete && !i.naturalWidth).length"
    assert browser.execute_script(broken) == 0
