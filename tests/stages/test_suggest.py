"""harness suggest: the order, the lookalikes, and the whole way with a real (tiny) model."""

from __future__ import annotations

import csv
import io
import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from harness.dataset.cubes import generate
from harness.dataset.fingerprint import fingerprint_picture
from harness.dataset.pictures import PoolPicture
from harness.stages.suggest import Ranked, rank, spread
from tests.command import run
from tests.stages.conftest import Raised
from tests.test_cli import assert_one_line_and_a_hint


def _item(name: str, p: float | None, verdict: str | None = "passed", phash: str = "0" * 16) -> Ranked:
    return Ranked(PoolPicture(name, Path(name), name, phash, None), p, verdict, "", "" if verdict else "no_decision")


def test_unreadable_first_then_the_least_sure() -> None:
    items = [_item("sure", 0.99), _item("torn", 0.52), _item("mute", 0.9, None), _item("mute, torn", 0.5, None),
             _item("below", 0.47), _item("unasked", None)]  # fmt: skip
    assert [i.picture.name for i in rank(items)] == ["mute, torn", "mute", "torn", "below", "sure", "unasked"]


def test_nearly_equal_pictures_step_back_but_are_not_lost() -> None:
    items = [_item("a", 0.5), _item("a again", 0.51), _item("b", 0.6, phash="f" * 16), _item("c", 0.7)]

    def excess(one: Path, other: Path) -> float:
        return 0.0 if {str(one), str(other)} == {"a", "a again"} else 100.0

    assert [(s.picture, s.like) for s in spread(items, 9, difference=excess)] == [
        ("a", ""), ("b", ""), ("c", ""), ("a again", "a"),
    ]  # fmt: skip
    assert [s.picture for s in spread(items, 2, difference=excess)] == ["a", "b"]
    assert [s.rank for s in spread(items, 9, difference=excess)] == [1, 2, 3, 4]


def test_a_far_hash_is_not_compared() -> None:
    def never(one: Path, other: Path) -> float:
        raise AssertionError(f"{one} and {other} are too far apart to be compared")

    assert len(spread([_item("a", 0.5), _item("b", 0.5, phash="f" * 16)], 2, difference=never)) == 2


@settings(max_examples=50, deadline=None)
@given(
    data=st.lists(
        st.tuples(st.none() | st.floats(0, 1), st.sampled_from(["passed", "defective", None]), st.integers(0, 3)),
        max_size=30,
    ),
    n=st.integers(1, 40),
)
def test_the_order_holds_whatever_the_answers(data: list[tuple[float | None, str | None, int]], n: int) -> None:
    """The last number names a scene; pictures of one scene are nearly equal."""
    items = [_item(f"{i} {scene}", p, verdict) for i, (p, verdict, scene) in enumerate(data)]
    scenes = {item.picture.name: item.picture.name.split()[1] for item in items}

    def excess(one: Path, other: Path) -> float:
        return 0.0 if scenes[str(one)] == scenes[str(other)] else 99.0

    found = spread(rank(items), n, difference=excess)
    assert len(found) == min(n, len(items))
    assert len({s.picture for s in found}) == len(found)
    fresh = [s for s in found if not s.like]
    assert len({scenes[s.picture] for s in fresh}) == len(fresh), "one of a scene stands in front"
    assert len(fresh) == min(n, len(set(scenes.values())))
    keys = [(s.verdict is not None, 1.0 if s.distance is None else s.distance) for s in fresh]
    assert keys == sorted(keys)
    assert all(scenes[s.like] == scenes[s.picture] for s in found if s.like)


