"""The keys and values of a batch's prompts, computed once: the answer and both verdict openings continue from them.

Enters: the prompts, or the cache that generate() leaves behind, prompt and answer. Leaves: logits of other
continuations of the same prompts. The last token of the prompts is computed again with each continuation, since
generate() keeps no logits.
Cost: none beyond the memory that the answer took; logits agree with those of a whole pass up to rounding. Prompts read
here rather than by generate() go through the model in parts, so that only their keys and values grow with the batch.
Only for models whose cache can be cut back and whose positions count the tokens; others compute the prompt again.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from harness.answer.slots import Slots
    from harness.vlm.load import Vlm

#: Tokens of prompts that one pass reads: enough for a GPU, and what is computed on the way takes memory.
AT_ONCE = 16_384


@dataclass(frozen=True, slots=True, eq=False)
class CachedPrompts:
    """Prompts padded on the left, but for their last token. `last` [B] is that token, `mask` [B, L] on the device.

    `cache` holds the L - 1 tokens before it, and holds them again after each use. `room` is how many tokens a
    continuation may have, None for any number.
    """

    cache: Any
    last: Tensor
    mask: Tensor
    room: int | None

    def logits(self, vlm: Vlm, continuations: Sequence[Sequence[int]]) -> Tensor:
        """[B, K, V]: what the model expects at each place of each row's continuation; K is the longest one's length."""
        import torch

        longest = max(map(len, continuations))
        # The last token of a continuation says nothing of it.
        ids = torch.full((len(continuations), longest), vlm.pad_token_id)
        mask = torch.zeros_like(ids)
        mask[:, 0] = 1
        for row, tokens in enumerate(continuations):
            ids[row, 1 : len(tokens)] = torch.tensor(tokens[:-1])
            mask[row, 1 : len(tokens)] = 1
        ids = ids.to(self.last.device)
        ids[:, 0] = self.last
        whole = torch.cat([self.mask[:, :-1], mask.to(self.mask.device)], dim=1)
        given = parameters(vlm)
        settings: dict[str, Any] = {cache_name(given): self.cache, "use_cache": True}
        if "position_ids" in given:
            settings["position_ids"] = (whole.cumsum(-1) - 1).clamp(min=0)[:, -longest:]
        try:
            with torch.no_grad():
                logits: Tensor = vlm.base(input_ids=ids, attention_mask=whole, **settings).logits
        finally:
            _cut(self.cache, self.mask.shape[1] - 1)
        return logits


def read_prompts(
    vlm: Vlm, inputs: Mapping[str, Any], slots: Slots, *, answered: int, opened: int = 0
) -> CachedPrompts | None:
    """Compute the keys and values of prompts; None where this model's cannot serve answers and openings alike.

    Args:
        inputs: a batch padded on the left, on the device, a picture a row, for a model that `decodes`.
        slots: where they are put; what another batch had there is lost.
        answered: tokens that the answers may have.
        opened: tokens of the longest verdict opening.
    """
    import torch

    ids = inputs["input_ids"]
    rows, width = ids.shape
    longest = max(answered, opened)
    room, window = _room(vlm, width), vlm.base.config.get_text_config().sliding_window
    if (room is not None and answered > room) or (window is not None and width + longest > window):
        return None
    slots.prepare(rows, width - 1 + longest)
    settings: dict[str, Any] = {"use_cache": True, "logits_to_keep": 1, cache_name(parameters(vlm)): slots}
    if "image_features" in inputs:
        settings["places_are_filled"] = True  # their places are as many as they are
    step = max(1, AT_ONCE // width)
    for start in range(0, rows, step):
        slots.rows = slice(start, start + step)
        with torch.no_grad():
            vlm.base(**{name: given[slots.rows] for name, given in inputs.items()}, **settings)
    slots.rows, slots.used = slice(None), width - 1
    return CachedPrompts(slots, ids[:, -1], inputs["attention_mask"], longest if room is None else min(room, longest))


def cached_prompts(vlm: Vlm, inputs: Mapping[str, Any], output: Any, *, answered: int) -> CachedPrompts | None:
    """Cut an answer's cache back to its prompts; None where this model's cannot serve again.

    Args:
        inputs: the prompts as generate() had them, padded on the left, on the device.
        output: what generate() returned as a dictionary; its cache is changed.
        answered: tokens that the answers may have.
    """
    # By its new name first: transformers 5.24 warns of whoever asks by the old one.
    cache = output["cache"] if "cache" in output else output["past_key_values"]
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    room = _room(vlm, ids.shape[1])
    if cache is None or not _can_share(vlm, cache) or (room is not None and answered > room):
        return None
    _cut(cache, ids.shape[1] - 1)
    return CachedPrompts(cache, ids[:, -1], mask, room)


def _can_share(vlm: Vlm, cache: Any) -> bool:
    from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

    def whole(layer: Any) -> bool:
        if type(layer) is DynamicSlidingWindowLayer:
            return bool(layer.get_seq_length() < layer.sliding_window)
        return type(layer) is DynamicLayer

    if type(cache) is not DynamicCache or not all(whole(layer) for layer in cache.layers):
        return False
    text = vlm.base.config.get_text_config()
    # Multi-dimensional positions (Qwen2-VL's) do not count the tokens of a picture one by one.
    if "mrope_section" in (getattr(text, "rope_parameters", None) or {}):
        return False
    return cache_name(parameters(vlm)) != ""


def _room(vlm: Vlm, width: int) -> int | None:
    """Tokens until a long rope changes its factors, and with them all keys before; None without such a rope."""
    text = vlm.base.config.get_text_config()
    if (getattr(text, "rope_parameters", None) or {}).get("rope_type") != "longrope":
        return None
    return int(text.original_max_position_embeddings) - width


def parameters(vlm: Vlm) -> frozenset[str]:
    """What the model's forward pass takes."""
    return frozenset(inspect.signature(vlm.base.forward).parameters)


def cache_name(parameters: frozenset[str]) -> str:
    """What forward calls the cache: "cache" from transformers 5.24 on, before that "past_key_values"; "" is neither."""
    return next((name for name in ("cache", "past_key_values") if name in parameters), "")


def _cut(cache: Any, length: int) -> None:
    surplus = int(cache.get_seq_length()) - length
    if surplus > 0:
        cache.crop(-surplus)
