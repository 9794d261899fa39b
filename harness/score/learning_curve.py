"""How does a figure grow with training records, and how many does a target need? MEASUREMENT section 5.

Enters: for each cycle its training records (train + validation) and its scores of the same test records. Leaves: a
LearningCurve and its band, or the plain words that there is none; curve_target.py asks it for a target.

Points are weighted by 1/variance: binomial, smoothed, with the design effect of groups, and the scatter between
trainings where a size has several seeds. The interval resamples the test records, the same resample for every size,
whole groups where there are groups; the scatter between trainings is added. Cost: about 60 ms for 400 records and ten
cycles.

Source: Figueroa et al. 2012, BMC Med Inform Decis Mak 12:8 (inverse power law, weighted nonlinear least squares).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.score.aggregate import MISTAKES, PROPORTIONS, Scored, members
from harness.score.intervals import Bootstrap, clustered_standard_error
from harness.score.power_law import FEWEST_SIZES, PowerLaw, fit_many, fit_power_law

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

RESAMPLES = 500
#: the level at which points are said not to follow the curve
MISFIT = 0.001


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One cycle on the curve: training records, and the figure with its variance on the test records."""

    size: int
    value: float
    variance: float


@dataclass(frozen=True, slots=True)
class BandPoint:
    """The curve at n training records with its 95 % band."""

    n: float
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """A fitted curve, or `law` None and the `reason` why there is none.

    Where `mistakes` (less is better), the law and the draws are those of the complement, 1 - figure; the points are the
    figure's own. `n` counts test records. `training_sd` is the scatter between trainings of one size, None where every
    size was trained once. `draws` holds a, b and c of each resample, shape [resamples, 3].
    """

    law: PowerLaw | None
    reason: str
    points: tuple[CurvePoint, ...]
    n: int
    method: str
    mistakes: bool = False
    training_sd: float | None = None
    draws: Array | None = field(default=None, repr=False, compare=False)

    @property
    def smallest(self) -> int:
        """The smallest size measured."""
        return min(point.size for point in self.points)

    @property
    def largest(self) -> int:
        """The largest size measured."""
        return max(point.size for point in self.points)

    @property
    def at_largest(self) -> float:
        """The figure seen at the largest size: the mean over its trainings."""
        seen = [point.value for point in self.points if point.size == self.largest]
        return sum(seen) / len(seen)


