"""Paired comparison: the exact test, the interval, what is fixed and what is broken."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm

from harness.records import Comparison, Verdict
from harness.score import compare, detectable_difference, mcnemar_exact, paired_wald
from harness.score.compare import holm, regression_p_value
from tests.score.answers import right_or_wrong, verdict_score


@settings(deadline=None)
@given(st.integers(0, 80), st.integers(0, 80))
def test_mcnemar_is_the_binomial_test_of_the_discordant_pairs(fixed: int, broken: int) -> None:
    n = fixed + broken
    expected = binomtest(fixed, n).pvalue if n else 1.0
    assert mcnemar_exact(fixed, broken) == pytest.approx(expected, abs=1e-12)
    worse = binomtest(broken, n, alternative="greater").pvalue if n else 1.0
    assert regression_p_value(fixed, broken) == pytest.approx(worse, abs=1e-12)


@settings(deadline=None, max_examples=15)
@given(pairs=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60), grouped=st.booleans())
def test_comparison_of_random_answers(pairs: list[tuple[bool, bool]], grouped: bool) -> None:
    before, after = np.array([b for b, _ in pairs], float), np.array([a for _, a in pairs], float)
    groups = [str(i // 3) for i in range(len(pairs))] if grouped else None
    found = compare(right_or_wrong([b for b, _ in pairs]), right_or_wrong([a for _, a in pairs]), groups=groups)
    assert [c.metric for c in found] == ["verdict_accuracy", "exact_accuracy"]
    for c in found:
        assert c.baseline == pytest.approx(before.mean())
        assert c.candidate == pytest.approx(after.mean())
        assert c.difference == pytest.approx((after - before).mean())
        assert (c.fixed, c.broken) == ((after > before).sum(), (after < before).sum())
        assert -1 <= c.ci_low < c.ci_high <= 1
        assert c.p_holm == pytest.approx(min(1.0, 2 * c.p_value))
        assert c.detectable == detectable_difference(len(pairs), (c.fixed + c.broken) / len(pairs))


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 300))
def test_wald_agrees_with_statsmodels(fixed: int, broken: int, same: int) -> None:
    """The z interval of the mean paired difference, by statsmodels with the variance over n."""
    from statsmodels.stats.weightstats import DescrStatsW

    n = fixed + broken + same
    differences = np.array([1.0] * fixed + [-1.0] * broken + [0.0] * same)
    error = float(DescrStatsW(differences, ddof=0).std) / math.sqrt(n)
    ours = paired_wald(n, fixed, broken)
    assert ours.value == pytest.approx(differences.mean())
    assert ours.low == pytest.approx(max(-1, differences.mean() - norm.ppf(0.975) * error), abs=1e-6)
    assert ours.high == pytest.approx(min(1, differences.mean() + norm.ppf(0.975) * error), abs=1e-6)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_by_its_definition(p_values: list[float]) -> None:
    """Holm 1979, section 2: the k-th smallest of m times (m - k + 1), made to rise, at most 1."""
    made = [Comparison(str(i), 9, 0, 0, 0, 0, 0, 0, 0, p, 1.0, None, "") for i, p in enumerate(p_values)]
    found = holm(made)
    assert [c.metric for c in found] == [c.metric for c in made]
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    highest = 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p_values[i]))
        assert found[i].p_holm == pytest.approx(highest, abs=1e-12)


def test_interval_by_group_is_wider_where_records_of_a_group_change_together() -> None:
    before = [False] * 400
    after = [(i // 10) % 3 == 0 for i in range(400)]
    groups = [str(i // 10) for i in range(400)]
    (alone,) = compare(right_or_wrong(before), right_or_wrong(after), metrics=("verdict_accuracy",))
    (together,) = compare(right_or_wrong(before), right_or_wrong(after), metrics=("verdict_accuracy",), groups=groups)
    # ten records that always change together tell what one tells: sqrt(10) times the width
    assert together.ci_high - together.ci_low == pytest.approx(math.sqrt(10) * (alone.ci_high - alone.ci_low), rel=0.15)
    assert "bootstrap 95 % by group" in together.method
    assert "bootstrap 95 % by record" in alone.method


@pytest.mark.parametrize("groups", [None, ["a", "b", "b", "c", "d"]])
@pytest.mark.parametrize(
    ("before", "after", "difference"), [(False, True, 1.0), (True, False, -1.0), (True, True, 0.0)]
)
def test_agreement_of_all_pairs_is_no_certainty(
    before: bool, after: bool, difference: float, groups: list[str] | None
) -> None:
    """Agresti and Min 2005: half a pair more in each cell."""
    (found,) = compare(
        right_or_wrong([before] * 5), right_or_wrong([after] * 5), metrics=("verdict_accuracy",), groups=groups
    )
    units = 5 if groups is None else 4
    gained, lost, n = units * (difference > 0) + 0.5, units * (difference < 0) + 0.5, units + 2
    mean = (gained - lost) / n
    error = norm.ppf(0.975) * math.sqrt((gained + lost) / n - mean**2) / math.sqrt(n)
    assert found.difference == difference
    assert found.ci_low == pytest.approx(max(-1, mean - error), abs=1e-6)
    assert found.ci_high == pytest.approx(min(1, mean + error), abs=1e-6)
    assert "Agresti-Min" in found.method


def test_a_rate_of_mistakes_is_fixed_when_it_falls() -> None:
    before, after = right_or_wrong([False] * 6 + [True] * 4), right_or_wrong([True] * 5 + [False] + [True] * 4)
    rates = compare(before, after, [True] * 10, metrics=("miss_rate", "defect_accuracy", "escape_rate"))
    assert [(c.metric, c.fixed, c.broken) for c in rates] == [
        ("miss_rate", 5, 0), ("defect_accuracy", 5, 0), ("escape_rate", 5, 0),
    ]  # fmt: skip
    assert [c.difference for c in rates] == pytest.approx([-0.5, 0.5, -0.5])
    assert rates[0].ci_high < 0 < rates[1].ci_low


def test_a_share_of_one_class_counts_that_class() -> None:
    bad = [True, True, False, False, False]
    said: list[Verdict] = ["passed", "defective", "passed", "defective", "passed"]
    before = [verdict_score(b, v) for b, v in zip(bad, said, strict=True)]
    after = [verdict_score(b, "defective" if b else "passed") for b in bad]
    metrics = ("defect_accuracy", "pass_accuracy", "verdict_accuracy")
    found = {c.metric: c for c in compare(before, after, bad, metrics=metrics)}
    assert {name: (c.n, c.fixed) for name, c in found.items()} == {
        "defect_accuracy": (2, 1), "pass_accuracy": (3, 1), "verdict_accuracy": (5, 2),
    }  # fmt: skip
    with pytest.raises(ValueError, match="say which records are defective"):
        compare(before, after, metrics=("miss_rate",))
    assert compare(before[:2], after[:2], bad[:2], metrics=("pass_accuracy",)) == []


def test_lengths_must_agree() -> None:
    scores = right_or_wrong([True, False])
    for arguments in ((scores, scores[:1]), (scores, scores, [True])):
        with pytest.raises(ValueError, match="lengths"):
            compare(*arguments)
    with pytest.raises(ValueError, match="lengths"):
        compare(scores, scores, groups=["a"])


def test_wald_refuses_what_is_no_table() -> None:
    for n, fixed, broken in ((0, 0, 0), (3, 2, 2), (3, -1, 0)):
        with pytest.raises(ValueError, match="of"):
            paired_wald(n, fixed, broken)


@pytest.mark.parametrize(("n", "discordance"), [(400, 0.1), (400, 0.2), (2000, 0.1)])
def test_detectable_difference_has_the_power_it_promises(n: int, discordance: float) -> None:
    """By simulation: of McNemar's test without correction, which Connor's formula is for, and of the exact one."""
    d = detectable_difference(n, discordance)
    assert d is not None
    random = np.random.default_rng(10)
    counts = random.multinomial(n, [(discordance + d) / 2, (discordance - d) / 2, 1 - discordance], size=4000)
    z = (counts[:, 0] - counts[:, 1]) / np.sqrt(np.maximum(counts[:, 0] + counts[:, 1], 1))
    assert float((np.abs(z) > norm.ppf(0.975)).mean()) == pytest.approx(0.8, abs=0.03)
    exact = [binomtest(int(b), int(b + c)).pvalue <= 0.05 for b, c, _ in counts[:1000]]
    assert 0.72 <= float(np.mean(exact)) <= 0.84


def test_detectable_difference_where_there_is_none() -> None:
    assert detectable_difference(400, 0.0) is None
    assert detectable_difference(0, 0.1) is None
    assert detectable_difference(5, 0.1) is None
    with pytest.raises(ValueError, match="discordance"):
        detectable_difference(5, 1.1)
