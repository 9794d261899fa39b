"""The trend over sizes, against the permutations themselves and against its special case, McNemar's test."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar

from harness.score.trend import rising


def test_moments_are_those_of_all_permutations() -> None:
    rows = [(0, 0, 1, 1), (0, 1, 0, 1), (1, 0, 0, 0), (1, 1, 1, 0), (1, 1, 1, 1)]
    scores = np.array([-1.5, -0.5, 0.5, 1.5])
    variance = sum(np.var([scores @ np.array(p) for p in itertools.permutations(row)]) for row in rows)
    total = sum(scores @ np.array(row) for row in rows)
    found = rising([[bool(cell) for cell in row] for row in rows])
    assert found.z == pytest.approx(total / math.sqrt(variance))
    assert (found.n, found.informative) == (5, 4)


def test_two_sizes_are_mcnemar_without_correction() -> None:
    rows = [[False, True]] * 28 + [[True, False]] * 12 + [[True, True]] * 340 + [[False, False]] * 20
    found = rising(rows)
    table = [[340, 12], [28, 20]]
    assert found.z**2 == pytest.approx(mcnemar(table, exact=False, correction=False).statistic)
    assert found.p_value == pytest.approx(mcnemar(table, exact=False, correction=False).pvalue / 2)


def test_the_null_is_rejected_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    ease = rng.random((400, 120, 1))
    rejected = [rising((rng.random((120, 4)) < e).tolist()).p_value < 0.05 for e in ease]
    assert 0.02 <= np.mean(rejected) <= 0.08


def test_a_fall_is_no_rise_and_no_change_says_nothing() -> None:
    assert rising([[True, False, False]] * 20).p_value > 0.999
    assert rising([[True, True], [False, False]]).p_value == 1.0
    assert rising([]).informative == 0
    with pytest.raises(ValueError, match="same two or more sizes"):
        rising([[True], [False]])
