"""The gate on sn_truth: what passes, fails and stays open, and how often it is wrong; and what groups say of a
regression."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest

from harness.score import Target, judge, judge_regression
from harness.score.gate import judge_ratio
from harness.score.intervals import Interval
from harness.score.noise_sn import balanced_energy_sn, energy_interval, noise_sn
from tests.score.answers import right_or_wrong

THREE = Target("sn_truth", 3.0, "at_least")


def _found(value: float | None, low: float | None, high: float | None, method: str = "bootstrap 95 %") -> Interval:
    return Interval(value, low, high, 100, method)


@pytest.mark.parametrize(
    ("found", "beta", "status", "more", "words"),
    [
        (_found(5.0, 3.0, 7.0), 0.9, "pass", None, "5.00 dB of 100 records, 95 % interval 3.00 dB to 7.00 dB"),
        # the low end must come up by half of its distance of 2: four times the records
        (_found(4.0, 2.0, 6.0), 0.9, "inconclusive", 300, "at the ratio seen about 300 more would pass it"),
        (_found(2.0, 0.0, 4.0), 0.9, "inconclusive", 300, "at the ratio seen about 300 more would fail it"),
        (_found(3.0, 2.0, 4.0), 0.9, "inconclusive", None, "the target is at least 3 dB"),
        (_found(-1.0, -2.0, 2.9), 0.4, "fail", None, "95 % interval −2.00 dB to 2.90 dB; the target is at least 3 dB"),
        (_found(-18.7, -math.inf, -11.7), 0.1, "fail", None, "−18.70 dB of 100 records, 95 % interval −∞ dB to"),
        (_found(1.0, -math.inf, 5.0), 0.4, "inconclusive", 300, "95 % interval −∞ dB to 5.00 dB"),
        # as steady as can be, but in the wrong direction
        (_found(9.0, 8.0, 10.0), -0.9, "fail", None, "the scores run against the truth (slope -0.900)"),
        (_found(math.inf, None, None, "no variation seen"), -1.0, "fail", None, "run against the truth"),
        (_found(4.0, -math.inf, 8.0), -0.2, "inconclusive", None, "95 % interval −∞ dB to 8.00 dB"),
        # no scatter proves nothing
        (_found(math.inf, None, None, "no variation seen"), 1.0, "inconclusive", None, "no variation seen; the target"),
        (_found(None, None, None, "not defined"), None, "inconclusive", None, "not defined; the target"),
    ],
)
def test_an_sn_ratio_against_its_target(
    found: Interval, beta: float | None, status: str, more: int | None, words: str
) -> None:
    result = judge_ratio(found, beta, THREE)
    assert (result.status, result.records_to_decide) == (status, more)
    assert words in result.reason
    assert result.value is None or math.isfinite(result.value)
    assert result.bound is None or math.isfinite(result.bound)
    assert judge([result]).status == status


def _draw(rng: np.random.Generator, n: int, error: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Truths, and hard scores +-1 under two noises: both are wrong for a share `error` of the records, as P is."""
    truth = rng.choice([-1.0, 1.0], n)
    return truth, np.where(rng.random(n) < error, -truth, truth)


def _passing(target: float, *, n: int, error: float, times: int) -> float:
    rng = np.random.default_rng(5)
    passed = 0
    for _ in range(times):
        truth, scores = _draw(rng, n, error)
        runs = [scores.tolist(), scores.tolist()]
        found = energy_interval(truth.tolist(), runs, resamples=500)
        beta = noise_sn(truth.tolist(), runs).beta
        passed += judge_ratio(found, beta, Target("sn_truth", target, "at_least")).status == "pass"
    return passed / times


@pytest.mark.parametrize("error", [0.05, 0.2])
def test_a_false_pass_is_rare_and_a_good_model_passes(error: float) -> None:
    """Cycles whose true ratio is 10 log10[(1 - 2e)^2 / (1 - (1 - 2e)^2)], the closed form of such scores."""
    true = balanced_energy_sn(error)
    assert _passing(true + 0.01, n=200, error=error, times=500) <= 0.05
    assert _passing(true - 3.5, n=400, error=error, times=100) >= 0.8


def test_a_regression_by_record_also_says_what_the_groups_show() -> None:
    """Two parts of ten records that both turn wrong, and one of eight that turns right."""
    before, after = right_or_wrong([True] * 20 + [False] * 8), right_or_wrong([False] * 20 + [True] * 8)
    groups = ["a"] * 10 + ["b"] * 10 + ["c"] * 8
    found = judge_regression(before, after, groups)
    p = binomtest(2, 3, alternative="greater").pvalue
    assert p == 0.5
    assert found.reason.endswith(f"the records come in 3 groups: 1 better, 2 worse, one-sided p = {p:.2g}")
    plain = judge_regression(before, after)
    assert found.status == plain.status == "fail", "exact McNemar by record decides"
    assert "groups" not in plain.reason
