"""Did it improve? Two models on the same records: exact McNemar, paired difference with interval, Holm, and what such a
sample could have shown.

Enters: two sets of scores of the same records in the same order. Leaves: a Comparison a metric. The test is exact and
two-sided; the interval is Wald's over records, or resampled by group where records share parts or lots. One baseline at
a time: several candidates tested against it would need a correction that is not made here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.records import Comparison
from harness.score.aggregate import PROPORTIONS, Scored
from harness.score.intervals import bootstrap

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def compare(
    baseline: Sequence[Scored],
    candidate: Sequence[Scored],
    defective: Sequence[bool],
    *,
    metrics: Sequence[str] = ("verdict_accuracy", "exact_accuracy"),
    groups: Sequence[str] | None = None,
) -> list[Comparison]:
    """Compare proportions on the same records.

    Args:
        baseline: scores of the model to beat; `candidate` those of the new one, in the same order.
        defective: whether each record is truly defective.
        metrics: keys of PROPORTIONS; they are corrected together. One without any record is left out.
        groups: each record's group, where groups hold several records.
    """
    found = []
    for metric in metrics:
        among, shows = PROPORTIONS[metric]
        chosen = [i for i, bad in enumerate(defective) if among == "all" or bad == (among == "defective")]
        if chosen:
            before = [shows(baseline[i]) for i in chosen]
            after = [shows(candidate[i]) for i in chosen]
            own = None if groups is None else [groups[i] for i in chosen]
            found.append(_compare(metric, before, after, own))
    return _holm(found)


def mcnemar_exact(fixed: int, broken: int) -> float:
    """The exact two-sided McNemar p-value: of `fixed + broken` discordant pairs, is one side the likelier?"""
    if fixed + broken == 0:
        return 1.0
    from statsmodels.stats.contingency_tables import mcnemar

    return float(min(1.0, mcnemar([[0, fixed], [broken, 0]], exact=True).pvalue))


def regression_p_value(fixed: int, broken: int) -> float:
    """The exact one-sided McNemar p-value of "the candidate is worse"."""
    if fixed + broken == 0:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(broken, fixed + broken, 0.5, alternative="greater").pvalue)


def detectable_difference(n: int, discordance: float, *, power: float = 0.8, alpha: float = 0.05) -> float | None:
    """The smallest paired difference of proportions that n pairs show with the given power, two-sided.

    Args:
        discordance: share of pairs in which just one of the two models is right, in [0, 1].

    Returns:
        The d for which n = (z_a sqrt(psi) + z_b sqrt(psi - d^2))^2 / d^2 (Connor 1987, Biometrics 43:207); None where
        there is no discordance to judge by, or where even d = psi, the largest that is possible, would not show.
    """
    from scipy.optimize import brentq
    from scipy.stats import norm

    if n == 0 or discordance <= 0:
        return None
    z_alpha, z_beta = norm.ppf(1 - alpha / 2), norm.ppf(power)

    def excess(d: float) -> float:
        spread = math.sqrt(max(discordance - d * d, 0.0))
        return float(d * math.sqrt(n) - z_alpha * math.sqrt(discordance) - z_beta * spread)

    return None if excess(discordance) < 0 else float(brentq(excess, 0.0, discordance))


def _compare(metric: str, before: list[bool], after: list[bool], groups: list[str] | None) -> Comparison:
    n = len(before)
    fixed = sum(a and not b for a, b in zip(after, before, strict=True))
    broken = sum(b and not a for a, b in zip(after, before, strict=True))
    difference = (fixed - broken) / n
    if groups is None:
        low, high, method = _wald(n, fixed, broken)
    else:
        low, high, method = _by_group(before, after, groups)
    return Comparison(
        metric=metric,
        n=n,
        baseline=sum(before) / n,
        candidate=sum(after) / n,
        difference=difference,
        ci_low=low,
        ci_high=high,
        fixed=fixed,
        broken=broken,
        p_value=mcnemar_exact(fixed, broken),
        p_holm=1.0,
        detectable=detectable_difference(n, (fixed + broken) / n),
        method=f"exact McNemar; {method}",
    )


def _wald(n: int, fixed: int, broken: int) -> tuple[float, float, str]:
    """The paired Wald interval; where no pair is discordant it would have no width, so Agresti and Min's is taken."""
    method = "paired Wald 95 %"
    if fixed + broken == 0:
        n, fixed, broken, method = n + 2, fixed + 0.5, broken + 0.5, "Agresti-Min 95 %"  # type: ignore[assignment]
    difference = (fixed - broken) / n
    error = 1.959964 * math.sqrt((fixed + broken) - (fixed - broken) ** 2 / n) / n
    return max(-1.0, difference - error), min(1.0, difference + error), method


def _by_group(before: list[bool], after: list[bool], groups: list[str]) -> tuple[float, float, str]:
    def mean(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        share: NDArray[np.float64] = sums[:, 0] / sums[:, 1]
        return share

    differences = [float(a) - float(b) for a, b in zip(after, before, strict=True)]
    found = bootstrap([differences, [1.0] * len(differences)], mean, groups=groups)
    assert found is not None, "the mean of some records is always defined"
    return *found, f"bootstrap 95 % over {len(set(groups))} groups"


def _holm(found: list[Comparison]) -> list[Comparison]:
    if not found:
        return []
    from statsmodels.stats.multitest import multipletests

    corrected = multipletests([comparison.p_value for comparison in found], method="holm")[1]
    return [replace(c, p_holm=float(p)) for c, p in zip(found, corrected, strict=True)]
