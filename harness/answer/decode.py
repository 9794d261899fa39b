"""Answers from cached prompts, a token of every row at a time, for models whose forward pass may be recorded.

Enters: prompts whose keys and values are known (prefix.py), which it takes over. Leaves: the rows' new tokens.
The keys and values of the answers have their places before the first token (slots.py), so that every step has the same
shapes; on a CUDA device it is recorded as a graph, once for all batches of a shape, and replayed without waiting for
the host. When half of the rows have ended, the step goes on with half of the rows, and again with half of those.
Greedy texts are those of transformers' generate(), but for ties of rounding.
Cost: a step looks at the empty places too.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from harness.answer.prefix import CachedPrompts, cache_name, parameters
from harness.vlm.graphs import record
from harness.vlm.packing import running

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from harness.answer.slots import Slots
    from harness.vlm.load import Vlm

logger = logging.getLogger(__name__)

#: Tokens between two looks at which rows have ended; each look waits for the device.
LOOK_EVERY = 8


def decodes(vlm: Vlm) -> bool:
    """Whether the model can be asked in this way: the native Phi-3-vision, unless eager attention was asked for."""
    return hasattr(vlm.base, "takes_image_features") and vlm.attention != "eager"


def decode(
    vlm: Vlm, prompts: CachedPrompts, budget: int, choose: Callable[[Tensor], Tensor] | None = None
) -> list[list[int]]:
    """Continue every prompt until its stop token.

    Args:
        prompts: from `read_prompts`; their cache is used up.
        budget: tokens an answer may have, no more than `prompts.room`.
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
        step = prompts.cache.step = prompts.cache.step or _Step(vlm, prompts.cache, device)
        step.begin(prompts)
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
            left = len(live) - int(ended[live].sum())
            if left == 0:
                break
            rows = len(live)
            while choose is None and left <= rows // 2:
                rows //= 2
            if rows < len(live):
                moved = rows + (~ended[live[rows:]]).nonzero().squeeze(1)
                to = ended[live[:rows]].nonzero().squeeze(1)[: len(moved)]
                step.shrink(rows, moved, to)
                live[to] = live[moved]
                live = live[:rows]
    found: list[list[int]] = answers[:, :written].tolist()
    return found


class _Step:
    """The forward pass of one token a row, in buffers that stay where they are, for all batches that its slots take.

    It is the model's cache too: a token is put in the place `at`, and attends to all places that the mask shows.
    """

    def __init__(self, vlm: Vlm, slots: Slots, device: torch.device) -> None:
        import torch

        self.vlm = vlm
        self.rows, places = slots.shape
        self.layers = slots.layers
        self.at = torch.zeros(1, dtype=torch.long, device=device)
        self.ids = torch.zeros((self.rows, 1), dtype=torch.long, device=device)
        self.positions = torch.zeros_like(self.ids)
        self.mask = torch.zeros((self.rows, 1, 1, places), dtype=torch.bool, device=device)
        self.cache_name = cache_name(parameters(vlm))
        self.records = vlm.records_steps and device.type == "cuda"
        #: by rows: what is replayed, and where it leaves its logits
        self.recorded: dict[int, tuple[Any, Tensor]] = {}

    def begin(self, prompts: CachedPrompts) -> None:
        """Go on from these prompts; their last token goes through the model again."""
        before = prompts.mask.shape[1] - 1
        self.rows = len(prompts.last)
        self.at.fill_(before)
        self.ids.copy_(prompts.last.unsqueeze(1))
        self.positions.copy_(prompts.mask.sum(dim=1, keepdim=True) - 1)
        self.mask.zero_()
        self.mask[:, 0, 0, :before] = prompts.mask[:, :-1]

    def logits(self) -> Tensor:
        """[B, V] of the next tokens; good until the next call."""
        import torch

        self.mask.index_fill_(3, self.at, True)
        if not self.records:
            return self._forward()
        if self.rows not in self.recorded:
            try:
                self.recorded[self.rows] = self._record()
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:  # an operation that no graph can hold
                logger.warning("a step cannot be recorded as a CUDA graph, so it runs as it is: %s", error)
                self.records = self.vlm.records_steps = False
                return self._forward()
        graph, logits = self.recorded[self.rows]
        graph.replay()
        return logits

    def advance(self, tokens: Tensor) -> None:
        """Go on with the tokens [B] that were chosen."""
        self.ids[: self.rows] = tokens.unsqueeze(1)
        self.positions.add_(1)
        self.at.add_(1)

    def shrink(self, rows: int, moved: Tensor, to: Tensor) -> None:
        """Go on with the first rows alone, after those of `moved` were put in the places `to` among them."""
        for held in (self.ids, self.positions, self.mask, *self.layers):
            held.index_copy_(0, to, held.index_select(0, moved))
        self.rows = rows

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Put one token's keys and values in their place; gives those of all places."""
        held = self.layers[layer][: self.rows]
        return held[:, 0].index_copy_(2, self.at, keys), held[:, 1].index_copy_(2, self.at, values)

    def _forward(self) -> Tensor:
        output = self.vlm.base(
            input_ids=self.ids[: self.rows],
            attention_mask=self.mask[: self.rows],
            position_ids=self.positions[: self.rows],
            use_cache=True,
            **{self.cache_name: self},
        )
        logits: Tensor = output.logits[:, -1]
        return logits

    def _record(self) -> tuple[torch.cuda.CUDAGraph, Tensor]:
        # It may run again and again: it writes the same keys and values to the same place.
        return record(self._forward)
