"""The gauge study: MEASUREMENT section 4's worked numbers, scikit-learn on random tables, models of a single mind."""

from __future__ import annotations

import math
import warnings
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta
from sklearn.metrics import cohen_kappa_score, confusion_matrix

from harness.records import Verdict
from harness.score import wilson
from harness.score.gauge import GaugeFigure, Trials, gauge_figures, gauge_notes, rule_of_thumb, unsteady

Row = tuple[Verdict | None, ...]
P: Verdict = "passed"
D: Verdict = "defective"


def _by_name(figures: list[GaugeFigure]) -> dict[tuple[str, str], GaugeFigure]:
    found = {(figure.rater, figure.metric): figure for figure in figures}
    assert len(found) == len(figures)
    return found


def _study(reference: list[Verdict], *ratings: list[Row]) -> dict[tuple[str, str], GaugeFigure]:
    raters = [Trials(f"c{i}", tuple(rows)) for i, rows in enumerate(ratings, start=1)]
    return _by_name(gauge_figures(reference, raters))


def test_section_4_bad_45_3_good_97_5() -> None:
    found = _study([D] * 48 + [P] * 102, [(D,)] * 45 + [(P,)] * 3 + [(P,)] * 97 + [(D,)] * 5)
    values = {metric: figure.value for (_, metric), figure in found.items()}
    assert values["cohen_kappa"] == pytest.approx(0.8788, abs=5e-5)
    assert values["miss_rate"] == pytest.approx(0.0625, abs=5e-7)
    assert values["false_alarm_rate"] == pytest.approx(0.0490, abs=5e-5)
    assert values["effectiveness"] == pytest.approx(0.9467, abs=5e-5)
    assert {metric: figure.rule for (_, metric), figure in found.items() if figure.rule} == {
        "effectiveness": "acceptable", "all_trials_effectiveness": "acceptable", "miss_rate": "unacceptable",
        "false_alarm_rate": "acceptable", "cohen_kappa": "good",
    }  # fmt: skip
    assert "repeatability" not in values, "one trial repeats nothing"
    assert "fleiss_kappa" not in values
    # One trial a picture: the decisions are independent records, and the interval is plain Wilson.
    miss = wilson(3, 48)
    assert (found["c1", "miss_rate"].low, found["c1", "miss_rate"].high) == (miss.low, miss.high)


def test_section_4_kappa_of_21_3_3_123() -> None:
    """Two appraisers on the same 150 pictures."""
    first = [(D,)] * 21 + [(D,)] * 3 + [(P,)] * 3 + [(P,)] * 123
    second = [(D,)] * 21 + [(P,)] * 3 + [(D,)] * 3 + [(P,)] * 123
    found = _study([D] * 24 + [P] * 126, first, second)
    assert found["c1 and c2", "cohen_kappa"].value == pytest.approx(0.8512, abs=5e-5)
    assert found["c1 and c2", "reproducibility"].value == pytest.approx(144 / 150)


def test_section_4_all_trials() -> None:
    """42 of 50 pictures with all trials right: 84 %, Clopper-Pearson [70.9, 92.8]; each other has one trial wrong."""
    found = _study([D] * 50, [(D, D, D)] * 42 + [(D, P, D)] * 8)
    part = found["c1", "all_trials_effectiveness"]
    assert part.value == pytest.approx(0.84)
    assert part.low == pytest.approx(0.709, abs=5e-4)
    assert part.high == pytest.approx(0.928, abs=5e-4)
    assert part.rule == "marginal"
    assert found["c1", "effectiveness"].value == pytest.approx(142 / 150)
    assert found["c1", "effectiveness"].rule == "acceptable"


def test_section_4_fleiss() -> None:
    rows: list[Row] = [(D, D, D)] * 4 + [(P, P, P)] * 4 + [(D, D, P), (P, P, D)]
    found = _study([D] * 4 + [P] * 4 + [D, P], rows)
    assert found["c1", "fleiss_kappa"].value == pytest.approx(0.7333, abs=5e-5)
    assert found["c1", "fleiss_kappa"].n == 10
    assert found["c1", "repeatability"].value == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("metric", "value", "word"),
    [
        ("effectiveness", 0.90, "acceptable"), ("effectiveness", 0.80, "marginal"),
        ("effectiveness", 0.799, "unacceptable"),
        ("miss_rate", 0.02, "acceptable"), ("miss_rate", 0.05, "marginal"), ("miss_rate", 0.051, "unacceptable"),
        ("false_alarm_rate", 0.05, "acceptable"), ("false_alarm_rate", 0.10, "marginal"),
        ("false_alarm_rate", 0.11, "unacceptable"), ("cohen_kappa", 0.76, "good"), ("cohen_kappa", 0.75, "fair"),
        ("fleiss_kappa", 0.40, "fair"), ("fleiss_kappa", 0.39, "poor"), ("repeatability", 1.0, ""),
        ("cohen_kappa", None, ""),
    ],
)  # fmt: skip
def test_rules_of_thumb(metric: str, value: float | None, word: str) -> None:
    assert rule_of_thumb(metric, value) == word


