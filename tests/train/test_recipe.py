"""Recipes that can be followed, and all that is wrong with one told at once."""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import Any

import pytest

from harness.errors import ConfigError
from harness.train.recipe import SCHEDULES, TrainRecipe


@pytest.mark.parametrize("name", ["default", "seed", "tiny"])
def test_the_packaged_recipes_can_be_built(name: str) -> None:
    text = resources.files("harness").joinpath("recipes", f"{name}.toml").read_text("utf-8")
    content = tomllib.loads(text)
    recipe = TrainRecipe(**{f"lora_{key}": value for key, value in content["lora"].items()}, **content["train"])
    assert recipe.epochs == content["train"]["epochs"]
    assert recipe.saves == recipe.evaluate_every


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"lora_r": 0}, "lora_r must be at least 1, got 0"),
        ({"epochs": 0}, "epochs must be above 0, got 0"),
        ({"learning_rate": -1.0}, "learning_rate must be above 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0, got nan"),
        ({"weight_decay": -0.1}, "weight_decay must not be negative"),
        ({"warmup_ratio": 1.5}, r"warmup_ratio must lie in \[0, 1\], got 1.5"),
        ({"schedule": "zigzag"}, "schedule 'zigzag' is unknown .known: constant, "),
        ({"evaluate_every": 0}, "evaluate_every must be 'epoch' or a number of steps of at least 1, got 0"),
        ({"evaluate_every": "day"}, "evaluate_every must be 'epoch' or a number of steps of at least 1, got 'day'"),
        ({"evaluate_every": 10, "save_every": 15}, "save_every 15 does not fit evaluate_every 10"),
        ({"evaluate_every": "epoch", "save_every": 15}, "save_every 15 does not fit evaluate_every 'epoch'"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        TrainRecipe(**settings)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ConfigError, match="batch_size must be at least 1, got 0; epochs must be above 0, got -1"):
        TrainRecipe(batch_size=0, epochs=-1)


def test_saving_less_often_than_evaluating() -> None:
    assert TrainRecipe(evaluate_every=10, save_every=20).saves == 20
    assert TrainRecipe(evaluate_every=10, save_every=15, best_by="last").saves == 15
    assert TrainRecipe(evaluate_every=10).saves == 10


def test_the_schedules_are_transformers_own() -> None:
    from transformers import SchedulerType

    assert {schedule.value for schedule in SchedulerType} >= set(SCHEDULES)
