"""The noise plan: seven label-preserving factors at two levels, in the eight runs of an L8 orthogonal array.

Enters: scores s of the same pictures in the eight runs. Leaves: each factor's effect on s (要因効果), and the compound
noise: N1 puts each factor at the level that pushes s down, N2 at the one that pushes it up.
A factor that pushes some pictures up and others down stays out: at either level of it both would happen at once.
Cost: main effects only. In an L8 with seven factors each effect is mixed with three pairs of interactions; the compound
needs the direction of an effect, and the test split then shows what N1 and N2 really do.

Source: MEASUREMENT section 3. The array is pyDOE3's fracfact, with the signs of Taguchi's table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.score.intervals import Bootstrap, Interval

#: generators that give Taguchi's L8 column by column: 1, 2, 1x2, 3, 1x3, 2x3, 1x2x3
GENERATORS = "a b -ab c -ac -bc abc"

#: An effect on s below this does not move a picture: s runs over [-1, 1].
NO_MOVE = 1e-3
#: At least this share of the pictures that a factor moves must move the same way, or it stays out of the compound.
AGREEMENT = 0.8


@dataclass(frozen=True, slots=True)
class Factor:
    """A two-level noise factor. `neutral` is its value in the standard condition N0; `form` writes a value."""

    name: str
    neutral: float
    low: float
    high: float
    form: str

    def text(self, code: int) -> str:
        """The level in words: 0 neutral, 1 the first level, 2 the second."""
        value = (self.neutral, self.low, self.high)[code]
        if self.name == "prompt":
            return "paraphrased" if value else "canonical"
        return self.form.format(value)


FACTORS: tuple[Factor, ...] = (
    Factor("brightness", 0.0, -20.0, 20.0, "{:+.0f} %"),
    Factor("gaussian_noise", 0.0, 0.0, 10.0, "sigma {:.0f}"),
    Factor("jpeg_quality", 100.0, 95.0, 60.0, "{:.0f}"),
    Factor("shift", 0.0, 0.0, 2.0, "{:.0f} %"),
    Factor("blur", 0.0, 0.0, 1.0, "{:.0f} px"),
    Factor("rotation", 0.0, -1.0, 1.0, "{:+.0f} degree"),
    Factor("prompt", 0.0, 0.0, 1.0, "{:.0f}"),
)


@dataclass(frozen=True, slots=True)
class NoiseLevels:
    """One noise condition: a code a factor in the order of FACTORS: 0 as in N0, 1 or 2 the factor's level."""

    codes: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.codes) != len(FACTORS) or any(code not in (0, 1, 2) for code in self.codes):
            raise ValueError(f"{len(FACTORS)} codes of 0, 1 or 2, got {self.codes}")

    @property
    def condition_id(self) -> str:
        """As in "noise-1122112"; the same levels have the same id in every cycle and for every model."""
        return "noise-" + "".join(map(str, self.codes))

    def value(self, name: str) -> float:
        """The value of a factor under this condition."""
        for factor, code in zip(FACTORS, self.codes, strict=True):
            if factor.name == name:
                return (factor.neutral, factor.low, factor.high)[code]
        raise ValueError(f"no factor {name}")

    def describe(self) -> str:
        """The factors that are not as in N0, in words."""
        told = [f"{f.name} {f.text(code)}" for f, code in zip(FACTORS, self.codes, strict=True) if code]
        return ", ".join(told) or "clean"


@dataclass(frozen=True, slots=True)
class FactorEffect:
    """What a factor does to s over the validation pictures.

    `low_mean` and `high_mean` are the means of s over the four runs at level 1 and at level 2; `effect` is their
    difference with its bootstrap interval. Of the pictures it moves (by NO_MOVE or more) `up` rise from level 1 to
    level 2 and `down` fall. `p_value` is the two-sided sign test's. `steady`: it pushes (nearly) all the same way.
    """

    factor: Factor
    low_mean: float
    high_mean: float
    effect: Interval
    up: int
    down: int
    p_value: float
    steady: bool


