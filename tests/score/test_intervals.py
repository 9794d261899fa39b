"""Intervals against scipy and against simulated truth."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest
from scipy.stats import bootstrap as scipy_bootstrap

from harness.score import clopper_pearson, clustered_standard_error, lower_bound, upper_bound, wilson
from harness.score.intervals import Bootstrap, Interval, clustered_wilson

tables = st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
levels = st.sampled_from([0.8, 0.9, 0.95, 0.99])


@settings(deadline=None)
@given(table=tables, confidence=levels)
@pytest.mark.parametrize(("ours", "theirs"), [(wilson, "wilson"), (clopper_pearson, "exact")])
def test_two_sided_agree_with_scipy(
    ours: Callable[..., Interval], theirs: str, table: tuple[int, int], confidence: float
) -> None:
    found = ours(*table, confidence)
    expected = binomtest(*table).proportion_ci(confidence, method=theirs)
    assert found.value == table[0] / table[1]
    assert found.low == pytest.approx(expected.low, abs=1e-9)
    assert found.high == pytest.approx(expected.high, abs=1e-9)
    assert f"{100 * confidence:g} %" in found.method


@settings(deadline=None)
@given(table=tables, confidence=levels)
def test_one_sided_agree_with_scipy(table: tuple[int, int], confidence: float) -> None:
    upper = binomtest(*table, alternative="less").proportion_ci(confidence).high
    lower = binomtest(*table, alternative="greater").proportion_ci(confidence).low
    assert upper_bound(*table, confidence) == pytest.approx(upper, abs=1e-9)
    assert lower_bound(*table, confidence) == pytest.approx(lower, abs=1e-9)


def test_no_record_has_no_rate_and_any_bound() -> None:
    for found in (wilson(0, 0), clopper_pearson(0, 0)):
        assert (found.value, found.low, found.high, found.n) == (None, None, None, 0)
        assert found.method == "not defined: no such record"
    assert upper_bound(0, 0) == 1
    assert lower_bound(0, 0) == 0


@pytest.mark.parametrize("of", [wilson, clopper_pearson, upper_bound, lower_bound])
def test_what_is_no_count_is_refused(of: Callable[..., object]) -> None:
    for successes, n in ((-1, 3), (4, 3), (1, 0)):
        with pytest.raises(ValueError, match="successes of"):
            of(successes, n)
    for confidence in (0.0, 1.0, 95):
        with pytest.raises(ValueError, match="confidence"):
            of(1, 3, confidence)


@settings(deadline=None, max_examples=40)
@given(
    records=st.lists(st.tuples(st.integers(0, 6), st.floats(-2, 2)), min_size=3, max_size=60).filter(
        lambda found: len({group for group, _ in found}) > 1
    )
)
def test_clustered_standard_error_agrees_with_statsmodels(records: list[tuple[int, float]]) -> None:
    """The cluster-robust error of a mean, by statsmodels' OLS on a constant, without small-sample correction."""
    from statsmodels.regression.linear_model import OLS

    groups, values = [group for group, _ in records], np.array([value for _, value in records])
    fitted = OLS(values, np.ones(len(values))).fit(
        cov_type="cluster", cov_kwds={"groups": np.array(groups), "use_correction": False}
    )
    ours = clustered_standard_error((values - values.mean()).tolist(), [str(group) for group in groups])
    assert ours == pytest.approx(float(fitted.bse[0]), abs=1e-9)


def test_wilson_covers_93_to_97_percent_by_simulation() -> None:
    """20,000 drawn test sets at rates spread over (0.02, 0.98); every interval is the one that users get."""
    random = np.random.default_rng(21)
    rates = random.uniform(0.02, 0.98, 20_000)
    for n in (100, 400):
        ends = [wilson(x, n) for x in range(n + 1)]
        low, high = np.array([e.low for e in ends], float), np.array([e.high for e in ends], float)
        drawn = random.binomial(n, rates)
        assert 0.93 <= float(((low[drawn] <= rates) & (rates <= high[drawn])).mean()) <= 0.97


@pytest.mark.parametrize("n", [50, 200, 400])
def test_wilson_covers_93_to_97_percent(n: int) -> None:
    """Mean coverage over true rates, computed exactly from the binomial distribution."""
    ends = [wilson(x, n) for x in range(n + 1)]
    low, high = np.array([e.low for e in ends], float), np.array([e.high for e in ends], float)
    coverage = [
        float(binom.pmf(np.arange(n + 1), n, rate)[(low <= rate) & (rate <= high)].sum())
        for rate in np.linspace(0.02, 0.98, 97)
    ]
    assert 0.93 <= float(np.mean(coverage)) <= 0.97


@pytest.mark.parametrize("rate", [0.005, 0.02, 0.1, 0.5])
@pytest.mark.parametrize("n", [20, 149, 400])
def test_one_sided_bound_never_undercovers(rate: float, n: int) -> None:
    chance = binom.pmf(np.arange(n + 1), n, rate)
    covered = sum(float(chance[x]) for x in range(n + 1) if upper_bound(x, n) >= rate)
    assert covered >= 0.95


def test_bootstrap_by_record_agrees_with_scipy() -> None:
    values = np.random.default_rng(4).beta(2, 5, 150)
    boot = Bootstrap(150)
    found = boot.interval(float(values.mean()), boot.ratio(values.tolist(), [1.0] * 150), 150)
    theirs = scipy_bootstrap(
        (values,), np.mean, n_resamples=9999, method="percentile", rng=np.random.default_rng(5)
    ).confidence_interval
    assert found.low == pytest.approx(theirs.low, abs=0.004)
    assert found.high == pytest.approx(theirs.high, abs=0.004)
    assert found.method == "bootstrap 95 % by record"


