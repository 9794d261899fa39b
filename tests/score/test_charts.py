"""Control charts: the worked numbers of MEASUREMENT section 6, lots that say nothing, alarms and false alarms."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from harness.score.charts import (
    BASELINE,
    LOTS_BETWEEN_FALSE_ALARMS,
    TAIL,
    Chart,
    LotCount,
    cusum_chart,
    ewma_chart,
    laney_chart,
    p_chart,
)
from harness.score.lots import accepted_rate, alarms_of, charts_of_lots, rejected_rate

MISTAKES = (12, 9, 15, 7, 11, 20, 8, 10)
RECORDS = (200, 200, 250, 150, 200, 300, 200, 200)


def _lots(mistakes: Sequence[int], records: Sequence[int] | int) -> list[LotCount]:
    sizes = [records] * len(mistakes) if isinstance(records, int) else records
    return [LotCount(f"lot {i}", x, n) for i, (x, n) in enumerate(zip(mistakes, sizes, strict=True), start=1)]


def _values(chart: Chart) -> list[float | None]:
    return [point.value for point in chart.points]


def test_section_6_p_chart() -> None:
    found = p_chart("miss_rate", _lots(MISTAKES, RECORDS))
    assert found.center == pytest.approx(0.0541176, abs=5e-8)
    assert found.points[0].high == pytest.approx(0.10211, abs=5e-6)
    assert _values(found) == pytest.approx([x / n for x, n in zip(MISTAKES, RECORDS, strict=True)])
    assert found.provisional
    assert not any(point.alarm for point in found.points)


def test_section_6_laney() -> None:
    found = laney_chart("miss_rate", _lots(MISTAKES, RECORDS))
    assert found.sigma_z == pytest.approx(0.83147, abs=5e-6)
    assert found.points[0].high == pytest.approx(0.09402, abs=5e-6)
    assert found.center == pytest.approx(0.0541176, abs=5e-8)


def test_section_6_cusum() -> None:
    found = cusum_chart("miss_rate", _lots((3, 4, 5, 9, 10), 200), accepted=0.02, rejected=0.05)
    assert _values(found)[:3] == [0, 0, 0]
    assert _values(found)[3:] == pytest.approx([2.3083, 5.5640], abs=5e-5)
    assert [bool(point.alarm) for point in found.points] == [False, False, False, False, True]
    assert found.points[4].high == pytest.approx(math.log(200))


def test_section_6_defaults_are_those_of_the_section() -> None:
    assert (accepted_rate("miss_rate", {}), rejected_rate(0.02)) == (0.02, 0.05)
    assert accepted_rate("miss_rate", {"miss_rate": 0.01}) == 0.01
    assert accepted_rate("false_reject_rate", {"pass_accuracy": 0.9}) == pytest.approx(0.1)
    assert accepted_rate("miss_rate", {"miss_rate": 0.0}) == 0.02, "a CUSUM cannot accept nothing at all"
    assert rejected_rate(0.8) == pytest.approx(0.9)


def test_ewma_by_hand() -> None:
    """Weight .2 from p-bar on; limits from the sum that MEASUREMENT's sources give, not from the recursion."""
    found = ewma_chart("miss_rate", _lots(MISTAKES, RECORDS))
    center = sum(MISTAKES) / sum(RECORDS)
    level = center
    for t, point in enumerate(found.points):
        level = 0.2 * MISTAKES[t] / RECORDS[t] + 0.8 * level
        variance = sum((0.2 * 0.8 ** (t - i)) ** 2 * center * (1 - center) / RECORDS[i] for i in range(t + 1))
        assert point.value == pytest.approx(level)
        assert point.high == pytest.approx(center + 3 * math.sqrt(variance))
        assert point.low == pytest.approx(center - 3 * math.sqrt(variance))
    assert ewma_chart("m", _lots(MISTAKES, RECORDS), weight=1).points[0].high == pytest.approx(0.10211, abs=5e-6)


def test_few_lots_are_provisional_and_later_ones_do_not_move_the_limits() -> None:
    many = [10] * BASELINE
    before = p_chart("m", _lots(many, 200))
    assert not before.provisional
    assert p_chart("m", _lots(many[1:], 200)).provisional
    assert any("provisional: 19 lots of the 20" in note for note in p_chart("m", _lots(many[1:], 200)).notes)
    after = p_chart("m", _lots([*many, 30, 30, 30], 200))
    assert after.center == before.center == 0.05
    assert [bool(point.alarm) for point in after.points[-3:]] == [True] * 3
    assert after.points[-1].alarm == "p chart: 15.00% is above the limit 9.62%"


