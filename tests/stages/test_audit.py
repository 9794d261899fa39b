"""`harness audit` as a user runs it, and what a cycle does about copies of its test pictures."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from harness.config import load_config
from harness.cycle import Place, run_cycle
from harness.dataset.cubes import generate
from harness.dataset.pool import Pool
from harness.errors import ModelError
from harness.report import render_reports
from harness.report.contexts import cycle_page
from harness.stages.measure import _audit
from harness.stages.run import CycleRequest, CycleRun, read_cycle_file
from harness.store import Ledger
from tests.command import Ran, run
from tests.imagefolder import read_metadata, write_imagefolder, write_metadata

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def records(tmp_path: Path) -> Path:
    folder = tmp_path / "records"
    write_imagefolder(folder, generate(14, 5))
    return folder


def audited(told: Ran) -> list[dict[str, Any]]:
    return list(json.loads(told.out))


def copied(folder: Path, file: str, out: Path, scale: float) -> None:
    """A rescaled, slightly brighter copy of a record's picture, in a folder of its own, with the record's labels."""
    line = next(line for line in read_metadata(folder) if line["file_name"] == file)
    out.mkdir()
    with Image.open(folder / file) as opened:
        picture = opened.convert("RGB").resize((round(opened.width * scale), round(opened.height * scale)))
    picture.point(lambda value: min(255, round(value * 1.03))).save(out / file, quality=88)
    write_metadata(out, [{**line, "group": "another part"}])


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_copies_of_test_pictures_are_warned_of_with_both_rows(records: Path, tmp_path: Path, scale: float) -> None:
    copied(records, "0004.jpg", tmp_path / "tests", scale)
    told = run("audit", "--data", records, "--test-data", tmp_path / "tests", "--json")
    assert told.code == 0, told.err
    (finding,) = [f for f in audited(told) if f["section"] == "leakage"]
    assert (finding["severity"], finding["count"]) == ("warning", 1)
    one, other = f"{tmp_path / 'tests'}[train] row 0 (0004.jpg) (test)", f"{records}[train] row 4 (0004.jpg) ("
    assert f"{one} ~ {other}" in finding["examples"][0]


def test_a_copy_within_a_split_is_warned_of(records: Path, tmp_path: Path) -> None:
    copied(records, "0004.jpg", tmp_path / "more", 0.98)
    write_metadata(tmp_path / "more", [{**line, "group": "tray-5-4"} for line in read_metadata(tmp_path / "more")])
    told = run("audit", "--data", records, "--data", tmp_path / "more", "--json")
    assert told.code == 0, told.err
    (finding,) = [f for f in audited(told) if f["section"] == "duplicates"]
    assert "row 4" in finding["examples"][0]
    assert str(tmp_path / "more") in finding["examples"][0]


def test_missing_columns_are_an_error_of_the_audit(records: Path) -> None:
    lines = [{**{k: v for k, v in line.items() if k != "answer"}, "caption": "x"} for line in read_metadata(records)]
    write_metadata(records, lines)
    told = run("audit", "--data", records, "--json")
    assert told.code == 3
    (finding,) = [f for f in audited(told) if f["severity"] == "error"]
    assert finding["section"] == "columns"
    assert "columns seen:" in finding["message"]
    assert "--set data.columns.answer=caption" in finding["hint"]


def test_huge_pictures_and_empty_answers(records: Path) -> None:
    huge = io.BytesIO()
    Image.new("1", (8100, 8000)).save(huge, "PNG")
    lines = read_metadata(records)
    (records / lines[2]["file_name"]).write_bytes(huge.getvalue())
    lines[5]["answer"] = "  "
    write_metadata(records, lines)
    told = run("audit", "--data", records, "--json")
    assert told.code == 3
    found = {f["section"]: f for f in audited(told)}
    assert "huge: 8100 x 8000 pixels" in found["pictures"]["message"]
    assert found["missing"]["message"] == "dropped: empty answer"
    assert "row 5" in found["missing"]["examples"][0]


@pytest.mark.parametrize(
    ("answer", "code", "severity", "words"),
    [
        ("The product in the bottom image is passed. No difference is found.", 3, "error", "another verdict"),
        ("The product in the bottom image is defective. Location: 9D, Defect: stain.", 0, "warning", "other cells"),
    ],
)
def test_answers_against_their_columns(records: Path, answer: str, code: int, severity: str, words: str) -> None:
    lines = read_metadata(records)
    one = next(line for line in lines if line["locations"] and line["locations"] != ["9D"])
    one["answer"] = answer
    write_metadata(records, lines)
    told = run("audit", "--data", records, "--json")
    assert told.code == code, told.err
    (finding,) = [f for f in audited(told) if f["section"] == "labels"]
    assert finding["severity"] == severity
    assert words in finding["message"]
    assert finding["count"] == 1


def test_without_truth_columns_and_groups_it_says_so(records: Path) -> None:
    lines = [{k: line[k] for k in ("file_name", "question", "answer")} for line in read_metadata(records)]
    write_metadata(records, lines)
    told = run("audit", "--data", records, "--json")
    assert told.code == 0, told.err
    messages = [f["message"] for f in audited(told) if f["section"] == "columns"]
    assert len(messages) == 2
    assert any("the truth is read from the answers" in message for message in messages)


@pytest.fixture(scope="module")
def kept_back(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A cycle that ended after Define for want of a model: five test records, one of them copied at half size."""
    home = tmp_path_factory.mktemp("kept")
    write_imagefolder(home / "records", generate(14, 5))
    write_imagefolder(home / "tests", generate(5, 6))
    (home / "copies").mkdir()
    copied(home / "tests", "0003.jpg", home / "copies" / "folder", 0.5)
    config = load_config(recipe="tiny", flags={"model.id": str(home / "no-model")})
    request = CycleRequest((str(home / "records"), str(home / "copies" / "folder")), (str(home / "tests"),))
    said: list[str] = []
    with pytest.raises(ModelError):
        run_cycle(request, config, Place(home / "runs", home / "reports", said.append))
    assert any("1 records nearly equal to a test record are kept out of training" in line for line in said)
    return home, "c0001"


