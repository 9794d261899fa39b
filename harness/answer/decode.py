"""Answers from cached prompts, a token of every row at a time, for models whose forward pass may be recorded.

Enters: prompts whose keys and values are known (prefix.py), which it takes over. Leaves: the rows' new tokens.
The keys and values of the answers have their places before the first token, so that every step has the same shapes; on
a CUDA device the step is recorded once as a graph and replayed, without waiting for the host. Rows that have ended are
dropped when they are half of the batch. Greedy texts are those of transformers' generate(), but for ties of rounding.
Costs: memory for the longest answer that is allowed; a step looks at those empty places too.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from harness.answer.prefix import CachedPrompts, cache_name, parameters
from harness.vlm.packing import running

if TYPE_CHECKING:
    from torch import Tensor

    from harness.vlm.load import Vlm

logger = logging.getLogger(__name__)

#: Tokens between two looks at which rows have ended; each look waits for the device.
LOOK_EVERY = 8
#: Attention kernels take masks of this many places, or copy them in every layer.
ALIGNED = 16


def decodes(vlm: Vlm) -> bool:
    """Whether the model can be asked in this way: the native Phi-3-vision, unless eager attention was asked for."""
    return hasattr(vlm.base, "takes_image_features") and vlm.attention != "eager"


def decode(
    vlm: Vlm, prompts: CachedPrompts, budget: int, choose: Callable[[Tensor], Tensor] | None = None
) -> list[list[int]]:
    """Continue every prompt until its stop token.

    Args:
        prompts: padded on the left; their cache is used up.
        budget: tokens an answer may have.
        choose: the next tokens [B] from float32 logits [B, V] of all rows; None takes the largest.

    Returns:
        B lists of token ids, equally long: behind a row's stop token stands padding.
    """
    import torch

    rows, device = len(prompts.last), prompts.last.device
    answers = torch.full((rows, budget), vlm.pad_token_id, device=device)
    ended = torch.zeros(rows, dtype=torch.bool, device=device)
    stops = torch.tensor(vlm.stop_token_ids, device=device)
    live = torch.arange(rows, device=device)
    written = 0
    # A graph is recorded on the current device, whatever the model's.
    current = torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()
    with current, torch.no_grad(), running(vlm.base, "sdpa"):
        step = _Step(vlm, prompts, budget)
        while written < budget:
            logits = step.logits().float()
            tokens = logits.argmax(-1) if choose is None else choose(logits)
            tokens = tokens.masked_fill(ended[live], vlm.pad_token_id)
            answers[live, written] = tokens
            ended[live] |= torch.isin(tokens, stops)
            written += 1
            step.advance(tokens)
            if device.type == "cuda" and written % LOOK_EVERY:
                continue
            left = (~ended[live]).nonzero().squeeze(1)
            if not len(left):
                break
            if choose is None and 2 * len(left) <= len(live):
                step.keep(left)
                live = live[left]
    found: list[list[int]] = answers[:, :written].tolist()
    return found


class _Slots:
    """Keys and values of all layers, [B, heads, places, head_dim] each; new ones go to the place `at`, an int64 [1].

    What the decoder's layers ask of a cache, and no more: the mask and the positions are given to the model.
    """

    is_compileable = False

    def __init__(self, cache: Any, places: int, at: Tensor) -> None:
        self.at = at
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        for layer in cache.layers:
            self.keys.append(_widened(layer.keys, places))
            self.values.append(_widened(layer.values, places))
            layer.keys = layer.values = None  # layer by layer, so that all is never there twice

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Put one token's keys and values in their place; gives those of all places."""
        self.keys[layer].index_copy_(2, self.at, keys)
        self.values[layer].index_copy_(2, self.at, values)
        return self.keys[layer], self.values[layer]

    def keep(self, rows: Tensor) -> None:
        """Drop all other rows."""
        for tensors in (self.keys, self.values):
            for layer, tensor in enumerate(tensors):
                tensors[layer] = tensor[rows]


class _Step:
    """The forward pass of one token a row, in buffers that stay where they are."""

    def __init__(self, vlm: Vlm, prompts: CachedPrompts, budget: int) -> None:
        import torch

        self.vlm = vlm
        before = prompts.mask.shape[1] - 1  # the last token of the prompts goes through the model again
        places = -(-(before + budget) // ALIGNED) * ALIGNED
        self.at = torch.tensor([before], device=prompts.mask.device)
        self.slots = _Slots(prompts.cache, places, self.at)
        self.ids = prompts.last.unsqueeze(1).clone()
        self.positions = prompts.mask.sum(dim=1, keepdim=True) - 1
        self.mask = prompts.mask.new_zeros((len(self.ids), 1, 1, places), dtype=torch.bool)
        self.mask[:, 0, 0, :before] = prompts.mask[:, :-1].bool()
        self.cache_name = cache_name(parameters(vlm))
        self.records = vlm.records_steps and self.ids.device.type == "cuda"
        self.graph: Any = None
        self.recorded: Tensor | None = None

    def logits(self) -> Tensor:
        """[B, V] of the next tokens; good until the next call."""
        import torch

        self.mask.index_fill_(3, self.at, True)
        if not self.records:
            return self._forward()
        if self.graph is None:
            try:
                self._record()
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:  # an operation that no graph can hold
                logger.warning("a step cannot be recorded as a CUDA graph, so it runs as it is: %s", error)
                self.records = self.vlm.records_steps = False
                self.graph = None
                return self._forward()
        self.graph.replay()
        assert self.recorded is not None
        return self.recorded

    def advance(self, tokens: Tensor) -> None:
        """Go on with the tokens [B] that were chosen."""
        self.ids.copy_(tokens.unsqueeze(1))
        self.positions.add_(1)
        self.at.add_(1)

    def keep(self, rows: Tensor) -> None:
        """Drop all other rows."""
        self.graph = self.recorded = None
        self.slots.keep(rows)
        self.ids, self.positions, self.mask = self.ids[rows], self.positions[rows], self.mask[rows]

    def _forward(self) -> Tensor:
        output = self.vlm.base(
            input_ids=self.ids,
            attention_mask=self.mask,
            position_ids=self.positions,
            use_cache=True,
            **{self.cache_name: self.slots},
        )
        logits: Tensor = output.logits[:, -1]
        return logits

    def _record(self) -> None:
        import torch

        # Before it is recorded the pass runs once aside, where libraries set themselves up. It may run again and again:
        # it writes the same keys and values to the same place.
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            self._forward()
        torch.cuda.current_stream().wait_stream(aside)
        self.graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.current_stream()
        try:
            with torch.cuda.graph(self.graph):
                self.recorded = self._forward()
        finally:
            torch.cuda.set_stream(stream)  # a capture that fails leaves its own behind


def _widened(tensor: Tensor, places: int) -> Tensor:
    """[B, heads, length, head_dim] with room for more places behind."""
    wide = tensor.new_zeros((*tensor.shape[:2], places, tensor.shape[3]))
    wide[:, :, : tensor.shape[2]] = tensor
    return wide