def test_bootstrap_by_group_has_the_clustered_standard_error() -> None:
    random = np.random.default_rng(6)
    groups = [str(i // 5) for i in range(400)]
    shift = random.normal(0, 1, 80)
    values = [float(shift[i // 5] + random.normal()) for i in range(400)]
    boot = Bootstrap(400, groups)
    draws = boot.ratio(values, [1.0] * 400)
    mean = float(np.mean(values))
    clustered = clustered_standard_error([v - mean for v in values], groups)
    assert float(np.std(draws)) == pytest.approx(clustered, rel=0.06)
    by_record = Bootstrap(400)
    assert float(np.std(by_record.ratio(values, [1.0] * 400))) < 0.75 * clustered


def test_bootstrap_is_the_same_every_time_and_touches_no_global_generator() -> None:
    np.random.seed(1)  # the global generator is what must not move
    before = np.random.get_state()[1].tolist()  # type: ignore[index]
    first, second = Bootstrap(30), Bootstrap(30)
    assert (first.weights == second.weights).all()
    assert (Bootstrap(30, seed=1).weights != first.weights).any()
    assert np.random.get_state()[1].tolist() == before  # type: ignore[index]
    assert (first.weights.sum(axis=1) == 30).all()


def test_bootstrap_by_group_draws_whole_groups() -> None:
    boot = Bootstrap(5, ["a", "b", "a", "b", "c"])
    a, b, c = boot.sums([[1, 0, 1, 0, 0], [0, 1, 0, 1, 0], [0, 0, 0, 0, 1]])
    assert set(a) | set(b) <= {0, 2, 4, 6}
    assert ((a + b) / 2 + c == 3).all()
    assert boot.units_with([1, 0, 1, 0, 0]) == 1


def test_a_figure_that_some_resamples_do_not_define() -> None:
    boot = Bootstrap(3)
    draws = boot.ratio([1, 0, 0], [1, 1, 0])
    assert np.isnan(draws).any()
    found = boot.interval(0.5, draws, 2)
    assert (found.low, found.high) == (0, 1)
    assert "of 2000 resamples define it" in found.method


def test_no_scatter_is_no_interval() -> None:
    boot = Bootstrap(4)
    found = boot.interval(0.7, boot.ratio([0.7] * 4, [1.0] * 4), 4)
    assert (found.low, found.high, found.method) == (None, None, "no scatter in 4 records: no interval")
    nowhere = boot.interval(0.0, np.full(2000, math.nan), 4)
    assert (nowhere.low, nowhere.high) == (None, None)


@pytest.mark.parametrize(("n", "groups"), [(0, None), (3, ["a"])])
def test_what_cannot_be_resampled_is_refused(n: int, groups: list[str] | None) -> None:
    with pytest.raises(ValueError, match="cannot be resampled"):
        Bootstrap(n, groups)


def test_clustered_wilson_of_repeated_records_is_wilson_of_the_groups() -> None:
    """Each record five times over tells what it tells once (and a little less for the error of its own scatter)."""
    shows = [i % 4 > 0 for i in range(80) for _ in range(5)]
    found = clustered_wilson(shows, [str(i) for i in range(80) for _ in range(5)])
    once = binomtest(60, 80).proportion_ci(0.95, method="wilson")
    assert found.value == 0.75
    assert found.n == 400
    assert found.low == pytest.approx(once.low, abs=1e-9)
    assert found.high == pytest.approx(once.high, abs=1e-9)
    assert "80.0 effective records" in found.method


def test_clustered_wilson_is_never_narrower_than_wilson() -> None:
    balanced = [True, False] * 50
    groups = [str(i // 2) for i in range(100)]
    assert clustered_wilson(balanced, groups) == wilson(50, 100)
    nearly = [True, True, *balanced[2:]]
    errors = [show - 0.51 for show in nearly]
    assert 0 < clustered_standard_error(errors, groups) < math.sqrt(0.51 * 0.49 / 100)
    assert clustered_wilson(nearly, groups) == wilson(51, 100)
    assert clustered_wilson([True] * 100, groups) == wilson(100, 100)
    assert clustered_wilson([], []) == wilson(0, 0)


def test_clustered_wilson_covers_where_plain_wilson_does_not() -> None:
    """60 groups of 6 alike by a beta-binomial with correlation 0.5, true rate 0.8."""
    random = np.random.default_rng(7)
    groups = [str(i // 6) for i in range(360)]
    covered = {"plain": 0, "clustered": 0}
    for _ in range(400):
        rates = random.beta(0.8, 0.2, 60).repeat(6)
        shows = (random.random(360) < rates).tolist()
        for name, found in (("plain", wilson(sum(shows), 360)), ("clustered", clustered_wilson(shows, groups))):
            assert found.low is not None
            assert found.high is not None
            covered[name] += found.low <= 0.8 <= found.high
    assert covered["clustered"] / 400 >= 0.92
    assert covered["plain"] / 400 <= 0.85


def test_a_standard_error_needs_records_and_their_groups() -> None:
    with pytest.raises(ValueError, match="no record"):
        clustered_standard_error([], [])
    with pytest.raises(ValueError, match="argument"):
        clustered_standard_error([0.1, -0.1], ["a"])