def test_a_copy_is_kept_out_of_training(kept_back: tuple[Path, str]) -> None:
    home, cycle_id = kept_back
    query = (
        f"SELECT split, reason, source FROM memberships JOIN samples USING (sample_id) WHERE cycle_id = '{cycle_id}'"
    )
    rows = json.loads(run("sql", query, "--format", "json", "--runs", home / "runs").out)
    kept = [row for row in rows if row["split"] == "excluded"]
    assert [row["source"] for row in kept] == [str(home / "copies" / "folder")]
    assert kept[0]["reason"].startswith("nearly equal to test record ")
    assert sum(row["split"] == "test" for row in rows) == 5
    assert sum(row["split"] in ("train", "validation") for row in rows) == 14


def test_the_audit_of_the_cycle_names_both(kept_back: tuple[Path, str]) -> None:
    home, cycle_id = kept_back
    request, config = read_cycle_file(home / "runs" / cycle_id)
    ledger, pool = Ledger(home / "runs"), Pool(home / "runs", config.product)
    cycle = CycleRun(cycle_id, config, request, home / "runs", home / "reports", ledger, pool, None, print)  # type: ignore[arg-type]  # the audit needs no model
    (finding,) = [f for f in _audit(cycle) if f["section"] == "leakage"]
    (pair,) = cycle_page(ledger, cycle_id, made_at=NOW, version="test").lookalikes
    assert finding["examples"][0].startswith(f"{pair.test_id} (test) ~ {pair.sample_id} (excluded): ")


def test_the_report_shows_both_pictures(kept_back: tuple[Path, str]) -> None:
    home, cycle_id = kept_back
    page, _ = render_reports(Ledger(home / "runs"), [cycle_id], home / "reports")
    text = page.read_text("utf-8")
    (pair,) = cycle_page(Ledger(home / "runs"), cycle_id, made_at=NOW, version="test").lookalikes
    for name in (pair.sample_id, pair.test_id):
        assert f'<img src="pictures/{name}.jpg"' in text
        assert (page.parent / "pictures" / f"{name}.jpg").is_file()
