"""Copies of a test picture are found; another product, however alike, is not lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.audit import Picture, find_lookalikes
from harness.audit.difference import aligned_difference
from harness.dataset import cubes
from tests.audit.pictures import COPIES, brighter, drawn, encoded, resized, shifted, store, two_level


@pytest.fixture(scope="module")
def trays(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Picture]:
    return drawn(tmp_path_factory.mktemp("trays"), 40, 3)


@pytest.mark.parametrize("kind", COPIES)
def test_copies_of_drawn_trays_are_found(kind: str, trays: dict[str, Picture], tmp_path: Path) -> None:
    tests = {name: trays[name] for name in list(trays)[:3]}
    copies = {}
    for name, picture in tests.items():
        with Image.open(picture.path) as opened:
            copies[f"copy of {name}"] = store(tmp_path, name, COPIES[kind](opened.convert("RGB")))
    near = find_lookalikes({**tests, **copies}, set(tests))
    assert {(pair.one, pair.other) for pair in near} == {(name, f"copy of {name}") for name in tests}
    assert all(0 <= pair.share < 1 for pair in near)


@pytest.mark.parametrize("kind", ["quality 60", "shifted", "half size", "brighter", "cropped"])
def test_copies_of_two_level_scans_are_found(kind: str, tmp_path: Path) -> None:
    originals = {f"{seed}": store(tmp_path, f"{seed}", encoded(two_level(seed), 95)) for seed in range(3)}
    copies = {
        f"copy of {seed}": store(tmp_path, f"copy-{seed}", COPIES[kind](two_level(int(seed)))) for seed in originals
    }
    near = find_lookalikes({**originals, **copies}, set(originals))
    assert {(pair.one, pair.other) for pair in near} == {(seed, f"copy of {seed}") for seed in originals}


def test_distinct_trays_are_kept(trays: dict[str, Picture]) -> None:
    assert find_lookalikes(trays, set(list(trays)[:10])) == []


@pytest.mark.slow
def test_no_record_of_the_demo_is_lost(tmp_path: Path) -> None:
    pictures = drawn(tmp_path, 440, 11)
    assert find_lookalikes(pictures, set(list(pictures)[:88])) == []


@pytest.mark.slow
def test_no_distinct_board_is_lost(shared: Path, tmp_path: Path) -> None:
    """Photographed circuit boards: many windows of one layout, among which no two are one picture."""
    import pyarrow.parquet as pq

    pictures = {}
    for name in ("deeppcb-train", "deeppcb-test"):
        (file,) = (shared / "data" / name / "data").glob("*.parquet")
        for number, row in enumerate(pq.read_table(file, columns=["image"]).to_pylist()):
            pictures[f"{name} {number}"] = store(tmp_path, f"{name}-{number}", row["image"]["bytes"])
    assert find_lookalikes(pictures, {name for name in pictures if name.startswith("deeppcb-test")}) == []


def test_a_flaw_makes_it_another_record(tmp_path: Path) -> None:
    """The very same two shots with and without one flaw, encoded apart: nothing else tells them apart."""
    seen = 0
    for number in range(40):
        rng = np.random.default_rng([5, number])
        tray, flaws = cubes._draw_lot(rng)
        if len(flaws) != 1:
            continue
        seen += 1
        pair = {}
        for name, shown, quality in (("flawed", flaws, 90), ("sound", (), 85)):
            shots = np.random.default_rng([5, number, 99]).spawn(2)
            sheet = cubes.draw_sheet(
                cubes.photograph(tray, (), cubes.LAYOUT, shots[0]),
                cubes.photograph(tray, shown, cubes.LAYOUT, shots[1]),
                cubes.LAYOUT,
            )
            pair[name] = store(tmp_path, f"{number}-{name}", encoded(sheet, quality))
        assert find_lookalikes(pair, {"flawed"}) == [], flaws
    assert seen >= 10


def test_a_small_spot_makes_it_another_record(tmp_path: Path) -> None:
    for seed in range(4):
        sound = two_level(seed)
        flawed = sound.copy()
        flawed.paste((0, 0, 0) if flawed.getpixel((210, 250)) != (0, 0, 0) else (250, 250, 250), (210, 250, 213, 253))
        one, other = store(tmp_path, "sound", encoded(sound)), store(tmp_path, "flawed", encoded(flawed))
        assert aligned_difference(one.path, other.path) > 1


def test_every_copy_of_a_burst_is_kept_from_the_test_picture(trays: dict[str, Picture], tmp_path: Path) -> None:
    """The copies are nearer to each other than to the test picture; each must be found all the same."""
    name, original = next(iter(trays.items()))
    with Image.open(original.path) as opened:
        moved = shifted(opened.convert("RGB"), 4, 3)
    burst = {f"{quality}": store(tmp_path, f"{quality}", encoded(moved, quality)) for quality in range(84, 92)}
    near = find_lookalikes({**trays, **burst}, {name})
    assert {pair.other for pair in near if pair.one == name} == set(burst)


def test_equal_pictures_within_a_side_are_paired(trays: dict[str, Picture], tmp_path: Path) -> None:
    first = list(trays)[5]
    with Image.open(trays[first].path) as opened:
        copy = store(tmp_path, "copy", encoded(resized(opened.convert("RGB"), 0.5)))
    near = find_lookalikes({**trays, "copy": copy}, set(list(trays)[:3]))
    assert [{pair.one, pair.other} for pair in near] == [{first, "copy"}]


def test_processes_find_the_same(trays: dict[str, Picture], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = next(iter(trays))
    with Image.open(trays[name].path) as opened:
        few = {**dict(list(trays.items())[:6]), "copy": store(tmp_path, "copy", encoded(brighter(opened, 1.04)))}
    alone = find_lookalikes(few, {name})
    monkeypatch.setattr("harness.audit.lookalikes.POOL", 2)
    assert find_lookalikes(few, {name}) == alone
    assert len(alone) == 1


@pytest.mark.parametrize("size", [(1, 1), (1, 60), (30, 30), (600, 8), (64, 48)])
def test_small_and_blank_pictures(size: tuple[int, int], tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    pictures = {
        name: store(tmp_path, name, encoded(picture))
        for name, picture in {
            "blank": Image.new("RGB", size, (90, 90, 90)),
            "white": Image.new("RGB", size, (255, 255, 255)),
            "noise": Image.fromarray(noise),
        }.items()
    }
    assert find_lookalikes(pictures, {"blank"}) == []
    assert find_lookalikes({}, set()) == []


def test_other_proportions_are_another_picture(tmp_path: Path) -> None:
    one = store(tmp_path, "one", encoded(two_level(1)))
    other = store(tmp_path, "other", encoded(two_level(1).resize((420, 420))))
    assert aligned_difference(one.path, other.path) == float("inf")
