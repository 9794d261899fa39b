"""Settings: the layers, and errors that name everything at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.config import RECIPES, load_config
from harness.errors import ConfigError


@pytest.mark.parametrize("recipe", RECIPES)
def test_packaged_recipes_are_valid(recipe: str) -> None:
    assert load_config(recipe=recipe).recipe == recipe


def test_seed_recipe_is_the_seeds() -> None:
    seed = load_config(recipe="seed")
    assert (seed.lora.r, seed.lora.alpha, seed.lora.dropout, seed.lora.targets) == (16, 32, 0.06, "seed")
    train = seed.train
    assert (train.batch_size, train.accumulation, train.epochs, train.shuffle) == (1, 6, 4, False)
    assert (train.learning_rate, train.schedule, train.weight_decay, train.max_grad_norm) == (1e-4, "constant", 0.01, 1)
    assert (train.evaluate_every, train.best_by, train.gradient_checkpointing) == (10, "eval_loss", True)
    assert seed.decoding["seed_base"].temperature == 0.1
    assert seed.decoding["seed_finetuned"].max_new_tokens == 128


def test_later_layers_win(tmp_path: Path) -> None:
    file = tmp_path / "harness.toml"
    file.write_text('recipe = "tiny"\nseed = 7\n[train]\nepochs = 9\nbatch_size = 3\n')
    config = load_config(file, flags={"seed": 8, "product": None}, settings=["train.epochs=2"])
    assert (config.recipe, config.seed, config.train.epochs, config.train.batch_size) == ("tiny", 8, 2, 3)
    assert config.product == "default"
    assert config.train.precision == "fp32", "the recipe's other settings stay"


def test_set_reads_toml_values_and_plain_text() -> None:
    config = load_config(settings=['lora.targets=["o_proj"]', "data.columns.image=photo", "train.shuffle=false"])
    assert config.lora.targets == ["o_proj"]
    assert config.data.columns == {"image": "photo"}
    assert config.train.shuffle is False


def test_all_errors_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        load_config(settings=["train.epoch=2", "lora.r=0", "colour=1", "targets.missrate=0.1"])
    message = error.value.message
    assert "4 settings" in message
    assert "train.epoch is unknown (did you mean epochs?)" in message
    assert "lora.r" in message
    assert "colour is unknown" in message
    assert "missrate" in message


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("targets.miss_rate=1.5", "miss_rate: a target of a share lies in [0, 1]"),
        ("targets.miss_rate=nan", "miss_rate: a target of a share lies in [0, 1]"),
        ("targets.sn_truth=inf", "sn_truth: a target in dB is a finite number"),
    ],
)
def test_a_target_out_of_range(setting: str, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(settings=[setting])
    assert words in error.value.message


def test_a_target_in_decibels_may_be_any_number() -> None:
    assert load_config(settings=["targets.sn_truth=-2.5"]).targets["sn_truth"] == -2.5


@pytest.mark.parametrize("setting", ["train", "=3", ""])
def test_set_without_a_key_is_an_error(setting: str) -> None:
    with pytest.raises(ConfigError, match="key=value"):
        load_config(settings=[setting])


def test_variants_must_be_named_decodings() -> None:
    with pytest.raises(ConfigError, match="names no decoding: hot"):
        load_config(settings=['answer.variants=["hot"]'])


def test_broken_and_absent_files(tmp_path: Path) -> None:
    broken = tmp_path / "harness.toml"
    broken.write_text("seed = = 3")
    with pytest.raises(ConfigError, match="is not TOML"):
        load_config(broken)
    with pytest.raises(ConfigError, match="no such file"):
        load_config(tmp_path / "absent.toml")
    with pytest.raises(ConfigError, match="no recipe 'defalt'") as error:
        load_config(recipe="defalt")
    assert "default" in error.value.hint


def test_set_changes_one_target_and_a_section_all(tmp_path: Path) -> None:
    default = load_config().targets
    assert load_config(settings=["targets.miss_rate=0.01"]).targets == default | {"miss_rate": 0.01}
    assert load_config(settings=["targets={miss_rate=0.01}"]).targets == {"miss_rate": 0.01}
    file = tmp_path / "harness.toml"
    file.write_text("[targets]\nexact_accuracy = 0.5\n")
    assert load_config(file).targets == {"exact_accuracy": 0.5}
    own = {"parsed_rate": 0.9}
    assert load_config(settings=["targets.miss_rate=0.01"], targets=own).targets == own | {"miss_rate": 0.01}
    assert load_config(file, targets=own).targets == {"exact_accuracy": 0.5}
    assert own == {"parsed_rate": 0.9}
