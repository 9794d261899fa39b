"""LoRA layers that compute in the model's own half precision, without a cast of every activation.

Enters: a model with peft's LoRA layers, whose weights are fp32. Leaves: the same model; on bf16 or fp16 activations
each layer rounds its two thin matrices instead of widening its input, and adds their product in the matrix product
itself, or leaves that to a kernel behind it (`lora_parts`). peft widens the input to fp32 and, under autocast, rounds
it again: two more passes over every activation.
Costs: outside autocast the product of the thin matrices is now rounded, as in training. fp32 models are as peft leaves
them, and so is whatever this does not know: several adapters at once, DoRA and its like, merged weights, biases.
"""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Parts:
    """What a LoRA layer computed of x [..., in]: its result is base + thin outer'.

    `base` [rows, out] and `thin` [rows, r], scaled, in x's dtype; `outer` [out, r] in fp32.
    """

    base: Tensor
    thin: Tensor
    outer: Tensor


def lora_parts(layer: Any, x: Tensor) -> Parts | None:
    """The parts of a lean layer's result, for a kernel that reads it anyway; None where the layer adds them itself."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    kernels = kernels_for(x)
    name = _only_adapter(layer, x) if kernels is not None else None
    if kernels is None or name is None:
        return None
    frozen, inner, outer = layer.base_layer, layer.lora_A[name].weight, layer.lora_B[name].weight
    dropout, scaling = layer.lora_dropout[name], layer.scaling[name]
    rank, flat = len(inner), x.flatten(0, -2)
    if rank not in kernels.RANKS or frozen.weight.dtype != x.dtype:
        return None
    if not torch.is_grad_enabled():
        return Parts(frozen(flat), F.linear(dropout(flat), inner.to(x.dtype)) * scaling, outer)
    if frozen.weight.requires_grad or not (inner.requires_grad and outer.requires_grad):
        return None
    drops = kernels.drop_steps(dropout.p) if isinstance(dropout, nn.Dropout) and dropout.training else 0
    seed = int(torch.randint(2**31, ())) if drops else 0
    base, thin = kernels.LoraParts.apply(flat, frozen.weight, frozen.bias, inner, scaling, drops, seed)
    return Parts(base, thin, outer)


def _forward(self: Any, x: Tensor, *args: Any, **settings: Any) -> Tensor:
    """x [..., in] to [..., out], as peft's own."""
    import torch.nn.functional as F

    name = None if args or settings else _only_adapter(self, x)
    if name is None:
        return type(self).forward(self, x, *args, **settings)  # type: ignore[no-any-return]
    parts = lora_parts(self, x)
    if parts is None:
        # Rows apart, so that the sum is not added to a view, whose gradient would be copied.
        flat = x.flatten(0, -2)
        thin = F.linear(self.lora_dropout[name](flat), self.lora_A[name].weight.to(x.dtype)) * self.scaling[name]
        parts = Parts(self.base_layer(flat), thin, self.lora_B[name].weight)
    added: Tensor = parts.base.addmm_(parts.thin, parts.outer.to(x.dtype).t())
    return added.view(*x.shape[:-1], -1)


def _only_adapter(layer: Any, x: Tensor) -> str | None:
    """The one plain adapter that is on, in half precision; None for all that peft does itself."""
    import torch

    if not _is_lean(layer) or x.dtype not in (torch.bfloat16, torch.float16) or layer.disable_adapters or layer.merged:
        return None
    names = [name for name in layer.active_adapters if name in layer.lora_A]
    if len(names) != 1 or names[0] in layer.lora_variant:
        return None
    plain = layer.lora_A[names[0]].bias is None and layer.lora_B[names[0]].bias is None
    return names[0] if plain else None


def _is_lean(layer: Any) -> bool:
    own = vars(layer).get("forward")
    return isinstance(own, MethodType) and own.__func__ is _forward
