"""Unlabelled pictures: plain folders, data sets without answers, and what cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from harness.dataset.cubes import generate
from harness.dataset.fingerprint import fingerprint_picture
from harness.dataset.pictures import unlabelled_pictures
from harness.errors import DataError
from tests.imagefolder import read_metadata, write_imagefolder, write_metadata


def _draw(path: Path, colour: tuple[int, int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30), colour).save(path)


def test_a_plain_folder_is_searched_through(tmp_path: Path) -> None:
    _draw(tmp_path / "in" / "b.PNG", (1, 2, 3))
    _draw(tmp_path / "in" / "deep" / "a.jpg", (200, 0, 0))
    (tmp_path / "in" / "broken.png").write_bytes(b"no picture")
    (tmp_path / "in" / "notes.txt").write_text("not looked at")
    found, drops = unlabelled_pictures(str(tmp_path / "in"), tmp_path)
    assert [Path(p.name).name for p in found] == ["b.PNG", "a.jpg"]
    assert found[0].image_id == fingerprint_picture((tmp_path / "in" / "b.PNG").read_bytes()).image_id
    assert found[0].question is None
    assert [Path(d.where).name for d in drops] == ["broken.png"]
    assert "no picture" in drops[0].reason


def test_a_data_set_needs_neither_answers_nor_questions(tmp_path: Path) -> None:
    folder, work = tmp_path / "records", tmp_path / "work"
    work.mkdir()
    write_imagefolder(folder, generate(3, 4))
    write_metadata(folder, [{"file_name": line["file_name"], "lot": 1} for line in read_metadata(folder)])
    found, drops = unlabelled_pictures(str(folder), work)
    assert drops == []
    assert [p.name.partition(" row ")[2] for p in found] == ["0 (0000.jpg)", "1 (0001.jpg)", "2 (0002.jpg)"]
    assert [p.question for p in found] == [None] * 3
    for number, picture in enumerate(found):
        assert picture.path.read_bytes() == (folder / f"{number:04d}.jpg").read_bytes()


def test_its_own_question_is_kept(tmp_path: Path) -> None:
    found, _ = unlabelled_pictures("demo:cubes?n=2&seed=3", tmp_path)
    assert all(p.question and p.question.startswith("Referenced image") for p in found)


def test_nothing_to_look_at_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no usable picture") as error:
        unlabelled_pictures(str(tmp_path / "empty"), tmp_path)
    assert ".png" in error.value.hint
    (tmp_path / "empty" / "x.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"1 left out, the first: .*x\.png"):
        unlabelled_pictures(str(tmp_path / "empty"), tmp_path)
    with pytest.raises(DataError, match="no such file or folder"):
        unlabelled_pictures(str(tmp_path / "absent"), tmp_path)


def test_a_picture_written_as_text_is_no_path(tmp_path: Path) -> None:
    """Base64 in a row: longer than any file's name may be, so the row has no picture, and that is all."""
    import base64
    import json

    from harness.dataset.ingest import open_usable

    record = next(iter(generate(1, 1)))
    assert record.image is not None
    row = {"image": base64.b64encode(record.image).decode(), "question": record.question, "answer": record.answer}
    (tmp_path / "inline.jsonl").write_text(json.dumps(row) + "\n", "utf-8")
    with pytest.raises(DataError, match="holds no usable record"):
        open_usable([str(tmp_path / "inline.jsonl")], {})
