"""The digital SN ratio off its worked table: zero cells, signs, and the log odds ratio that it is half of."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats.contingency import odds_ratio

from harness.score import digital_sn
from harness.score.digital_sn import equal_error_rate, group_effect


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 99), st.integers(100, 300), st.integers(1, 99), st.integers(100, 300))
def test_agrees_with_scipys_sample_odds_ratio(false_rejects: int, passed: int, misses: int, defective: int) -> None:
    """sn = 5 log10(odds ratio), and its interval likewise."""
    found = digital_sn(false_rejects, passed, misses, defective)
    assert found is not None
    theirs = odds_ratio([[passed - false_rejects, false_rejects], [misses, defective - misses]], kind="sample")
    ends = theirs.confidence_interval(0.95)
    assert found.sn == pytest.approx(5 * math.log10(theirs.statistic))
    assert found.low == pytest.approx(5 * math.log10(ends.low))
    assert found.high == pytest.approx(5 * math.log10(ends.high))
    assert found.sign == ""
    assert (found.p, found.q) == (false_rejects / passed, misses / defective)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 40), st.integers(1, 40), st.integers(0, 40), st.integers(1, 40))
def test_always_finite_and_inside_its_interval(false_rejects: int, passed: int, misses: int, defective: int) -> None:
    found = digital_sn(min(false_rejects, passed), passed, min(misses, defective), defective)
    assert found is not None
    assert all(math.isfinite(value) for value in (found.sn, found.low, found.high, found.p0))
    assert found.low < found.sn < found.high
    assert 0 < found.p0 < 1


@pytest.mark.parametrize(
    ("false_rejects", "misses", "sign"),
    [
        (0, 0, ">="),  # perfect
        (3, 0, ">="),
        (0, 3, ">="),
        (200, 0, ">="),  # always "defective": the table's last row, where the uncorrected ratio is not defined
        (0, 200, ">="),  # always "passed"
        (200, 200, "<="),  # mute: the uncorrected ratio is minus infinite, ">=" would be untrue
        (200, 10, "<="),
        (10, 200, "<="),
        (10, 10, ""),
    ],
)
def test_sign_says_on_which_side_the_uncorrected_ratio_lies(false_rejects: int, misses: int, sign: str) -> None:
    found = digital_sn(false_rejects, 200, misses, 200)
    assert found is not None
    assert found.sign == sign
    assert found.at_least == (sign == ">=")
    p, q = false_rejects / 200, misses / 200
    if 0 in (p, q) and 1 not in (p, q):
        assert found.sn < math.inf
    if sign == "":
        assert found.p0 == equal_error_rate(p, q)


def test_levelled_rates_keep_the_odds_ratio() -> None:
    p0 = equal_error_rate(0.1, 0.5)
    assert ((1 - p0) / p0) ** 2 == pytest.approx((0.9 / 0.1) * (0.5 / 0.5))
    assert equal_error_rate(0.03, 0.03) == pytest.approx(0.03)


def test_an_absent_class_has_no_ratio() -> None:
    assert digital_sn(0, 0, 1, 10) is None
    assert digital_sn(1, 10, 0, 0) is None


def test_what_is_no_count_is_refused() -> None:
    with pytest.raises(ValueError, match="false rejects of"):
        digital_sn(11, 10, 0, 10)
    with pytest.raises(ValueError, match="misses of"):
        digital_sn(0, 10, -1, 10)


def test_the_interval_widens_where_records_of_a_group_err_together() -> None:
    """Each record five times over tells what it tells once: sqrt(5) times the width, by statsmodels' table."""
    mistaken = ([True] * 4 + [False] * 36) + ([True] * 6 + [False] * 34)
    bad = [False] * 40 + [True] * 40
    times = [(m, b, str(i)) for i, (m, b) in enumerate(zip(mistaken, bad, strict=True)) for _ in range(5)]
    effect = group_effect([m for m, _, _ in times], [b for _, b, _ in times], [g for _, _, g in times])
    assert effect == pytest.approx(5)
    once, many = digital_sn(4, 40, 6, 40), digital_sn(20, 200, 30, 200, effect=effect)
    assert once is not None
    assert many is not None
    assert (many.low, many.sn, many.high) == pytest.approx((once.low, once.sn, once.high))
    assert group_effect(mistaken, bad, [str(i) for i in range(80)]) == pytest.approx(1)
    assert group_effect([False] * 80, bad, ["a"] * 80) == 1, "no scatter tells nothing"


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000))
def test_group_effect_agrees_with_a_bootstrap_of_groups(seed: int) -> None:
    """60 groups of 6 (3 passed, 3 defective) that share their luck: the log odds ratio over resampled groups."""
    random = np.random.default_rng(seed)
    luck = random.beta(1, 3, 60).repeat(6)
    mistaken, bad = random.random(360) < luck, np.tile([False, True], 180)
    groups = np.arange(60).repeat(6)
    effect = group_effect(mistaken.tolist(), bad.tolist(), [str(g) for g in groups])
    drawn = random.integers(0, 60, (1500, 60))
    wrong = np.stack([np.bincount(groups[bad == b], mistaken[bad == b], 60) for b in (False, True)])
    p, q = wrong[:, drawn].sum(axis=2) / 180
    p0, q0 = wrong.sum(axis=1) / 180
    spread = float(np.var(np.log((1 - p) / p) + np.log((1 - q) / q)))
    independent = 1 / (180 * p0 * (1 - p0)) + 1 / (180 * q0 * (1 - q0))
    assert effect * independent == pytest.approx(spread, rel=0.25)
