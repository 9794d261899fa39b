"""Does the interval of the records needed cover the truth? Simulated cycles: five nested sizes, 400 test records, two
seeds, and the same test records at every size, some of which are harder than others.

A record is right where its own difficulty (shared by all models, `common` of the variance) and the model's luck with it
stay under the size's threshold; a training misses its expected share by 1 point (standard deviation). The truth is
known: p(n) = a - b n^-c.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.stats import norm

from harness.score.curve_target import records_needed
from harness.score.learning_curve import fit_learning_curve

SIZES, SEEDS, TEST_RECORDS, TRAINING_SD = (50, 100, 200, 400, 800), 2, 400, 0.01


@dataclass(frozen=True)
class Found:
    """Over simulations: the share with an estimate, and among these the share whose interval covers the true need,
    that has both ends, and whose lower end lies above a quarter of the need."""

    estimable: float
    covered: float
    bounded: float
    telling: float


def simulate(a: float, b: float, c: float, target: float, *, simulations: int, resamples: int, common: float) -> Found:
    """Fit simulated cycles and hold the intervals against the truth."""
    rng = np.random.default_rng(20)
    truth = (b / (a - target)) ** (1 / c)
    results = []
    for _ in range(simulations):
        difficulty = rng.standard_normal(TEST_RECORDS)
        sizes, right = [], []
        for size in SIZES:
            for _ in range(SEEDS):
                share = np.clip(a - b * size**-c + TRAINING_SD * rng.standard_normal(), 0.01, 0.99)
                luck = rng.standard_normal(TEST_RECORDS)
                sizes.append(size)
                right.append((np.sqrt(common) * difficulty + np.sqrt(1 - common) * luck < norm.ppf(share)).tolist())
        results.append(records_needed(fit_learning_curve(sizes, right, resamples=resamples), target))
    told = [r for r in results if r.estimable]
    ends = [(r.low or 0.0, np.inf if r.high is None else r.high) for r in told]
    return Found(
        estimable=len(told) / simulations,
        covered=float(np.mean([low <= truth <= high for low, high in ends])),
        bounded=float(np.mean([np.isfinite(high) for _, high in ends])),
        telling=float(np.mean([low > truth / 4 for low, _ in ends])),
    )


@pytest.mark.parametrize("target", [0.90, 0.85])
def test_the_interval_covers_the_true_need(target: float) -> None:
    found = simulate(0.95, 2, 0.5, target, simulations=50, resamples=200, common=0.6)
    assert found.estimable >= 0.5
    assert found.covered >= 0.85
    assert found.telling >= 0.8, "no interval from nothing to everything"


#: a, b, c, target, how alike the models' luck is, and the least shares of intervals with both ends, and telling ones
SCENES = {
    "worked example, twice the largest size": (0.95, 2, 0.5, 0.90, 0.6, 0.2, 0.8),
    "the same, records little alike": (0.95, 2, 0.5, 0.90, 0.3, 0.2, 0.8),
    "the same, records much alike": (0.95, 2, 0.5, 0.90, 0.9, 0.2, 0.8),
    "within the sizes measured": (0.95, 2, 0.5, 0.85, 0.6, 0.75, 0.9),
    "slow": (0.98, 1.5, 0.4, 0.90, 0.6, 0.2, 0.8),
    "seven times the largest size": (0.99, 3, 0.5, 0.95, 0.6, 0.05, 0.8),
    "near the plateau": (0.92, 2, 0.6, 0.90, 0.6, 0.05, 0.2),
}


@pytest.mark.slow
@pytest.mark.parametrize("scene", list(SCENES))
def test_the_interval_covers_the_true_need_in_200_simulations(scene: str) -> None:
    a, b, c, target, common, bounded, telling = SCENES[scene]
    found = simulate(a, b, c, target, simulations=200, resamples=500, common=common)
    print(f"{scene}: {found}")
    assert found.estimable >= 0.5
    assert found.covered >= 0.85
    assert found.bounded >= bounded
    assert found.telling >= telling