def metric_curve(
    metric: str,
    sizes: Sequence[int],
    scores: Sequence[Sequence[Scored]],
    defective: Sequence[bool],
    groups: Sequence[str] | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> LearningCurve:
    """The learning curve of a proportion over cycles that answered the same test records.

    Args:
        metric: a key of PROPORTIONS.
        sizes: training records of each cycle.
        scores: each cycle's scores, all in the same order of records.
        defective: whether each record is truly defective.
        groups: each record's group, where groups hold several records.
        resamples: of the test records.
        seed: of the resampling.
    """
    _, shows = PROPORTIONS[metric]
    chosen = members(metric, defective)
    mistakes = metric in MISTAKES
    right = [[shows(row[i]) != mistakes for i in chosen] for row in scores]
    own = None if groups is None else [groups[i] for i in chosen]
    return fit_learning_curve(sizes, right, own, mistakes=mistakes, resamples=resamples, seed=seed)


def fit_learning_curve(
    sizes: Sequence[int],
    right: Sequence[Sequence[bool]],
    groups: Sequence[str] | None = None,
    *,
    mistakes: bool = False,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> LearningCurve:
    """Fit the curve of several cycles that answered the same test records.

    Args:
        sizes: training records of each cycle; a size may come several times (other seeds).
        right: for each cycle, which test records it has right, all in the same order.
        groups: each test record's group, where groups hold several records.
        mistakes: the figure is the share that is not right.
        resamples: of the test records.
        seed: of the resampling.

    Raises:
        ValueError: no cycle, not one row of answers a size, or rows of several lengths.
    """
    import numpy as np

    if not sizes or len(sizes) != len(right) or len({len(row) for row in right}) > 1:
        raise ValueError(f"{len(sizes)} sizes with {len(right)} rows of {sorted({len(row) for row in right})} answers")
    n = len(right[0])
    if n == 0:
        return LearningCurve(None, "no such test record", (), 0, "", mistakes)
    order = sorted(range(len(sizes)), key=lambda i: sizes[i])
    size = np.array([sizes[i] for i in order], dtype=np.float64)
    answers = np.array([right[i] for i in order], dtype=np.float64)
    values = answers.mean(axis=1)
    effect = _design_effect(answers, groups)
    smooth = (answers.sum(axis=1) + 0.5) / (n + 1)
    scatter = _training_variance(size, answers, effect)
    variances = smooth * (1 - smooth) / n * effect + (scatter or 0.0)
    points = tuple(
        CurvePoint(int(s), 1 - float(y) if mistakes else float(y), float(v))
        for s, y, v in zip(size, values, variances, strict=True)
    )
    distinct = len(set(sizes))
    if distinct < FEWEST_SIZES:
        reason = f"{distinct} size{'s' * (distinct != 1)} of training data, at least {FEWEST_SIZES} are needed"
        return LearningCurve(None, reason, points, n, "", mistakes)
    law = fit_power_law(size.tolist(), values.tolist(), variances.tolist())
    misfit = _misfit(law, size, values, variances)
    if misfit:
        return LearningCurve(None, misfit, points, n, "", mistakes)
    boot = Bootstrap(n, groups, resamples=resamples, seed=seed)
    drawn = _resampled(boot, answers, n / effect, scatter or 0.0, np.random.default_rng([seed, 1]))
    trained = (
        "one training a size, so without the scatter between trainings"
        if scatter is None
        else f"with the scatter between trainings of one size, {math.sqrt(scatter):.1%}"
    )
    return LearningCurve(
        law=law,
        reason="",
        points=points,
        n=n,
        method=f"a - b n^-c, weighted by 1/variance, {distinct} sizes; bootstrap 95 % by "
        f"{boot.what.removesuffix('s')}, {resamples} resamples joint over the sizes, {trained}",
        mistakes=mistakes,
        training_sd=None if scatter is None else math.sqrt(scatter),
        draws=fit_many(size, drawn, 1 / variances),
    )


def band(curve: LearningCurve, sizes: Sequence[float]) -> list[BandPoint]:
    """The figure at some sizes with the 95 % band of the resamples, size by size; all within [0, 1].

    Raises:
        ValueError: there is no curve.
    """
    import numpy as np

    if curve.law is None or curve.draws is None:
        raise ValueError(f"no curve: {curve.reason}")
    a, b, c = (column[:, None] for column in curve.draws.T)
    n = np.asarray(sizes, dtype=np.float64)
    low, high = np.quantile(np.clip(a - b * n**-c, 0, 1), [0.025, 0.975], axis=0)
    middle = np.clip([curve.law.at(x) for x in sizes], 0, 1)
    if curve.mistakes:
        low, middle, high = 1 - high, 1 - middle, 1 - low
    return [BandPoint(float(x), *map(float, ends)) for x, *ends in zip(sizes, middle, low, high, strict=True)]


def _misfit(law: PowerLaw, sizes: Array, values: Array, variances: Array) -> str:
    """Why the points do not follow the curve; "" where they may (chi-square with 3 parameters, level MISFIT).

    The points share their test records, which only brings them closer to a common curve; what trainings of one size add
    is in the variances where a size was trained more than once.
    """
    from scipy.stats import chi2

    freedom = len(sizes) - 3
    squares = sum((y - law.at(n)) ** 2 / v for n, y, v in zip(sizes, values, variances, strict=True))
    if float(chi2.sf(squares, freedom)) >= MISFIT:
        return ""
    return (
        f"the points do not follow a - b n^-c within the scatter of the test records (chi-square {squares:.0f}, "
        f"{freedom} degree{'s' * (freedom != 1)} of freedom); several seeds a size would tell the scatter between "
        "trainings"
    )


def _resampled(boot: Bootstrap, answers: Array, units: float, scatter: float, rng: np.random.Generator) -> Array:
    """The cycles' shares in each resample of the test records, shape [resamples, cycles].

    Where a cycle has all records right, or none, resampling shows no scatter, which is no proof of certainty: its
    shares are then drawn by Jeffreys' beta distribution, at the same quantile for every such cycle. The scatter between
    trainings is added to all.
    """
    from scipy.stats import beta

    n = answers.shape[1]
    sums = boot.sums([*answers.tolist(), [1.0] * n]).T
    drawn: Array = sums[:, :-1] / sums[:, -1:]
    quantile = rng.random(len(drawn))
    for place, share in enumerate(answers.mean(axis=1)):
        if share in (0.0, 1.0):
            drawn[:, place] = beta.ppf(quantile, share * units + 0.5, (1 - share) * units + 0.5)
    if scatter:
        drawn = drawn + math.sqrt(scatter) * rng.standard_normal(drawn.shape)
    return drawn


def _design_effect(answers: Array, groups: Sequence[str] | None) -> float:
    """By how much groups raise the variance of a share: mean over the cycles, never taken as less than 1."""
    if groups is None:
        return 1.0
    effects = []
    for row in answers:
        share = float(row.mean())
        if 0 < share < 1:
            clustered = clustered_standard_error((row - share).tolist(), groups)
            effects.append(clustered**2 / (share * (1 - share) / len(row)))
    return max(1.0, sum(effects) / len(effects)) if effects else 1.0


def _training_variance(sizes: Array, answers: Array, effect: float) -> float | None:
    """The variance between trainings of one size, beyond what the test records explain; None without repeats.

    Shares of one size scatter by their paired test error and by this. Sums of squares are pooled over the sizes.
    """
    import numpy as np

    squares, expected, freedom = 0.0, 0.0, 0
    for size in np.unique(sizes):
        own = answers[sizes == size]
        if len(own) < 2:
            continue
        squares += float(((own.mean(axis=1) - own.mean()) ** 2).sum())
        # What drawing the test records alone would make of that sum: record by record, around each cycle's mean.
        centred = own - own.mean(axis=0)
        centred = centred - centred.mean(axis=1, keepdims=True)
        expected += float((centred**2).sum()) / answers.shape[1] ** 2 * effect
        freedom += len(own) - 1
    return max(0.0, squares - expected) / freedom if freedom else None
