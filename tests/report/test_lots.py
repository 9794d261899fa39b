"""The section on watched lots: shown where there are lots, escaped, and drawn by valid figures."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.report import render_reports
from harness.report.contexts import cycle_page
from harness.store import Ledger
from tests.command import run
from tests.ledger_builder import add_lots

NOW = datetime(2026, 1, 2, tzinfo=UTC)
LOTS = [
    ("may", 100, 50, 1, 5), ("<b>june</b>", 100, 50, 2, 4), ("no defective ones", 90, 0, 0, 6), ("july", 0, 0, 0, 0),
    ("august", 100, 50, 0, 20),
]  # fmt: skip


@pytest.fixture
def with_lots(ledger_folder: Path) -> Ledger:
    ledger = Ledger(ledger_folder)
    add_lots(ledger, "c0001", LOTS)
    return ledger


def test_a_line_a_lot(with_lots: Ledger) -> None:
    part = cycle_page(with_lots, "c0001", made_at=NOW, version="test").lots
    assert part is not None
    assert [(line.number, line.lot, line.status) for line in part.lines] == [
        ("1", "may", "quiet"), ("2", "<b>june</b>", "quiet"), ("3", "no defective ones", "quiet"),
        ("4", "july", "quiet"), ("5", "august", "alarm"),
    ]  # fmt: skip
    assert part.lines[0].missed == "1 of 50 (2.0%)"
    assert part.lines[3].missed == "no such record"
    # 20 of 100 against 35 of 390: p-bar + 3 sqrt(p-bar (1 - p-bar) / 100)
    assert any("p chart: 20.00% is above the provisional limit 17.55%" in alarm for alarm in part.lines[4].alarms)
    assert "never promoted" in part.release


def test_the_page_shows_them_and_nothing_where_there_are_none(with_lots: Ledger, tmp_path: Path) -> None:
    pages = render_reports(with_lots, ["c0001", "c0002"], tmp_path)
    first, second = (page.read_text("utf-8") for page in pages[:2])
    assert "<h3>Watched lots</h3>" in first
    assert "&lt;b&gt;june&lt;/b&gt;" in first
    assert "<b>june</b>" not in first
    assert 'data-plot="lots_miss_rate_cusum"' in first
    assert "Watched lots" not in second


def test_figures_are_valid_plotly(with_lots: Ledger) -> None:
    go = pytest.importorskip("plotly.graph_objects")
    part = cycle_page(with_lots, "c0001", made_at=NOW, version="test").lots
    assert part is not None
    assert list(part.plots) == [
        f"lots_{metric}_{chart}" for metric in ("miss_rate", "false_reject_rate") for chart in ("p", "ewma", "cusum")
    ]
    for figure in part.figures.values():
        go.Figure(figure)  # raises on any property that plotly does not know
    assert "<b>" not in json.dumps(part.figures)
    points = part.figures["lots_false_reject_rate_p"]["data"][0]
    assert points["y"] == pytest.approx([0.05, 0.04, 6 / 90, None, 0.2], nan_ok=True)
    assert points["marker"]["symbol"][-1] == "x"


def test_no_defective_record_in_any_lot(ledger_folder: Path, tmp_path: Path) -> None:
    ledger = Ledger(ledger_folder)
    add_lots(ledger, "c0001", [("a", 0, 0, 0, 0), ("b", 5, 0, 0, 0)])
    text = render_reports(ledger, ["c0001"], tmp_path)[0].read_text("utf-8")
    assert "miss_rate: no lot holds a record of this class" in text
    assert "false_reject_rate: no mistake in 5 records: no limit can be drawn, the CUSUM judges alone" in text


def test_the_history_is_shown_without_loading_anything_heavy(with_lots: Ledger) -> None:
    told = run("watch", "c0001", "--runs", with_lots.runs)
    assert told.code == 0, told.err
    assert "august" in told.out
    code = (
        f"from harness.cli import main\ntry:\n    main(['watch', 'c0001', '--runs', {str(with_lots.runs)!r}])\n"
        "except SystemExit as stop:\n    assert stop.code == 0, stop.code\n"
        "import sys\nassert not {'torch', 'transformers', 'peft', 'datasets', 'evaluate'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_an_empty_place_and_a_cycle_without_lots(ledger_folder: Path, tmp_path: Path) -> None:
    told = run("watch", "c0001", "--runs", tmp_path / "runs")
    assert told.code == 1
    assert not (tmp_path / "runs").exists(), "reading makes no ledger"
    told = run("watch", "c0002", "--runs", ledger_folder)
    assert told.code == 1
    assert told.err.splitlines()[-1] == "hint: watch one: harness watch c0002 --data NEWLOT"
    told = run("watch", "c0001", "--data", tmp_path / "absent", "--runs", ledger_folder)
    assert told.code == 1
    assert told.err.splitlines()[-2].startswith("error: no such file or folder")
