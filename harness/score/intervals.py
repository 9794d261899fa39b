"""Intervals of proportions and of sums of counts.

Enters: counts, or per-record figures. Leaves: an Interval with n and the name of its method. Proportions have
closed forms; what has none is resampled with a generator of its own, seeded and local.
Wilson serves display (narrow and centred); Clopper-Pearson, which never undercovers, serves whatever asks "at most".
Cost of a Bootstrap: 8 bytes x resamples x records (6 MB and about 20 ms for 400 records), once for all figures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RESAMPLES = 2000

#: a resampled interval narrower than this has no width but for rounding
NO_WIDTH = 1e-9


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its interval; `low` and `high` are None where there is none, `value` too where n = 0."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    method: str


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """The Wilson score interval of a proportion (Wilson 1927).

    Raises:
        ValueError: not 0 <= successes <= n, or a confidence outside (0, 1).
    """
    return _confint(successes, n, confidence, "wilson", "Wilson")


def clopper_pearson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """The exact two-sided interval of a proportion (Clopper and Pearson 1934).

    Raises:
        ValueError: not 0 <= successes <= n, or a confidence outside (0, 1).
    """
    return _confint(successes, n, confidence, "beta", "Clopper-Pearson")


def upper_bound(successes: int, n: int, confidence: float = 0.95) -> float:
    """The exact one-sided upper bound: with `confidence` the true rate is at most this. 1 where n = 0.

    A one-sided bound at 95 % is the end of the two-sided interval at 90 %.

    Raises:
        ValueError: not 0 <= successes <= n, or a confidence outside (0, 1).
    """
    _check(successes, n, confidence)
    return 1.0 if n == 0 else _proportion_confint(successes, n, 2 * (1 - confidence), "beta")[1]


def lower_bound(successes: int, n: int, confidence: float = 0.95) -> float:
    """The exact one-sided lower bound: with `confidence` the true rate is at least this. 0 where n = 0.

    Raises:
        ValueError: not 0 <= successes <= n, or a confidence outside (0, 1).
    """
    _check(successes, n, confidence)
    return 0.0 if n == 0 else _proportion_confint(successes, n, 2 * (1 - confidence), "beta")[0]


def clustered_wilson(shows: Sequence[bool], groups: Sequence[str]) -> Interval:
    """The 95 % Wilson interval of a proportion whose records come in groups, at the effective number of records.

    Records of one group err together, so n of them tell less than n. The design effect is the clustered over the naive
    variance of the mean, never taken as less than 1. Where all records agree there is no scatter to tell it from: plain
    Wilson then. With few groups it still promises somewhat too much.

    Source: Kott 2017, Survey Methodology 43(2); Franco et al. 2019, J Surv Stat Methodol 7:334 (who find Wilson's form
    at the effective sample size among the best).

    Args:
        shows: whether each record shows what is counted.
        groups: each record's group, in the same order.
    """
    n, successes = len(shows), sum(shows)
    plain = wilson(successes, n)
    if successes in (0, n):
        return plain
    share = successes / n
    clustered = clustered_standard_error([show - share for show in shows], groups)
    effect = clustered**2 / (share * (1 - share) / n)
    if effect <= 1:
        return plain
    low, high = wilson_ends(share, n / effect)
    return Interval(share, low, high, n, f"Wilson 95 % by group, {n / effect:.1f} effective records")


def wilson_ends(share: float, units: float) -> tuple[float, float]:
    """The ends of the 95 % Wilson interval of a share among `units` records, groups or effective records.

    It also stands in where resampling shows no scatter: ten right of ten are no proof of perfection.
    """
    return _proportion_confint(share * units, units, 0.05, "wilson")


def clustered_standard_error(errors: Sequence[float], groups: Sequence[str]) -> float:
    """Standard error of a mean whose records come in groups: sqrt(sum over groups of (sum e)^2) / n.

    Args:
        errors: each record's value minus the mean.
        groups: each record's group.

    Raises:
        ValueError: no record, or not one group a record.

    Source: Miller 2024, "Adding Error Bars to Evals", arXiv 2411.00640.
    """
    if not errors:
        raise ValueError("no record, so no standard error")
    sums: dict[str, float] = {}
    for error, group in zip(errors, groups, strict=True):
        sums[group] = sums.get(group, 0.0) + error
    return math.sqrt(sum(total**2 for total in sums.values())) / len(errors)


class Bootstrap:
    """Resamples of n records, drawn once and shared by every figure of the same records.

    Whole groups are drawn where groups are given, else single records; the interval is the percentile one.

    Args:
        n: how many records, at least 1.
        groups: each record's group.
        resamples: how many resamples.
        seed: of the generator, which is local.

    Raises:
        ValueError: n < 1, or not one group a record.

    Source: Efron and Tibshirani 1993, ch. 13; Cameron, Gelbach and Miller 2008 for whole clusters.
    """

    def __init__(
        self, n: int, groups: Sequence[str] | None = None, *, resamples: int = RESAMPLES, seed: int = 0
    ) -> None:
        import numpy as np

        if n < 1 or (groups is not None and len(groups) != n):
            raise ValueError(f"{n} records with {n if groups is None else len(groups)} groups cannot be resampled")
        self.what = "records" if groups is None else "groups"
        #: the unit (record or group) of each record, shape [n]
        self.unit: NDArray[np.intp] = (
            np.arange(n) if groups is None else np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1]
        )
        self.units = int(self.unit.max()) + 1
        drawn = np.random.default_rng(seed).integers(0, self.units, size=(resamples, self.units))
        drawn += np.arange(resamples)[:, None] * self.units
        times = np.bincount(drawn.ravel(), minlength=resamples * self.units)
        #: how often each unit was drawn, shape [resamples, units]
        self.weights: NDArray[np.float64] = times.reshape(resamples, self.units).astype(np.float64)

    def sums(self, columns: Sequence[Sequence[float]]) -> NDArray[np.float64]:
        """The sum of each per-record column in each resample, shape [columns, resamples]."""
        import numpy as np

        by_unit = np.zeros((self.units, len(columns)))
        np.add.at(by_unit, self.unit, np.asarray(columns, dtype=np.float64).T)
        found: NDArray[np.float64] = (self.weights @ by_unit).T
        return found

    def ratio(self, over: Sequence[float], under: Sequence[float]) -> NDArray[np.float64]:
        """sum(over) / sum(under) in each resample, nan where the latter is 0; shape [resamples]."""
        import numpy as np

        top, bottom = self.sums([over, under])
        found: NDArray[np.float64] = np.divide(top, bottom, out=np.full_like(top, np.nan), where=bottom != 0)
        return found

    def units_with(self, counts: Sequence[float]) -> int:
        """How many records or groups have a count that is not 0."""
        return len({int(unit) for unit, value in zip(self.unit, counts, strict=True) if value})

    def interval(self, value: float, draws: NDArray[np.float64], n: int, confidence: float = 0.95) -> Interval:
        """The percentile interval of a figure.

        Args:
            value: the figure on all records.
            draws: the figure on each resample; nan where it is not defined there (such resamples are left out, and
                the method says how many stayed).
            n: what the figure counts.

        Returns:
            An Interval; without ends where the resamples agree, since no scatter is no proof of certainty.
        """
        import numpy as np

        defined = draws[np.isfinite(draws)]
        tail = (1 - confidence) / 2
        ends = np.quantile(defined, [tail, 1 - tail]) if len(defined) else None
        if ends is None or ends[1] - ends[0] < NO_WIDTH:
            return Interval(value, None, None, n, f"no scatter in {self.units} {self.what}: no interval")
        method = f"bootstrap {100 * confidence:g} % by {self.what.removesuffix('s')}"
        if len(defined) < len(draws):
            method += f" ({len(defined)} of {len(draws)} resamples define it)"
        return Interval(value, float(ends[0]), float(ends[1]), n, method)


def _confint(successes: int, n: int, confidence: float, method: str, name: str) -> Interval:
    _check(successes, n, confidence)
    if n == 0:
        return Interval(None, None, None, 0, "not defined: no such record")
    low, high = _proportion_confint(successes, n, 1 - confidence, method)
    return Interval(successes / n, low, high, n, f"{name} {100 * confidence:g} %")


def _check(successes: int, n: int, confidence: float) -> None:
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n}")
    if not 0 < confidence < 1:
        raise ValueError(f"a confidence lies in (0, 1), got {confidence}")


def _proportion_confint(successes: float, n: float, alpha: float, method: str) -> tuple[float, float]:
    """Both ends, in closed form: statsmodels' proportion_confint is the same, and takes a second to import."""
    if method == "wilson":
        z, share = NormalDist().inv_cdf(1 - alpha / 2), successes / n
        middle = share + z**2 / (2 * n)
        half = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
        low, high = (middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)
    else:
        from scipy.special import betaincinv

        low = float(betaincinv(successes, n - successes + 1, alpha / 2)) if successes else 0.0
        high = float(betaincinv(successes + 1, n - successes, 1 - alpha / 2)) if successes < n else 1.0
    # Rounding leaves dust beside 0 and 1.
    low = 0.0 if successes == 0 else max(0.0, low)
    high = 1.0 if successes == n else min(1.0, high)
    return low, high
