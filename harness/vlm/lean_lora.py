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

    names = [name for name in self.active_adapters if name in self.lora_A]
    half = x.dtype in (torch.bfloat16, torch.float16)
    if not half or args or settings or self.disable_adapters or self.merged or len(names) != 1:
        return type(self).forward(self, x, *args, **settings)  # type: ignore[no-any-return]
    name = names[0]
    inner, outer = self.lora_A[name], self.lora_B[name]
    if name in self.lora_variant or inner.bias is not None or outer.bias is not None:
        return type(self).forward(self, x)  # type: ignore[no-any-return]
    result: Tensor = self.base_layer(x)
    thin = F.linear(self.lora_dropout[name](x), inner.weight.to(x.dtype)).flatten(0, -2)
    added = torch.addmm(result.flatten(0, -2), thin, outer.weight.to(x.dtype).t(), alpha=self.scaling[name])
    return added.view_as(result)