ratings = st.sampled_from([P, D, None])


@st.composite
def studies(draw: st.DrawFn) -> tuple[list[Verdict], list[list[Row]]]:
    pictures, trials, raters = draw(st.integers(2, 14)), draw(st.integers(1, 4)), draw(st.integers(1, 3))
    reference = draw(st.lists(st.sampled_from([P, D]), min_size=pictures, max_size=pictures))
    rows = st.lists(st.tuples(*[ratings] * trials), min_size=pictures, max_size=pictures)
    return reference, [draw(rows) for _ in range(raters)]


def _codes(row: list[Verdict | None]) -> list[str]:
    return [str(rating) for rating in row]


def _fleiss(rows: list[Row]) -> float | None:
    """By its meaning: the share of pairs of trials that agree within a picture, beyond that of pairs drawn blindly."""
    within = [sum(a == b for a, b in combinations(row, 2)) / math.comb(len(row), 2) for row in rows]
    every = [rating for row in rows for rating in row]
    chance = sum((every.count(category) / len(every)) ** 2 for category in (P, D, None))
    return None if math.isclose(chance, 1) else (sum(within) / len(within) - chance) / (1 - chance)


@settings(max_examples=40, deadline=None)
@given(drawn=studies())
def test_agrees_with_scikit_learn(drawn: tuple[list[Verdict], list[list[Row]]]) -> None:
    reference, raters = drawn
    found = _study(reference, *raters)
    trials = len(raters[0][0])
    truth = [verdict for verdict in reference for _ in range(trials)]
    flat = [[rating for row in rows for rating in row] for rows in raters]
    for name, said, rows in zip(("c1", "c2", "c3"), flat, raters, strict=False):
        (tp_good, good_bad, good_mute), (bad_good, tp_bad, bad_mute), _ = confusion_matrix(
            truth, _codes(said), labels=["passed", "defective", "None"]
        ).tolist()
        good, bad = tp_good + good_bad + good_mute, bad_good + tp_bad + bad_mute
        assert found[name, "effectiveness"].value == pytest.approx((tp_good + tp_bad) / len(truth))
        assert found[name, "unreadable_rate"].value == pytest.approx((good_mute + bad_mute) / len(truth))
        for metric, wrong, n in (
            ("miss_rate", bad_good + bad_mute, bad), ("false_alarm_rate", good_bad + good_mute, good),
        ):  # fmt: skip
            assert found[name, metric].value == (pytest.approx(wrong / n) if n else None)
            assert found[name, metric].n == n
        _same_kappa(found[name, "cohen_kappa"], list(truth), said)
        if trials > 1:
            expected = _fleiss(rows)
            assert found[name, "fleiss_kappa"].value == (None if expected is None else pytest.approx(expected))
        right = sum(set(row) == {true} for row, true in zip(rows, reference, strict=True))
        exact = found[name, "all_trials_effectiveness"]
        assert exact.value == pytest.approx(right / len(rows))
        if 0 < right < len(rows):
            assert exact.low == pytest.approx(beta.ppf(0.025, right, len(rows) - right + 1))
            assert exact.high == pytest.approx(beta.ppf(0.975, right + 1, len(rows) - right))
    for (one, said), (other, heard) in combinations(zip(("c1", "c2", "c3"), flat, strict=False), 2):
        _same_kappa(found[f"{one} and {other}", "cohen_kappa"], said, heard)
    for figure in found.values():
        assert figure.method
        if figure.value is not None and figure.low is not None:
            assert figure.high is not None
            assert figure.low - 1e-9 <= figure.value <= figure.high + 1e-9


def _same_kappa(figure: GaugeFigure, one: list[Verdict | None], other: list[Verdict | None]) -> None:
    if len(set(one) | set(other)) == 1:
        assert figure.value is None
        assert "not defined" in figure.method
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expected = cohen_kappa_score(_codes(one), _codes(other), labels=["passed", "defective", "None"])
    assert figure.value == pytest.approx(expected)


