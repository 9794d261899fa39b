"""How many training records does a target need? A learning curve is asked, and may well not know.

Enters: a LearningCurve and a target. Leaves: RecordsNeeded, in numbers and in words. Extrapolation rests on the power
law: far beyond the sizes measured an interval is often open above, and it says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from harness.score.learning_curve import LearningCurve
from harness.score.power_law import PowerLaw

#: nothing is told of sizes more than this many times the largest measured
FAR = 100


@dataclass(frozen=True, slots=True)
class RecordsNeeded:
    """How many training records a target needs.

    `needed` and its 95 % ends are numbers of records; where `estimable`, a `high` of None is an end that is open above.
    `above_plateau` is the share of resamples in which no number of records reaches the target. `sentence` says all of
    it in words.
    """

    target: float
    estimable: bool
    needed: float | None
    low: float | None
    high: float | None
    above_plateau: float | None
    sentence: str


def records_needed(curve: LearningCurve, target: float) -> RecordsNeeded:
    """How many training records the curve needs to reach a target, or why that cannot be told.

    Estimable means: the curve itself reaches the target within FAR times the largest size measured, and so does more
    than every second resample.

    Args:
        curve: of the figure.
        target: of the figure itself, in [0, 1]: a floor, or for a rate of mistakes a ceiling.

    Raises:
        ValueError: a target outside [0, 1].
    """
    import numpy as np

    if not 0 <= target <= 1:
        raise ValueError(f"a target lies in [0, 1], got {target}")
    if curve.law is None or curve.draws is None:
        return RecordsNeeded(target, False, None, None, None, None, f"not estimable: {curve.reason}")
    goal = 1 - target if curve.mistakes else target
    needed, far = curve.law.records_for(goal), FAR * curve.largest
    draws = [PowerLaw(*map(float, draw)) for draw in curve.draws]
    needs = np.array([draw.records_for(goal) for draw in draws])
    above = sum(not draw.reaches(goal) for draw in draws) / len(draws)
    beyond = "below the floor of the curve" if curve.mistakes else "above the plateau"
    seen = f"target {beyond} in {_share(above)} of the resamples"
    if not curve.law.reaches(goal):
        plateau = 1 - curve.law.a if curve.mistakes else curve.law.a
        why = f"the curve levels off at {plateau:.1%}; {seen}"
    elif needed > far:
        why = f"the curve reaches it beyond {far:,} records, {FAR} times the largest size measured; {seen}"
    elif np.mean(needs > far) >= 0.5:
        why = seen
    else:
        low, high = np.quantile(needs, 0.025, method="lower"), np.quantile(needs, 0.975, method="higher")
        ends = (max(1.0, float(low)), None if high > far else max(1.0, float(high)))
        words = _in_words(curve, needed, *ends) + (f"; {seen}" if above else "")
        return RecordsNeeded(target, True, max(1.0, needed), *ends, above, words)
    return RecordsNeeded(target, False, None, None, None, above, f"not estimable: {why}")


def _in_words(curve: LearningCurve, needed: float, low: float, high: float | None) -> str:
    if needed <= curve.smallest:
        text = f"met with {curve.smallest:,} training records, the smallest size measured"
        if high is None:
            return f"{text} (95 %: no upper end)"
        return f"{text} (95 %: up to {_round(high):,})" if high > curve.smallest else text
    upper = "no upper end" if high is None else f"{_round(high):,}"
    text = f"{_round(needed):,} training records [{_round(low):,}, {upper}]"
    beyond = needed / curve.largest
    return f"{text}, {beyond:.1f} times the largest size measured" if beyond > 1 else text


def _round(n: float) -> int:
    """Up to a whole record, and to three figures where there are more."""
    step = int(10 ** max(0, math.floor(math.log10(max(n, 1.0))) - 2))
    return math.ceil(n / step - 1e-6) * step


def _share(share: float) -> str:
    return "under 1%" if 0 < share < 0.01 else f"{share:.0%}"
