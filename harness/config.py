"""The settings of a cycle, from four layers: a recipe, harness.toml, the flags, and --set; later ones win.

Enters: TOML files and key=value texts. Leaves: one CycleConfig, or one ConfigError that tells every problem at once.
Unknown keys fail (with the nearest known one): a misspelt setting that is silently ignored costs a training run.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from harness.errors import ConfigError
from harness.records import Grid, Vocabulary

CONFIG_FILE = "harness.toml"
RECIPES = ("default", "seed", "tiny")

#: metrics where less is better; any other target is a floor.
AT_MOST = ("miss_rate", "false_reject_rate", "escape_rate", "overkill_rate")
AT_LEAST = (
    "pass_accuracy", "defect_accuracy", "verdict_accuracy", "location_accuracy", "defect_name_accuracy",
    "exact_accuracy", "parsed_rate", "style_rate",
)  # fmt: skip

#: ratios in dB from the noise study; more is better.
DECIBELS = ("sn_truth",)

#: what a release must show where nobody says otherwise
TARGETS = {"miss_rate": 0.02, "false_reject_rate": 0.05, "parsed_rate": 0.95}

Share = Annotated[float, Field(ge=0, le=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataConfig(_Section):
    """Where records come from and how many are used."""

    columns: dict[str, str] = Field(default={}, description="our column name -> the source's, as in image = 'photo'")
    question: str | None = Field(default=None, description="asked of every picture where the source has no question")
    train_cap: int = Field(default=1000, ge=2, description="most training + validation records")
    test_cap: int = Field(default=400, ge=1, description="most test records")
    pool: bool = Field(default=True, description="train on all the product's records, not on the named sources alone")


class ModelConfig(_Section):
    """Which base model, and how it is run."""

    id: str | None = Field(default=None, description="Hub id, folder or 'tiny'; None: Phi-3-vision on CUDA, else tiny")
    revision: str | None = None
    dtype: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"] = "auto"
    features_gib: float = Field(
        default=20.0, ge=0, description="most disk that runs/features takes for picture features; 0 keeps none"
    )


class LoraConfig(_Section):
    """The adapter."""

    r: int = Field(default=16, ge=1)
    alpha: int = Field(default=32, ge=1)
    dropout: float = Field(default=0.05, ge=0, lt=1)
    targets: str | list[str] = "decoder"


class TrainConfig(_Section):
    """The training run; comments in the recipes say what each setting does."""

    epochs: float = Field(default=4, gt=0)
    batch_size: int = Field(default=4, ge=1)
    eval_batch_size: int = Field(default=8, ge=1)
    accumulation: int = Field(default=2, ge=1)
    learning_rate: float = Field(default=1e-4, gt=0)
    schedule: str = "cosine"
    warmup_ratio: Share = 0.1
    weight_decay: float = Field(default=0.01, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    shuffle: bool = True
    packing: bool = False
    gradient_checkpointing: bool | Literal["auto"] = "auto"
    evaluate_every: Literal["epoch"] | Annotated[int, Field(ge=1)] = "epoch"
    best_by: Literal["eval_loss", "last"] = "eval_loss"
    tracker: Literal["wandb", "mlflow", "trackio", "tensorboard"] | None = None
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    workers: int = Field(default=0, ge=0)


class AnswerConfig(_Section):
    """How both models are asked. Greedy; sampling exists only as a named variant."""

    max_new_tokens: int = Field(default=128, ge=1)
    batch_size: int = Field(default=16, ge=1)
    variants: list[str] = Field(default=[], description="names of [decoding.*] that are answered on test beside n0")


class DecodingVariant(_Section):
    """A sampling condition, kept beside the canonical greedy one."""

    max_new_tokens: int = Field(default=128, ge=1)
    temperature: float = Field(gt=0)
    top_p: float | None = Field(default=None, gt=0, le=1)


class NoiseConfig(_Section):
    """The noise study."""

    paraphrase: str | None = Field(
        default=None,
        min_length=1,
        description="the question in other words, {question} for the record's own; None: a sentence before it",
    )


class GridConfig(_Section):
    """The coordinates printed at the panels."""

    columns: list[str] = list(Grid().columns)
    rows: list[str] = list(Grid().rows)

    @field_validator("columns", "rows")
    @classmethod
    def _distinct(cls, value: list[str]) -> list[str]:
        if not value or len(set(value)) != len(value) or not all(value):
            raise ValueError(f"names must be distinct and not empty, got {value}")
        return value


class CycleConfig(_Section):
    """Everything that a cycle is told. Stored whole with the cycle."""

    product: str = Field(default="default", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    recipe: str = "default"
    seed: int = Field(default=42, ge=0, lt=2**31)
    robustness: bool = Field(default=False, description="run the noise study in Control: harness robustness")
    charter: dict[str, str] = Field(default={}, description="free text for the report: purpose, customer, owner ...")
    grid: GridConfig = GridConfig()
    vocabulary: dict[str, list[str]] = Field(default={}, description="defect name -> other ways to write it")
    targets: dict[str, float] = Field(
        default=TARGETS,
        description="what a release must show",
    )
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    lora: LoraConfig = LoraConfig()
    train: TrainConfig = TrainConfig()
    answer: AnswerConfig = AnswerConfig()
    decoding: dict[str, DecodingVariant] = {}
    noise: NoiseConfig = NoiseConfig()

    @field_validator("targets")
    @classmethod
    def _known_metrics(cls, value: dict[str, float]) -> dict[str, float]:
        known = AT_MOST + AT_LEAST + DECIBELS
        unknown = [name for name in value if name not in known]
        if unknown:
            raise ValueError(f"no target is known for {', '.join(unknown)}; known: {', '.join(known)}")
        outside = [name for name, limit in value.items() if name not in DECIBELS and not 0 <= limit <= 1]
        if outside:
            raise ValueError(f"{', '.join(outside)}: a target of a share lies in [0, 1]")
        endless = [name for name, limit in value.items() if not math.isfinite(limit)]
        if endless:
            raise ValueError(f"{', '.join(endless)}: a target in dB is a finite number")
        return value

    def as_grid(self) -> Grid:
        """The grid as the parser takes it."""
        return Grid(tuple(self.grid.columns), tuple(self.grid.rows))

    def as_vocabulary(self) -> Vocabulary:
        """The declared defect names."""
        return Vocabulary({name: tuple(aliases) for name, aliases in self.vocabulary.items()})


def load_config(
    file: Path | None = None,
    *,
    recipe: str | None = None,
    flags: Mapping[str, Any] | None = None,
    settings: Sequence[str] = (),
    targets: Mapping[str, float] | None = None,
) -> CycleConfig:
    """Put the layers together: recipe < harness.toml < flags < --set.

    Args:
        file: a harness.toml; None takes ./harness.toml where it exists.
        recipe: recipe name or file; None takes the one that the file names, else "default".
        flags: dotted keys with values; None values are not set.
        settings: "key=value" texts as typed after --set; values are read as TOML, else taken as text.
        targets: those that stand where the file names none; None takes the default ones. A [targets] section, or
            --set targets={...}, takes their place as a whole, --set targets.miss_rate=0.01 one of them.

    Raises:
        ConfigError: a file is absent or no TOML, or any setting is unknown or out of range; all are named.
    """
    layers: dict[str, Any] = _read_file(file)
    by_set = {key.strip(): _toml_value(text.strip()) for key, _, text in (s.partition("=") for s in settings)}
    chosen = recipe or by_set.get("recipe") or layers.get("recipe") or "default"
    merged = _merge(read_recipe(str(chosen)), layers)
    merged["recipe"] = chosen
    merged.setdefault("targets", dict(TARGETS if targets is None else targets))
    for key, value in (flags or {}).items():
        if value is not None:
            _put(merged, key, value)
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set takes key=value, got {setting!r}", hint="for example --set train.epochs=2")
        _put(merged, key.strip(), _toml_value(text.strip()))
    try:
        config = CycleConfig.model_validate(merged)
    except ValidationError as error:
        problems = [_problem(item, merged) for item in error.errors()]
        raise ConfigError(
            f"{len(problems)} setting{'s' if len(problems) > 1 else ''} cannot be used: " + "; ".join(problems),
            hint="correct harness.toml, the recipe or --set; harness init writes a commented harness.toml",
        ) from error
    unknown = [name for name in config.answer.variants if name not in config.decoding]
    if unknown:
        raise ConfigError(
            f"answer.variants names no decoding: {', '.join(unknown)}",
            hint=f"known: {', '.join(config.decoding) or 'none; add a section [decoding.NAME]'}",
        )
    return config


def names_recipe(file: Path | None, settings: Sequence[str]) -> bool:
    """Whether harness.toml or --set chooses a recipe, so that none need be chosen by the model."""
    return "recipe" in _read_file(file) or any(setting.partition("=")[0].strip() == "recipe" for setting in settings)


def read_recipe(name: str) -> dict[str, Any]:
    """A packaged recipe by name, or a TOML file by path.

    Raises:
        ConfigError: neither exists, or the file is no TOML.
    """
    if name in RECIPES:
        return tomllib.loads(resources.files("harness").joinpath("recipes", f"{name}.toml").read_text("utf-8"))
    path = Path(name)
    if not path.is_file():
        near = get_close_matches(name, RECIPES, n=1)
        guess = f"did you mean {near[0]}? " if near else ""
        raise ConfigError(
            f"no recipe {name!r}: neither a packaged one nor a file",
            hint=f"{guess}packaged recipes: {', '.join(RECIPES)}; or the path of a TOML file",
        )
    return _parse_toml(path)


def _read_file(file: Path | None) -> dict[str, Any]:
    if file is None:
        file = Path(CONFIG_FILE)
        if not file.is_file():
            return {}
    elif not file.is_file():
        raise ConfigError(f"no such file: {file}", hint="write one: harness init --data SRC")
    return _parse_toml(file)


def _parse_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}", hint="correct the line named") from error


def _merge(low: dict[str, Any], high: dict[str, Any]) -> dict[str, Any]:
    merged = dict(low)
    for key, value in high.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict) and key not in ("vocabulary", "targets"):
            merged[key] = _merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def _put(tree: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    for parent in parents:
        inner = tree.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"{dotted} cannot be set: {parent} is no section", hint="see harness init for the keys")
        tree[parent] = tree = dict(inner)
    tree[last] = value


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _problem(item: Any, merged: dict[str, Any]) -> str:
    path = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        section: Any = CycleConfig
        for part in item["loc"][:-1]:
            annotation = section.model_fields[part].annotation if hasattr(section, "model_fields") else None
            section = annotation
        known = list(getattr(section, "model_fields", {}))
        near = get_close_matches(str(item["loc"][-1]), known, n=1)
        return f"{path} is unknown" + (f" (did you mean {near[0]}?)" if near else f" (known: {', '.join(known)})")
    return f"{path}: {item['msg'].removeprefix('Value error, ')}, got {item['input']!r}"
