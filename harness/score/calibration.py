"""Does P(defective) mean what it says? Of the records with P near 0.8, are about 80 % defective?

Enters: the true classes and P(defective). Leaves: reliability bins with Wilson intervals, and the expected calibration
error with the value that a perfectly calibrated model would show on such a sample: ECE is biased upwards, the more the
fewer the records, so that a bare ECE condemns small samples. Cost: 1000 simulated samples, a few ms.
A threshold needs ranks alone: a badly calibrated P can still separate well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.score.intervals import Interval, wilson

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BINS = 10
SIMULATED = 1000


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Records of one bin of P: their mean P, and the share that is truly defective with its Wilson interval."""

    p: float
    share: float
    low: float
    high: float
    n: int


def reliability(defective: Sequence[bool], p: Sequence[float], bins: int = BINS) -> list[ReliabilityBin]:
    """The filled bins of equal width, by scikit-learn's calibration_curve.

    Args:
        defective: whether each record is truly defective.
        p: P(defective) in [0, 1].
        bins: how many, over [0, 1].
    """
    if not defective:
        return []
    from sklearn.calibration import calibration_curve

    shares, means = calibration_curve([*defective], [*p], n_bins=bins, pos_label=True)
    counts = [int(n) for n in _counts(p, bins) if n]
    assert len(counts) == len(shares), "the bins are scikit-learn's"
    found = []
    for mean, share, n in zip(means, shares, counts, strict=True):
        interval = wilson(round(float(share) * n), n)
        assert interval.low is not None, "a bin holds a record"
        assert interval.high is not None, "both ends come together"
        found.append(ReliabilityBin(float(mean), float(share), interval.low, interval.high, n))
    return found


def calibration_error(defective: Sequence[bool], p: Sequence[float], bins: int = BINS, *, seed: int = 0) -> Interval:
    """The expected calibration error: the mean over records of |share defective - mean P| of their bin.

    `method` tells what a perfectly calibrated model would show (mean and 95 % quantile over simulated truths), in place
    of an interval; more than that is miscalibration.

    Sources: Naeini et al. 2015, AAAI; the simulated reference: Broecker and Smith 2007, Weather and Forecasting 22:651.
    """
    n = len(defective)
    if not n:
        return Interval(None, None, None, 0, "not defined: no record with P(defective)")
    import numpy as np

    value = sum(part.n * abs(part.share - part.p) for part in reliability(defective, p, bins)) / n
    scores = np.asarray(p, dtype=np.float64)
    truths = np.random.default_rng(seed).random((SIMULATED, n)) < scores
    place = _place(scores, bins)
    gaps = np.stack([(truths - scores)[:, place == b].sum(axis=1) for b in range(bins)])
    perfect = np.abs(gaps).sum(axis=0) / n
    method = (
        f"{bins} equal bins; perfectly calibrated it would be {perfect.mean():.3f}, "
        f"at most {np.quantile(perfect, 0.95):.3f} in 95 % of such samples"
    )
    return Interval(value, None, None, n, method)


def _place(scores: NDArray[np.float64], bins: int) -> NDArray[np.intp]:
    """The bin of each score, at the edges as scikit-learn has it: an edge belongs to the bin below."""
    import numpy as np

    return np.searchsorted(np.linspace(0.0, 1.0, bins + 1)[1:-1], scores)


def _counts(p: Sequence[float], bins: int) -> NDArray[np.intp]:
    import numpy as np

    return np.bincount(_place(np.asarray(p, dtype=np.float64), bins), minlength=bins)
