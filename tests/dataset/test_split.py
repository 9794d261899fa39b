"""Roles, the closed split, memberships, and the nested stratified order."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.dataset.split import Candidate, assign, close_split, hashed_role
from harness.dataset.thin import stratified_order
from harness.errors import SplitError


def _candidates(n: int, *, per_group: int = 1, role: str | None = None) -> list[Candidate]:
    return [
        Candidate(
            f"s{i:05d}",
            f"i{i:05d}",
            f"g{i // per_group}",
            role or hashed_role(f"g{i // per_group}"),  # type: ignore[arg-type]
            ("passed", "defective missing", "defective stain")[i % 3 if i % 7 else 0],
        )
        for i in range(n)
    ]


def test_roles_have_their_shares_and_depend_on_the_group_alone() -> None:
    roles = Counter(hashed_role(f"part {i}") for i in range(20_000))
    assert roles["test"] / 20_000 == pytest.approx(0.2, abs=0.012)  # 4 standard errors
    assert roles["validation"] / 20_000 == pytest.approx(0.16, abs=0.012)
    assert all(hashed_role(f"part {i}", test_share=0.0) != "test" for i in range(2000))


def test_no_group_is_on_two_sides() -> None:
    candidates = _candidates(900, per_group=3)
    split = close_split(candidates, cap=50)
    members = assign(candidates, split, train_cap=1000, near_test={})
    sides: dict[str, set[str]] = {}
    for candidate, member in zip(candidates, members, strict=True):
        assert candidate.sample_id == member.sample_id
        if member.split in ("train", "validation", "test"):
            sides.setdefault(candidate.group, set()).add(member.split)
    assert all(len(found) == 1 for found in sides.values())


@given(st.integers(10, 120), st.integers(1, 119), st.integers(1, 119))
def test_a_smaller_set_is_a_subset_of_a_larger_one(n: int, a: int, b: int) -> None:
    candidates = [*_candidates(n), Candidate("t0", "x", "gt", "test", "passed")]
    split = close_split([candidates[-1]], cap=1)
    small, large = sorted((a, b))
    chosen = [
        {
            m.sample_id
            for m in assign(candidates, split, train_cap=cap, near_test={})
            if m.split in ("train", "validation")
        }
        for cap in (small, large)
    ]
    assert chosen[0] <= chosen[1]
    trainable = sum(c.role != "test" for c in candidates)
    assert [len(c) for c in chosen] == [min(small, trainable), min(large, trainable)]


@given(st.permutations(list(range(60))))
def test_the_order_does_not_depend_on_arrival(order: list[int]) -> None:
    candidates = _candidates(60)
    assert stratified_order([candidates[i] for i in order]) == stratified_order(candidates)


def test_every_prefix_keeps_the_mixture() -> None:
    candidates = _candidates(600, role="train")
    whole = Counter(c.stratum for c in candidates)
    stratum = {c.sample_id: c.stratum for c in candidates}
    order = stratified_order(candidates)
    for size in (30, 60, 150, 300):
        part = Counter(stratum[sample_id] for sample_id in order[:size])
        for name, count in whole.items():
            assert abs(part[name] - size * count / 600) <= 1


def test_memberships_give_their_reasons() -> None:
    candidates = [
        Candidate("test", "pic-a", "lot 1", "test", "passed"),
        Candidate("late", "pic-b", "lot 2", "test", "passed"),
        Candidate("same-picture", "pic-a", "lot 3", "train", "passed"),
        Candidate("same-group", "pic-c", "lot 1", "train", "passed"),
        Candidate("near", "pic-d", "lot 4", "train", "passed"),
        Candidate("fine", "pic-e", "lot 5", "train", "passed"),
        Candidate("chooser", "pic-f", "lot 6", "validation", "passed"),
        Candidate("elsewhere", "pic-g", "lot 7", "train", "passed"),
    ]
    split = close_split(candidates[:1], cap=400)
    found = {
        m.sample_id: m
        for m in assign(
            candidates,
            split,
            train_cap=10,
            near_test={"near": "test"},
            named={"fine", "chooser", "near", "same-group", "same-picture", "test", "late"},
        )
    }
    assert {name: m.split for name, m in found.items()} == {
        "test": "test", "late": "reserve", "same-picture": "excluded", "same-group": "excluded", "near": "excluded",
        "fine": "train", "chooser": "validation", "elsewhere": "excluded",
    }  # fmt: skip
    assert "nearly equal to test record test" in str(found["near"].reason)
    assert "group lot 1" in str(found["same-group"].reason)
    assert "picture" in str(found["same-picture"].reason)
    assert "named sources" in str(found["elsewhere"].reason)
    assert found["fine"].reason is None


def test_the_cap_closes_the_split_and_keeps_the_rest_in_reserve() -> None:
    candidates = _candidates(300, role="test")
    split = close_split(candidates, cap=100)
    assert len(split.sample_ids) == 100
    assert close_split(list(reversed(candidates)), cap=100) == split
    members = assign(candidates, split, train_cap=10, near_test={})
    assert Counter(m.split for m in members) == {"test": 100, "reserve": 200}


def test_no_test_record_is_an_error() -> None:
    with pytest.raises(SplitError, match="no record fell into the test split"):
        close_split(_candidates(5, role="train"), cap=10)
