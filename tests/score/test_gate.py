"""Gates: what passes, what fails, what is open and for how long; and how often a gate is wrong."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, norm

from harness.score import (
    GateResult,
    Target,
    judge,
    judge_regression,
    judge_target,
    line_projection,
    more_records_needed,
    records_for,
)
from harness.score.needed import records_to_decide
from tests.score.answers import right_or_wrong

MISS = Target("miss_rate", 0.02, "at_most")
FALSE_REJECT = Target("false_reject_rate", 0.05, "at_most")
VERDICT = Target("verdict_accuracy", 0.95, "at_least")
PARSED = Target("parsed_rate", 0.95, "at_least")


def _upper(mistakes: int, n: int) -> float:
    return float(binomtest(mistakes, n, alternative="less").proportion_ci(0.95).high)


def _lower(mistakes: int, n: int) -> float:
    return float(binomtest(mistakes, n, alternative="greater").proportion_ci(0.95).low)


@settings(deadline=None)
@given(
    table=st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
    limit=st.sampled_from([0.01, 0.02, 0.05, 0.1, 0.5]),
)
def test_status_is_the_bounds_and_both_directions_agree(table: tuple[int, int], limit: float) -> None:
    mistakes, n = table
    found = judge_target(mistakes, n, Target("miss_rate", limit, "at_most"))
    met, excluded = _upper(mistakes, n) <= limit + 1e-12, _lower(mistakes, n) > limit + 1e-12
    expected = "pass" if met else "fail" if excluded else "inconclusive"
    assert found.status == expected
    assert found.bound == pytest.approx(_upper(mistakes, n))
    assert found.value == mistakes / n
    assert (found.records_to_decide is None) or expected == "inconclusive"
    turned = judge_target(n - mistakes, n, Target("defect_accuracy", 1 - limit, "at_least"))
    assert (turned.status, turned.records_to_decide) == (found.status, found.records_to_decide)
    assert turned.bound == pytest.approx(1 - _upper(mistakes, n))


@pytest.mark.parametrize(
    ("successes", "n", "target", "status", "reason"),
    [
        (0, 149, MISS, "pass", "0 misses of 149 shows at most 1.99 %; the target is at most 2 %"),
        (20, 200, MISS, "fail", "20 misses of 200 shows at least 6.73 %; the target is at most 2 %"),
        (
            0, 148, MISS, "inconclusive",
            "0 misses of 148 shows at most 2.004 %; 1 more defective record without a miss would show 2 %",
        ),
        (
            1, 200, MISS, "inconclusive",
            "1 miss of 200 shows at most 2.35 %; 36 more defective records without a miss would show 2 %; "
            "at the rate seen 113 more would pass it",
        ),
        (
            4, 200, MISS, "inconclusive",
            "4 misses of 200 shows at most 4.52 %; 256 more defective records without a miss would show 2 %; "
            "at the rate seen no number of records decides",
        ),
        (
            7, 200, MISS, "inconclusive",
            "7 misses of 200 shows at most 6.47 %; 455 more defective records without a miss would show 2 %; "
            "at the rate seen 143 more would fail it",
        ),
        (388, 400, PARSED, "pass", "12 unreadable answers of 400 shows at least 95.18 %; the target is at least 95 %"),
        (
            376, 400, PARSED, "fail",
            "24 unreadable answers of 400: 94.00 % were read; the target is at least 95 % of those seen",
        ),
        (
            376, 400, VERDICT, "inconclusive",
            "24 wrong verdicts of 400 shows at least 91.67 %; 271 more records without a wrong verdict would show "
            "95 %; at the rate seen 1050 more would fail it",
        ),
        (0, 0, MISS, "inconclusive", "no defective record to judge by: add some"),
        (
            0, 100, Target("miss_rate", 0, "at_most"), "inconclusive",
            "0 misses of 100 shows at most 2.95 %; no number of records shows 0 %",
        ),
    ],
)  # fmt: skip
def test_in_words(successes: int, n: int, target: Target, status: str, reason: str) -> None:
    found = judge_target(successes, n, target)
    assert found.status == status
    assert found.reason == reason


def test_the_numbers_in_those_words_are_right() -> None:
    """Each figure of the sentences above, from scipy."""
    assert _upper(0, 149) == pytest.approx(0.0199, abs=5e-5)
    assert _lower(20, 200) == pytest.approx(0.0673, abs=5e-5)
    assert _upper(0, 148) == pytest.approx(0.02004, abs=5e-6)
    assert _upper(1, 200 + 36) <= 0.02 < _upper(1, 200 + 35)
    assert _upper(4, 200) == pytest.approx(0.0452, abs=5e-5)
    assert _upper(4, 200 + 256) <= 0.02 < _upper(4, 200 + 255)
    assert _upper(7, 200 + 455) <= 0.02 < _upper(7, 200 + 454)
    assert 1 - _upper(12, 400) == pytest.approx(0.9518, abs=5e-5)
    assert 1 - _upper(24, 400) == pytest.approx(0.9167, abs=5e-5)
    assert _upper(24, 400 + 271) <= 0.05 < _upper(24, 400 + 270)
    assert _by_trying(24, 400, 0.05, 1500) == 1050
    assert _by_trying(1, 200, 0.02, 400) == 113
    assert _by_trying(7, 200, 0.02, 400) == 143
    assert _upper(0, 100) == pytest.approx(0.0295, abs=5e-5)


def _by_trying(mistakes: int, n: int, limit: float, most: int) -> int | None:
    """The first number of further records that decides, found one by one."""
    for total in range(n + 1, most):
        exact = mistakes * total / n
        if mistakes / n < limit and _upper(math.ceil(exact - 1e-9), total) <= limit:
            return total - n
        if mistakes / n > limit and _lower(math.floor(exact + 1e-9), total) > limit:
            return total - n
    return None


@pytest.mark.parametrize(
    ("mistakes", "n", "limit"),
    [(0, 20, 0.05), (0, 120, 0.02), (1, 60, 0.05), (1, 200, 0.02), (2, 90, 0.05), (2, 40, 0.02), (3, 100, 0.05),
     (5, 50, 0.05), (5, 120, 0.02), (7, 200, 0.02), (8, 30, 0.2), (3, 30, 0.2), (24, 400, 0.05), (20, 400, 0.07)],
)  # fmt: skip
def test_records_to_decide_is_the_first_number_that_does(mistakes: int, n: int, limit: float) -> None:
    assert judge_target(mistakes, n, Target("miss_rate", limit, "at_most")).status == "inconclusive"
    assert records_to_decide(mistakes, n, limit) == _by_trying(mistakes, n, limit, 2500)


def test_records_to_decide_ends() -> None:
    assert records_to_decide(4, 200, 0.02) is None, "the rate seen is the limit"
    assert records_to_decide(2001, 100_000, 0.02) is None, "more than a million would be needed to fail"
    assert records_to_decide(1999, 100_000, 0.02) is None, "more than a million would be needed to pass"


def test_more_records_needed() -> None:
    assert more_records_needed(3, 10, 0.05) == records_for(0.05, 3) - 10
    assert _upper(3, records_for(0.05, 3)) <= 0.05 < _upper(3, records_for(0.05, 3) - 1)
    assert records_for(0.9999, 0) == 1
    for limit, mistakes in ((0.0, 0), (1.0, 0), (0.02, -1)):
        with pytest.raises(ValueError, match="limit"):
            records_for(limit, mistakes)
    with pytest.raises(ValueError, match="4 mistakes of 3"):
        more_records_needed(4, 3, 0.02)


def test_a_limit_is_a_share() -> None:
    with pytest.raises(ValueError, match=r"lies in \[0, 1\]"):
        judge_target(0, 10, Target("miss_rate", 2, "at_most"))


def test_a_metric_without_words_of_its_own() -> None:
    assert judge_target(1, 2, Target("some_rate", 0.1, "at_most")).reason.startswith("1 mistake of 2 shows at most")


def test_regression() -> None:
    incumbent = right_or_wrong([True] * 90 + [False] * 10)
    worse = right_or_wrong([True] * 75 + [False] * 15 + [True] * 3 + [False] * 7)
    found = judge_regression(incumbent, worse)
    assert found.status == "fail"
    assert found.value == pytest.approx(-0.12)
    p = binomtest(15, 18, alternative="greater").pvalue
    assert (
        f"significantly worse than the incumbent: 3 verdicts fixed, 15 broken of 100, one-sided p = {p:.2g}"
        in found.reason
    )
    assert judge_regression(worse, incumbent).status == "pass"
    same = judge_regression(incumbent, incumbent)
    assert (same.status, same.value) == ("pass", 0)
    assert judge_regression([], []).status == "inconclusive"


def test_a_loss_that_the_sample_cannot_show_is_named() -> None:
    found = judge_regression(right_or_wrong([True] * 40), right_or_wrong([True] * 37 + [False] * 3))
    assert found.status == "pass"
    assert "0 verdicts fixed, 3 broken of 40, one-sided p = 0.12" in found.reason


def test_the_loss_named_is_that_of_a_one_sided_test() -> None:
    """20 of 400 discordant: d sqrt(n) = z_a sqrt(psi) + z_b sqrt(psi - d^2), z of one-sided 5 % and of 80 % power."""
    found = judge_regression(
        right_or_wrong([True] * 390 + [False] * 10), right_or_wrong([True] * 380 + [False] * 10 + [True] * 10)
    )
    assert (found.status, found.value) == ("pass", 0)
    d = 0.05
    for _ in range(50):
        d = (norm.ppf(0.95) * math.sqrt(0.05) + norm.ppf(0.8) * math.sqrt(0.05 - d * d)) / 20
    assert f"such a sample shows a loss of {100 * d:.1f} % with 80 % power" in found.reason
    assert f"{100 * d:.1f}" == "2.8"


def test_overall() -> None:
    passed, failed = judge_target(0, 200, MISS), judge_target(40, 200, FALSE_REJECT)
    open_, stuck = judge_target(0, 120, MISS), judge_target(10, 200, FALSE_REJECT)
    regression = judge_regression(right_or_wrong([True] * 9), right_or_wrong([True] * 9))
    assert judge([passed], regression).status == "pass"
    assert judge([passed, open_, failed], regression).status == "fail"
    assert judge([passed, open_, failed], None).reason == "failed: false_reject_rate"
    waiting = judge([passed, open_], regression)
    assert (waiting.status, waiting.records_to_decide) == ("inconclusive", 29)
    assert waiting.reason == "undecided: miss_rate (29 more records)"
    assert judge([open_, stuck], None).records_to_decide is None
    worse = GateResult("regression", None, -0.1, None, 9, "fail", None, "")
    assert judge([passed], worse).reason == "failed: regression"


@pytest.mark.parametrize("regression", [None, judge_regression(right_or_wrong([True]), right_or_wrong([True]))])
def test_nothing_asked_is_nothing_shown(regression: GateResult | None) -> None:
    """A model that is only not shown to be worse has met no target."""
    found = judge([], regression)
    assert (found.status, found.reason) == ("inconclusive", "no target is set: see [targets]")


def test_extreme_models() -> None:
    """A mute model has no escapes: the gates ask for the misses, and for readable answers."""
    assert judge_target(200, 200, MISS).status == "fail"
    assert judge_target(200, 200, FALSE_REJECT).status == "fail"
    assert judge_target(0, 400, PARSED).status == "fail"
    assert judge_target(0, 200, MISS).status == "pass"


@pytest.mark.parametrize("limit", [0.01, 0.02, 0.05, 0.1])
@pytest.mark.parametrize("n", [30, 149, 200, 400])
def test_a_model_just_beyond_the_target_passes_in_at_most_5_percent(n: int, limit: float) -> None:
    """Exact, from the binomial distribution; a worse model passes less often still."""
    target = Target("miss_rate", limit, "at_most")
    passing = [x for x in range(n + 1) if judge_target(x, n, target).status == "pass"]
    assert sum(float(binom.pmf(x, n, limit)) for x in passing) <= 0.05
    failing = [x for x in range(n + 1) if judge_target(x, n, target).status == "fail"]
    assert sum(float(binom.pmf(x, n, limit)) for x in failing) <= 0.05, "nor is one at the target failed more often"


_judged = functools.lru_cache(None)(judge_target)


def _passes(
    random: np.random.Generator, cycles: int, miss: float, false_reject: float, *, n: int, broken: float, fixed: float
) -> float:
    """The share of simulated cycles that pass all gates.

    Each cycle has n passed and n defective test records; `broken` and `fixed` are the chances that a verdict of the
    incumbent's is spoilt or set right.
    """
    passed = 0
    for _ in range(cycles):
        misses, rejects = int(random.binomial(n, miss)), int(random.binomial(n, false_reject))
        unread = min(int(random.binomial(2 * n, 0.001)), 2 * n)
        read = 2 * n - unread
        targets = [_judged(misses, n, MISS), _judged(rejects, n, FALSE_REJECT), _judged(read, 2 * n, PARSED)]
        spoilt, mended, alike = random.multinomial(2 * n, [broken, fixed, 1 - broken - fixed])
        incumbent = [True] * int(spoilt) + [False] * int(mended) + [True] * int(alike)
        candidate = [False] * int(spoilt) + [True] * int(mended) + [True] * int(alike)
        regression = judge_regression(right_or_wrong(incumbent), right_or_wrong(candidate))
        passed += judge(targets, regression).status == "pass"
    return passed / cycles


#: name -> true miss rate, false reject rate, share of the incumbent's verdicts spoilt and set right
BEYOND = {
    "misses too much": (0.025, 0.01, 0.02, 0.02),
    "rejects too much": (0.002, 0.06, 0.02, 0.02),
    "worse than the incumbent": (0.002, 0.01, 0.06, 0.01),
}


@pytest.mark.parametrize("name", list(BEYOND))
def test_a_model_that_misses_a_target_or_is_worse_rarely_passes(name: str) -> None:
    miss, false_reject, broken, fixed = BEYOND[name]
    random = np.random.default_rng(11)
    assert _passes(random, 120, miss, false_reject, n=400, broken=broken, fixed=fixed) <= 0.05


def test_a_clearly_good_model_passes() -> None:
    assert _passes(np.random.default_rng(12), 60, 0.001, 0.01, n=400, broken=0.01, fixed=0.04) >= 0.8


@pytest.mark.slow
@pytest.mark.parametrize("name", list(BEYOND))
def test_a_model_that_misses_a_target_or_is_worse_rarely_passes_500_cycles(name: str) -> None:
    miss, false_reject, broken, fixed = BEYOND[name]
    random = np.random.default_rng(13)
    assert _passes(random, 500, miss, false_reject, n=400, broken=broken, fixed=fixed) <= 0.05


@pytest.mark.slow
def test_a_model_at_the_limit_of_every_target_passes_no_more_often_than_promised() -> None:
    """At the limits themselves, 2000 cycles: not shown to be more than 5 %, by a test that errs once in a thousand."""
    cycles = 2000
    share = _passes(np.random.default_rng(15), cycles, 0.02, 0.01, n=400, broken=0.01, fixed=0.01)
    assert binomtest(round(share * cycles), cycles, 0.05, alternative="greater").pvalue > 0.001


@pytest.mark.slow
def test_a_clearly_good_model_passes_over_500_cycles() -> None:
    assert _passes(np.random.default_rng(14), 500, 0.001, 0.01, n=400, broken=0.01, fixed=0.04) >= 0.8


def test_line_projection_at_its_ends() -> None:
    always_passed = line_projection(0.01, 1.0, 0.0)
    assert always_passed.escapes_among_accepted == pytest.approx(0.01)
    assert always_passed.truly_bad_among_rejected is None
    always_defective = line_projection(0.01, 0.0, 1.0)
    assert always_defective.escapes_among_accepted is None
    assert always_defective.truly_bad_among_rejected == pytest.approx(0.01)
    with pytest.raises(ValueError, match="shares lie in"):
        line_projection(1.5, 0.1, 0.1)
