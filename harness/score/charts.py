"""Control charts of a frozen model's mistakes, lot by lot: p chart, Laney p', EWMA, CUSUM.

Enters: how many mistakes each lot showed, of how many records of the class. Leaves: a point a lot on each chart, with
limits, and what is an alarm. A control chart does not judge improvement: it tells a lot that is unlike the others.

Centre and limits come from the first BASELINE lots. While there are fewer they come from all, are "provisional", and
only test 1 is applied, a point beyond three sigma; from then on also test 2, RUN lots in a row above the centre. The
CUSUM needs no baseline: it weighs an accepted against a rejected rate, and so may speak at the first lot.
Only a rise is an alarm; a fall is noted, since it asks for a cause as well (wrong labels, easy lots).
Cost: normal limits promise too much where few mistakes are expected. There a point beyond its limit is an alarm only
where the exact binomial tail is as rare as three sigma. Records count as independent within a lot; where they are not,
Laney's sigma_z rises above 1 and p' is the chart to read.

Source: Montgomery, Statistical Quality Control, ch. 7-9; Laney 2002, Quality Engineering 14:531 and Minitab's formulas;
Page 1954, Biometrika 41:100 and, for the limit of the CUSUM, Lorden 1971, Ann Math Stat 42:1897.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

ChartName = Literal["p", "laney_p", "ewma", "cusum"]

#: lots that fix centre and limits; with fewer they are provisional
BASELINE = 20
#: lots in a row above the centre that make test 2
RUN = 9
SIGMAS = 3.0
#: mean of the range of two standard normal values, as Minitab rounds it
D2 = 1.128
EWMA_WEIGHT = 0.2
#: an in-control process raises a false alarm of the CUSUM once in at least so many lots
LOTS_BETWEEN_FALSE_ALARMS = 200
#: expected mistakes under which normal limits are rough
FEW_EXPECTED = 5.0
#: how rare a point beyond three sigma is, on one side
TAIL = 0.00135


@dataclass(frozen=True, slots=True)
class LotCount:
    """What a lot showed: `mistakes` of `n` records of the class that can show one (n may be 0)."""

    lot: str
    mistakes: int
    n: int


@dataclass(frozen=True, slots=True)
class ChartPoint:
    """A lot on a chart.

    `value` is a rate in [0, 1] (p, laney_p, ewma) or a sum of log-likelihood ratios (cusum); None where the lot has no
    record of the class. `low` and `high` are the limits. `alarm` says in words what is alarming, "" where nothing is;
    `note` what a reader should know all the same.
    """

    lot: str
    mistakes: int
    n: int
    value: float | None
    low: float | None
    high: float | None
    alarm: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart of one metric over lots.

    `center` is p-bar (None where no lot holds a record; 0 for a CUSUM), `sigma_z` Laney's (on that chart alone; None
    where it cannot be told). `provisional`: fewer than BASELINE lots. `notes` say what makes it weak.
    """

    name: ChartName
    metric: str
    center: float | None
    sigma_z: float | None
    provisional: bool
    points: tuple[ChartPoint, ...]
    notes: tuple[str, ...]


def p_chart(metric: str, lots: Sequence[LotCount]) -> Chart:
    """The p chart: p-bar +- 3 sqrt(p-bar (1 - p-bar) / n) for each lot."""
    base = _baseline(lots)
    limits = [_normal_limits(base.center, lot.n, 1.0) for lot in lots]
    points = _judged("p chart", lots, base, [_rate(lot) for lot in lots], limits, [float(lot.n) for lot in lots])
    if not base.provisional:
        points = _with_runs(points, base.center)
    return Chart("p", metric, base.center, None, base.provisional, tuple(points), _notes(base))


def laney_chart(metric: str, lots: Sequence[LotCount]) -> Chart:
    """Laney's p' chart: the p chart's limits times sigma_z, the scatter of the lots over that of the binomial.

    sigma_z is the mean moving range of the lots' z-scores over 1.128. Above 1 the lots differ by more than chance (the
    p chart then cries too often), below 1 by less.
    """
    base = _baseline(lots)
    sigma_z, why = _sigma_z(lots, base)
    limits = [_normal_limits(base.center, lot.n, sigma_z) for lot in lots]
    rates = [_rate(lot) for lot in lots]
    points = _judged("Laney p' chart", lots, base, rates, limits, [float(lot.n) for lot in lots])
    return Chart("laney_p", metric, base.center, sigma_z, base.provisional, tuple(points), (*_notes(base), *why))


