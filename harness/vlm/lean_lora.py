"""LoRA layers that compute in the model's own half precision, without a cast of every activation.

Enters: a model with peft's LoRA layers, whose weights are fp32. Leaves: the same model; on bf16 or fp16 activations
each layer rounds its two thin matrices instead of widening its input, and adds their product in the matrix product
itself. peft widens the input to fp32 and, under autocast, rounds it again: two more passes over every activation.
Costs: outside autocast the product of the thin matrices is now rounded, as in training. fp32 models are as peft leaves
them, and so is whatever this does not know: several adapters at once, DoRA and its like, merged weights, biases.
"""

from __future__ import annotations

from types import MethodType
from typing import TYPE_CHECKING, Any

from harness.vlm.fused import kernels_for

if TYPE_CHECKING:
    from torch import Tensor, nn


def make_lean(model: nn.Module) -> None:
    """Change the forward of every plain LoRA layer of the model, in place."""
    from peft.tuners.lora.layer import Linear
    from torch import nn

    for module in model.modules():
        if type(module) is Linear and type(module.get_base_layer()) is nn.Linear:
            module.forward = MethodType(_forward, module)  # type: ignore[method-assign]


def _forward(self: Any, x: Tensor, *args: Any, **settings: Any) -> Tensor:
    """x [..., in] to [..., out], as peft's own."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    names = [name for name in self.active_adapters if name in self.lora_A]
    half = x.dtype in (torch.bfloat16, torch.float16)
    if not half or args or settings or self.disable_adapters or self.merged or len(names) != 1:
        return type(self).forward(self, x, *args, **settings)  # type: ignore[no-any-return]
    name = names[0]
    inner, outer = self.lora_A[name], self.lora_B[name]
    if name in self.lora_variant or inner.bias is not None or outer.bias is not None:
        return type(self).forward(self, x)  # type: ignore[no-any-return]
    base, dropout, scaling = self.base_layer, self.lora_dropout[name], self.scaling[name]
    kernels = kernels_for(x) if _is_trained(self, inner, outer) else None
    if kernels is not None:
        drops = round(dropout.p * kernels.DROP_STEPS) if isinstance(dropout, nn.Dropout) and dropout.training else 0
        seed = int(torch.randint(2**31, ())) if drops else 0
        fused: Tensor = kernels.LoraLinear.apply(
            x, base.weight, base.bias, inner.weight, outer.weight, scaling, drops, seed
        )
        return fused
    flat = x.flatten(0, -2)
    result: Tensor = base(flat)  # no view of another tensor, whose gradient would be copied when it is added to
    thin = F.linear(dropout(flat), inner.weight.to(x.dtype))
    result.addmm_(thin, outer.weight.to(x.dtype).t(), alpha=scaling)
    return result.view(*x.shape[:-1], -1)


def _is_trained(layer: Any, inner: Any, outer: Any) -> bool:
    """Whether a pass makes gradients of the thin matrices alone, of a rank that the kernel takes."""
    import torch

    rank, base = len(inner.weight), layer.base_layer
    return (
        torch.is_grad_enabled()
        and inner.weight.requires_grad
        and outer.weight.requires_grad
        and not base.weight.requires_grad
        and rank >= 16
        and rank & (rank - 1) == 0
    )
