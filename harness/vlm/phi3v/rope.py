"""Rotary embedding whose long-rope factors are chosen for each sequence by itself.

Enters: position_ids [B, S]. Leaves: cosines and sines [B, S, head_dim], times the long rope's attention factor.
A sequence of at most `original_max_position_embeddings` tokens takes the short factors, a longer one the long factors.
The original (and transformers' Phi3) decides by the largest position of the whole batch, so that a row's answer would
depend on the rows beside it. Here a row, and a sequence packed into a row, is turned as it would be alone.
Cost: a few operations on [B, S] integers a forward pass; no synchronisation with the device.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.phi3.modeling_phi3 import Phi3RotaryEmbedding


class Phi3VRotaryEmbedding(Phi3RotaryEmbedding):  # type: ignore[misc]  # transformers is untyped
    """Phi-3's rotary embedding, with short and long factors side by side."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._frequencies: dict[torch.device, tuple[Tensor, Tensor]] = {}

    @torch.no_grad()
    def forward(self, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines in the dtype and on the device of `x`."""
        if self.rope_type != "longrope":
            turned: tuple[Tensor, Tensor] = super().forward(x, position_ids)
            return turned
        short, long = self._inverse_frequencies(x.device)
        original = self.config.rope_parameters["original_max_position_embeddings"]
        is_long = sequence_lengths(position_ids) > original
        angles = position_ids.unsqueeze(-1).float() * torch.where(is_long.unsqueeze(-1), long, short)
        angles = torch.cat([angles, angles], dim=-1)
        cosines, sines = angles.cos() * self.attention_scaling, angles.sin() * self.attention_scaling
        return cosines.to(x.dtype), sines.to(x.dtype)

    def _inverse_frequencies(self, device: torch.device) -> tuple[Tensor, Tensor]:
        # Plain attributes, because model.to(torch.bfloat16) would round buffers: angles need fp32.
        if device not in self._frequencies:
            compute = ROPE_INIT_FUNCTIONS["longrope"]
            beyond = self.config.rope_parameters["original_max_position_embeddings"] + 1
            self._frequencies[device] = (compute(self.config, device)[0], compute(self.config, device, beyond)[0])
        return self._frequencies[device]


def sequence_lengths(position_ids: Tensor) -> Tensor:
    """The length so far of the sequence that each place belongs to: its last position + 1.

    Args:
        position_ids: [B, S]; a new sequence begins wherever a position does not follow from the one before.

    Returns:
        [B, S], int64.
    """
    if position_ids.shape[-1] == 1:
        return position_ids + 1
    begins = torch.ones_like(position_ids, dtype=torch.bool)
    begins[:, 1:] = position_ids[:, 1:] != position_ids[:, :-1] + 1
    sequence = begins.cumsum(-1) - 1
    last = torch.zeros_like(position_ids).scatter_reduce(-1, sequence, position_ids, "amax")
    return last.gather(-1, sequence) + 1
