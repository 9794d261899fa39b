"""AUROC of P(defective): the chance that a defective product gets the higher probability than a passed one.

Enters: the true classes and P(defective). Leaves: an Interval. Without groups it is Newcombe's method 5, which has a
width at AUROC 1 too (Hanley and McNeil's has none there); with groups whole groups are resampled.
Cost with groups: one matrix of passed x defective records, and one product of it with the resamples' weights.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.score.intervals import Bootstrap, Interval


def auroc(defective: Sequence[bool], p_defective: Sequence[float], groups: Sequence[str] | None = None) -> Interval:
    """The area under the ROC curve with its 95 % interval.

    Args:
        defective: whether each record is truly defective.
        p_defective: P(defective) in [0, 1] of each answer.
        groups: each record's group, where groups hold several records.

    Returns:
        An Interval over all records; value None where a class is absent.
    """
    n_bad = sum(defective)
    n_good = len(defective) - n_bad
    if not n_bad or not n_good:
        return Interval(None, None, None, len(defective), "not defined: one class is absent")
    from sklearn.metrics import roc_auc_score

    value = float(roc_auc_score(list(defective), list(p_defective)))
    if groups is None:
        low, high = newcombe(value, n_good, n_bad)
        return Interval(value, low, high, len(defective), "Newcombe 95 % (method 5)")
    return _by_group(value, defective, p_defective, groups)


def newcombe(value: float, n_good: int, n_bad: int) -> tuple[float, float]:
    """The 95 % score interval of an AUROC: every theta with |theta - value| <= z sqrt(V(theta)).

    V(theta) = theta (1 - theta) [1 + m (1 - theta)/(2 - theta) + m theta/(1 + theta)] / (n_good n_bad),
    with m = (n_good + n_bad)/2 - 1.

    Source: Newcombe 2006, Stat Med 25:559-573, method 5.
    """
    import math

    from scipy.optimize import brentq
    from scipy.stats import norm

    z, m = norm.ppf(0.975), (n_good + n_bad) / 2 - 1

    def excess(theta: float) -> float:
        spread = 1 + m * (1 - theta) / (2 - theta) + m * theta / (1 + theta)
        return abs(theta - value) - float(z) * math.sqrt(max(theta * (1 - theta) * spread / (n_good * n_bad), 0.0))

    # V is 0 at 0 and 1, so that there the value itself is a root, and not the one sought.
    inside = min(max(value, 1e-12), 1 - 1e-12)
    low = 0.0 if value == 0 else float(brentq(excess, 0.0, inside))
    high = 1.0 if value == 1 else float(brentq(excess, inside, 1.0))
    return low, high


def _by_group(value: float, defective: Sequence[bool], p_defective: Sequence[float], groups: Sequence[str]) -> Interval:
    import numpy as np

    boot = Bootstrap(len(defective), groups)
    bad = np.asarray(defective, dtype=bool)
    p = np.asarray(p_defective, dtype=np.float64)
    ahead = (p[bad][:, None] > p[~bad][None, :]) + 0.5 * (p[bad][:, None] == p[~bad][None, :])
    weights = boot.weights[:, boot.unit]
    of_bad, of_good = weights[:, bad], weights[:, ~bad]
    pairs = of_bad.sum(axis=1) * of_good.sum(axis=1)
    wins = ((of_bad @ ahead) * of_good).sum(axis=1)
    draws = np.divide(wins, pairs, out=np.full_like(wins, np.nan), where=pairs != 0)
    found = boot.interval(value, draws, len(defective))
    if found.low is not None:
        return found
    # No scatter: the score interval at the number of groups that hold each class.
    low, high = newcombe(value, boot.units_with((~bad).tolist()), boot.units_with(bad.tolist()))
    return Interval(value, low, high, len(defective), "no scatter between groups: Newcombe 95 % over groups")
