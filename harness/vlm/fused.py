"""Which of two ways a layer takes: the Triton kernels where they run and agree with PyTorch, PyTorch's operations else.

Enters: a tensor, for its device and dtype. Leaves: the module of kernels, or None. They are tried once a device and
dtype, for some seconds unless Triton keeps them from before: it needs a C compiler, and none of its errors may end a
run that can do without it.
"""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor

logger = logging.getLogger(__name__)


def kernels_for(x: Tensor) -> Any | None:
    """harness.vlm.kernels for bf16 and fp16 on a CUDA device, None elsewhere."""
    import torch

    if not x.is_cuda or x.dtype not in (torch.bfloat16, torch.float16):
        return None
    return _tried(x.device, x.dtype)


@functools.cache
def _tried(device: torch.device, dtype: torch.dtype) -> Any | None:
    import torch

    try:
        from harness.vlm import kernels
    except ImportError as error:
        logger.warning("Triton is not installed here (%s): layers run by PyTorch's operations", error)
        return None
    try:
        agrees = _agrees(kernels, device, dtype)
    except torch.OutOfMemoryError:  # says nothing of the kernels; whoever asked makes room and asks again
        raise
    except Exception as error:  # whatever a compiler and a driver may raise; it is told
        logger.warning("Triton's kernels do not run here (%s): layers run by PyTorch's operations", error)
        return None
    if not agrees:
        logger.warning("Triton's kernels and PyTorch disagree on %s: layers run by PyTorch's operations", device)
        return None
    return kernels


def _agrees(kernels: Any, device: torch.device, dtype: torch.dtype) -> bool:
    """Results and gradients of each kernel on small tensors, nothing dropped; outside autocast."""
    import torch
    import torch.nn.functional as F

    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int, kind: torch.dtype = dtype) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device, kind).requires_grad_()

    both, joint, x = drawn(5, 192), drawn(5, 6 * 32), drawn(5, 96)
    weight, angles = drawn(48, 96).detach(), drawn(1, 5, 16).detach().repeat(1, 1, 2)
    thin, inner, outer = drawn(5, 16), drawn(16, 96, kind=torch.float32), drawn(192, 16, kind=torch.float32)
    cosines, sines = angles.cos(), angles.sin()

    def turned(query: Tensor) -> Tensor:
        a, b = query.chunk(2, dim=-1)
        return query * cosines[0, :, None] + torch.cat([-b, a], dim=-1) * sines[0, :, None]

    def plain_heads() -> tuple[Tensor, ...]:
        query, key, value = F.linear(thin, outer.to(dtype)).add(joint).unflatten(-1, (6, 32)).split(2, dim=1)
        return turned(query), turned(key), value

    def plain_swiglu() -> tuple[Tensor, ...]:
        gate, up = F.linear(thin, outer.to(dtype)).add(both).chunk(2, dim=-1)
        return (up * F.silu(gate),)

    ways: tuple[tuple[Any, Any, list[Tensor]], ...] = (
        (lambda: (kernels.SwiGLU.apply(both, thin, outer),), plain_swiglu, [both, thin, outer]),
        (
            lambda: kernels.TurnedHeads.apply(joint, cosines, sines, 2, 2, thin, outer),
            plain_heads,
            [joint, thin, outer],
        ),
        (
            lambda: kernels.LoraParts.apply(x, weight, None, inner, 2.0, 0, 1),
            lambda: (F.linear(x, weight), 2 * F.linear(x, inner.to(dtype))),
            [x, inner],
        ),
    )
    with torch.enable_grad(), torch.autocast(device.type, enabled=False):
        for fused, plain, leaves in ways:
            found = []
            given: Tensor | None = None
            for way in (fused, plain):
                out = torch.cat([part.flatten() for part in way()])
                given = drawn(*out.shape).detach() if given is None else given
                found.append([out.detach(), *torch.autograd.grad(out, leaves, given)])
            for one, other in zip(*found, strict=True):
                if not torch.cosine_similarity(one.flatten().float(), other.flatten().float(), dim=0) > 0.999:
                    return False
    return True
