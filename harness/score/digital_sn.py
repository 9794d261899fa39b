"""The digital SN ratio: two kinds of mistakes in one number, after levelling the threshold.

Enters: counts of false rejects among the truly passed and of misses among the truly defective (unreadable answers in
both). Leaves: p0, the error rate at which both mistakes would be equally frequent for the same odds ratio, and
10 log10(1/p0 - 1) in dB. A ratio hides which mistake it is: print p and q beside it, always.

Source: tsuruzoh-qe.blogspot.com 2018/01; MEASUREMENT section 2. The other textbook form, 10 log10(r / (1 - r)) with
r = (1 - 2 p0)^2, gives other numbers and signs and is never used here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DigitalSN:
    """The ratio. `sn`, `low`, `high` in dB; `at_least`: a cell was zero, so that the value is printed with >=.

    `p` is the false reject rate, `q` the miss rate as observed; `p0` rests on the corrected rates where a cell was 0.
    """

    p: float
    q: float
    p0: float
    sn: float
    low: float
    high: float
    at_least: bool


def digital_sn(false_rejects: int, passed: int, misses: int, defective: int) -> DigitalSN | None:
    """The digital SN ratio of `false_rejects` of `passed` and `misses` of `defective` records.

    p0 = 1 / (1 + sqrt((1/p - 1)(1/q - 1))), sn = 10 log10(1/p0 - 1). Where any of the four cells is zero,
    (x + .5)/(n + 1) is taken in both classes. The interval is (5 / ln 10) times the log odds ratio's (95 %).

    Returns:
        None where a class is absent.
    """
    if passed == 0 or defective == 0:
        return None
    from statsmodels.stats.contingency_tables import Table2x2

    table: list[list[float]] = [[passed - false_rejects, false_rejects], [misses, defective - misses]]
    corrected = any(cell == 0 for row in table for cell in row)
    if corrected:
        table = [[cell + 0.5 for cell in row] for row in table]
    p = table[0][1] / sum(table[0])
    q = table[1][0] / sum(table[1])
    p0 = 1 / (1 + math.sqrt((1 / p - 1) * (1 / q - 1)))
    odds = Table2x2(table, shift_zeros=False)
    low, high = odds.log_oddsratio_confint(0.05)
    scale = 5 / math.log(10)
    # The ratio favours the model only if it errs in neither class as a whole; an always-wrong one has it negative.
    return DigitalSN(
        p=false_rejects / passed,
        q=misses / defective,
        p0=p0,
        sn=10 * math.log10(1 / p0 - 1),
        low=scale * float(low),
        high=scale * float(high),
        at_least=corrected,
    )
