"""The inverse power law a - b n^-c through points, one set of them or many at once.

Enters: sizes, values and variances. Leaves: a, b and c of each set, within bounds that suit a share: the plateau a in
(0, 1], b >= 0 (adding records does no harm), c in EXPONENTS. For one c the best a and b are linear, so that hundreds of
resamples are fitted together over a grid of c: 500 of ten points cost about 20 ms. curve_fit, from the grid's best
start, settles a single one to the last digit (about 20 ms).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

#: distinct sizes that a curve of three parameters must have at least
FEWEST_SIZES = 4
#: c below the first looks like a straight line over log n, above the last like a step
EXPONENTS = (0.05, 3.0)
#: how many exponents are tried, evenly spaced in log c
STEPS = 120


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """metric = a - b n^-c."""

    a: float
    b: float
    c: float

    def at(self, n: float) -> float:
        """The figure at n training records."""
        return self.a - self.b * math.exp(-self.c * math.log(n))

    def reaches(self, target: float) -> bool:
        """Whether any number of records reaches `target`: a rising curve never quite reaches its plateau."""
        return self.a > target or (self.b <= 0 and self.a >= target)

    def records_for(self, target: float) -> float:
        """The n at which the figure is `target`; 0 where a flat curve lies there, infinite where none reaches it."""
        if not self.reaches(target):
            return math.inf
        if self.b <= 0:
            return 0.0
        power = math.log(self.b / (self.a - target)) / self.c
        return math.exp(power) if power < 700 else math.inf


def fit_power_law(sizes: Sequence[float], values: Sequence[float], variances: Sequence[float]) -> PowerLaw:
    """Fit a - b n^-c to points by least squares weighted with 1/variance (scipy.optimize.curve_fit).

    Args:
        sizes: training records of each point, > 0.
        values: the figure at each point, in [0, 1].
        variances: of each value, > 0.

    Raises:
        ValueError: fewer than FEWEST_SIZES distinct sizes, or a size or variance that is not positive.
    """
    import numpy as np
    from scipy.optimize import OptimizeWarning, curve_fit

    if len(set(sizes)) < FEWEST_SIZES:
        raise ValueError(f"{len(set(sizes))} distinct sizes cannot settle three parameters")
    if min(sizes) <= 0 or min(variances) <= 0:
        raise ValueError("sizes and variances are positive")
    n, y, v = (np.asarray(column, dtype=np.float64) for column in (sizes, values, variances))
    middle = float(np.exp(np.log(n).mean()))
    first = fit_many(n / middle, y[None], 1 / v)[0]
    if first[1] == 0:
        return PowerLaw(float(first[0]), 0.0, float(first[2]))  # flat: nothing more to settle

    def law(x: Array, a: float, b: float, c: float) -> Array:
        return np.asarray(a - b * x**-c)

    def badness(found: Array) -> float:
        return float((((y - law(n / middle, *found)) ** 2) / v).sum())

    low, high = np.array([1e-9, 0.0, EXPONENTS[0]]), np.array([1.0, np.inf, EXPONENTS[1]])
    margin = np.array([1e-9, 1e-9, 1e-9])
    start = np.clip(first, low + margin, high - margin)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OptimizeWarning)  # it tells of the covariance, which is not used
        try:
            found, _ = curve_fit(
                law, n / middle, y, p0=start, sigma=np.sqrt(v), bounds=(low, high), ftol=1e-14, xtol=1e-14, gtol=1e-14
            )
        except RuntimeError:  # it does not settle where c means little, and the grid's fit is as good as any
            found = first
    # On an edge (a = 1, b = 0) an interior method stops just short of it; the grid stands on it.
    a, b, c = (float(x) for x in (found if badness(found) <= badness(first) else first))
    return PowerLaw(a, b * middle**c, min(max(c, EXPONENTS[0]), EXPONENTS[1]))


def fit_many(sizes: Array, values: Array, weights: Array) -> Array:
    """The weighted least squares fit of each row of values, within the bounds, over a grid of exponents.

    For one c the best a and b are linear; where a would pass 1 it is 1, where b would fall below 0 the fit is flat.
    Between the grid's exponents the best one is found by a parabola.

    Args:
        sizes: shape [points].
        values: shape [rows, points].
        weights: shape [points].

    Returns:
        a, b and c a row, shape [rows, 3].
    """
    import numpy as np

    grid = np.linspace(math.log(EXPONENTS[0]), math.log(EXPONENTS[1]), STEPS)
    exponents = np.clip(np.exp(grid), *EXPONENTS)  # rounding must not leave the bounds
    _, _, badness = _linear(sizes, values, weights, exponents[None])
    best = badness.argmin(axis=1)
    inner = np.clip(best, 1, STEPS - 2)
    rows = np.arange(len(values))
    left, here, right = (badness[rows, inner + step] for step in (-1, 0, 1))
    curvature = left - 2 * here + right
    shift = np.divide(left - right, 2 * curvature, out=np.zeros_like(left), where=curvature > 0)
    refined = np.exp(grid[inner] + np.clip(shift, -1, 1) * (grid[1] - grid[0]))
    both = np.stack([exponents[best], np.clip(refined, *EXPONENTS)], axis=1)
    a, b, badness = _linear(sizes, values, weights, both)
    better = badness.argmin(axis=1)
    return np.stack([a[rows, better], b[rows, better], both[rows, better]], axis=1)


def _linear(sizes: Array, values: Array, weights: Array, exponents: Array) -> tuple[Array, Array, Array]:
    """The best a and b within the bounds for each row and exponent, and the weighted sum of squares.

    Shapes: values [rows, points], exponents [rows, tried] (or [1, tried] for all rows), the results [rows, tried].
    """
    import numpy as np

    share = weights / weights.sum()
    a, b, badness = (np.empty((len(values), exponents.shape[1])) for _ in range(3))
    mean_y = values @ share
    centred_y = values - mean_y[:, None]
    for tried in range(exponents.shape[1]):
        x = sizes ** -exponents[:, tried, None]
        mean_x = x @ share
        centred_x = x - mean_x[:, None]
        slope = -((centred_x * centred_y) @ share) / ((centred_x**2) @ share)
        plateau = mean_y + slope * mean_x
        capped = plateau > 1
        slope = np.where(capped, ((1 - values) * x) @ share / ((x**2) @ share), slope)
        slope, plateau = np.maximum(slope, 0), np.where(capped, 1.0, plateau)
        plateau = np.where(slope > 0, plateau, np.clip(mean_y, 1e-9, 1))
        a[:, tried], b[:, tried] = plateau, slope
        badness[:, tried] = (values - plateau[:, None] + slope[:, None] * x) ** 2 @ share
    return a, b, badness
