"""Root mean square norm in one kernel where the decoder computes in half precision.

Enters: hidden states [..., hidden]. Leaves: the same, scaled row by row. transformers' own widens a row to fp32 and
back in six passes over memory; PyTorch's does it in one, with one rounding less. In fp32 transformers' own is kept, so
that the published code's numbers stand.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.models.phi3.modeling_phi3 import Phi3RMSNorm


class Phi3VRMSNorm(Phi3RMSNorm):  # type: ignore[misc]  # transformers is untyped
    """Phi3RMSNorm by torch's fused kernel in bf16 and fp16."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        """[..., hidden], in its own dtype."""
        if hidden_states.dtype not in (torch.bfloat16, torch.float16) or self.weight.dtype != hidden_states.dtype:
            widened: Tensor = super().forward(hidden_states)
            return widened
        # Autocast would widen what this kernel widens by itself.
        with torch.autocast(hidden_states.device.type, enabled=False):
            return F.rms_norm(hidden_states, self.weight.shape, self.weight, self.variance_epsilon)
