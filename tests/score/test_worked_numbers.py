"""Every worked number of MEASUREMENT sections 1, 2, 5 and 6 that this room computes, to the digits given there."""

from __future__ import annotations

import math

import pytest
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from harness.score import (
    Target,
    clopper_pearson,
    detectable_difference,
    digital_sn,
    judge_target,
    line_projection,
    upper_bound,
    wilson,
)
from harness.score.compare import _wald, mcnemar_exact
from harness.score.gate import records_for
from harness.score.intervals import clustered_standard_error


def test_section_1_intervals() -> None:
    found = wilson(380, 400)
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
    assert records_for(0.02, 0) == 149
    assert records_for(0.02, 1) == 236


def test_section_1_line() -> None:
    escapes, truly_bad = line_projection(0.01, 0.02, 0.05)
    assert escapes * 1e6 == pytest.approx(212.6, abs=0.05)
    assert truly_bad == pytest.approx(0.165, abs=5e-4)


@pytest.mark.parametrize(
    ("false_rejects", "passed", "misses", "defective", "p0", "sn"),
    [
        (10, 100, 50, 100, 0.25, 4.771),
        (10, 200, 4, 200, 0.031734, 14.8447),
        (10, 200, 0, 200, 0.011588, 19.3093),
        (0, 200, 0, 200, 0.0024876, 26.0314),
        (200, 200, 0, 200, 0.5, 0.0),
    ],
)
def test_section_2_digital_sn(
    false_rejects: int, passed: int, misses: int, defective: int, p0: float, sn: float
) -> None:
    found = digital_sn(false_rejects, passed, misses, defective)
    assert found is not None
    assert found.p0 == pytest.approx(p0, rel=2e-5)
    assert found.sn == pytest.approx(sn, abs=5e-4 if sn == 4.771 else 5e-5)
    assert found.at_least == (0 in (false_rejects, misses, passed - false_rejects, defective - misses))


def test_section_2_interval_and_the_form_never_used() -> None:
    found = digital_sn(10, 200, 4, 200)
    assert found is not None
    assert (found.low, found.high) == (pytest.approx(12.29, abs=5e-3), pytest.approx(17.40, abs=5e-3))
    first = digital_sn(10, 100, 50, 100)
    assert first is not None
    r = (1 - 2 * first.p0) ** 2
    assert 10 * math.log10(r / (1 - r)) == pytest.approx(-4.771, abs=5e-4)


def test_section_5_paired() -> None:
    assert mcnemar_exact(28, 12) == pytest.approx(0.016589, abs=5e-7)
    assert mcnemar([[340, 12], [28, 20]], exact=True).pvalue == pytest.approx(mcnemar_exact(28, 12))
    low, high, _ = _wald(400, 28, 12)
    assert (low, high) == (pytest.approx(0.0093, abs=5e-5), pytest.approx(0.0707, abs=5e-5))
    assert (high - low) / 2 / 1.959964 == pytest.approx(0.015684, abs=5e-7)


def test_section_5_clusters() -> None:
    groups, errors = [], []
    for name, answers in enumerate(("1111", "1111", "1101", "0000", "1110")):
        groups += [str(name)] * 4
        errors += [int(answer) - 0.7 for answer in answers]
    assert clustered_standard_error(errors, groups) == pytest.approx(0.16432, abs=5e-6)
    naive = math.sqrt(sum(e * e for e in errors) / (len(errors) - 1) / len(errors))
    assert naive == pytest.approx(0.10513, abs=5e-6)


def test_section_5_holm_by_the_library_that_is_used() -> None:
    corrected = multipletests([0.001, 0.012, 0.03, 0.041, 0.2], method="holm")[1]
    assert list(corrected) == pytest.approx([0.005, 0.048, 0.09, 0.09, 0.2])


@pytest.mark.parametrize(("discordance", "points"), [(0.05, 3.1), (0.10, 4.4), (0.15, 5.4), (0.20, 6.2)])
def test_section_5_detectable_difference(discordance: float, points: float) -> None:
    found = detectable_difference(400, discordance)
    assert found is not None
    assert 100 * found == pytest.approx(points, abs=0.05)


def test_section_6_gate_by_the_bounds_of_section_1() -> None:
    target = Target("miss_rate", 0.02, "at_most")
    assert judge_target(0, 149, target).status == "pass"
    assert judge_target(1, 236, target).status == "pass"
    open_ = judge_target(0, 120, target)
    assert open_.status == "inconclusive"
    assert open_.records_to_decide == 29
    assert "29 further records" in open_.reason
