"""The pool: append-only, content-addressed, and whole after a kill."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.dataset.pool import Pool, PoolRecord, PoolSplit, PoolTruth
from harness.errors import DataError
from harness.records import Finding


def _record(name: str, **changes: object) -> PoolRecord:
    fields: dict[str, object] = {
        "sample_id": name, "image_id": f"image-{name}", "image": f"images/im/{name}.png", "width": 4, "height": 3,
        "phash": "0" * 16, "question": "Is it good?", "group": f"group-{name}", "severity": None, "source": "here",
        "role": "train", "role_by": "hash of its group", "cycle": "c0001", "added_at": "2026-01-01T00:00:00",
    }  # fmt: skip
    return PoolRecord(**{**fields, **changes})  # type: ignore[arg-type]


def _truth(name: str, version: int = 1, **changes: object) -> PoolTruth:
    fields: dict[str, object] = {
        "sample_id": name, "truth_version": version, "verdict": "defective", "findings": (("5U", "missing"),),
        "reference": "5U is missing. NG", "origin": "reference", "parser_version": 1, "added_at": "2026-01-01T00:00:00",
    }  # fmt: skip
    return PoolTruth(**{**fields, **changes})  # type: ignore[arg-type]


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    pool = Pool(tmp_path, "cubes")
    pool.append([_truth("a"), _record("a"), PoolSplit("x", ("a",), "c0001", "2026-01-01T00:00:00")])
    pool.append([_truth("a", 2, verdict="passed", findings=(), reference="OK")])
    index = Pool(tmp_path, "cubes").read()
    assert index.records == {"a": _record("a")}
    assert [t.truth_version for t in index.truths["a"]] == [1, 2]
    assert index.latest("a").verdict == "passed"
    split = index.closed_split()
    assert split is not None
    assert split.sample_ids == ("a",)
    old = pool.sample(index, "a", 1)
    assert old.truth is not None
    assert old.truth.findings == (Finding("5U", "missing"),)
    assert pool.sample(index, "a").reference == "OK"


@given(text=st.text(max_size=200), group=st.text(min_size=1, max_size=40), severity=st.none() | st.floats(0, 1))
def test_any_words_survive(tmp_path_factory: pytest.TempPathFactory, text: str, group: str, severity: float) -> None:
    pool = Pool(tmp_path_factory.mktemp("pool"), "p")
    record, truth = _record("a", question=text, group=group, severity=severity), _truth("a", reference=text)
    pool.append([truth, record])
    index = pool.read()
    assert index.records["a"] == record
    assert index.latest("a") == truth


@pytest.mark.parametrize("cut", [1, 7, 60])
def test_a_torn_line_is_cut_off_and_the_rest_stays(tmp_path: Path, cut: int) -> None:
    pool = Pool(tmp_path, "p")
    pool.append([_truth("a"), _record("a")])
    whole = pool.index_path.read_bytes()
    pool.append([_truth("b"), _record("b")])
    torn = pool.index_path.read_bytes()[:-cut]
    pool.index_path.write_bytes(torn)
    assert set(pool.read().records) == {"a"}
    pool.append([_record("b")])
    assert set(pool.read().records) == {"a", "b"}
    assert pool.index_path.read_bytes().startswith(whole)


def test_damage_in_the_middle_is_told_and_nothing_is_lost(tmp_path: Path) -> None:
    pool = Pool(tmp_path, "p")
    pool.append([_truth("a"), _record("a")])
    damaged = pool.index_path.read_bytes().replace(b'"fact": "truth"', b'"fact": "lie"')
    pool.index_path.write_bytes(damaged)
    with pytest.raises(DataError, match="line 1 is damaged"):
        pool.read()
    assert pool.index_path.read_bytes() == damaged


def test_a_picture_is_kept_once(tmp_path: Path) -> None:
    pool = Pool(tmp_path, "p")
    first = pool.store_image("abcd", b"one encoding", "png")
    assert pool.store_image("abcd", b"another encoding of the same pixels", "jpg") == first
    assert (pool.root / first).read_bytes() == b"one encoding"
    assert first == "images/ab/abcd.png"
