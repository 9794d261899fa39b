"""Every worked number of MEASUREMENT sections 1, 2, 5 and 6 that this room computes, to the digits given there."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.records import Comparison
from harness.score import (
    Target,
    clopper_pearson,
    clustered_standard_error,
    compare,
    detectable_difference,
    digital_sn,
    judge_regression,
    judge_target,
    line_projection,
    mcnemar_exact,
    more_records_needed,
    paired_wald,
    records_for,
    upper_bound,
    wilson,
)
from harness.score.compare import holm
from tests.score.answers import right_or_wrong


def test_section_1_intervals() -> None:
    found = wilson(380, 400)
    assert found.value == 0.95
    assert found.n == 400
    assert found.low == pytest.approx(0.92404, abs=5e-6)
    assert found.high == pytest.approx(0.96740, abs=5e-6)
    exact = clopper_pearson(380, 400)
    assert exact.low == pytest.approx(0.92383, abs=5e-6)
    assert exact.high == pytest.approx(0.96919, abs=5e-6)


def test_section_1_bounds() -> None:
    assert upper_bound(0, 149) <= 0.02 < upper_bound(0, 148)
    assert upper_bound(1, 236) <= 0.02 < upper_bound(1, 235)
    assert upper_bound(0, 200) == pytest.approx(0.01487, abs=5e-6)
    assert upper_bound(1, 200) == pytest.approx(0.02350, abs=5e-6)


def test_section_1_records_needed() -> None:
    assert records_for(0.02, 0) == 149
    assert records_for(0.02, 1) == 236
    assert more_records_needed(0, 120, 0.02) == 29
    assert more_records_needed(1, 200, 0.02) == 36
    assert more_records_needed(0, 200, 0.02) == 0


def test_section_1_records_needed_in_words() -> None:
    """A report says how many more defective records a target needs."""
    miss = Target("miss_rate", 0.02, "at_most")
    assert "36 more defective records without a miss would show 2%" in judge_target(1, 200, miss).reason
    assert "1 more defective record without a miss would show 2%" in judge_target(0, 148, miss).reason
    assert judge_target(0, 149, miss).reason == "0 misses of 149 shows at most 1.99%; the target is at most 2%"
    assert "0 misses of 200 shows at most 1.49%" in judge_target(0, 200, miss).reason
    assert "1 miss of 200 shows at most 2.35%" in judge_target(1, 200, miss).reason


def test_section_1_line() -> None:
    found = line_projection(prevalence=0.01, miss_rate=0.02, overkill_rate=0.05)
    assert found.escapes_among_accepted is not None
    assert found.escapes_among_accepted * 1e6 == pytest.approx(212.6, abs=0.05)
    assert found.truly_bad_among_rejected == pytest.approx(0.165, abs=5e-4)


@pytest.mark.parametrize(
    ("false_rejects", "passed", "misses", "defective", "p0", "p0_digits", "sn", "sn_digits"),
    [
        (10, 100, 50, 100, 0.25, 1e-12, 4.771, 3),
        (10, 200, 4, 200, 0.031734, 5e-7, 14.8447, 4),
        (10, 200, 0, 200, 0.011588, 5e-7, 19.3093, 4),
        (0, 200, 0, 200, 0.0024876, 5e-8, 26.0314, 4),
        (200, 200, 0, 200, 0.5, 1e-12, 0.0, 9),
    ],
)
def test_section_2_digital_sn(
    false_rejects: int,
    passed: int,
    misses: int,
    defective: int,
    p0: float,
    p0_digits: float,
    sn: float,
    sn_digits: int,
) -> None:
    found = digital_sn(false_rejects, passed, misses, defective)
    assert found is not None
    assert found.p0 == pytest.approx(p0, abs=p0_digits)
    assert round(found.sn, sn_digits) == sn
    assert found.sn == pytest.approx(10 * math.log10(1 / found.p0 - 1), abs=1e-9)
    assert found.at_least == (0 in (false_rejects, misses, passed - false_rejects, defective - misses))


def test_section_2_interval_and_the_form_never_used() -> None:
    found = digital_sn(10, 200, 4, 200)
    assert found is not None
    assert found.low == pytest.approx(12.29, abs=5e-3)
    assert found.high == pytest.approx(17.40, abs=5e-3)
    first = digital_sn(10, 100, 50, 100)
    assert first is not None
    r = (1 - 2 * first.p0) ** 2
    assert 10 * math.log10(r / (1 - r)) == pytest.approx(-4.771, abs=5e-4)


def test_section_5_paired() -> None:
    """[[340, 12], [28, 20]]: 12 broken, 28 fixed of 400."""
    assert mcnemar_exact(28, 12) == pytest.approx(0.016589, abs=5e-7)
    wald = paired_wald(400, fixed=28, broken=12)
    assert wald.value == pytest.approx(0.04)
    assert wald.low == pytest.approx(0.0093, abs=5e-5)
    assert wald.high == pytest.approx(0.0707, abs=5e-5)
    assert wald.low is not None
    assert wald.high is not None
    assert (wald.high - wald.low) / 2 / 1.959964 == pytest.approx(0.015684, abs=5e-7)


def test_section_5_standard_error() -> None:
    """SE .015684: the standard deviation (n) of the 400 paired differences over sqrt(n), from numpy."""
    differences = np.array([0] * 340 + [-1] * 12 + [1] * 28 + [0] * 20)
    assert differences.std() / 20 == pytest.approx(0.015684, abs=5e-7)
    assert clustered_standard_error(
        (differences - differences.mean()).tolist(), [str(i) for i in range(400)]
    ) == pytest.approx(0.015684, abs=5e-7)


def test_section_5_paired_from_scores() -> None:
    baseline = right_or_wrong([True] * 340 + [True] * 12 + [False] * 28 + [False] * 20)
    candidate = right_or_wrong([True] * 340 + [False] * 12 + [True] * 28 + [False] * 20)
    (found,) = compare(baseline, candidate, metrics=("verdict_accuracy",))
    assert (found.n, found.fixed, found.broken) == (400, 28, 12)
    assert found.difference == pytest.approx(0.04)
    assert found.p_value == found.p_holm == pytest.approx(0.016589, abs=5e-7)
    assert "Wald [0.0093, 0.0707]" in found.method
    assert "bootstrap 95 % by record" in found.method
    # The resampled interval agrees with Wald's but for the grid of 1/400 that it lies on and its own scatter.
    assert found.ci_low == pytest.approx(0.0093, abs=0.004)
    assert found.ci_high == pytest.approx(0.0707, abs=0.004)
    assert found.detectable == pytest.approx(0.044, abs=5e-4)


def test_section_5_clusters() -> None:
    groups, errors = [], []
    for name, answers in enumerate(("1111", "1111", "1101", "0000", "1110")):
        groups += [str(name)] * 4
        errors += [int(answer) - 0.7 for answer in answers]
    assert sum(errors) == pytest.approx(0)
    assert clustered_standard_error(errors, groups) == pytest.approx(0.16432, abs=5e-6)
    # The naive one is the sample standard deviation (n - 1) over sqrt(n); by record the formula above divides by n.
    naive = math.sqrt(sum(e * e for e in errors) / (len(errors) - 1) / len(errors))
    assert naive == pytest.approx(0.10513, abs=5e-6)
    by_record = clustered_standard_error(errors, [str(i) for i in range(20)])
    assert by_record * math.sqrt(20 / 19) == pytest.approx(0.10513, abs=5e-6)


def test_section_5_detectable_in_words() -> None:
    """n = 400, discordance 10 %: 4.4 points."""
    baseline = right_or_wrong([True] * 380 + [False] * 20)
    candidate = right_or_wrong([True] * 360 + [False] * 20 + [True] * 20)
    found = judge_regression(baseline, candidate)
    (compared,) = compare(baseline, candidate, metrics=("verdict_accuracy",))
    assert compared.detectable is not None
    assert round(100 * compared.detectable, 1) == 4.4
    assert "such a sample shows a loss of" in found.reason


def test_section_5_holm() -> None:
    p_values = (0.001, 0.012, 0.03, 0.041, 0.2)
    made = [Comparison(str(p), 9, 0, 0, 0, 0, 0, 0, 0, p, 1.0, None, "") for p in p_values]
    assert [c.p_holm for c in holm(made)] == pytest.approx([0.005, 0.048, 0.09, 0.09, 0.2])
    assert [c.p_holm for c in holm(made[::-1])] == pytest.approx([0.2, 0.09, 0.09, 0.048, 0.005])


@pytest.mark.parametrize(("discordance", "points"), [(0.05, 3.1), (0.10, 4.4), (0.15, 5.4), (0.20, 6.2)])
def test_section_5_detectable_difference(discordance: float, points: float) -> None:
    found = detectable_difference(400, discordance, power=0.8, alpha=0.05)
    assert found is not None
    assert round(100 * found, 1) == points


def test_section_6_gate_by_the_bounds_of_section_1() -> None:
    target = Target("miss_rate", 0.02, "at_most")
    assert judge_target(0, 149, target).status == "pass"
    assert judge_target(1, 236, target).status == "pass"
    assert judge_target(1, 235, target).status == "inconclusive"
    found = judge_target(0, 120, target)
    assert found.status == "inconclusive"
    assert found.records_to_decide == 29
    assert found.reason == (
        "0 misses of 120 shows at most 2.47%; 29 more defective records without a miss would show 2%"
    )
