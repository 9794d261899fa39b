"""Intervals of proportions and of sums of counts.

Enters: counts. Leaves: an Interval with n and the name of its method. Proportions go through statsmodels
(proportion_confint); what has no closed form is resampled with a generator of its own, seeded and local.
Wilson serves display (narrow and centred); Clopper-Pearson, which never undercovers, serves whatever asks "at most".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its interval. All three are None where n = 0."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    method: str


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """The Wilson score interval of a proportion (Wilson 1927)."""
    return _confint(successes, n, confidence, "wilson", "Wilson")


def clopper_pearson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """The exact two-sided interval of a proportion (Clopper and Pearson 1934)."""
    return _confint(successes, n, confidence, "beta", "Clopper-Pearson")


def upper_bound(successes: int, n: int, confidence: float = 0.95) -> float:
    """The exact one-sided upper bound: with `confidence` the true rate is at most this. 1 where n = 0."""
    return 1.0 if n == 0 else float(_proportion_confint(successes, n, 2 * (1 - confidence), "beta")[1])


def lower_bound(successes: int, n: int, confidence: float = 0.95) -> float:
    """The exact one-sided lower bound: with `confidence` the true rate is at least this. 0 where n = 0."""
    return 0.0 if n == 0 else float(_proportion_confint(successes, n, 2 * (1 - confidence), "beta")[0])


def _confint(successes: int, n: int, confidence: float, method: str, name: str) -> Interval:
    if n == 0:
        return Interval(None, None, None, 0, "not defined: no such record")
    low, high = _proportion_confint(successes, n, 1 - confidence, method)
    return Interval(successes / n, low, high, n, f"{name} {confidence:.0%}")


def _proportion_confint(successes: int, n: int, alpha: float, method: str) -> tuple[float, float]:
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n}")
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(successes, n, alpha=alpha, method=method)
    # statsmodels leaves rounding dust beside 0 and 1, and nan where Clopper-Pearson has no bound on one side.
    low = 0.0 if successes == 0 or math.isnan(low) else max(0.0, float(low))
    high = 1.0 if successes == n or math.isnan(high) else min(1.0, float(high))
    return low, high


def clustered_standard_error(errors: Sequence[float], groups: Sequence[str]) -> float:
    """Standard error of a mean whose records come in groups: sqrt(sum over groups of (sum e)^2) / n.

    Args:
        errors: each record's value minus the mean.
        groups: each record's group.

    Source: Miller 2024, "Adding Error Bars to Evals", arXiv 2411.00640.
    """
    sums: dict[str, float] = {}
    for error, group in zip(errors, groups, strict=True):
        sums[group] = sums.get(group, 0.0) + error
    return math.sqrt(sum(total**2 for total in sums.values())) / len(errors)


def bootstrap(
    columns: Sequence[Sequence[float]],
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    *,
    groups: Sequence[str] | None = None,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float] | None:
    """The percentile interval of a statistic of column sums, by record, or by group where groups are given.

    Args:
        columns: per-record figures, one sequence of length n a column.
        statistic: takes the resampled sums, shape [resamples, columns], and gives [resamples] values; nan where it is
            not defined for a resample.
        groups: each record's group; whole groups are drawn.

    Returns:
        (low, high), or None where no resample defines the statistic.

    Source: Efron and Tibshirani 1993, ch. 13; Cameron, Gelbach and Miller 2008 for whole clusters.
    """
    import numpy as np

    values = np.asarray(columns, dtype=np.float64).T
    if groups is not None:
        _, place = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
        by_group = np.zeros((int(place.max()) + 1, values.shape[1]))
        np.add.at(by_group, place, values)
        values = by_group
    generator = np.random.default_rng(seed)
    units = len(values)
    counts = generator.multinomial(units, np.full(units, 1 / units), size=resamples)
    found: Any = statistic(counts @ values)
    found = found[np.isfinite(found)]
    if not len(found):
        return None
    tail = (1 - confidence) / 2
    low, high = np.quantile(found, [tail, 1 - tail])
    return float(low), float(high)
