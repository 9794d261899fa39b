"""The noise plan: Taguchi's table, effects against ordinary least squares, and who may enter the compound."""

from __future__ import annotations

import numpy as np
import pytest

from harness.score.noise_plan import FACTORS, NoiseLevels, compound_noise, factor_effects, noise_plan

#: Taguchi's L8 (2^7), as printed in any table of orthogonal arrays
TAGUCHI_L8 = (
    (1, 1, 1, 1, 1, 1, 1),
    (1, 1, 1, 2, 2, 2, 2),
    (1, 2, 2, 1, 1, 2, 2),
    (1, 2, 2, 2, 2, 1, 1),
    (2, 1, 2, 1, 2, 1, 2),
    (2, 1, 2, 2, 1, 2, 1),
    (2, 2, 1, 1, 2, 2, 1),
    (2, 2, 1, 2, 1, 1, 2),
)


def test_the_plan_is_taguchis_l8() -> None:
    assert tuple(levels.codes for levels in noise_plan()) == TAGUCHI_L8


def test_the_plan_is_orthogonal() -> None:
    signs = np.array([[2 * code - 3 for code in levels.codes] for levels in noise_plan()])
    assert (signs.T @ signs == 8 * np.eye(7)).all()


def test_the_seven_factors_of_measurement() -> None:
    told = {factor.name: (factor.text(1), factor.text(2)) for factor in FACTORS}
    assert told == {
        "brightness": ("-20 %", "+20 %"),
        "gaussian_noise": ("sigma 0", "sigma 10"),
        "jpeg_quality": ("95", "60"),
        "shift": ("0 %", "2 %"),
        "blur": ("0 px", "1 px"),
        "rotation": ("-1 degree", "+1 degree"),
        "prompt": ("canonical", "paraphrased"),
    }


def test_levels_name_themselves() -> None:
    levels = NoiseLevels((1, 0, 2, 0, 0, 0, 2))
    assert levels.condition_id == "noise-1020002"
    assert levels.describe() == "brightness -20 %, jpeg_quality 60, prompt paraphrased"
    assert (levels.value("brightness"), levels.value("rotation"), levels.value("prompt")) == (-20, 0, 1)
    assert NoiseLevels((0,) * 7).describe() == "clean"
    with pytest.raises(ValueError, match="no factor zoom"):
        levels.value("zoom")
    for codes in ((1, 2), (3, 1, 1, 1, 1, 1, 1)):
        with pytest.raises(ValueError, match="7 codes of 0, 1 or 2"):
            NoiseLevels(codes)


def _scores(main: dict[str, float], pictures: int = 30, *, seed: int = 0, scatter: float = 0.0) -> list[list[float]]:
    """s = a base of each picture + half an effect for each factor, up at level 2 and down at level 1."""
    rng = np.random.default_rng(seed)
    base = rng.uniform(-0.3, 0.3, pictures)
    runs = []
    for levels in noise_plan():
        push = sum(main.get(f.name, 0.0) / 2 * (2 * code - 3) for f, code in zip(FACTORS, levels.codes, strict=True))
        runs.append((base + push + rng.normal(0, scatter, pictures)).tolist())
    return runs


def test_effects_are_those_of_least_squares() -> None:
    statsmodels = pytest.importorskip("statsmodels.api")
    runs = _scores({"brightness": -0.2, "blur": 0.1, "prompt": 0.05}, scatter=0.1, seed=1)
    signs = np.array([[2 * code - 3 for code in levels.codes] for levels in noise_plan()], dtype=float)
    design = statsmodels.add_constant(np.repeat(signs, 30, axis=0))
    fitted = statsmodels.OLS(np.concatenate(runs), design).fit()
    for place, effect in enumerate(factor_effects(runs)):
        assert effect.effect.value == pytest.approx(2 * float(fitted.params[place + 1]))
        assert effect.high_mean - effect.low_mean == pytest.approx(effect.effect.value)
        assert effect.effect.low is not None
        assert effect.effect.high is not None
        assert effect.effect.low <= effect.effect.value <= effect.effect.high  # type: ignore[operator]  # not None


def test_compound_takes_the_levels_that_push() -> None:
    runs = _scores({"brightness": -0.2, "gaussian_noise": 0.1, "rotation": 0.3})
    found = compound_noise(runs, factor_effects(runs))
    assert found.kind == "factors"
    assert found.n1.describe() == "brightness +20 %, gaussian_noise sigma 0, rotation -1 degree"
    assert found.n2.describe() == "brightness -20 %, gaussian_noise sigma 10, rotation +1 degree"
    assert "left out, because they do not: jpeg_quality, shift, blur, prompt" in found.reason


def test_a_factor_whose_sign_differs_between_pictures_stays_out() -> None:
    """Blur pulls truly defective pictures down and truly passed ones up: its mean effect is large all the same."""
    runs = _scores({"brightness": -0.2}, pictures=30)
    blur = [levels.codes[4] for levels in noise_plan()]
    for run, code in zip(runs, blur, strict=True):
        for place in range(30):
            run[place] += 0.3 * (2 * code - 3) * (1 if place < 20 else -1)
    effects = {effect.factor.name: effect for effect in factor_effects(runs)}
    assert effects["blur"].effect.value == pytest.approx(0.6 * 10 / 30)
    assert (effects["blur"].up, effects["blur"].down, effects["blur"].steady) == (20, 10, False)
    assert effects["brightness"].steady
    found = compound_noise(runs, list(effects.values()))
    assert found.n1.codes == (2, 0, 0, 0, 0, 0, 0)
    assert found.n2.codes == (1, 0, 0, 0, 0, 0, 0)


def test_few_pictures_prove_no_direction() -> None:
    """5 of 5 the same way is p = .0625 by the sign test; 6 of 6 is .03125."""
    for pictures, steady in ((5, False), (6, True)):
        effects = factor_effects(_scores({"blur": 0.2}, pictures=pictures))
        assert effects[4].p_value == pytest.approx(2 * 0.5**pictures)
        assert effects[4].steady is steady


def test_without_any_direction_the_extreme_runs_stand_in() -> None:
    runs = _scores({"blur": 0.2}, pictures=5)
    found = compound_noise(runs, factor_effects(runs))
    assert found.kind == "plan runs"
    means = [sum(run) for run in runs]
    plan = noise_plan()
    assert sum(runs[plan.index(found.n1)]) == pytest.approx(min(means))
    assert sum(runs[plan.index(found.n2)]) == pytest.approx(max(means))
    assert "no compound can be made" in found.reason


def test_a_constant_model_still_gets_two_different_noises() -> None:
    runs = [[-1.0] * 9] * 8
    effects = factor_effects(runs)
    assert all((e.up, e.down, e.p_value, e.steady) == (0, 0, 1.0, False) for e in effects)
    found = compound_noise(runs, effects)
    assert (found.n1, found.n2) == (noise_plan()[0], noise_plan()[7])


@pytest.mark.parametrize("runs", [[[0.1]] * 7, [[]] * 8])
def test_what_is_no_plan(runs: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="scores of 8 runs"):
        factor_effects(runs)
