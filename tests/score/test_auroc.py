"""AUROC against scipy's Mann-Whitney, its interval against simulated truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu, norm

from harness.score import auroc
from harness.score.auroc import newcombe

drawn = st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=2, max_size=40)


@settings(deadline=None, max_examples=60)
@given(records=drawn)
def test_agrees_with_mann_whitney(records: list[tuple[bool, int]]) -> None:
    defective, p = [bad for bad, _ in records], [value / 8 for _, value in records]
    assume(len(set(defective)) == 2)
    bad, good = (
        [q for d, q in zip(defective, p, strict=True) if d],
        [q for d, q in zip(defective, p, strict=True) if not d],
    )
    expected = mannwhitneyu(bad, good).statistic / (len(bad) * len(good))
    for groups in (None, [str(i // 2) for i in range(len(p))]):
        found = auroc(defective, p, groups)
        assert found.value == pytest.approx(expected)
        assert found.low is not None
        assert found.high is not None
        assert 0 <= found.low <= found.high <= 1
        assert found.n == len(p)


@pytest.mark.parametrize(("true_auc", "n"), [(0.7, 30), (0.95, 50), (0.99, 50)])
def test_newcombe_covers(true_auc: float, n: int) -> None:
    """Binormal scores, 1000 samples: 95 % within what such a number of samples can show."""
    random = np.random.default_rng(8)
    shift = math.sqrt(2) * float(norm.ppf(true_auc))
    covered = 0
    for _ in range(1000):
        bad, good = random.normal(shift, 1, n), random.normal(0, 1, n)
        low, high = newcombe(float((bad[:, None] > good[None, :]).mean()), n, n)
        covered += low <= true_auc <= high
    assert 0.93 <= covered / 1000 <= 0.985


def test_a_perfect_separation_of_few_is_no_certainty() -> None:
    found = auroc([True] * 10 + [False] * 10, [0.9] * 10 + [0.1] * 10)
    assert found.value == found.high == 1
    assert found.low is not None
    assert 0.7 < found.low < 0.95
    turned = auroc([False] * 10 + [True] * 10, [0.9] * 10 + [0.1] * 10)
    assert turned.value == turned.low == 0
    assert turned.high == pytest.approx(1 - found.low)
    grouped = auroc([True] * 10 + [False] * 10, [0.9] * 10 + [0.1] * 10, ["a"] * 5 + ["b"] * 10 + ["c"] * 5)
    assert grouped.low is not None
    assert grouped.low < found.low
    assert "no scatter" in grouped.method


def test_groups_widen_the_interval_where_they_err_together() -> None:
    random = np.random.default_rng(9)
    defective = [i % 20 >= 10 for i in range(400)]
    shift = random.normal(0, 1, 40)
    p = [float(shift[i // 10] + random.normal() + 1.0 * d) for i, d in enumerate(defective)]
    alone, together = auroc(defective, p), auroc(defective, p, [str(i // 10) for i in range(400)])
    assert alone.low is not None
    assert alone.high is not None
    assert together.low is not None
    assert together.high is not None
    assert together.high - together.low > 1.3 * (alone.high - alone.low)
    assert together.method == "bootstrap 95 % by group"


def test_one_class_alone_has_none() -> None:
    found = auroc([True, True], [0.1, 0.2])
    assert (found.value, found.n, found.method) == (None, 2, "not defined: one class is absent")
