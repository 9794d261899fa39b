"""Thresholds and calibration: against every threshold tried by hand, scikit-learn, and for degenerate scores."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import roc_auc_score, roc_curve

from harness.score import wilson
from harness.score.calibration import calibration_error, reliability
from harness.score.threshold import (
    Thresholds,
    choose_thresholds,
    decide,
    decision_figures,
    escape_overkill_curve,
    escapes_in_words,
    why_no_threshold,
    zero_escape_point,
)

scores = st.one_of(st.integers(0, 10).map(lambda k: k / 10), st.floats(0, 1))
records = st.lists(st.tuples(st.booleans(), scores), min_size=2, max_size=30).filter(
    lambda drawn: len({bad for bad, _ in drawn}) == 2
)
limits = st.sampled_from([0.0, 0.02, 0.1, 0.34, 0.5, 0.9])


@settings(max_examples=150, deadline=None)
@given(drawn=records, max_escape=limits, max_overkill=limits)
def test_no_other_threshold_does_better(
    drawn: list[tuple[bool, float]], max_escape: float, max_overkill: float
) -> None:
    """Every threshold that could matter is tried: the limits hold as seen, and nothing more could be decided."""
    bad, good = [p for is_bad, p in drawn if is_bad], [p for is_bad, p in drawn if not is_bad]
    chosen = choose_thresholds(
        [is_bad for is_bad, _ in drawn], [p for _, p in drawn], max_escape=max_escape, max_overkill=max_overkill
    )
    tried = sorted({p for _, p in drawn} | {0.0, math.nextafter(1, 2)})
    escapes = {t: sum(p < t for p in bad) for t in tried}
    overkills = {t: sum(p >= t for p in good) for t in tried}

    allowed = [t for t in tried if escapes[t] <= max_escape * len(bad) + 1e-9]
    fewest = min(overkills[t] for t in allowed)
    assert sum(p >= chosen.low for p in good) == fewest
    assert sum(p < chosen.low for p in bad) == min(escapes[t] for t in allowed if overkills[t] == fewest)

    allowed = [t for t in tried if overkills[t] <= max_overkill * len(good) + 1e-9]
    most = max(len(bad) - escapes[t] for t in allowed)
    if chosen.high is None:
        assert most == 0
    elif chosen.high > chosen.low:
        assert sum(p >= chosen.high for p in bad) == most
        assert sum(p >= chosen.high for p in good) == min(
            overkills[t] for t in allowed if len(bad) - escapes[t] == most
        )
    else:
        assert chosen.high == chosen.low
    if chosen.high is not None:
        assert sum(p >= chosen.high for p in good) <= max_overkill * len(good) + 1e-9
        assert chosen.low <= chosen.high


@settings(max_examples=60, deadline=None)
@given(drawn=records)
def test_the_curve_is_scikit_learns_roc(drawn: list[tuple[bool, float]]) -> None:
    defective, p = [bad for bad, _ in drawn], [value for _, value in drawn]
    points = escape_overkill_curve(defective, p)
    overkill, detected, thresholds = roc_curve(defective, p, drop_intermediate=False)
    assert [point.overkill_rate for point in points] == pytest.approx(overkill.tolist())
    assert [1 - point.escape_rate for point in points] == pytest.approx(detected.tolist())
    assert points[0].threshold is None
    assert [point.threshold for point in points[1:]] == thresholds[1:].tolist()
    area = sum(
        (b.overkill_rate - a.overkill_rate) * (2 - a.escape_rate - b.escape_rate) / 2 for a, b in pairwise(points)
    )
    assert area == pytest.approx(roc_auc_score(defective, p))
    zero = zero_escape_point(points)
    assert zero is not None
    assert zero.threshold == min(value for bad, value in drawn if bad)
    good = [value for bad, value in drawn if not bad]
    assert zero.overkill_rate == pytest.approx(sum(value >= zero.threshold for value in good) / len(good))


@settings(max_examples=60, deadline=None)
@given(drawn=st.lists(st.tuples(st.booleans(), scores), min_size=1, max_size=40))
def test_calibration_against_scikit_learn_and_by_hand(drawn: list[tuple[bool, float]]) -> None:
    defective, p = [bad for bad, _ in drawn], [value for _, value in drawn]
    shares, means = calibration_curve(defective, p, n_bins=10, pos_label=True)
    found = reliability(defective, p)
    assert [part.share for part in found] == pytest.approx(shares.tolist())
    assert [part.p for part in found] == pytest.approx(means.tolist())
    assert sum(part.n for part in found) == len(p)
    # Edges as numpy makes them (0.3 is 0.30000000000000004 there); an edge belongs to the bin below.
    edges = np.linspace(0, 1, 11)
    expected = 0.0
    for k in range(10):
        lower = -math.inf if k == 0 else edges[k]
        upper = math.inf if k == 9 else edges[k + 1]
        inside = [(bad, value) for bad, value in drawn if lower < value <= upper]
        expected += abs(sum(bad for bad, _ in inside) - sum(value for _, value in inside)) / len(p)
    assert calibration_error(defective, p).value == pytest.approx(expected)
    for part in found:
        same = wilson(round(part.share * part.n), part.n)
        assert (part.low, part.high) == (same.low, same.high)


def test_calibration_tells_what_perfection_would_show() -> None:
    random = np.random.default_rng(3)
    p = random.random(2000)
    good = calibration_error((random.random(2000) < p).tolist(), p.tolist())
    assert good.value is not None
    assert good.value < float(good.method.split("at most ")[1].split(" ")[0])
    off = calibration_error((random.random(2000) < p**3).tolist(), p.tolist())
    assert off.value is not None
    assert off.value > float(off.method.split("at most ")[1].split(" ")[0])
    assert calibration_error([], []).value is None


BALANCED = [False] * 10 + [True] * 10


@pytest.mark.parametrize("constant", [0.0, 0.5, 1.0])
def test_a_constant_score_decides_nothing(constant: float) -> None:
    """Always-passed and always-defective models among them: everything goes to review."""
    chosen = choose_thresholds(BALANCED, [constant] * 20, max_escape=0.02, max_overkill=0.05)
    assert chosen == Thresholds(0.0, None)
    assert decide(constant, chosen) == "review"
    figures = {(f.rule, f.metric): f.interval.value for f in decision_figures(BALANCED, [constant] * 20, chosen)}
    assert figures == {
        ("threshold", "escape_rate"): 0, ("threshold", "overkill_rate"): 1, ("band", "escape_rate"): 0,
        ("band", "overkill_rate"): 0, ("band", "review_rate"): 1, ("band", "review_rate_defective"): 1,
        ("band", "review_rate_passed"): 1,
    }  # fmt: skip


def test_a_perfect_score_needs_no_review_and_takes_no_escape_that_is_only_tolerated() -> None:
    """3 of 10 escapes are tolerated, but none is needed; the threshold lies in the middle of the gap."""
    p = [0.1] * 9 + [0.2] + [0.8] + [0.9] * 9
    for tolerated in (0.0, 0.02, 0.3):
        chosen = choose_thresholds(BALANCED, p, max_escape=tolerated, max_overkill=0.05)
        assert chosen.low == chosen.high == pytest.approx(0.5)
    turned = choose_thresholds(BALANCED, [1 - value for value in p], max_escape=0.02, max_overkill=0.05)
    assert turned == Thresholds(0.0, None), "scores that are the wrong way round decide nothing"


def test_neighbouring_floats_are_parted() -> None:
    below = 0.3
    above = math.nextafter(below, 1)
    chosen = choose_thresholds([False, True], [below, above], max_escape=0, max_overkill=0)
    assert decide(below, chosen) == "pass"
    assert decide(above, chosen) == "defective"


def test_an_overlap_is_reviewed() -> None:
    """By hand: passed .1 .2 .3 .6, defective .4 .7 .8 .9; nothing tolerated: .6 and .4 cannot be decided."""
    defective, p = [False] * 4 + [True] * 4, [0.1, 0.2, 0.3, 0.6, 0.4, 0.7, 0.8, 0.9]
    chosen = choose_thresholds(defective, p, max_escape=0, max_overkill=0)
    assert chosen.low == pytest.approx(0.35)
    assert chosen.high == pytest.approx(0.65)
    assert [decide(value, chosen) for value in p] == ["pass"] * 3 + ["review"] * 2 + ["defective"] * 3
    figures = {(f.rule, f.metric): (f.count, f.interval) for f in decision_figures(defective, p, chosen)}
    assert figures["band", "review_rate"] == (2, wilson(2, 8))
    assert figures["threshold", "overkill_rate"] == (1, wilson(1, 4))
    # One overkill of four tolerated: the low threshold meets both limits, and nothing is reviewed.
    assert choose_thresholds(defective, p, max_escape=0, max_overkill=0.25) == Thresholds(chosen.low, chosen.low)


def test_what_is_not_scored_is_reviewed() -> None:
    defective, p = [False, False, True, True, True], [0.1, None, 0.8, 0.9, None]
    chosen = choose_thresholds(defective, p, max_escape=0, max_overkill=0)
    assert [decide(value, chosen) for value in p] == ["pass", "review", "defective", "defective", "review"]
    counted = {(f.rule, f.metric): (f.count, f.interval.n) for f in decision_figures(defective, p, chosen)}
    assert counted["band", "review_rate"] == (2, 5)
    assert counted["threshold", "overkill_rate"] == (1, 2), "a line without review rejects what is not scored"


@settings(max_examples=50, deadline=None)
@given(drawn=st.lists(st.tuples(st.booleans(), st.none() | scores), min_size=1, max_size=12), limit=limits)
def test_either_a_reason_or_thresholds(drawn: list[tuple[bool, float | None]], limit: float) -> None:
    defective, p = [bad for bad, _ in drawn], [value for _, value in drawn]
    reason = why_no_threshold(defective, p)
    if reason:
        with pytest.raises(ValueError, match=r"record|carries"):
            choose_thresholds(defective, p, max_escape=limit, max_overkill=limit)
        return
    chosen = choose_thresholds(defective, p, max_escape=limit, max_overkill=limit)
    assume(any(p))
    passed_bad = sum(bad and decide(value, chosen) == "pass" for bad, value in drawn)
    assert passed_bad <= limit * sum(defective) + 1e-9


@pytest.mark.parametrize(
    ("defective", "p", "reason"),
    [
        ([], [], "no record"), ([True, False], [None, None], "none of 2 answers"),
        ([False, False], [0.1, 0.2], "no truly defective"), ([True, True], [0.1, 0.2], "no truly passed"),
        ([True, False], [None, 0.2], "no truly defective"),
    ],
)  # fmt: skip
def test_why_none(defective: list[bool], p: list[float | None], reason: str) -> None:
    assert reason in why_no_threshold(defective, p)


def test_limits_are_shares() -> None:
    with pytest.raises(ValueError, match=r"\[0, 1\)"):
        choose_thresholds(BALANCED, [0.5] * 20, max_escape=1, max_overkill=0)


def test_groups_widen_the_interval() -> None:
    """Copies of each record in a group of ten: as many effective records as there are groups."""
    defective, p = [True, True, True, True, False], [0.1, 0.9, 0.9, 0.9, 0.1]
    chosen = Thresholds(0.5, 0.5)
    copies = [k for k in range(5) for _ in range(10)]
    grouped = decision_figures(
        [defective[k] for k in copies], [p[k] for k in copies], chosen, groups=[str(k) for k in copies]
    )
    found = next(f.interval for f in grouped if f.metric == "escape_rate")
    alone = wilson(1, 4)
    assert found.n == 40
    assert (found.low, found.high) == (pytest.approx(alone.low), pytest.approx(alone.high))


@pytest.mark.parametrize(
    ("escapes", "n", "limit", "words"),
    [
        (0, 149, 0.02, "which shows it"), (0, 16, 0.02, "133 more defective records without an escape"),
        (1, 200, 0.02, "36 more defective records"), (1, 16, 0.02, "beyond the 2.00% tolerated"),
        (0, 148, 0.02, "1 more defective record without"), (0, 20, 0.0, "no number of records shows 0%"),
        (0, 0, 0.02, "nothing is shown"),
    ],
)  # fmt: skip
def test_escapes_in_words(escapes: int, n: int, limit: float, words: str) -> None:
    """The numbers are MEASUREMENT section 1's: 149 records for 0 escapes and 2 %, 236 for 1."""
    assert words in escapes_in_words(escapes, n, limit)
