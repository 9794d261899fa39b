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

#: Goes up whenever these give other numbers; stored answers are then not reused.
VERSION = 1
#: rows and columns that a program takes at a time
ROWS, COLUMNS = 32, 128
#: parts of the rows whose products are summed at the end
PARTS = 16
DROP_STEPS = 1 << 24
#: of LoRA: what a product of tiles takes, and shared memory holds on every chip since Ampere
RANKS = (16, 32, 64, 128)
#: what differs from step to step; Triton would compile anew for an even number or a 1
VARYING = ("seed", "rows", "drops")


@triton.jit
def _sum(base, thin, outer, row, column, inside, row_inside, column_inside, RANK: tl.constexpr):  # type: ignore[no-untyped-def]
    """base [R, C] and, unless RANK is 0, thin [R, RANK] times outer' [C, RANK]; row is [R, 1], column [C, 1]."""
    total = tl.load(base, inside, other=0.0).to(tl.float32)
    if RANK:
        rank = tl.arange(0, RANK)[None, :]
        left = tl.load(thin + row * RANK + rank, row_inside, other=0.0)
        right = tl.load(outer + column * RANK + rank, column_inside, other=0.0)
        total = tl.dot(left, tl.trans(right), total, input_precision="ieee")
    return total


@triton.jit(do_not_specialize=["rows"])
def _swiglu(  # type: ignore[no-untyped-def]
    both, thin, outer, out, rows, width, RANK: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)[:, None]
    place = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    column, down = place[None, :], place[:, None]
    row_inside, inside, down_inside = row < rows, (row < rows) & (column < width), down < width
    start = both + row * 2 * width + column
    gate = _sum(start, thin, outer, row, down, inside, row_inside, down_inside, RANK)
    up = _sum(start + width, thin, outer, row, down + width, inside, row_inside, down_inside, RANK)
    tl.store(out + row * width + column, gate * tl.sigmoid(gate) * up, inside)


@triton.jit(do_not_specialize=["rows"])
def _swiglu_backward(  # type: ignore[no-untyped-def]
    gradient, both, thin, outer, out, rows, width, RANK: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)[:, None]
    place = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    column, down = place[None, :], place[:, None]
    row_inside, inside, down_inside = row < rows, (row < rows) & (column < width), down < width
    given = tl.load(gradient + row * width + column, inside, other=0.0).to(tl.float32)
    start = both + row * 2 * width + column
    gate = _sum(start, thin, outer, row, down, inside, row_inside, down_inside, RANK)
    up = _sum(start + width, thin, outer, row, down + width, inside, row_inside, down_inside, RANK)
    sigmoid = tl.sigmoid(gate)
    end = out + row * 2 * width + column
    tl.store(end, given * up * sigmoid * (1 + gate * (1 - sigmoid)), inside)
    tl.store(end + width, given * gate * sigmoid, inside)


