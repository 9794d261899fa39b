"""The digital SN ratio: two kinds of mistakes in one number, after levelling the threshold.

Enters: counts of false rejects among the truly passed and of misses among the truly defective (unreadable answers in
both). Leaves: p0, the error rate at which both mistakes would be equally frequent for the same odds ratio, and
10 log10(1/p0 - 1) in dB. A ratio hides which mistake it is: print p and q beside it, always.

Source: tsuruzoh-qe.blogspot.com 2018/01; MEASUREMENT section 2. The other textbook form, 10 log10(r / (1 - r)) with
r = (1 - 2 p0)^2, gives other numbers and signs and is never used here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.score.intervals import clustered_standard_error


@dataclass(frozen=True, slots=True)
class DigitalSN:
    """The ratio. `sn`, `low`, `high` in dB, always finite.

    `p` is the false reject rate, `q` the miss rate as observed; `p0` rests on the corrected rates where a cell was 0.
    `sign` is printed before the value, and tells on which side the uncorrected ratio lies:

    * ">=": a class shows no mistake, so that it is infinite (or, where the other class shows nothing but mistakes, as
      of an always-"defective" model, not defined);
    * "<=": a class shows nothing but mistakes and the other shows some, so that it is minus infinite (a mute model);
    * "": no cell was 0, nothing was corrected.
    """

    p: float
    q: float
    p0: float
    sn: float
    low: float
    high: float
    sign: Literal["", ">=", "<="]

    @property
    def at_least(self) -> bool:
        """Whether the value is printed with ">="."""
        return self.sign == ">="


def equal_error_rate(p: float, q: float) -> float:
    """p0 = 1 / (1 + sqrt((1/p - 1)(1/q - 1))): what both error rates become at the same odds ratio.

    Args:
        p: false reject rate, in (0, 1).
        q: miss rate, in (0, 1).
    """
    return 1 / (1 + math.sqrt((1 / p - 1) * (1 / q - 1)))


def group_effect(mistaken: Sequence[bool], defective: Sequence[bool], groups: Sequence[str]) -> float:
    """How many times the variance of the log odds ratio grows because records of a group err together; at least 1.

    The delta method: each record moves the log odds of its class by (x - p) / (n p (1 - p)); the moves of a group are
    added before they are squared. 1 where a class shows no mistake or nothing else, since there is no scatter to tell.

    Args:
        mistaken: whether each record was a false reject or a miss.
        defective: its true class.
        groups: its group.
    """
    moves = [0.0] * len(mistaken)
    for bad in (False, True):
        chosen = [i for i, is_bad in enumerate(defective) if is_bad == bad]
        wrong = sum(mistaken[i] for i in chosen)
        if wrong in (0, len(chosen)):
            return 1.0
        rate = wrong / len(chosen)
        for i in chosen:
            moves[i] = (mistaken[i] - rate) / (len(chosen) * rate * (1 - rate))
    alone = sum(move * move for move in moves)
    together = (clustered_standard_error(moves, groups) * len(moves)) ** 2
    return max(1.0, together / alone)


def digital_sn(
    false_rejects: int, passed: int, misses: int, defective: int, *, effect: float = 1.0
) -> DigitalSN | None:
    """The digital SN ratio of `false_rejects` of `passed` and `misses` of `defective` records.

    sn = 10 log10(1/p0 - 1), which is 5 log10 of the odds ratio. Where any of the four cells is zero, (x + .5)/(n + 1)
    is taken in both classes. The interval is (5 / ln 10) times the log odds ratio's (95 %, statsmodels Table2x2), wider
    by sqrt(effect) where records come in groups (group_effect).

    Returns:
        None where a class is absent.

    Raises:
        ValueError: more mistakes than records, or fewer than none.
    """
    if not (0 <= false_rejects <= passed and 0 <= misses <= defective):
        raise ValueError(f"{false_rejects} false rejects of {passed}, {misses} misses of {defective}")
    if passed == 0 or defective == 0:
        return None
    from statsmodels.stats.contingency_tables import Table2x2

    clean = false_rejects == 0 or misses == 0
    hopeless = false_rejects == passed or misses == defective
    add = 0.5 if clean or hopeless else 0.0
    right_of_passed, right_of_bad = passed - false_rejects + add, defective - misses + add
    wrong_of_passed, wrong_of_bad = false_rejects + add, misses + add
    p0 = equal_error_rate(
        wrong_of_passed / (wrong_of_passed + right_of_passed), wrong_of_bad / (wrong_of_bad + right_of_bad)
    )
    table = Table2x2([[right_of_passed, wrong_of_passed], [wrong_of_bad, right_of_bad]], shift_zeros=False)
    low, high = table.log_oddsratio_confint(0.05)
    scale = 5 / math.log(10)
    middle, reach = (low + high) / 2, (high - low) / 2 * math.sqrt(effect)
    return DigitalSN(
        p=false_rejects / passed,
        q=misses / defective,
        p0=p0,
        sn=5 * math.log10(right_of_passed * right_of_bad / (wrong_of_passed * wrong_of_bad)),
        low=scale * float(middle - reach),
        high=scale * float(middle + reach),
        sign=">=" if clean else "<=" if hopeless else "",
    )
