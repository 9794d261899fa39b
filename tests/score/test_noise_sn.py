"""The SN ratio under noise: MEASUREMENT section 3's worked numbers, slow sums, named infinities, honest intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from harness.score.noise_sn import NoiseSN, balanced_energy_sn, energy_interval, noise_sn, overall_sn

Y0 = (0.9, 0.6, -0.8, -0.5)
N1 = (0.7, 0.4, -0.9, -0.6)
N2 = (0.95, 0.7, -0.6, -0.2)
TRUTH = (1, 1, -1, -1)

SCORES = st.floats(-1, 1).map(lambda value: round(value, 4))


def test_section_3_against_the_reference() -> None:
    found = noise_sn(Y0, [N1, N2])
    assert (found.records, found.levels) == (4, 2)
    assert found.r == pytest.approx(2.06, abs=5e-12)
    # sum L_j = 1.89 + 1.855 = beta J r
    assert found.beta is not None
    assert found.beta * 2 * found.r == pytest.approx(1.89 + 1.855, abs=1e-12)
    assert found.s_total == pytest.approx(3.6125, abs=5e-12)
    assert found.s_beta == pytest.approx(3.404132, abs=5e-7)
    assert found.s_noise == pytest.approx(0.208368, abs=5e-7)
    assert found.beta == pytest.approx(0.90898, abs=5e-6)
    assert found.n0_sn == pytest.approx(21.4116, abs=5e-5)
    assert found.energy_sn == pytest.approx(12.1318, abs=5e-5)
    assert (found.remark, found.against) == ("", False)


def test_section_3_against_the_truth() -> None:
    assert noise_sn(TRUTH, [N1, N2]).energy_sn == pytest.approx(8.7542, abs=5e-5)


def test_section_3_l_of_each_level() -> None:
    for run, wanted in ((N1, 1.89), (N2, 1.855)):
        one = noise_sn(Y0, [run])
        assert one.beta is not None
        assert one.beta * one.r == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize(("rate", "wanted"), [(0.05, 6.2973), (0.1, 2.4988)])
def test_section_3_balanced_closed_form(rate: float, wanted: float) -> None:
    assert balanced_energy_sn(rate) == pytest.approx(wanted, abs=5e-5)
    truth = [1.0] * 200 + [-1.0] * 200
    wrong = round(200 * rate)
    y = [-1.0] * wrong + [1.0] * (200 - wrong) + [1.0] * wrong + [-1.0] * (200 - wrong)
    assert noise_sn(truth, [y, y]).energy_sn == pytest.approx(wanted, abs=5e-5)


def test_balanced_closed_form_at_its_ends() -> None:
    assert balanced_energy_sn(0) == balanced_energy_sn(1) == math.inf
    assert balanced_energy_sn(0.5) == -math.inf
    with pytest.raises(ValueError, match=r"a rate lies in \[0, 1\], got 1.2"):
        balanced_energy_sn(1.2)


def test_section_3_t_method() -> None:
    found = overall_sn((-3, -1, 1, 3), (-2.8, -1.3, 0.9, 3.1))
    assert found.eta == pytest.approx(12.9703, abs=5e-5)
    assert found.energy_sn == pytest.approx(21.2203, abs=5e-5)
    assert found.remark == ""


def test_t_method_centres_on_the_truth() -> None:
    shifted = overall_sn((7, 9, 11, 13), (7.2, 8.7, 10.9, 13.1))
    assert shifted.eta == pytest.approx(12.9703, abs=5e-5)


def test_t_method_names_what_has_no_number() -> None:
    assert overall_sn((-1, 1), (-0.5, 0.5)).eta == math.inf
    assert overall_sn((-1, 1), (-0.5, 0.5)).remark == "no variation seen, n = 2"
    nothing = overall_sn((-1, -1, 1, 1), (0.5, -0.5, 0.5, -0.5))
    assert (nothing.eta, nothing.energy_sn) == (-math.inf, -math.inf)
    assert "nothing beyond the scatter" in nothing.remark
    assert overall_sn((1, 1, 1), (0.2, 0.3, 0.4)).eta is None
    assert "all 3 truths are the same" in overall_sn((1, 1, 1), (0.2, 0.3, 0.4)).remark
    assert overall_sn((-1, 1), (0, 0)).eta is None
    assert overall_sn((-1, -1, 1, 1), (0.8, 0.9, -0.9, -0.8)).remark == "against the truth"


@given(st.lists(st.tuples(SCORES, SCORES, SCORES, SCORES), min_size=2, max_size=12))
def test_agrees_with_sums_written_out(rows: list[tuple[float, float, float, float]]) -> None:
    y0, *runs = (list(column) for column in zip(*rows, strict=True))
    r = math.fsum(v * v for v in y0)
    total = math.fsum(v * v for run in runs for v in run)
    assume(r > 1e-3)
    assume(total > 1e-3)
    follow = math.fsum(a * b for run in runs for a, b in zip(y0, run, strict=True))
    s_beta = follow**2 / (3 * r)
    s_noise = total - s_beta
    found = noise_sn(y0, runs)
    assert found.s_beta == pytest.approx(s_beta, abs=1e-9)
    assert found.s_noise == pytest.approx(s_noise, abs=1e-9)
    assert found.s_beta + found.s_noise == pytest.approx(found.s_total, abs=1e-9)
    assume(s_noise > 1e-6)
    assume(s_beta > 1e-6)
    assert found.energy_sn == pytest.approx(10 * math.log10(s_beta / s_noise), abs=1e-4)
    assert found.n0_sn == pytest.approx(10 * math.log10(3 * r / (s_noise / (3 * len(y0) - 1))), abs=1e-4)


def test_the_slope_is_that_of_a_regression_through_the_origin() -> None:
    statsmodels = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(3)
    y0 = rng.uniform(-1, 1, 40)
    runs = [0.8 * y0 + rng.normal(0, 0.2, 40) for _ in range(2)]
    fitted = statsmodels.OLS(np.concatenate(runs), np.concatenate([y0, y0])).fit()
    found = noise_sn(y0.tolist(), [run.tolist() for run in runs])
    assert found.beta == pytest.approx(float(fitted.params[0]))
    assert found.s_noise == pytest.approx(float(fitted.ssr))
    assert found.s_beta == pytest.approx(float(fitted.ess))


ALWAYS_PASSED = [-1.0] * 24
BALANCED = [1.0, -1.0] * 12


@pytest.mark.parametrize("level", [-1.0, -0.8, 1.0, 1 / 3, -0.1])
def test_a_model_that_always_says_the_same(level: float) -> None:
    """Always "passed" (or always "defective", or always .33): steady in itself, and nothing of it is the truth."""
    own = [level] * 24
    base = noise_sn(own, [own] * 7)
    assert (base.energy_sn, base.n0_sn) == (math.inf, math.inf)
    assert base.remark == "no variation seen, n = 24 pictures x 7 noise levels"
    truth = noise_sn(BALANCED, [own] * 7)
    assert truth.energy_sn == -math.inf
    assert truth.n0_sn == pytest.approx(10 * math.log10(24 * 7 * (24 * 7 - 1) / truth.s_total))
    assert truth.remark == "nothing follows the signal, n = 24 pictures x 7 noise levels"


def test_an_always_passed_model_on_unbalanced_truth_is_its_share_of_errors() -> None:
    truth = [1.0] * 2 + [-1.0] * 18
    assert noise_sn(truth, [[-1.0] * 20] * 2).energy_sn == pytest.approx(balanced_energy_sn(0.1))


def test_a_perfect_model_and_its_mirror_image() -> None:
    perfect, mirrored = noise_sn(BALANCED, [BALANCED] * 2), noise_sn(BALANCED, [[-v for v in BALANCED]] * 2)
    assert perfect.energy_sn == mirrored.energy_sn == math.inf
    assert (perfect.beta, perfect.against) == (1.0, False)
    assert (mirrored.beta, mirrored.against) == (-1.0, True)
    assert mirrored.remark.endswith("and against the signal")
    assert perfect.remark == "no variation seen, n = 24 pictures x 2 noise levels"


def test_a_mute_model_has_no_ratio() -> None:
    mute = [0.0] * 24
    assert noise_sn(mute, [mute] * 2).energy_sn is None
    assert "the signal is 0" in noise_sn(mute, [mute] * 2).remark
    against_truth = noise_sn(BALANCED, [mute] * 2)
    assert (against_truth.energy_sn, against_truth.n0_sn) == (None, None)
    assert "P(defective) is .5 throughout" in against_truth.remark
    assert noise_sn(mute, [BALANCED]).beta is None
    for signal, runs in ((mute, [mute]), (BALANCED, [mute]), (mute, [BALANCED])):
        interval = energy_interval(signal, runs)
        assert (interval.value, interval.low, interval.high) == (None, None, None)
        assert interval.method.startswith("not defined")


def test_rounding_is_no_variation() -> None:
    """The same picture in another batch: the seventh digit of P moves."""
    rng = np.random.default_rng(0)
    y0 = rng.uniform(-1, 1, 50)
    again = y0 + rng.uniform(-1e-7, 1e-7, 50)
    assert noise_sn(y0.tolist(), [again.tolist()]).energy_sn == math.inf


@pytest.mark.parametrize(
    ("signal", "runs", "words"),
    [
        ([1.0], [], r"a signal of 1 values with runs of \[\]"),
        ([1.0, -1.0], [[1.0]], r"a signal of 2 values with runs of \[1\]"),
        ([1.0], [[1.0]], "1 scores show no ratio"),
        ([1.0, math.nan], [[1.0, 1.0]], "not finite"),
    ],
)
def test_what_is_no_study(signal: list[float], runs: list[list[float]], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        noise_sn(signal, runs)


def _signed(y0: np.ndarray, a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
    """sign(beta) sqrt(S_beta / S_N), written for scipy."""
    follow, r = (y0 * (a + b)).sum(axis), (y0**2).sum(axis)
    s_beta = follow**2 / (2 * r)
    return np.asarray(np.sign(follow) * np.sqrt(s_beta / ((a**2 + b**2).sum(axis) - s_beta)))


def test_the_interval_is_scipys() -> None:
    rng = np.random.default_rng(5)
    truth = np.where(rng.random(120) < 0.4, 1.0, -1.0)
    a, b = (np.clip(0.7 * truth + rng.normal(0, 0.4, 120), -1, 1) for _ in range(2))
    wanted = stats.bootstrap(
        (truth, a, b), _signed, paired=True, method="percentile", n_resamples=9999, rng=np.random.default_rng(1)
    ).confidence_interval
    found = energy_interval(truth.tolist(), [a.tolist(), b.tolist()], resamples=9999)
    assert found.low == pytest.approx(20 * math.log10(wanted.low), abs=0.1)
    assert found.high == pytest.approx(20 * math.log10(wanted.high), abs=0.1)
    assert found.method == "bootstrap 95 % by picture"
    assert found.n == 120
    assert found == energy_interval(truth.tolist(), [a.tolist(), b.tolist()], resamples=9999), "seeded"
    assert found != energy_interval(truth.tolist(), [a.tolist(), b.tolist()], resamples=9999, seed=1)


def test_the_interval_covers_the_true_ratio() -> None:
    """y = .6 t + N(0, .5) has the ratio .36 / .25; 95 % intervals hold it in 91 to 98 % of 300 studies."""
    wanted = 10 * math.log10(0.36 / 0.25)
    rng = np.random.default_rng(11)
    truth = np.array([1.0, -1.0] * 60)
    hits = 0
    for study in range(300):
        runs = 0.6 * truth + rng.normal(0, 0.5, (2, 120))
        found = energy_interval(truth.tolist(), runs.tolist(), resamples=400, seed=study)
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= wanted <= found.high
    assert 0.91 <= hits / 300 <= 0.98


def test_no_signal_is_told_as_no_lower_end() -> None:
    """Scores without any truth in them: the plain ratio is finite by chance; its interval is open below."""
    rng = np.random.default_rng(2)
    truth = [1.0, -1.0] * 50
    opened = 0
    for study in range(40):
        found = energy_interval(truth, rng.uniform(-1, 1, (2, 100)).tolist(), resamples=400, seed=study)
        assert found.value is not None
        assert found.high is not None
        assert found.value <= found.high
        opened += found.low == -math.inf
    assert opened >= 34, "95 % of them, give or take"


def test_intervals_of_what_is_infinite() -> None:
    steady = energy_interval(ALWAYS_PASSED, [ALWAYS_PASSED] * 2)
    assert (steady.value, steady.low, steady.high) == (math.inf, None, None)
    assert steady.method == "no variation seen, n = 24 pictures x 2 noise levels"
    nothing = energy_interval(BALANCED, [ALWAYS_PASSED] * 2)
    assert (nothing.value, nothing.low) == (-math.inf, -math.inf)
    assert nothing.high is not None
    assert -20 < nothing.high < 0, "a resample is never quite balanced"
    assert nothing.method.startswith("nothing follows the signal")


def test_against_the_signal_is_said() -> None:
    rng = np.random.default_rng(4)
    truth = np.array([1.0, -1.0] * 30)
    runs = (-0.9 * truth + rng.normal(0, 0.2, (2, 60))).tolist()
    found, same = energy_interval(truth.tolist(), runs), energy_interval((-truth).tolist(), runs)
    assert found.method.startswith("against the signal; ")
    assert (found.value, found.low, found.high) == pytest.approx((same.value, same.low, same.high), abs=0.02)
    assert not same.method.startswith("against")


def test_by_group_is_wider_where_pictures_of_a_group_agree() -> None:
    rng = np.random.default_rng(6)
    truth = np.repeat(np.where(rng.random(20) < 0.5, 1.0, -1.0), 6)
    shift = np.repeat(rng.normal(0, 0.5, 20), 6)
    runs = [(0.6 * truth + shift + rng.normal(0, 0.05, 120)).tolist() for _ in range(2)]
    groups = [str(place // 6) for place in range(120)]
    alone, together = (energy_interval(truth.tolist(), runs, g) for g in (None, groups))
    assert together.method == "bootstrap 95 % by group"
    assert together.low is not None
    assert together.high is not None
    assert alone.low is not None
    assert alone.high is not None
    assert together.high - together.low > 1.4 * (alone.high - alone.low)


def test_a_study_is_a_value() -> None:
    assert noise_sn(Y0, [N1]) == noise_sn(Y0, [N1])
    assert isinstance(noise_sn(Y0, [N1]), NoiseSN)