def test_real_pictures_that_differ_in_light_alone_are_lookalikes(tmp_path: Path) -> None:
    records = [next(iter(generate(1, seed))) for seed in (7, 8)]
    names = []
    for place, record in enumerate(records):
        assert record.image is not None
        picture = Image.open(io.BytesIO(record.image)).convert("RGB")
        picture.save(tmp_path / f"{place}.png")
        brighter = np.clip(np.asarray(picture, dtype=np.float32) * 1.05 + 3, 0, 255).astype(np.uint8)
        Image.fromarray(brighter).save(tmp_path / f"{place} brighter.png")
        names += [f"{place}.png", f"{place} brighter.png"]
    items = []
    for name in names:
        facts = fingerprint_picture((tmp_path / name).read_bytes())
        items.append(Ranked(PoolPicture(name, tmp_path / name, facts.image_id, facts.phash, None), 0.5, None, "", ""))
    found = {s.picture: s.like for s in spread(items, 4)}
    assert found == {"0.png": "", "1.png": "", "0 brighter.png": "0.png", "1 brighter.png": "1.png"}


@pytest.mark.parametrize("words", [["c0009"], ["c0001"]], ids=["unknown cycle", "no picture"])
def test_mistakes_in_asking(words: list[str], ledger_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    told = run("suggest", *words, "--pool", tmp_path / "empty", "--runs", ledger_folder)
    assert told.code == 1
    assert_one_line_and_a_hint(told.err)
    told = run("suggest", *words, "--pool", tmp_path / "empty", "--out", "x.txt", "--runs", ledger_folder)
    assert "neither .csv nor .json" in told.err


def test_the_whole_way(raised: Raised, tmp_path: Path) -> None:
    runs, pool = tmp_path / "runs", tmp_path / "new"
    shutil.copytree(raised.runs, runs)
    pool.mkdir()
    for number, record in enumerate(generate(6, 99)):
        assert record.image is not None
        (pool / f"{number}.jpg").write_bytes(record.image)
    shutil.copy(pool / "0.jpg", pool / "copy of 0.jpg")
    known = sorted(raised.first.glob("*.jpg"))[0]
    shutil.copy(known, pool / "known.jpg")
    told = run("suggest", "c0001", "--pool", pool, "--n", 5, "--json", "--runs", runs)
    assert told.code == 0, told.err
    found = json.loads(told.out)
    assert [s["rank"] for s in found] == [1, 2, 3, 4, 5]
    assert {s["picture"] for s in found} < {str(pool / f"{i}.jpg") for i in range(6)}
    keys = [(s["verdict"] is not None, s["distance"]) for s in found if not s["like"]]
    assert keys == sorted(keys)
    assert all(s["distance"] == pytest.approx(abs(s["p_defective"] - 0.5)) for s in found)
    assert "1 left out: product default has records of these pictures" in told.err
    assert "1 left out: equal to another picture" in told.err
    out = tmp_path / "label.csv"
    again = run("suggest", "c0001", "--pool", pool, "--n", 5, "--out", out, "--runs", runs)
    assert "6 answers reused" in again.err
    with out.open(newline="", encoding="utf-8") as file:
        assert [row["picture"] for row in csv.DictReader(file)] == [s["picture"] for s in found]
    labelled = run("suggest", "c0001", "--pool", raised.first, "--runs", runs)
    assert labelled.code == 1
    assert "are in the product's pool already" in labelled.err


def test_analyze_leaves_slices_and_strata(raised: Raised) -> None:
    """The manifest of a real cycle, held against the ledger's own figures by SQL."""
    query = (
        "SELECT json_extract(manifest, '$.slices') AS slices, json_extract(manifest, '$.strata') AS strata FROM stages "
        "WHERE cycle_id = 'c0001' AND stage = 'analyze'"
    )
    row = json.loads(run("sql", query, "--format", "json", "--runs", raised.runs).out)[0]
    slices, strata = json.loads(row["slices"]), json.loads(row["strata"])
    pareto = json.loads(
        run(
            "sql", "SELECT defect, records, missed FROM v_pareto WHERE cycle_id = 'c0001' AND model_role = 'base'",
            "--format", "json", "--runs", raised.runs,
        ).out
    )  # fmt: skip
    by_defect = {part["value"]: (part["n"], part["wrong"]) for part in slices if part["axis"] == "defect"}
    assert by_defect == {line["defect"]: (line["records"], line["missed"]) for line in pareto}
    assert {part["axis"] for part in slices} >= {"defect", "location", "severity", "source"}
    assert strata
    assert all(one["gain"] >= other["gain"] for one, other in pairwise(strata))
