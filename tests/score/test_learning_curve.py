"""The learning curve: the worked numbers, the fit against scipy and by property, and what is not told."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares
from scipy.stats import beta

from harness.score import curve_target
from harness.score.curve_target import records_needed
from harness.score.learning_curve import band, fit_learning_curve, metric_curve
from harness.score.power_law import EXPONENTS, PowerLaw, fit_many, fit_power_law
from tests.score.answers import right_or_wrong, verdict_score

SIZES = (50, 100, 200, 400, 800)


def _values(a: float, b: float, c: float) -> list[float]:
    return [a - b * n**-c for n in SIZES]


def _answers(shares: Sequence[float], n: int = 400) -> list[list[bool]]:
    """For each share, n answers of which so many are right: the same records at every size, more with more data."""
    return [[i < round(share * n) for i in range(n)] for share in shares]


def test_worked_example_of_measurement() -> None:
    values = _values(0.95, 2, 0.5)
    law = fit_power_law(SIZES, values, [p * (1 - p) / 400 for p in values])
    assert (law.a, law.b, law.c) == pytest.approx((0.95, 2, 0.5), abs=1e-9)
    assert law.records_for(0.90) == pytest.approx(1600, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(a=st.floats(0.5, 1.0), at_50=st.floats(0.02, 0.45), c=st.floats(0.1, 2.5), gap=st.floats(0.1, 0.9))
def test_an_exact_curve_comes_back(a: float, at_50: float, c: float, gap: float) -> None:
    b = at_50 * 50**c
    values = _values(a, b, c)
    law = fit_power_law(SIZES, values, [max(p * (1 - p), 0.01) / 400 for p in values])
    assert law.a == pytest.approx(a, abs=1e-4)
    assert law.c == pytest.approx(c, rel=1e-2)
    assert [law.at(n) for n in SIZES] == pytest.approx(values, abs=1e-6)
    target = a - gap * at_50
    assert law.records_for(target) == pytest.approx((b / (a - target)) ** (1 / c), rel=0.02)


FIVE = {"min_size": 5, "max_size": 5}


@settings(max_examples=20, deadline=None)
@given(values=st.lists(st.floats(0, 1), **FIVE), variances=st.lists(st.floats(1e-4, 1e-2), **FIVE))
def test_no_other_start_of_scipy_finds_a_better_fit(values: list[float], variances: list[float]) -> None:
    law = fit_power_law(SIZES, values, variances)
    assert 0 < law.a <= 1
    assert law.b >= 0
    assert EXPONENTS[0] <= law.c <= EXPONENTS[1]
    n, y, sigma = np.array(SIZES, float) / 200, np.array(values), np.sqrt(variances)

    def misfit(p: Sequence[float]) -> np.ndarray:
        return np.asarray((p[0] - p[1] * n ** -p[2] - y) / sigma)

    own = float((misfit((law.a, law.b * 200**-law.c, law.c)) ** 2).sum())
    for c in (0.1, 0.5, 1.5):
        start = (min(0.99, max(0.02, max(values))), 0.1, c)
        found = least_squares(misfit, start, bounds=([1e-9, 0, EXPONENTS[0]], [1, np.inf, EXPONENTS[1]]))
        assert own <= 2 * found.cost * (1 + 1e-3) + 1e-6
    many = PowerLaw(*map(float, fit_many(np.array(SIZES, float), y[None], 1 / np.array(variances))[0]))
    grid = float((misfit((many.a, many.b * 200**-many.c, many.c)) ** 2).sum())
    assert grid == pytest.approx(own, rel=0.02, abs=0.02), "the resamples are fitted as the curve itself is"


def test_the_same_resample_serves_every_size() -> None:
    """One set of right records at every size: no resample can show a rise, so the band is that of one share."""
    curve = fit_learning_curve(SIZES, _answers([0.8] * 5))
    assert curve.draws is not None
    assert np.all(curve.draws[:, 1] * 50.0 ** -curve.draws[:, 2] < 1e-6)
    ends = band(curve, [100])[0]
    assert ends.value == pytest.approx(0.8)
    assert ends.high - ends.low == pytest.approx(2 * 1.96 * math.sqrt(0.8 * 0.2 / 400), rel=0.1)


def test_groups_widen_the_band() -> None:
    rng = np.random.default_rng(5)
    groups = [f"lot {i // 10}" for i in range(400)]
    lots = rng.random(40)
    right = [[bool(lots[i // 10] < share) for i in range(400)] for share in _values(0.95, 2, 0.5)]
    alone, clustered = fit_learning_curve(SIZES, right), fit_learning_curve(SIZES, right, groups)
    one, other = band(alone, [800])[0], band(clustered, [800])[0]
    assert "by group" in clustered.method
    # Ten records of a lot always agree: as many effective records as lots, so sqrt(10) times as wide.
    assert (other.high - other.low) / (one.high - one.low) == pytest.approx(math.sqrt(10), rel=0.25)
    assert clustered.points[0].variance == pytest.approx(10 * alone.points[0].variance, rel=0.15)


def test_mistakes_are_the_complement() -> None:
    shares = _values(0.98, 2, 0.5)
    defective = [True] * 400
    scores = [right_or_wrong(row) for row in _answers(shares)]
    good = metric_curve("defect_accuracy", SIZES, scores, defective)
    bad = metric_curve("miss_rate", SIZES, scores, defective)
    assert bad.law == good.law
    assert [p.value for p in bad.points] == pytest.approx([1 - p.value for p in good.points])
    one, other = records_needed(good, 0.95), records_needed(bad, 0.05)
    assert (one.needed, one.low, one.high) == pytest.approx((other.needed, other.low, other.high))
    up, down = band(good, [100])[0], band(bad, [100])[0]
    assert (down.value, down.low, down.high) == pytest.approx((1 - up.value, 1 - up.high, 1 - up.low))


def test_a_metric_of_one_class_takes_that_class_alone() -> None:
    defective = [i % 2 == 0 for i in range(400)]
    scores = [
        [verdict_score(bad, "defective" if bad == (i < 400 * share) else "passed") for i, bad in enumerate(defective)]
        for share in _values(0.95, 2, 0.5)
    ]
    assert metric_curve("miss_rate", SIZES, scores, defective).n == 200
    assert metric_curve("verdict_accuracy", SIZES, scores, defective).n == 400


def test_few_sizes_are_told_and_so_is_no_record() -> None:
    curve = fit_learning_curve((50, 100, 200, 200), _answers([0.7, 0.75, 0.8, 0.8]))
    assert curve.law is None
    needed = records_needed(curve, 0.9)
    assert not needed.estimable
    assert needed.sentence == "not estimable: 3 sizes of training data, at least 4 are needed"
    nobody = metric_curve("pass_accuracy", SIZES, [right_or_wrong([True] * 4)] * 5, [True] * 4)
    assert records_needed(nobody, 0.9).sentence == "not estimable: no such test record"
    with pytest.raises(ValueError, match="no curve"):
        band(curve, [10])
    with pytest.raises(ValueError, match="sizes with"):
        fit_learning_curve((50, 100), _answers([0.5]))
    with pytest.raises(ValueError, match="distinct sizes"):
        fit_power_law([1, 2, 3], [0.1, 0.2, 0.3], [1, 1, 1])
    with pytest.raises(ValueError, match="target lies in"):
        records_needed(curve, 1.5)


def test_a_target_above_the_plateau_is_told_with_the_share_of_resamples() -> None:
    curve = fit_learning_curve(SIZES, _answers(_values(0.80, 8, 1.0)))
    needed = records_needed(curve, 0.95)
    assert not needed.estimable
    assert needed.needed is None
    assert needed.above_plateau == 1.0
    assert "levels off at 80" in needed.sentence
    assert "target above the plateau in 100% of the resamples" in needed.sentence
    mistakes = records_needed(fit_learning_curve(SIZES, _answers(_values(0.80, 8, 1.0)), mistakes=True), 0.05)
    assert "levels off at 20" in mistakes.sentence
    assert "target below the floor of the curve in 100% of the resamples" in mistakes.sentence


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_flat_curve_promises_nothing(share: float) -> None:
    curve = fit_learning_curve(SIZES, _answers([share] * 5))
    assert curve.law is not None
    assert curve.law.at(400) == pytest.approx(share, abs=1e-6)
    assert not records_needed(curve, min(1.0, share + 0.2)).estimable
    if share:
        met = records_needed(curve, share - 0.2)
        assert met.estimable
        assert "met with 50 training records, the smallest size measured" in met.sentence


def test_all_right_is_no_certainty() -> None:
    """400 of 400 right at every size: the band is Jeffreys' interval of one share, not [1, 1]."""
    curve = fit_learning_curve(SIZES, _answers([1.0] * 5))
    ends = band(curve, [400])[0]
    assert ends.low == pytest.approx(float(beta.ppf(0.025, 400.5, 0.5)), abs=0.002)
    assert not records_needed(curve, 0.9999).estimable, "0 of 400 does not show 1 of 10,000"
    assert records_needed(curve, 0.98).estimable