def test_runs_count_only_where_limits_are_fixed() -> None:
    """Test 2: nine lots in a row above the centre."""
    base = [9, 11] * (BASELINE // 2)
    found = p_chart("m", _lots([*base, *[12] * 9], 200))
    # the last of the baseline lies above as well, so that the run is full one lot earlier
    assert [bool(point.alarm) for point in found.points[-9:]] == [False] * 7 + [True] * 2
    assert "9 lots in a row above the centre 5.00%" in found.points[-2].alarm
    short = p_chart("m", _lots([9] * 4 + [11] * 9, 200))
    assert short.provisional
    assert not any(point.alarm for point in short.points)
    low = p_chart("m", _lots([*base, *[7] * 10], 200))
    assert not any(point.alarm for point in low.points)
    assert "in a row below the centre" in low.points[-1].note


def test_a_fall_is_noted_and_no_alarm() -> None:
    found = p_chart("m", _lots([40] * 19 + [5], 200))
    assert found.points[-1].alarm == ""
    assert "is below the limit" in found.points[-1].note


def test_one_mistake_after_none_is_no_alarm() -> None:
    """Normal limits say otherwise: 1 of 50 lies above, and chance alone does it in every eleventh lot."""
    found = p_chart("m", _lots([0] * 10 + [1], 50))
    last = found.points[-1]
    assert last.value is not None
    assert last.high is not None
    assert last.value > last.high
    assert last.alarm == ""
    assert f"chance alone does so in {binom.sf(0, 50, 1 / 550):.1%} of such lots; no alarm" in last.note
    assert p_chart("m", _lots([0] * 10 + [4], 50)).points[-1].alarm, f"{binom.sf(3, 50, 4 / 550)} is below {TAIL}"


CHARTS: list[Callable[..., Chart]] = [p_chart, laney_chart, ewma_chart, cusum_chart]


@pytest.mark.parametrize("chart", CHARTS)
def test_lots_of_size_zero_have_no_point(chart: Callable[..., Chart]) -> None:
    with_gaps = chart("m", _lots([0, 12, 0, 9, 15], [0, 200, 0, 200, 250]))
    without = chart("m", _lots([12, 9, 15], [200, 200, 250]))
    assert [v for v in _values(with_gaps) if v is not None] == pytest.approx(_values(without))
    for place in (0, 2):
        point = with_gaps.points[place]
        assert (point.value, point.alarm) == (None, "")
        assert point.note == "no record of this class in the lot: no point"
    assert with_gaps.center == without.center
    assert with_gaps.sigma_z == without.sigma_z
    empty = chart("m", _lots([0, 0], 0))
    assert _values(empty) == [None, None]
    assert chart("m", []).points == ()


@pytest.mark.parametrize("chart", CHARTS[:3])
@pytest.mark.parametrize(("mistakes", "said"), [(0, "no mistake in 150 records"), (50, "nothing but mistakes in 150")])
def test_lots_without_scatter_have_no_limits(chart: Callable[..., Chart], mistakes: int, said: str) -> None:
    found = chart("m", _lots([mistakes] * 3, 50))
    assert all((point.low, point.high, point.alarm) == (None, None, "") for point in found.points)
    assert any(note.startswith(said) for note in found.notes)


def test_sigma_z_of_0_is_named() -> None:
    found = laney_chart("m", _lots([5, 5, 5], 100))
    assert found.sigma_z is None
    assert any(note.startswith("sigma_z is 0") for note in found.notes)
    assert all(point.high is None and not point.alarm for point in found.points)
    one = laney_chart("m", _lots([5], 100))
    assert one.sigma_z is None
    assert "sigma_z needs two lots" in one.notes


def test_a_bad_first_lot_is_the_cusums_to_tell() -> None:
    lots = _lots([20], 100)
    assert not p_chart("m", lots).points[0].alarm, "one lot lies within its own limits"
    assert cusum_chart("m", lots).points[0].alarm


@pytest.mark.parametrize("chart", CHARTS)
def test_what_is_no_count_is_refused(chart: Callable[..., Chart]) -> None:
    for mistakes in (-1, 4):
        with pytest.raises(ValueError, match="mistakes of 3"):
            chart("m", [LotCount("a", mistakes, 3)])


def test_what_is_no_chart_is_refused() -> None:
    with pytest.raises(ValueError, match="weight"):
        ewma_chart("m", [], weight=0)
    for accepted, rejected in ((0.0, 0.1), (0.1, 0.1), (0.1, 1.0)):
        with pytest.raises(ValueError, match="CUSUM weighs"):
            cusum_chart("m", [], accepted=accepted, rejected=rejected)


@settings(deadline=None, max_examples=80)
@given(st.lists(st.integers(0, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), max_size=30))
def test_any_lots_give_finite_points_within_order(counts: list[tuple[int, int]]) -> None:
    lots = [LotCount(str(i), x, n) for i, (x, n) in enumerate(counts)]
    for chart in CHARTS:
        found = chart("m", lots)
        assert [point.lot for point in found.points] == [lot.lot for lot in lots]
        for point in found.points:
            for number in (point.value, point.low, point.high):
                assert number is None or math.isfinite(number)
            if point.low is not None and point.high is not None:
                assert 0 <= point.low <= point.high <= 1
            assert not (point.alarm and point.value is None)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 40), min_size=2, max_size=15), st.integers(40, 200))
