"""The SN ratio of an inspector under noise (総合SN比): how steady is its score when only the circumstances change?

Enters: a signal y0, one value a picture (the scores of a frozen reference model under the standard condition N0, or
the truth +-1), and the scores y_j of the same pictures under the noise levels j = 1..J. A score is
s = 2 P(defective) - 1, in [-1, 1]. Leaves: how the total variation splits into the part that follows the signal and the
rest, as ratios in dB, with the sign of the slope kept apart, because squares would hide an inspector that runs against
the signal. A ratio may be infinite or undefined; it then has a name, and is never replaced by a large number.

Sources: MEASUREMENT section 3; N0 method: ja.wikipedia 品質工学; energy ratio: kqerg.jimdofree.com; T-method: the R
package MTSYS. Cost: a bootstrap of 2000 resamples, about 20 ms for 400 pictures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.score.intervals import RESAMPLES, Bootstrap, Interval

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: A share of S_T below this is rounding: the same picture in another batch moves a logit in the seventh digit.
ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class NoiseSN:
    """How the scores under noise follow the signal.

    `records` is k, `levels` J, `r` = sum y0^2, `s_total` = S_T, `s_beta` and `s_noise` its parts; `beta` is the slope,
    1 where the scores equal the signal, below 0 where they run against it. `n0_sn` = 10 log10(J r / V_N) and
    `energy_sn` = 10 log10(S_beta / S_N), in dB; +inf where S_N = 0, -inf where S_beta = 0 (n0_sn stays finite there),
    None where the ratio is not defined; `beta` is None where the signal is 0 everywhere.
    """

    records: int
    levels: int
    r: float
    s_total: float
    s_beta: float
    s_noise: float
    beta: float | None
    n0_sn: float | None
    energy_sn: float | None

    @property
    def against(self) -> bool:
        """Whether the scores run against the signal: the ratios then praise the steadiness of a wrong inspector."""
        return self.beta is not None and self.beta < 0 and self.energy_sn != -math.inf

    @property
    def remark(self) -> str:
        """The name of what a number cannot say; "" where the number says all."""
        n = f"n = {self.records} pictures x {self.levels} noise levels"
        if self.beta is None:
            return f"not defined: the signal is 0 for every picture, {n}"
        if self.energy_sn is None:
            return f"not defined: every score under noise is 0 (P(defective) is .5 throughout), {n}"
        if self.energy_sn == math.inf:
            return f"no variation seen, {n}" + (", and against the signal" if self.against else "")
        if self.energy_sn == -math.inf:
            return f"nothing follows the signal, {n}"
        return "against the signal" if self.against else ""


def noise_sn(signal: Sequence[float], runs: Sequence[Sequence[float]]) -> NoiseSN:
    """SN ratio and energy ratio of scores under noise.

    L_j = sum y0 y_j; S_T = sum of all y_j^2; S_beta = (sum L_j)^2 / (J r); S_N = S_T - S_beta; V_N = S_N / (Jk - 1).

    Args:
        signal: y0, one value a picture.
        runs: J sequences of the same pictures' scores, one a noise level.

    Raises:
        ValueError: no run, a run of another length than the signal's, fewer than 2 scores in all, or a value that is
            not finite.
    """
    import numpy as np

    y0, y = _checked(signal, runs)
    levels, records = y.shape
    r, total = float(y0 @ y0), float((y * y).sum())
    if r == 0:
        return NoiseSN(records, levels, r, total, 0.0, total, None, None, None)
    beta = float((y @ y0).sum()) / (levels * r)
    s_beta = beta * beta * levels * r
    # The same as S_T - S_beta, but never below 0 and exactly 0 where the scores are the signal.
    s_noise = float(((y - beta * y0) ** 2).sum())
    s_beta, s_noise = (0.0 if part <= ROUNDING * total else part for part in (s_beta, s_noise))
    if s_beta == 0:
        beta, s_noise = 0.0, total
    if total == 0:
        return NoiseSN(records, levels, r, total, 0.0, 0.0, beta, None, None)
    variance = s_noise / (levels * records - 1)
    with np.errstate(divide="ignore"):
        n0 = 10 * float(np.log10(levels * r / variance)) if variance > 0 else math.inf
        energy = 10 * float(np.log10(s_beta / s_noise)) if s_noise > 0 else math.inf
    return NoiseSN(records, levels, r, total, s_beta, s_noise, beta, n0, energy)


def energy_interval(
    signal: Sequence[float],
    runs: Sequence[Sequence[float]],
    groups: Sequence[str] | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """The energy ratio in dB with its bootstrap 95 % interval, by picture, or by group where groups are given.

    The signed ratio sign(beta) sqrt(S_beta / S_N) is resampled, not its square: where its interval holds 0, no signal
    is shown, and the lower end is -inf. (The square of what is 0 in truth is above 0 in every resample.) Where it lies
    below 0 the scores run against the signal, and the ends are those of the steadiness against it.

    Args:
        groups: the physical part or lot of each picture, in the same order.
        seed: of the resampling, whose generator is local.

    Returns:
        An Interval; without ends where the ratio is not defined, where no variation is seen (no scatter proves
        nothing) or where all resamples agree. Ends may be infinite.

    Raises:
        ValueError: as `noise_sn`, or not one group a picture.
    """
    import numpy as np

    found = noise_sn(signal, runs)
    if found.energy_sn is None or found.energy_sn == math.inf:
        return Interval(found.energy_sn, None, None, found.records, found.remark)
    draws = _signed_draws(signal, runs, Bootstrap(found.records, groups, resamples=resamples, seed=seed))
    defined = draws[~np.isnan(draws)]
    what = "picture" if groups is None else "group"
    # An order statistic: between a finite and an infinite draw there is nothing to interpolate.
    low, high = (float(end) for end in np.quantile(defined, [0.025, 0.975], method="inverted_cdf"))
    if low == high:
        return Interval(found.energy_sn, None, None, found.records, f"no scatter by {what}: no interval")
    method = f"bootstrap 95 % by {what}"
    if len(defined) < len(draws):
        method += f" ({len(defined)} of {len(draws)} resamples define it)"
    if low <= 0 <= high:
        ends = -math.inf, _decibel(max(-low, high))
    else:
        ends = _decibel(min(abs(low), abs(high))), _decibel(max(abs(low), abs(high)))
    if found.remark:
        method = f"{found.remark}; {method}"
    return Interval(
        found.energy_sn, min(ends[0], found.energy_sn), max(ends[1], found.energy_sn), found.records, method
    )


def balanced_energy_sn(error_rate: float) -> float:
    """The energy ratio, against the truth, of an inspector that says hard +-1 and errs at one rate in both classes.

    10 log10[(1 - 2e)^2 / (1 - (1 - 2e)^2)], in dB.

    Args:
        error_rate: e = false reject rate = miss rate, in [0, 1]; above .5 the inspector runs against the truth.

    Returns:
        +inf at 0 and at 1, -inf at .5.
    """
    if not 0 <= error_rate <= 1:
        raise ValueError(f"a rate lies in [0, 1], got {error_rate}")
    follows = (1 - 2 * error_rate) ** 2
    return math.inf if follows == 1 else -math.inf if follows == 0 else 10 * math.log10(follows / (1 - follows))


@dataclass(frozen=True, slots=True)
class OverallSN:
    """The T-method's overall SN ratio of an estimate (総合推定のSN比). `eta` and `energy_sn` in dB.

    +inf where the estimate is proportional to the truth, -inf where nothing of it is beyond its own scatter (eta) or
    follows the truth (energy), None where the truth does not vary or the estimate is 0 throughout.
    """

    n: int
    beta: float | None
    eta: float | None
    energy_sn: float | None
    remark: str


def overall_sn(truth: Sequence[float], estimate: Sequence[float]) -> OverallSN:
    """How well an estimate M^ follows the truth M: L = sum M M^, r = sum M^2, S_T = sum M^^2, S_beta = L^2 / r,
    V_e = (S_T - S_beta) / (n - 1), eta = 10 log10[(S_beta - V_e) / (r V_e)].

    The truth is centred here on its own mean, which is subtracted from the estimate as well (the T-method's unit space
    is where both are 0).

    Raises:
        ValueError: fewer than 2 values, not one estimate a truth, or a value that is not finite.
    """
    m, estimates = _checked(truth, [estimate])
    centre = m.mean()
    m, m_hat = m - centre, estimates[0] - centre
    n, r, total = len(m), float(m @ m), float(m_hat @ m_hat)
    if r <= ROUNDING * (centre * centre * n):
        return OverallSN(n, None, None, None, f"not defined: all {n} truths are the same")
    if total == 0:
        return OverallSN(n, 0.0, None, None, f"not defined: every estimate is the mean truth, n = {n}")
    beta = float(m @ m_hat) / r
    s_beta, residual = beta * beta * r, float(((m_hat - beta * m) ** 2).sum())
    s_beta, residual = (0.0 if part <= ROUNDING * total else part for part in (s_beta, residual))
    if residual == 0:
        return OverallSN(n, beta, math.inf, math.inf, f"no variation seen, n = {n}")
    variance = residual / (n - 1)
    eta = 10 * math.log10((s_beta - variance) / (r * variance)) if s_beta > variance else -math.inf
    energy = 10 * math.log10(s_beta / residual) if s_beta > 0 else -math.inf
    remark = "against the truth" if beta < 0 and eta > -math.inf else ""
    if eta == -math.inf:
        remark = f"nothing beyond the scatter follows the truth, n = {n}"
    return OverallSN(n, beta, eta, energy, remark)


def _checked(
    signal: Sequence[float], runs: Sequence[Sequence[float]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    import numpy as np

    if not runs or any(len(run) != len(signal) for run in runs):
        raise ValueError(f"a signal of {len(signal)} values with runs of {[len(run) for run in runs]}")
    y0, y = np.asarray(signal, dtype=np.float64), np.asarray(runs, dtype=np.float64)
    if y.size < 2:
        raise ValueError(f"{y.size} scores show no ratio: at least 2 are needed")
    if not (np.isfinite(y0).all() and np.isfinite(y).all()):
        raise ValueError("a score is not finite")
    return y0, y


def _signed_draws(
    signal: Sequence[float], runs: Sequence[Sequence[float]], bootstrap: Bootstrap
) -> NDArray[np.float64]:
    """sign(beta) sqrt(S_beta / S_N) of each resample; nan where neither part is there, +-inf where S_N = 0."""
    import numpy as np

    y0, y = _checked(signal, runs)
    columns = ((y * y0).sum(axis=0), y0 * y0, (y * y).sum(axis=0))
    follow, r, total = bootstrap.sums([column.tolist() for column in columns])
    with np.errstate(divide="ignore", invalid="ignore"):
        s_beta = np.where(r > 0, follow**2 / (len(y) * r), 0.0)
        s_noise = total - s_beta
        s_beta, s_noise = (np.where(part <= ROUNDING * total, 0.0, part) for part in (s_beta, s_noise))
        draws: NDArray[np.float64] = np.sign(follow) * np.sqrt(s_beta / s_noise)
        draws[(s_beta == 0) & (s_noise > 0)] = 0.0
    draws[r == 0] = np.nan
    return draws


def _decibel(amplitude: float) -> float:
    return -math.inf if amplitude == 0 else math.inf if math.isinf(amplitude) else 20 * math.log10(amplitude)