def test_points_that_follow_no_curve_are_told() -> None:
    curve = fit_learning_curve(SIZES, _answers([0.9, 0.1, 0.8, 0.2, 0.6]))
    assert curve.law is None
    needed = records_needed(curve, 0.7)
    assert not needed.estimable
    assert "do not follow a - b n^-c within the scatter of the test records" in needed.sentence
    assert "2 degrees of freedom" in needed.sentence
    fewer = fit_learning_curve(SIZES[:4], _answers([0.9, 0.1, 0.8, 0.2]))
    assert "1 degree of freedom" in fewer.reason


def test_an_interval_open_above_says_so() -> None:
    curve = fit_learning_curve(SIZES, _answers(_values(0.95, 2, 0.5), n=100))
    needed = records_needed(curve, 0.93)
    assert needed.estimable
    assert needed.high is None
    assert "no upper end" in needed.sentence
    assert needed.low is not None
    assert needed.needed is not None
    assert needed.low < needed.needed


def test_a_falling_curve_is_flat_at_its_mean() -> None:
    values = [0.9, 0.85, 0.8, 0.75, 0.7]
    law = fit_power_law(SIZES, values, [0.001] * 5)
    assert law.b == 0.0
    assert law.at(100) == pytest.approx(0.8)


def test_the_scatter_between_trainings_is_seen_and_widens() -> None:
    rng = np.random.default_rng(3)
    base = _values(0.95, 2, 0.5)
    uniform = rng.random(4000)
    calm = [(uniform < share).tolist() for share in base for _ in range(4)]
    wild = [(uniform < share + 0.03 * rng.standard_normal()).tolist() for share in base for _ in range(4)]
    sizes = [n for n in SIZES for _ in range(4)]
    still, moved = fit_learning_curve(sizes, calm), fit_learning_curve(sizes, wild)
    assert still.training_sd == 0.0
    assert moved.training_sd == pytest.approx(0.03, rel=0.5)
    assert fit_learning_curve(SIZES, _answers(base)).training_sd is None
    widths = [band(curve, [800])[0].high - band(curve, [800])[0].low for curve in (still, moved)]
    assert widths[1] > widths[0]