class SwiGLU(torch.autograd.Function):
    """[rows, 2 width], gates before values, to [rows, width]: silu(gate) * value (Shazeer 2020).

    What a LoRA layer still has to add, its `thin` [rows, r] and `outer` [2 width, r], is added on the way.
    """

    @staticmethod
    def forward(ctx: Any, both: Tensor, thin: Tensor | None = None, outer: Tensor | None = None) -> Tensor:
        both = both.contiguous()
        rounded = None if outer is None else outer.to(both.dtype)
        ctx.save_for_backward(both, thin, rounded)
        out = both.new_empty(both.shape[0], both.shape[1] // 2)
        _swiglu[_tiles(*out.shape)](
            both, *_or(both, thin, rounded), out, *out.shape, RANK=_rank(thin), ROWS=ROWS, COLUMNS=COLUMNS
        )
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        both, thin, outer = ctx.saved_tensors
        given, below = gradients[0].contiguous(), torch.empty_like(both)
        _swiglu_backward[_tiles(*given.shape)](
            given, both, *_or(both, thin, outer), below, *given.shape, RANK=_rank(thin), ROWS=ROWS, COLUMNS=COLUMNS
        )
        return below, *_product_gradients(below, thin, outer)


def _tiles(rows: int, columns: int) -> tuple[int, int]:
    return triton.cdiv(rows, ROWS), triton.cdiv(columns, COLUMNS)


def _or(stand_in: Tensor, *tensors: Tensor | None) -> list[Tensor]:
    """A kernel's arguments must be tensors, read or not."""
    return [stand_in if tensor is None else tensor for tensor in tensors]


def _rank(thin: Tensor | None) -> int:
    return 0 if thin is None else thin.shape[1]


def _product_gradients(
    gradient: Tensor, thin: Tensor | None, outer: Tensor | None
) -> tuple[Tensor | None, Tensor | None]:
    """Of thin and outer, where thin outer' was added to what has this gradient."""
    if thin is None or outer is None:
        return None, None
    return gradient @ outer, (gradient.t() @ thin).float()


@triton.jit(do_not_specialize=["rows", "angles"])
def _turn(  # type: ignore[no-untyped-def]
    source, thin, outer, target, cosines, sines, source_row, source_head, target_row, rows, first, angles, half, sign,
    TURNS: tl.constexpr, RANK: tl.constexpr, ROWS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)[:, None]
    head = tl.program_id(1)
    place = tl.arange(0, HALF)
    column, down = place[None, :], place[:, None]
    row_inside, inside, down_inside = row < rows, (row < rows) & (column < half), down < half
    start, line = source + row * source_row + head * source_head + column, first + head * 2 * half + down
    a = _sum(start, thin, outer, row, line, inside, row_inside, down_inside, RANK)
    b = _sum(start + half, thin, outer, row, line + half, inside, row_inside, down_inside, RANK)
    end = target + row * target_row + head * 2 * half + column
    if TURNS:
        angle = (row % angles) * 2 * half + column
        cosine = tl.load(cosines + angle, inside, other=0.0).to(tl.float32)
        sine = tl.load(sines + angle, inside, other=0.0).to(tl.float32) * sign
        tl.store(end, a * cosine - b * sine, inside)
        tl.store(end + half, b * cosine + a * sine, inside)
    else:
        tl.store(end, a, inside)
        tl.store(end + half, b, inside)


class TurnedHeads(torch.autograd.Function):
    """Queries, keys and values from their joint projection, queries and keys turned by their place (rotary embedding).

    [rows, (heads + 2 groups) head_dim] and cosines and sines [1 or B, S, head_dim], rows = B S, to
    [rows, heads, head_dim] and twice [rows, groups, head_dim]. What a LoRA layer still has to add, its `thin` [rows, r]
    and `outer`, is added on the way. The backward pass turns back and lays the three gradients side by side.
    """

    @staticmethod
    def forward(
        ctx: Any, joint: Tensor, cosines: Tensor, sines: Tensor, heads: int, groups: int,
        thin: Tensor | None = None, outer: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        cosines, sines = cosines.contiguous(), sines.contiguous()
        rounded = None if outer is None else outer.to(joint.dtype)
        ctx.save_for_backward(cosines, sines, thin, rounded)
        counts = [heads, groups, groups]
        parts = joint.unflatten(-1, (sum(counts), -1)).split(counts, dim=-2)
        # Each in memory of its own: attention would copy them apart.
        query, key, value = (torch.empty(part.shape, dtype=part.dtype, device=part.device) for part in parts)
        _turn_all((query, key, value), parts, cosines, sines, 1.0, thin, rounded)
        return query, key, value

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        cosines, sines, thin, outer = ctx.saved_tensors
        counts = [gradient.shape[-2] for gradient in gradients]
        shape = len(gradients[0]), sum(counts), gradients[0].shape[-1]
        out = torch.empty(shape, dtype=gradients[0].dtype, device=gradients[0].device)
        _turn_all(out.split(counts, dim=-2), gradients, cosines, sines, -1.0)
        below = out.flatten(-2)
        return below, None, None, None, None, *_product_gradients(below, thin, outer)


def _turn_all(
    targets: Sequence[Tensor], sources: Sequence[Tensor], cosines: Tensor, sines: Tensor, sign: float,
    thin: Tensor | None = None, outer: Tensor | None = None,
) -> None:  # fmt: skip
    """Queries and keys [rows, heads, head_dim] turn, values are copied; each after `outer`'s lines for it are added."""
    first = 0
    for target, source, turns in zip(targets, sources, (True, True, False), strict=True):
        rows, heads, width = source.shape
        if source.stride(-1) != 1:
            source = source.contiguous()
        _turn[(triton.cdiv(rows, 16), heads)](
            source, *_or(source, thin, outer), target, cosines, sines, source.stride(0), source.stride(1),
            target.stride(0), rows, first, cosines.shape[0] * cosines.shape[1], width // 2, sign,
            TURNS=turns, RANK=_rank(thin), ROWS=16, HALF=triton.next_power_of_2(width // 2),
        )  # fmt: skip
        first += heads * width


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


def drop_steps(share: float) -> int:
    """A dropout's probability in steps of 1 / DROP_STEPS, below all of them."""
    return min(round(share * DROP_STEPS), DROP_STEPS - 1)


class LoraParts(torch.autograd.Function):
    """x [rows, in] to x W' + bias [rows, out] and scaling dropout(x) A' [rows, r]; W is frozen.

    Whoever comes next adds the second times B' to the first. What dropout drops is drawn again in the backward pass
    from the seed, so that neither a mask nor the dropped x is kept; each pass reads x once. A [r, in] is fp32 and
    rounded to compute, r one of RANKS. `drops` is the probability in steps of 1 / DROP_STEPS.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, inner: Tensor, scaling: float, drops: int, seed: int
    ) -> tuple[Tensor, Tensor]:
        x, a = x.contiguous(), inner.to(x.dtype)
        (rows, columns), rank = x.shape, len(a)
        base, thin = torch.nn.functional.linear(x, weight, bias), x.new_empty((rows, rank))
        scale = scaling * DROP_STEPS / (DROP_STEPS - drops)
        _thin[(triton.cdiv(rows, ROWS),)](
            x, a, thin, seed, rows, columns, drops, scale, RANK=rank, ROWS=ROWS, COLUMNS=COLUMNS
        )
        ctx.save_for_backward(x, weight, a)
        ctx.drawn = drops, seed, scale
        return base, thin

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, a = ctx.saved_tensors
        drops, seed, scale = ctx.drawn
        given, above = gradients[0], gradients[1].contiguous()
        (rows, columns), rank = x.shape, len(a)
        steps = triton.cdiv(triton.cdiv(rows, ROWS), PARTS)
        parts = torch.empty((PARTS, rank, columns), dtype=torch.float32, device=x.device)
        _inner_gradient[(triton.cdiv(columns, COLUMNS), PARTS)](
            above, x, parts, seed, rows, columns, drops, scale, steps, RANK=rank, ROWS=ROWS, COLUMNS=COLUMNS
        )
        below = None
        if ctx.needs_input_grad[0]:
            below = given @ weight
            _widen[_tiles(rows, columns)](
                above, a, below, seed, rows, columns, drops, scale, RANK=rank, ROWS=ROWS, COLUMNS=COLUMNS
            )
        return below, None, None, parts.sum(0), None, None, None