def ewma_chart(metric: str, lots: Sequence[LotCount], *, weight: float = EWMA_WEIGHT) -> Chart:
    """The EWMA of the lots' rates, started at p-bar, with exact limits for unequal lots.

    z_t = weight p_t + (1 - weight) z_(t-1); var z_t = sum of weight^2 (1 - weight)^(2 (t - i)) p-bar (1 - p-bar) / n_i.
    A lot without a record of the class leaves it where it was.

    Raises:
        ValueError: a weight outside (0, 1].
    """
    if not 0 < weight <= 1:
        raise ValueError(f"the weight of an EWMA lies in (0, 1], got {weight}")
    base = _baseline(lots)
    values: list[float | None] = []
    limits: list[tuple[float, float] | None] = []
    effective: list[float] = []
    level, spread = base.center or 0.0, 0.0
    for lot in lots:
        if lot.n == 0 or base.center is None:
            values.append(None)
            limits.append(None)
            effective.append(0.0)
            continue
        level = weight * lot.mistakes / lot.n + (1 - weight) * level
        spread = weight**2 / lot.n + (1 - weight) ** 2 * spread
        values.append(level)
        limits.append(_normal_limits(base.center, 1 / spread, 1.0))
        effective.append(1 / spread)
    points = _judged("EWMA", lots, base, values, limits, effective)
    return Chart("ewma", metric, base.center, None, base.provisional, tuple(points), _notes(base))


def cusum_chart(metric: str, lots: Sequence[LotCount], *, accepted: float = 0.02, rejected: float = 0.05) -> Chart:
    """The one-sided CUSUM of mistakes: S = max(0, S + x ln(p1/p0) + (n - x) ln((1 - p1)/(1 - p0))).

    An alarm is S above ln(LOTS_BETWEEN_FALSE_ALARMS): at the accepted rate or below, the mean number of lots to a false
    alarm is at least that (Lorden 1971). S is not set back after an alarm: the alarm stays until lots bring it down, or
    another model is released.

    Args:
        accepted: p0, the rate that the release promises.
        rejected: p1 > p0, the rate that must be found soon.

    Raises:
        ValueError: not 0 < accepted < rejected < 1.
    """
    if not 0 < accepted < rejected < 1:
        raise ValueError(f"a CUSUM weighs 0 < accepted < rejected < 1, got {accepted} and {rejected}")
    wrong, right = math.log(rejected / accepted), math.log((1 - rejected) / (1 - accepted))
    limit = math.log(LOTS_BETWEEN_FALSE_ALARMS)
    total, points = 0.0, []
    for lot in lots:
        _check(lot)
        total = max(0.0, total + lot.mistakes * wrong + (lot.n - lot.mistakes) * right)
        value = total if lot.n else None
        alarm = (
            f"CUSUM {total:.2f} is above {limit:.2f}: the lots speak for {rejected:.2%} rather than {accepted:.2%}"
            if value is not None and total > limit
            else ""
        )
        points.append(ChartPoint(lot.lot, lot.mistakes, lot.n, value, None, limit, alarm, _empty(lot)))
    return Chart(
        "cusum",
        metric,
        0.0,
        None,
        False,
        tuple(points),
        (f"the CUSUM weighs {accepted:.2%} (accepted) against {rejected:.2%} (rejected)",),
    )


@dataclass(frozen=True, slots=True)
class _Baseline:
    """p-bar over the lots that fix the limits, and how many they are."""

    center: float | None
    lots: tuple[LotCount, ...]
    records: int

    @property
    def provisional(self) -> bool:
        return len(self.lots) < BASELINE


def _baseline(lots: Sequence[LotCount]) -> _Baseline:
    for lot in lots:
        _check(lot)
    chosen = tuple(lot for lot in lots if lot.n)[:BASELINE]
    records = sum(lot.n for lot in chosen)
    return _Baseline(sum(lot.mistakes for lot in chosen) / records if records else None, chosen, records)


def _check(lot: LotCount) -> None:
    if not 0 <= lot.mistakes <= lot.n:
        raise ValueError(f"lot {lot.lot}: {lot.mistakes} mistakes of {lot.n}")


