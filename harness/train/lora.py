"""Which layers the adapter sits on.

Enters: a model and a name set or module names. Leaves: the full names of the linear layers meant, none of them by
accident: peft takes names that match nothing without a word, which is how the seed's recipe came to train its
decoder's MLP alone.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.errors import ConfigError

NAME_SETS = ("decoder", "decoder+vision", "seed")

#: What the seed's five names really matched on Phi-3-vision.
_SEED_SUFFIXES = ("mlp.gate_up_proj", "mlp.down_proj")
_MLP_PARTS = frozenset({"mlp", "feed_forward", "ffn", "block_sparse_moe", "moe"})
#: Parts of a module's name that say which side of the model it is on. Families disagree on where they hang the tower
#: (Phi-3-vision: inside the decoder's module), and get_encoder does not know all of their names.
_VISION = re.compile(r"vision|visual|img_processor|image_tower|image_encoder")
_PROJECTOR = re.compile(r"projector|connector|img_projection|merger")


@dataclass(frozen=True, slots=True)
class TrainableShare:
    """Parameters that get gradients, all parameters with them, and the former's share of the latter, as peft prints."""

    trainable: int
    total: int
    share: float

    @property
    def share_of_base(self) -> float:
        """The adapter's parameters as a share of the base model's."""
        return self.trainable / (self.total - self.trainable)


def lora_targets(model: Any, targets: str | Sequence[str]) -> list[str]:
    """Full names of the linear layers that the adapter is to sit on, in the model's order.

    Args:
        model: a transformers vision-language model without adapters.
        targets: "decoder" (every linear layer of the language model's decoder; not lm_head, not vision, not the
            projector), "decoder+vision" (and of the vision tower), "seed" (mlp.gate_up_proj and mlp.down_proj of the
            decoder; on a model without those names its decoder's MLP), or module names, matched from their end.

    Raises:
        ConfigError: a name matches no linear layer.
    """
    if isinstance(targets, str) and targets in NAME_SETS:
        return _name_set(model, targets)
    wanted = [targets] if isinstance(targets, str) else list(targets)
    linears = _linear_names(model)
    matched = {target: [name for name in linears if f".{name}".endswith(f".{target}")] for target in wanted}
    empty = [target for target in wanted if not matched[target]]
    if empty or not wanted:
        raise ConfigError(
            f"LoRA targets that match no linear layer: {', '.join(empty) or 'none given'}" + _similar(empty, linears),
            hint=f"--set 'lora.targets=[\"o_proj\"]' takes module names, or a set: {', '.join(NAME_SETS)}",
        )
    chosen = {name for names in matched.values() for name in names}
    return [name for name in linears if name in chosen]


def trainable_share(model: Any) -> TrainableShare:
    """Count parameters; those shared between modules count once."""
    total = sum(p.numel() for p in model.parameters())
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return TrainableShare(trainable, total, trainable / total)


def _name_set(model: Any, name_set: str) -> list[str]:
    linears = _linear_names(model)
    # "" is the model itself: get_encoder answers so where it finds no tower.
    tower = _below(model, model.get_encoder("image")) or None
    decoder = _below(model, model.get_decoder())
    head = _below(model, model.get_output_embeddings())
    ends = [name for name in linears if not _is_in(name, head) and not _says(_PROJECTOR, name)]
    in_vision = [name for name in ends if _is_in(name, tower) or _says(_VISION, name)]
    in_decoder = [name for name in ends if _is_in(name, decoder) and name not in set(in_vision)]
    if name_set == "decoder":
        chosen = in_decoder
    elif name_set == "decoder+vision":
        if not in_vision:
            raise ConfigError(
                f"{type(model).__name__} shows no vision tower with linear layers",
                hint="--set lora.targets=decoder, or a list of module names",
            )
        chosen = in_decoder + in_vision
    else:
        chosen = [name for name in in_decoder if f".{name}".endswith(tuple(f".{s}" for s in _SEED_SUFFIXES))]
        if {name.rsplit(".", 1)[-1] for name in chosen} != {s.rsplit(".", 1)[-1] for s in _SEED_SUFFIXES}:
            chosen = [name for name in in_decoder if _MLP_PARTS & set(name.split(".")[:-1])]
    if not chosen:
        raise ConfigError(
            f"LoRA name set {name_set!r} matches no linear layer of {type(model).__name__}"
            + _similar(["proj"], linears),
            hint='name the modules: --set \'lora.targets=["q_proj","v_proj"]\'',
        )
    order = {name: place for place, name in enumerate(linears)}
    return sorted(chosen, key=order.__getitem__)


def _linear_names(model: Any) -> list[str]:
    from torch import nn

    return [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]


def _below(model: Any, part: Any) -> str | None:
    """The name of `part` in `model`, "" where it is the model itself, None where it is not there."""
    if part is None:
        return None
    return next((name for name, module in model.named_modules() if module is part), None)


def _is_in(name: str, part: str | None) -> bool:
    return part is not None and (part == "" or name == part or name.startswith(f"{part}."))


def _says(pattern: re.Pattern[str], name: str) -> bool:
    return pattern.search(name) is not None


def _similar(targets: Sequence[str], linears: Sequence[str]) -> str:
    """Names near those that matched nothing, to be shown."""
    # Layer numbers out, then the last two and the last part of each name.
    shapes = sorted({".".join(name.split(".")[-2:]) for name in linears} | {name.split(".")[-1] for name in linears})
    shapes = [shape for shape in shapes if not shape.split(".")[0].isdigit()]
    near: list[str] = []
    for target in targets:
        near += difflib.get_close_matches(target.removesuffix(".weight"), shapes, n=4, cutoff=0.5)
    return f" (similar: {', '.join(dict.fromkeys(near))})" if near else f" (there are: {', '.join(shapes[:12])})"
