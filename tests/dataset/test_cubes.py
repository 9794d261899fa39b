"""demo:cubes: the same seed gives the same bytes, no two records are alike, and a defect is where the truth says."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from harness.dataset.cubes import LAYOUT, QUESTION, generate, write_folder
from harness.dataset.tray import COLORS, DEFECTS, Flaw, Tray, photograph
from harness.errors import DataError
from harness.records import Finding, SourceRecord

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def records() -> list[SourceRecord]:
    return list(generate(160, seed=5))


def _pixels(record: SourceRecord) -> NDArray[np.float64]:
    assert record.image is not None
    return np.asarray(Image.open(io.BytesIO(record.image)).convert("RGB"), dtype=float)


def _cell(place: int) -> tuple[slice, slice]:
    """A cell's pixels in a panel."""
    row, column = divmod(place, 9)
    return np.s_[row * 44 : row * 44 + 44, column * 44 : column * 44 + 44]


def test_the_question_is_the_seeds() -> None:
    seed = ROOT.parent / "shared" / "SEED.md"
    if not seed.is_file():
        pytest.skip("the seed's text is not beside the repository")
    quoted = re.search(r'asked of every picture: "(.+?)"', seed.read_text("utf-8"))
    assert quoted
    assert quoted[1] == QUESTION


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    first, again, other = list(generate(6, seed=3)), list(generate(9, seed=3)), list(generate(6, seed=4))
    assert first == again[:6]
    assert not {r.image for r in first} & {r.image for r in other}
    assert not {r.group for r in first} & {r.group for r in other}


def test_no_two_records_are_equal(records: list[SourceRecord]) -> None:
    assert len({record.image for record in records}) == len(records)
    assert len({record.group for record in records}) == len(records)


def test_truth_columns_fit_each_other(records: list[SourceRecord]) -> None:
    for record in records:
        assert record.locations is not None
        assert record.defects is not None
        assert len(record.locations) == len(record.defects) == len(set(record.locations))
        assert (record.verdict == "defective") == bool(record.locations) == (record.severity is not None)
        assert record.severity is None or 0 <= record.severity <= 1
    counts = [len(record.locations or ()) for record in records]
    assert 0.35 < counts.count(0) / len(counts) < 0.65
    assert {1, 2, 3} <= set(counts)
    assert {defect for record in records for defect in record.defects or ()} == set(DEFECTS)


def test_the_answer_says_what_the_columns_say(records: list[SourceRecord]) -> None:
    from harness.parse import parse_answer
    from harness.records import Vocabulary

    vocabulary = Vocabulary(dict.fromkeys(DEFECTS, ()))
    for record in records[:60]:
        assert record.answer is not None
        parsed = parse_answer(record.answer, vocabulary)
        assert parsed.verdict == record.verdict, record.answer
        told = zip(record.locations or (), record.defects or (), strict=True)
        assert set(parsed.findings) == {Finding(location, defect) for location, defect in told}, record.answer


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_plain_defect_changes_its_own_cell_alone(defect: str) -> None:
    """The same shot with and without the flaw: equal outside its cell but for a turned cube's corner."""
    tray = Tray(tuple(COLORS[i % len(COLORS)] for i in range(27)), (140, 150, 130), 4)
    flaw = Flaw(LAYOUT.grid.cells[13], defect, 1.0, 0.3)
    sound, flawed = (
        np.asarray(photograph(tray, flaws, LAYOUT, np.random.default_rng(1)), dtype=float) for flaws in ((), (flaw,))
    )
    changed = np.abs(flawed - sound)
    inside = changed[_cell(13)].copy()
    changed[_cell(13)] = 0
    assert inside.max() > 60
    assert changed.mean() < 0.01 * inside.mean()


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_plain_defect_stands_out_from_noise_and_jitter(defect: str) -> None:
    """Two shots, each cell laid on its counterpart as well as a shift can: the flawed one fits worst."""
    tray = Tray(tuple(COLORS[i % len(COLORS)] for i in range(27)), (140, 150, 130), 4)
    flaw = Flaw(LAYOUT.grid.cells[13], defect, 1.0, 0.3)
    sound, flawed = (
        np.asarray(photograph(tray, flaws, LAYOUT, np.random.default_rng(seed)), dtype=float)
        for flaws, seed in (((), 2), ((flaw,), 1))
    )
    flawed *= sound.mean() / flawed.mean()
    misfit = [
        min(
            np.abs(np.roll(sound, shift, (0, 1))[_cell(place)] - flawed[_cell(place)]).mean()
            for shift in np.ndindex(9, 9)
            for shift in [(shift[0] - 4, shift[1] - 4)]
        )
        for place in range(27)
    ]
    assert int(np.argmax(misfit)) == 13


def test_hardly_visible_is_less_visible_than_plain() -> None:
    tray = Tray((COLORS[0],) * 27, (140, 150, 130), 4)
    for defect in DEFECTS[1:]:
        seen = []
        for severity in (0.0, 0.5, 1.0):
            shots = [
                np.asarray(photograph(tray, flaws, LAYOUT, np.random.default_rng(7)), dtype=float)
                for flaws in ((), (Flaw("5C", defect, severity, 0.1),))
            ]
            seen.append(np.abs(shots[1] - shots[0]).sum())
        assert 0 < seen[0] < seen[1] < seen[2], defect


def test_differencing_without_learning_is_neither_perfect_nor_hopeless(records: list[SourceRecord]) -> None:
    """The best threshold on the largest cell difference: what a record offers to someone who does not look closely."""
    scores, truths = [], []
    for record in records:
        pixels = _pixels(record)
        cells = []
        for place in range(27):
            top, bottom = (
                pixels[box[1] : box[3], box[0] : box[2]] for box in (LAYOUT.box(0, place), LAYOUT.box(1, place))
            )
            cells.append(np.abs(top * (bottom.mean() / top.mean()) - bottom).mean())
        scores.append(max(cells) / float(np.median(cells)))
        truths.append(record.verdict == "defective")
    truth, score = np.array(truths), np.array(scores)
    best = max(((score[truth] > cut).mean() + (score[~truth] <= cut).mean()) / 2 for cut in score)
    assert 0.6 < best < 0.95


def test_the_folder_loads_with_datasets(tmp_path: Path) -> None:
    import datasets

    write_folder(tmp_path / "a", n=7, seed=2)
    write_folder(tmp_path / "b", n=7, seed=2)
    for name in ("README.md", "data/train-00000-of-00001.parquet"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    loaded = datasets.load_dataset(str(tmp_path / "a"), cache_dir=str(tmp_path / "cache"))["train"]
    assert len(loaded) == 7
    for row, record in zip(loaded, generate(7, seed=2), strict=True):
        assert row["image"].size == (420, 308)
        assert (row["question"], row["answer"], row["verdict"]) == (record.question, record.answer, record.verdict)
        assert tuple(row["locations"]) == record.locations
        assert row["severity"] == record.severity
    with pytest.raises(DataError, match="exists already"):
        write_folder(tmp_path / "a", n=1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "cache"]
