"""Triton kernels for what a decoder layer does beside its matrix products: each reads and writes memory once.

Enters and leaves: tensors in bf16 or fp16 on a CUDA device; sums and products are fp32 within. PyTorch's own operations
need three to eight passes over memory for the same: of a LoRA training step on an H100 they took half.
Importing this needs Triton; `fused.py` decides whether it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

#: rows and columns that a program of the LoRA kernels takes at a time
ROWS, COLUMNS = 32, 128
#: parts of the rows whose products are summed at the end
PARTS = 16
DROP_STEPS = 1 << 24
#: what differs from step to step; Triton would compile anew for an even number or a 1
VARYING = ("seed", "rows", "drops")


@triton.jit
def _swiglu(both, out, width, SIZE: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * SIZE + tl.arange(0, SIZE)
    inside = column < width
    gate = tl.load(both + row * 2 * width + column, inside).to(tl.float32)
    up = tl.load(both + row * 2 * width + width + column, inside).to(tl.float32)
    tl.store(out + row * width + column, gate * tl.sigmoid(gate) * up, inside)


@triton.jit
def _swiglu_backward(gradient, both, out, width, SIZE: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * SIZE + tl.arange(0, SIZE)
    inside = column < width
    given = tl.load(gradient + row * width + column, inside).to(tl.float32)
    gate = tl.load(both + row * 2 * width + column, inside).to(tl.float32)
    up = tl.load(both + row * 2 * width + width + column, inside).to(tl.float32)
    sigmoid = tl.sigmoid(gate)
    slope = sigmoid * (1 + gate * (1 - sigmoid))
    tl.store(out + row * 2 * width + column, given * up * slope, inside)
    tl.store(out + row * 2 * width + width + column, given * gate * sigmoid, inside)


class SwiGLU(torch.autograd.Function):
    """[..., 2 width], gates before values, to [..., width]: silu(gate) * value (Shazeer 2020)."""

    @staticmethod
    def forward(ctx: Any, both: Tensor) -> Tensor:
        both = both.contiguous()
        ctx.save_for_backward(both)
        width = both.shape[-1] // 2
        out = both.new_empty((*both.shape[:-1], width))
        _swiglu[_rows_and(width, out)](both, out, width, SIZE=1024)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (both,) = ctx.saved_tensors
        given = gradients[0].contiguous()
        out = torch.empty_like(both)
        width = given.shape[-1]
        _swiglu_backward[_rows_and(width, given)](given, both, out, width, SIZE=1024)
        return out


def _rows_and(width: int, rows: Tensor) -> tuple[int, int]:
    return rows.numel() // width, triton.cdiv(width, 1024)


@triton.jit(do_not_specialize=["angles"])
def _turn(  # type: ignore[no-untyped-def]
    source, target, cosines, sines, source_row, source_head, target_row, heads, turned, angles, half, sign,
    HEADS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1) * HEADS + tl.arange(0, HEADS)[:, None]
    place = tl.arange(0, HALF)[None, :]
    inside = (head < heads) & (place < half)
    start = source + row * source_row + head * source_head + place
    a = tl.load(start, inside).to(tl.float32)
    b = tl.load(start + half, inside).to(tl.float32)
    angle = (row % angles) * 2 * half + place
    turns = (head < turned) & (place < half)
    cosine = tl.load(cosines + angle, turns, other=1.0).to(tl.float32)
    sine = tl.load(sines + angle, turns, other=0.0).to(tl.float32) * sign
    end = target + row * target_row + head * 2 * half + place
    tl.store(end, a * cosine - b * sine, inside)
    tl.store(end + half, b * cosine + a * sine, inside)


class TurnedHeads(torch.autograd.Function):
    """Queries, keys and values from their joint projection, queries and keys turned by their place (rotary embedding).

    [B, S, (heads + 2 groups) head_dim] and cosines and sines [B or 1, S, head_dim] to [B, S, heads, head_dim] and
    twice [B, S, groups, head_dim]. The backward pass turns back and lays the three gradients side by side.
    """

    @staticmethod
    def forward(
        ctx: Any, joint: Tensor, cosines: Tensor, sines: Tensor, heads: int, groups: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        cosines, sines = cosines.contiguous(), sines.contiguous()
        ctx.save_for_backward(cosines, sines)
        counts = [heads, groups, groups]
        parts = joint.unflatten(-1, (sum(counts), -1)).split(counts, dim=-2)
        # Each in memory of its own: attention would copy them apart.
        query, key, value = (torch.empty(part.shape, dtype=part.dtype, device=part.device) for part in parts)
        _turn_all((query, key, value), parts, cosines, sines, sign=1.0)
        return query, key, value

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        cosines, sines = ctx.saved_tensors
        counts = [gradient.shape[-2] for gradient in gradients]
        shape = (*gradients[0].shape[:-2], sum(counts), gradients[0].shape[-1])
        out = torch.empty(shape, dtype=gradients[0].dtype, device=gradients[0].device)
        _turn_all(out.split(counts, dim=-2), gradients, cosines, sines, sign=-1.0)
        return out.flatten(-2), None, None, None, None


def _turn_all(
    targets: Sequence[Tensor], sources: Sequence[Tensor], cosines: Tensor, sines: Tensor, *, sign: float
) -> None:
    """Queries and keys [B, S, heads, head_dim] turn, values are copied."""
    for target, source, turns in zip(targets, sources, (True, True, False), strict=True):
        batch, length, heads, width = source.shape
        if source.stride(-1) != 1 or (batch > 1 and source.stride(0) != length * source.stride(1)):
            source = source.contiguous()
        block = min(16, triton.next_power_of_2(heads))
        _turn[(batch * length, triton.cdiv(heads, block))](
            source, target, cosines, sines, source.stride(1), source.stride(2), target.stride(1),
            heads, heads if turns else 0, cosines.shape[0] * length, width // 2, sign,
            HEADS=block, HALF=triton.next_power_of_2(width // 2),
        )  # fmt: skip


@triton.jit
def _kept(seed, row, column, columns, drops):  # type: ignore[no-untyped-def]
    """Whether a place of [rows, columns] is kept: a hash of place and seed (lowbias32, Wellons 2018) tells."""
    h = (row * columns + column).to(tl.uint32) ^ seed.to(tl.uint32)
    h = (h ^ (h >> 16)) * tl.full([], 0x7FEB352D, tl.uint32)
    h = (h ^ (h >> 15)) * tl.full([], 0x846CA68B, tl.uint32)
    h = h ^ (h >> 16)
    return (h >> 8).to(tl.int32) >= drops


@triton.jit(do_not_specialize=VARYING)
def _thin(  # type: ignore[no-untyped-def]
    x, a, out, seed, rows, columns, drops, scale, RANK: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS))[:, None]
    rank = tl.arange(0, RANK)
    total = tl.zeros((ROWS, RANK), tl.float32)
    for start in range(0, columns, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        inside = (row < rows) & (column < columns)[None, :]
        block = tl.load(x + row.to(tl.int64) * columns + column[None, :], inside, other=0.0)
        block = tl.where(_kept(seed, row, column[None, :], columns, drops), block, 0.0)
        weight = tl.load(a + rank[None, :] * columns + column[:, None], (column < columns)[:, None], other=0.0)
        total = tl.dot(block, weight, total, input_precision="ieee")
    tl.store(out + row * RANK + rank[None, :], total * scale, row < rows)


@triton.jit(do_not_specialize=VARYING)
def _widen(  # type: ignore[no-untyped-def]
    thin, a, out, seed, rows, columns, drops, scale, RANK: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS))[:, None]
    column = (tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS))[None, :]
    rank = tl.arange(0, RANK)
    inside = (row < rows) & (column < columns)
    given = tl.load(thin + row * RANK + rank[None, :], row < rows, other=0.0)
    weight = tl.load(a + rank[:, None] * columns + column, column < columns, other=0.0)
    added = tl.dot(given, weight, input_precision="ieee") * scale
    added = tl.where(_kept(seed, row, column, columns, drops), added, 0.0)
    place = out + row.to(tl.int64) * columns + column
    tl.store(place, tl.load(place, inside, other=0.0).to(tl.float32) + added, inside)


@triton.jit(do_not_specialize=[*VARYING, "steps"])
def _inner_gradient(  # type: ignore[no-untyped-def]
    thin, x, out, seed, rows, columns, drops, scale, steps,
    RANK: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    column = (tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS))[None, :]
    rank = tl.arange(0, RANK)[:, None]
    total = tl.zeros((RANK, COLUMNS), tl.float32)
    for step in range(0, steps):
        row = (tl.program_id(1) * steps + step) * ROWS + tl.arange(0, ROWS)
        block = tl.load(
            x + row[:, None].to(tl.int64) * columns + column, (row < rows)[:, None] & (column < columns), other=0.0
        )
        block = tl.where(_kept(seed, row[:, None], column, columns, drops), block, 0.0)
        given = tl.load(thin + row[None, :] * RANK + rank, (row < rows)[None, :], other=0.0)
        total = tl.dot(given, block, total, input_precision="ieee")
    place = out + (tl.program_id(1) * RANK + rank) * columns + column
    tl.store(place, total * scale, column < columns)


class LoraLinear(torch.autograd.Function):
    """x [..., in] to [..., out]: x W' + bias + scaling dropout(x) A' B', W frozen.

    What dropout drops is drawn again in the backward pass from the seed, so that neither a mask nor the dropped x is
    kept; the thin products read x once. A [r, in] and B [out, r] are fp32 and rounded to compute, r a power of two from
    16 on. `drops` is the probability in steps of 1 / DROP_STEPS.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, inner: Tensor, outer: Tensor, scaling: float,
        drops: int, seed: int,
    ) -> Tensor:  # fmt: skip
        x = x.contiguous()
        flat = x.view(-1, x.shape[-1])
        a, b = inner.to(x.dtype), outer.to(x.dtype)
        result = torch.nn.functional.linear(flat, weight, bias)
        (rows, columns), rank = flat.shape, len(a)
        thin = flat.new_empty((rows, rank))
        scale = scaling * DROP_STEPS / (DROP_STEPS - drops)
        _thin[(triton.cdiv(rows, ROWS),)](
            flat, a, thin, seed, rows, columns, drops, scale, RANK=rank, ROWS=ROWS, COLUMNS=COLUMNS
        )
        result.addmm_(thin, b.t())
        ctx.save_for_backward(x, weight, a, b, thin)
        ctx.drawn = drops, seed, scale
        return result.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, a, b, thin = ctx.saved_tensors
        drops, seed, scale = ctx.drawn
        flat, given = x.view(-1, x.shape[-1]), gradients[0].reshape(-1, len(weight))
        (rows, columns), rank = flat.shape, len(a)
        above = given @ b
        outer = (given.t() @ thin).float()
        steps = triton.cdiv(triton.cdiv(rows, ROWS), PARTS)
        parts = torch.empty((PARTS, rank, columns), dtype=torch.float32, device=x.device)
        _inner_gradient[(triton.cdiv(columns, COLUMNS), PARTS)](
            above, flat, parts, seed, rows, columns, drops, scale, steps, RANK=rank, ROWS=ROWS, COLUMNS=COLUMNS
        )
        below = None
        if ctx.needs_input_grad[0]:
            below = given @ weight
            _widen[(triton.cdiv(rows, ROWS), triton.cdiv(columns, COLUMNS))](
                above, a, below, seed, rows, columns, drops, scale, RANK=rank, ROWS=ROWS, COLUMNS=COLUMNS
            )
            below = below.view_as(x)
        return below, None, None, parts.sum(0), outer, None, None, None
