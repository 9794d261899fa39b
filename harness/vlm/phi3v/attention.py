"""The decoder's attention with few passes over memory where it computes in half precision.

Enters: hidden states [B, S, hidden], cosines and sines [B, S, head_dim]. Leaves: what transformers' Phi3Attention
gives. That one cuts queries, keys and values apart, whose gradients are then three widened tensors and their sum, and
turns each in eleven passes. Here queries and keys are turned together in four, and rounded once. In fp32 transformers'
own is kept, so that the published code's numbers stand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.phi3.modeling_phi3 import Phi3Attention, eager_attention_forward

from harness.vlm.fused import kernels_for
from harness.vlm.lean_lora import lora_parts


class Phi3VAttention(Phi3Attention):  # type: ignore[misc]  # transformers is untyped
    """Phi3Attention whose half-precision path turns queries and keys together."""

    def forward(
        self,
        hidden_states: Tensor,
        position_embeddings: tuple[Tensor, Tensor],
        attention_mask: Tensor | None,
        *cached: Any,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """As Phi3Attention's; the cache comes by its name before transformers 5.24, or from then on."""
        cosines, sines = position_embeddings
        half = hidden_states.dtype in (torch.bfloat16, torch.float16)
        if not half or cached or cosines.shape[-1] != self.head_dim:
            own: tuple[Tensor, Tensor | None] = super().forward(
                hidden_states, position_embeddings, attention_mask, *cached, **kwargs
            )
            return own
        cache = [kwargs.pop(name, None) for name in ("cache", "past_key_values")]
        query, key, value = self._turned(hidden_states, cosines, sines)
        for held in cache:
            if held is not None:
                key, value = held.update(key, value, self.layer_idx)
        attend: Callable[..., tuple[Tensor, Tensor | None]] = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        attended, weights = attend(
            self,
            query,
            key,
            value,
            attention_mask,
            dropout=self.attention_dropout if self.training else 0.0,
            scaling=self.scaling,
            sliding_window=getattr(self.config, "sliding_window", None),
            **kwargs,
        )
        out: Tensor = self.o_proj(attended.reshape(*hidden_states.shape[:-1], -1))
        return out, weights

    def _turned(self, hidden_states: Tensor, cosines: Tensor, sines: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[B, S, hidden] to queries, keys and values [B, heads or groups, S, head_dim]."""
        heads, groups, width = self.config.num_attention_heads, self.num_key_value_heads, self.head_dim
        kernels = kernels_for(hidden_states)
        if kernels is None:
            turned, values = self.qkv_proj(hidden_states).split([(heads + groups) * width, groups * width], dim=-1)
            turned = turn(turned.unflatten(-1, (heads + groups, width)), cosines, sines)
            all_heads = *turned.split([heads, groups], dim=2), values.unflatten(-1, (groups, width))
        else:
            parts = lora_parts(self.qkv_proj, hidden_states)
            if parts is None:
                joint = self.qkv_proj(hidden_states).flatten(0, -2)
                apart = kernels.TurnedHeads.apply(joint, cosines, sines, heads, groups)
            else:
                apart = kernels.TurnedHeads.apply(parts.base, cosines, sines, heads, groups, parts.thin, parts.outer)
            all_heads = tuple(part.view(*hidden_states.shape[:-1], -1, width) for part in apart)
        query, key, value = (part.transpose(1, 2) for part in all_heads)
        return query, key, value


def turn(heads: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Rotary embedding of queries and keys together.

    Args:
        heads: [B, S, heads, head_dim].
        cosines, sines: [B, S, head_dim] or [1, S, head_dim]; both halves are equal, as Phi3RotaryEmbedding makes them.
    """
    half = heads.shape[-1] // 2
    turned: Tensor = _Turned.apply(heads, cosines[..., None, :half], sines[..., None, :half])  # type: ignore[no-untyped-call]
    return turned


class _Turned(torch.autograd.Function):
    """(a, b) to (a cos - b sin, b cos + a sin); the gradient turns back."""

    @staticmethod
    def forward(ctx: Any, heads: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        ctx.save_for_backward(cosines, sines)
        return _turned(heads, cosines, sines, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        cosines, sines = ctx.saved_tensors
        return _turned(gradients[0], cosines, sines, -1), None, None


def _turned(heads: Tensor, cosines: Tensor, sines: Tensor, sign: int) -> Tensor:
    out = torch.empty(heads.shape, dtype=heads.dtype, device=heads.device)
    (a, b), (first, second) = heads.chunk(2, dim=-1), out.chunk(2, dim=-1)
    torch.mul(a, cosines, out=first).addcmul_(b, sines, value=-sign)
    torch.mul(b, cosines, out=second).addcmul_(a, sines, value=sign)
    return out