TRUTH: list[Verdict] = [P] * 12 + [D] * 12


@pytest.mark.parametrize(
    ("rating", "miss", "alarm", "unreadable"), [(P, 1.0, 0.0, 0.0), (D, 0.0, 1.0, 0.0), (None, 1.0, 1.0, 1.0)]
)
def test_a_model_of_a_single_mind(rating: Verdict | None, miss: float, alarm: float, unreadable: float) -> None:
    """It repeats itself perfectly and agrees with the truth by chance alone, or never."""
    found = _study(TRUTH, [(rating,) * 3] * 24)
    assert found["c1", "miss_rate"].value == miss
    assert found["c1", "false_alarm_rate"].value == alarm
    assert found["c1", "unreadable_rate"].value == unreadable
    assert found["c1", "repeatability"].value == 1
    assert found["c1", "effectiveness"].value == (0 if rating is None else 0.5)
    assert found["c1", "cohen_kappa"].value == pytest.approx(0)
    assert found["c1", "cohen_kappa"].low is None, "a constant has a kappa of 0 in every sample: no interval"
    assert found["c1", "fleiss_kappa"].value is None
    assert "every decision is the same" in found["c1", "fleiss_kappa"].method


def test_a_perfect_model_is_no_certainty() -> None:
    rows: list[Row] = [(verdict,) * 3 for verdict in TRUTH]
    found = _study(TRUTH, rows, rows)
    for (rater, metric), figure in found.items():
        if metric not in ("miss_rate", "false_alarm_rate", "unreadable_rate"):
            assert figure.value == pytest.approx(1), (rater, metric)
            assert figure.low is not None
            assert figure.low < 0.95, "24 pictures prove no more than that"
    assert found["c1", "effectiveness"].low == pytest.approx(wilson(24, 24).low), (
        "72 decisions on 24 pictures count as 24"
    )
    assert found["c1", "miss_rate"].high == pytest.approx(wilson(0, 12).high)


def test_trials_of_a_picture_are_no_new_pictures() -> None:
    """Copies of the same decisions add nothing: the interval stays that of one trial."""
    once: list[Row] = [(D,)] * 7 + [(P,)] * 5 + [(P,)] * 9 + [(D,)] * 3
    one = _study(TRUTH[::-1], once)
    five = _study(TRUTH[::-1], [row * 5 for row in once])
    for metric in ("effectiveness", "miss_rate", "cohen_kappa"):
        assert five["c1", metric].value == pytest.approx(one["c1", metric].value)
        assert five["c1", metric].low == pytest.approx(one["c1", metric].low, abs=1e-9)
        assert five["c1", metric].high == pytest.approx(one["c1", metric].high, abs=1e-9)


def test_kappa_interval_covers() -> None:
    """200 simulated studies of 60 pictures with 2 trials: the 95 % interval holds the true kappa about as often."""
    random = np.random.default_rng(4)
    # Truth is balanced; each decision is right with .9, independently: kappa against truth is 2 * .9 - 1.
    covered = 0
    for _ in range(200):
        truth: list[Verdict] = [D if bad else P for bad in random.random(60) < 0.5]
        flip = random.random((60, 2)) < 0.1
        rows: list[Row] = [
            tuple((P if true == D else D) if wrong else true for wrong in row)
            for true, row in zip(truth, flip, strict=True)
        ]
        figure = _study(truth, rows)["c1", "cohen_kappa"]
        assert figure.low is not None
        assert figure.high is not None
        covered += figure.low <= 0.8 <= figure.high
    assert 0.90 <= covered / 200 <= 0.985


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="0 pictures"):
        gauge_figures([], [Trials("c1", ())])
    with pytest.raises(ValueError, match="trials"):
        gauge_figures([P, D], [Trials("c1", ((P,), (D, D)))])
    with pytest.raises(ValueError, match="pictures"):
        gauge_figures([P, D], [Trials("c1", ((P,), (D,))), Trials("c2", ((P,),))])


def test_unsteady_pictures_and_the_notes() -> None:
    assert unsteady([Trials("c1", ((P, P), (P, D), (None, None))), Trials("c2", ((P, P), (D, D), (D, D)))]) == [1, 2]
    assert "trivially" in gauge_notes(None, 3, 1)[0]
    assert "trivially" in gauge_notes(0.3, 3, 2)[0]
    assert any("--with" in note for note in gauge_notes(0.3, 3, 1))
    assert any("conventions, no tests" in note for note in gauge_notes(0.3, 3, 1))