def test_p_and_laney_agree_with_numpy(mistakes: list[int], n: int) -> None:
    rates = np.array(mistakes) / n
    center = rates.mean()
    if center == 0 or np.ptp(rates) == 0:
        return
    sigma = math.sqrt(center * (1 - center) / n)
    sigma_z = np.abs(np.diff((rates - center) / sigma)).mean() / 1.128
    lots = _lots(mistakes, n)
    assert p_chart("m", lots).points[0].high == pytest.approx(min(1, center + 3 * sigma))
    found = laney_chart("m", lots)
    assert found.sigma_z == pytest.approx(sigma_z)
    assert found.points[0].low == pytest.approx(max(0, center - 3 * sigma * sigma_z))


@dataclass(frozen=True)
class _Lot:
    lot: str
    passed: int
    defective: int
    misses: int
    false_rejects: int


def test_charts_of_lots_and_their_alarms() -> None:
    quiet = [_Lot(str(i), 100, 100, 2, 5) for i in range(6)]
    charts = charts_of_lots([*quiet, _Lot("bad", 100, 0, 0, 60)], {"miss_rate": 0.02, "false_reject_rate": 0.05})
    assert [(chart.metric, chart.name) for chart in charts] == [
        (metric, name) for metric in ("miss_rate", "false_reject_rate") for name in ("p", "laney_p", "ewma", "cusum")
    ]
    assert alarms_of(charts, "0") == []
    said = alarms_of(charts, "bad")
    assert {words.split()[0] for words in said} == {"false_reject_rate"}, "a lot without defective records misses none"
    assert any("CUSUM" in words and "12.50%" in words for words in said)


def test_false_alarms_are_rare_and_a_worse_model_is_found() -> None:
    """300 histories of 25 lots of 200: in control at the accepted rate, then with the rejected one from lot 21 on."""
    random = np.random.default_rng(3)
    calm = random.binomial(200, 0.02, (300, 25))
    worse = calm.copy()
    worse[:, 20:] = random.binomial(200, 0.06, (300, 5))
    false = {chart.__name__: 0 for chart in CHARTS}
    found = dict.fromkeys(false, 0)
    for quiet, loud in zip(calm.tolist(), worse.tolist(), strict=True):
        for chart in CHARTS:
            false[chart.__name__] += sum(bool(p.alarm) for p in chart("m", _lots(quiet, 200)).points)
            found[chart.__name__] += any(p.alarm for p in chart("m", _lots(loud, 200)).points[20:])
    assert all(count / (300 * 25) <= 0.02 for count in false.values()), false
    assert all(count / 300 >= 0.8 for name, count in found.items()), found


def test_the_cusums_false_alarms_are_as_rare_as_promised() -> None:
    """Mean lots to the first false alarm at the accepted rate itself, vectorised over 400 histories of 2000 lots."""
    random = np.random.default_rng(4)
    counts = random.binomial(100, 0.02, (400, 2000))
    step = counts * math.log(0.05 / 0.02) + (100 - counts) * math.log(0.95 / 0.98)
    total, first = np.zeros(400), np.full(400, 2000)
    for lot in range(2000):
        total = np.maximum(0, total + step[:, lot])
        first = np.where((total > math.log(LOTS_BETWEEN_FALSE_ALARMS)) & (first == 2000), lot + 1, first)
    assert first.mean() >= LOTS_BETWEEN_FALSE_ALARMS
    one = cusum_chart("m", _lots(counts[0].tolist(), 100))
    assert next((i for i, p in enumerate(one.points, start=1) if p.alarm), 2000) == first[0]