@dataclass(frozen=True, slots=True)
class Compound:
    """N1, whose levels push s down, and N2, whose levels push it up.

    `kind` is "factors", or "plan runs" where no factor pushes all pictures the same way: N1 and N2 are then those runs
    of the plan whose mean s is lowest and highest. `reason` says it in words.
    """

    n1: NoiseLevels
    n2: NoiseLevels
    kind: Literal["factors", "plan runs"]
    reason: str


def noise_plan() -> tuple[NoiseLevels, ...]:
    """The eight runs of the L8, in Taguchi's order; the first has every factor at level 1."""
    from pyDOE3 import fracfact

    return tuple(NoiseLevels(tuple(2 if sign > 0 else 1 for sign in row)) for row in fracfact(GENERATORS))


def factor_effects(
    scores: Sequence[Sequence[float]], groups: Sequence[str] | None = None, *, seed: int = 0
) -> list[FactorEffect]:
    """The seven factors' effects on s.

    Args:
        scores: a sequence a run of `noise_plan`, each with the scores of the same pictures in the same order.
        groups: the physical part or lot of each picture; the interval is then by group.
        seed: of the bootstrap.

    Raises:
        ValueError: not eight runs, or runs of different lengths, or no picture.
    """
    import numpy as np
    from scipy.stats import binomtest

    plan = noise_plan()
    s = np.asarray(scores, dtype=np.float64)
    if s.ndim != 2 or len(s) != len(plan) or s.shape[1] == 0:
        raise ValueError(f"scores of {len(plan)} runs over the same pictures, got an array of {s.shape}")
    bootstrap = Bootstrap(s.shape[1], groups, seed=seed)
    ones = [1.0] * s.shape[1]
    effects = []
    for place, factor in enumerate(FACTORS):
        at_high = np.array([run.codes[place] == 2 for run in plan])
        by_picture = s[at_high].mean(axis=0) - s[~at_high].mean(axis=0)
        interval = bootstrap.interval(float(by_picture.mean()), bootstrap.ratio(by_picture.tolist(), ones), s.shape[1])
        up, down = int((by_picture >= NO_MOVE).sum()), int((by_picture <= -NO_MOVE).sum())
        p_value = float(binomtest(up, up + down).pvalue) if up + down else 1.0
        steady = up + down > 0 and max(up, down) >= AGREEMENT * (up + down) and p_value < 0.05
        effects.append(
            FactorEffect(
                factor, float(s[~at_high].mean()), float(s[at_high].mean()), interval, up, down, p_value, steady
            )
        )
    return effects


def compound_noise(scores: Sequence[Sequence[float]], effects: Sequence[FactorEffect]) -> Compound:
    """N1 and N2 from the effects on the validation pictures.

    Args:
        scores: as given to `factor_effects`.
        effects: what it returned.
    """
    n1, n2, kept = [], [], []
    for effect in effects:
        rises = effect.up > effect.down
        n1.append((1 if rises else 2) if effect.steady else 0)
        n2.append((2 if rises else 1) if effect.steady else 0)
        if effect.steady:
            kept.append(effect.factor.name)
    if kept:
        out = [effect.factor.name for effect in effects if effect.factor.name not in kept]
        reason = f"{', '.join(kept)} push the score of at least {AGREEMENT:.0%} of the pictures they move the same way"
        if out:
            reason += f"; left out, because they do not: {', '.join(out)}"
        return Compound(NoiseLevels(tuple(n1)), NoiseLevels(tuple(n2)), "factors", reason)
    plan = noise_plan()
    means = [sum(run) / len(run) for run in scores]
    lowest, highest = means.index(min(means)), len(means) - 1 - means[::-1].index(max(means))
    reason = (
        "no factor pushes the scores of enough pictures the same way, so no compound can be made: N1 and N2 are runs "
        f"{lowest + 1} and {highest + 1} of the plan, with the lowest and the highest mean score"
    )
    return Compound(plan[lowest], plan[highest], "plan runs", reason)