def test_the_seed_decides_the_resamples() -> None:
    right = _answers(_values(0.95, 2, 0.5))
    one, same, other = (fit_learning_curve(SIZES, right, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one.draws, same.draws)  # type: ignore[arg-type]
    assert not np.array_equal(one.draws, other.draws)  # type: ignore[arg-type]


def test_numbers_are_rounded_for_people() -> None:
    assert [curve_target._round(n) for n in (0.2, 7.2, 999.0, 1600.000001, 23_456)] == [1, 8, 999, 1600, 23_500]


@settings(max_examples=25, deadline=None)
@given(shares=st.lists(st.floats(0, 1), min_size=4, max_size=6), target=st.floats(0, 1), mistakes=st.booleans())
def test_whatever_the_answers_something_is_said(shares: list[float], target: float, mistakes: bool) -> None:
    sizes = [25 * 2**i for i in range(len(shares))]
    curve = fit_learning_curve(sizes, _answers(shares, n=40), mistakes=mistakes, resamples=50)
    needed = records_needed(curve, target)
    assert needed.sentence
    assert needed.estimable == (needed.needed is not None) == (needed.low is not None)
    if needed.high is not None:
        assert needed.low is not None
        assert 1 <= needed.low <= needed.high
    assert (curve.law is None) == bool(curve.reason)
    for point in band(curve, [10, 100, 10_000]) if curve.law else []:
        assert 0 <= point.low <= point.high <= 1
