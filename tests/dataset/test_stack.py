"""harness data stack: real photos on disk become a data set, or every bad row is named and nothing is left behind."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.dataset.cubes import LAYOUT
from harness.dataset.sheet import Layout
from harness.dataset.stack import WORDINGS, stack_pairs
from harness.dataset.tray import COLORS, Flaw, Tray, photograph
from harness.errors import DataError
from harness.parse import parse_answer
from harness.records import Finding, Grid, Vocabulary

TRAY = Tray((COLORS[5],) * 27, (150, 150, 150), 4)
HEADER = ["passed", "test", "verdict", "locations", "defects", "group", "severity"]


def _photo(path: Path, *flaws: Flaw, seed: int = 0, size: tuple[int, int] = (900, 400)) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    photograph(TRAY, flaws, LAYOUT, np.random.default_rng(seed)).resize(size).save(path)
    return path.name


def _list(folder: Path, *rows: list[str]) -> Path:
    with (folder / "pairs.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([HEADER, *rows])
    return folder / "pairs.csv"


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    good = _photo(folder / "good.jpg")
    fine = _photo(folder / "a.jpg", seed=1)
    poor = _photo(folder / "b.png", Flaw("5C", "missing", 1, 0), Flaw("2U", "stain", 1, 0), seed=2)
    return _list(
        folder,
        [good, fine, "passed", "", "", "part 1", ""],
        [good, poor, "Defective", "5c; 2U", "missing; stain", "part 2", "0.8"],
    )


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize("align", ["resize", "crop", "register"])
def test_pairs_become_a_data_set(pairs: Path, tmp_path: Path, language: str, align: str) -> None:
    import datasets

    out = tmp_path / "out"
    report = stack_pairs(pairs, out, language=language, align=align)  # type: ignore[arg-type]
    assert (report.out, report.records, report.left_out) == (out, 2, ())
    rows = datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache"))["train"]
    assert rows["verdict"][:] == ["passed", "defective"]
    assert rows[1]["locations"] == ["2U", "5C"]
    assert rows[1]["defects"] == ["stain", "missing"]
    assert (rows[1]["group"], rows[1]["severity"], rows[0]["severity"]) == ("part 2", 0.8, None)
    assert rows[0]["image"].size == (420, 308)
    assert rows[0]["question"] == WORDINGS[language].ask(Grid())
    read = parse_answer(rows[1]["answer"], Vocabulary({"missing": (), "stain": ()}))
    assert read.verdict == "defective"
    assert set(read.findings) == {Finding("2U", "stain"), Finding("5C", "missing")}
    assert parse_answer(rows[0]["answer"], Vocabulary()).verdict == "passed"
    assert "contact.png" in (out / "README.md").read_text("utf-8")
    contact = Image.open(out / "contact.png")
    assert contact.size == (840, 308 + 18)
    # The frame is on the contact sheet, not in the data.
    left, upper, *_ = LAYOUT.box(1, Grid().cells.index("5C"))
    assert contact.getpixel((420 + left, 18 + upper)) == (220, 0, 0)
    assert rows[1]["image"].getpixel((left, upper)) != (220, 0, 0)


def test_the_english_question_is_the_seeds_but_for_the_product() -> None:
    from harness.dataset.cubes import QUESTION

    assert WORDINGS["en"].ask(Grid()) == QUESTION.replace("of the cubes", "of the product")


def test_every_bad_row_is_named_and_nothing_is_written(pairs: Path, tmp_path: Path) -> None:
    folder = pairs.parent
    (folder / "torn.png").write_bytes(b"no picture")
    _photo(folder / "thumb.png", size=(40, 20))
    rows = [
        ["good.jpg", "a.jpg", "passed", "", "", "", ""],
        ["good.jpg", "gone.jpg", "passed", "", "", "", ""],
        ["good.jpg", "torn.png", "passed", "", "", "", ""],
        ["good.jpg", "thumb.png", "passed", "", "", "", ""],
        ["good.jpg", "b.png", "maybe", "", "", "", ""],
        ["a.jpg", "b.png", "defective", "5X", "missing", "", ""],
        ["b.png", "a.jpg", "defective", "5U;1U", "missing", "", ""],
        ["a.jpg", "good.jpg", "passed", "5U", "missing", "", ""],
        ["good.jpg", "good.jpg", "defective", "", "", "", ""],
        ["good.jpg", "a.jpg", "passed", "", "", "", ""],
        ["b.png", "good.jpg", "passed", "", "", "", "much"],
        ["", "good.jpg", "passed", "", "", "", ""],
    ]
    bad = _list(folder, *rows)
    with pytest.raises(DataError) as told:
        stack_pairs(bad, tmp_path / "out")
    reasons = {
        3: "gone.jpg", 4: "torn.png", 5: "too small", 6: "maybe", 7: "5X", 8: "2 locations and 1 defects",
        9: "passed, but with", 10: "without a location", 11: "same photos as line 2", 12: "much", 13: "no passed photo",
    }  # fmt: skip
    lines = told.value.message.splitlines()
    assert "11 of 12 rows" in lines[0]
    assert len(lines) == 1 + len(reasons)
    for line, (number, reason) in zip(lines[1:], reasons.items(), strict=True):
        assert line.startswith(f"  line {number}: ")
        assert reason in line
    assert not list(tmp_path.glob("out*"))
    report = stack_pairs(bad, tmp_path / "out", skip_bad=True)
    assert report.records == 1
    assert [row.line for row in report.left_out] == list(reasons)


def test_nothing_is_left_when_writing_fails(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow.parquet as pq

    def full(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(OSError, match="no space"):
        stack_pairs(pairs, tmp_path / "out")
    assert not list(tmp_path.glob("out*"))


def test_a_folder_of_photos(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    photos = tmp_path / "line 4"
    _photo(photos / "passed" / "golden.jpg")
    _photo(photos / "test" / "t1.jpg", seed=1)
    _photo(photos / "test" / "t2__9D-wrong color__1U-missing.jpg", Flaw("9D", "wrong color", 1, 0), seed=2)
    stack_pairs(photos, tmp_path / "out")
    table = pq.read_table(tmp_path / "out" / "data" / "train-00000-of-00001.parquet").to_pylist()
    assert [row["group"] for row in table] == ["t1", "t2"]
    assert table[1]["answer"].endswith("Location: 1U, Defect: missing; Location: 9D, Defect: wrong color.")
    _photo(photos / "test" / "t3__here.jpg")
    with pytest.raises(DataError, match=r"line 3: t3__here.jpg: a finding is written LOCATION-DEFECT"):
        stack_pairs(photos, tmp_path / "other")


def test_register_moves_the_test_photo_back(tmp_path: Path) -> None:
    """A photo moved by a known number of pixels lies on its original again, but for the margin."""
    import pyarrow.parquet as pq

    still = np.random.default_rng(0).integers(0, 255, (132, 396, 3), dtype=np.uint8)
    scene = Image.fromarray(still).resize((99, 33)).resize((396, 132), Image.Resampling.BICUBIC)
    scene.save(tmp_path / "still.png")
    Image.fromarray(np.roll(np.asarray(scene), (3, -5), (0, 1))).save(tmp_path / "moved.png")
    pairs = _list(tmp_path, ["still.png", "moved.png", "passed", "", "", "", ""])
    stack_pairs(pairs, tmp_path / "out", align="register")
    row = pq.read_table(tmp_path / "out" / "data" / "train-00000-of-00001.parquet").to_pylist()[0]
    sheet = np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])))
    top, bottom = (sheet[y + 8 : y + 124, x + 8 : x + 388] for x, y in LAYOUT.corners)
    assert np.array_equal(top, bottom)


def test_another_grid_and_cell(pairs: Path, tmp_path: Path) -> None:
    grid = Grid(("1", "2", "3", "4", "5"), ("U", "C"))
    report = stack_pairs(pairs, tmp_path / "out", grid=grid, cell=88)
    assert report.records == 2
    layout = Layout(grid, 88)
    assert layout.panel == (440, 176)
    assert layout.size == (40 + 440 + 8, 32 + 176 + 48 + 176 + 8)


def test_columns_that_are_missing_are_named(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("passed,photo,verdict\na,b,passed\n", encoding="utf-8")
    with pytest.raises(DataError, match="lacks the columns test, locations, defects"):
        stack_pairs(tmp_path / "pairs.csv", tmp_path / "out")