def _rate(lot: LotCount) -> float | None:
    return lot.mistakes / lot.n if lot.n else None


def _normal_limits(center: float | None, n: float, factor: float | None) -> tuple[float, float] | None:
    if center is None or center in (0.0, 1.0) or factor is None or n == 0:
        return None
    reach = SIGMAS * factor * math.sqrt(center * (1 - center) / n)
    return max(0.0, center - reach), min(1.0, center + reach)


def _sigma_z(lots: Sequence[LotCount], base: _Baseline) -> tuple[float | None, tuple[str, ...]]:
    """Laney's sigma_z over the baseline lots, and what is to be said of it."""
    center = base.center
    if center is None or len(base.lots) < 2:
        return None, ("sigma_z needs two lots",)
    if center in (0.0, 1.0):
        return None, ("sigma_z cannot be told: the lots do not differ",)
    scores = [(lot.mistakes / lot.n - center) / math.sqrt(center * (1 - center) / lot.n) for lot in base.lots]
    ranges = [abs(after - before) for before, after in pairwise(scores)]
    sigma_z = sum(ranges) / len(ranges) / D2
    if sigma_z < 1e-9:
        return None, ("sigma_z is 0: neighbouring lots have equal rates, so that p' has no limits",)
    return sigma_z, ()


def _judged(
    what: str,
    lots: Sequence[LotCount],
    base: _Baseline,
    values: Sequence[float | None],
    limits: Sequence[tuple[float, float] | None],
    effective: Sequence[float],
) -> list[ChartPoint]:
    """Test 1: a point beyond its limits. `effective` counts the records that a value rests on."""
    points = []
    for lot, value, ends, n in zip(lots, values, limits, effective, strict=True):
        low, high = ends if ends is not None else (None, None)
        alarm, note = "", _empty(lot)
        if value is not None and low is not None and high is not None and base.center is not None:
            if value > high + 1e-12:
                said = f"{what}: {value:.2%} is above the {'provisional ' if base.provisional else ''}limit {high:.2%}"
                tail = _tail(value, n, base.center)
                if n * base.center < FEW_EXPECTED and tail > TAIL:
                    note = f"{said}, which is rough here: chance alone does so in {tail:.1%} of such lots; no alarm"
                else:
                    alarm = said
            elif value < low - 1e-12:
                note = f"{what}: {value:.2%} is below the limit {low:.2%}: find out why it is so good"
        points.append(ChartPoint(lot.lot, lot.mistakes, lot.n, value, low, high, alarm, note))
    return points


def _tail(value: float, n: float, center: float) -> float:
    """The exact binomial chance of a rate of at least `value` among `n` records (rounded for a weighted mean)."""
    from scipy.stats import binom

    records = max(1, round(n))
    return float(binom.sf(math.ceil(value * records - 1e-9) - 1, records, center))


def _with_runs(points: list[ChartPoint], center: float | None) -> list[ChartPoint]:
    """Test 2: RUN lots in a row above the centre (below it: a note)."""
    above = below = 0
    found = []
    for point in points:
        if point.value is not None and center is not None:
            above = above + 1 if point.value > center else 0
            below = below + 1 if point.value < center else 0
        alarm, note = point.alarm, point.note
        if point.n and above >= RUN and not alarm:
            alarm = f"p chart: {above} lots in a row above the centre {center:.2%}"
        elif point.n and below >= RUN and not note:
            note = f"p chart: {below} lots in a row below the centre {center:.2%}: find out why"
        found.append(ChartPoint(point.lot, point.mistakes, point.n, point.value, point.low, point.high, alarm, note))
    return found


def _empty(lot: LotCount) -> str:
    return "" if lot.n else "no record of this class in the lot: no point"


def _notes(base: _Baseline) -> tuple[str, ...]:
    count = len(base.lots)
    if base.center is None:
        return ("no lot holds a record of this class",)
    said = []
    if base.provisional:
        lots = f"{count} lot{'s' if count != 1 else ''}"
        said.append(f"limits are provisional: {lots} of the {BASELINE} that fix them; test 1 only")
    if base.center == 0.0:
        said.append(f"no mistake in {base.records} records: no limit can be drawn, the CUSUM judges alone")
    elif base.center == 1.0:
        said.append(f"nothing but mistakes in {base.records} records: no limit can be drawn, the CUSUM judges alone")
    return tuple(said)
