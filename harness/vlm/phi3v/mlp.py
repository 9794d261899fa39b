"""The decoder's feed-forward part with its activation in one kernel where that runs.

Enters and leaves: hidden states [B, S, hidden]. transformers' own cuts gates and values apart, whose gradients are then
joined by a copy.
"""

from __future__ import annotations

from torch import Tensor
from transformers.models.phi3.modeling_phi3 import Phi3MLP

from harness.vlm.fused import kernels_for
from harness.vlm.lean_lora import lora_parts


class Phi3VMLP(Phi3MLP):  # type: ignore[misc]  # transformers is untyped
    """Phi3MLP; SwiGLU is one kernel in half precision on a CUDA device."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        """[B, S, hidden] to the same."""
        kernels = kernels_for(hidden_states) if self.config.hidden_act == "silu" else None
        if kernels is None:
            own: Tensor = super().forward(hidden_states)
            return own
        parts = lora_parts(self.gate_up_proj, hidden_states)
        if parts is None:
            active = kernels.SwiGLU.apply(self.gate_up_proj(hidden_states).flatten(0, -2))
        else:
            active = kernels.SwiGLU.apply(parts.base, parts.thin, parts.outer)
        out: Tensor = self.down_proj(active.view(*hidden_states.shape[:-1], -1))
        return out
