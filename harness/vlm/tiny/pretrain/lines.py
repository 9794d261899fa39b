"""Circuit-like line art in two tones, and what can go wrong with it.

Enters: how many, and random numbers. Leaves: Scenes (scenes.py) of buses of parallel traces that bend by 45 degrees,
rows of pads, drilled pads and planes. The lower panel is the same drawing moved by up to 4 pixels, etched a little
thicker or thinner, with frayed edges of its own; a change is a gap, a bridge, a bite, a bump, an island or a hole of 4
to 16 pixels.
The drawing is a signed distance field, so that every change is one minimum or maximum. A change that alters fewer than
9 pixels of the lower panel is none. Cost: some 50 distance fields a batch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from harness.vlm.tiny.pretrain.scenes import (
    CELL,
    CELLS,
    COLUMNS,
    HEIGHT,
    KIND,
    ROWS,
    WIDTH,
    Draw,
    Scenes,
    how_many,
    photograph,
    severity,
)

_RIM = 8  # pixels drawn around the panel, so that a moved one is full
_CHANGES = ("gap", "bridge", "bite", "bump", "island", "hole")


def lines(count: int, draw: Draw, *, ease: float = 0.0) -> Scenes:
    """Draw scenes of line art."""
    field = _artwork(draw, count)
    flawed, kind, _ = _change(draw, field, ease)
    reach = draw.uniform(count, 1, high=4.2) * draw.chance(0.75, count, 1) * (1 - 0.5 * ease)
    way = draw.uniform(count, 1, high=2 * math.pi)
    move = torch.cat([reach * way.cos(), reach * way.sin()], 1)
    turn = draw.normal(count, 1, std=0.003) * draw.chance(0.3, count, 1)
    fray = draw.uniform(count, 1, 1) ** 2 * (1 - 0.5 * ease)
    above = _seen(field, torch.zeros_like(move), torch.zeros_like(turn)) + _frayed(draw, count, fray)
    noise = _frayed(draw, count, fray) + draw.uniform(count, 1, 1, low=-0.7, high=0.7)
    sound, below = (_seen(one, move, turn) + noise for one in (field, flawed))
    soft = draw.chance(0.25, count)[:, None, None]
    inks = [torch.where(soft, (0.5 - one).clamp(0, 1), (one < 0).float()) for one in (above, below, sound)]
    changed = ((inks[1] - inks[2]).abs() > 0.5).float()
    per_cell = changed.view(count, ROWS, CELL, COLUMNS, CELL).sum((2, 4)).flatten(1)
    kind = torch.where(per_cell >= 9, kind, 0)
    # What the change spilled over into a neighbour, or left too small to count, is undone.
    keep = (kind > 0).view(count, ROWS, 1, COLUMNS, 1).expand(-1, -1, CELL, -1, CELL).reshape(count, HEIGHT, WIDTH)
    ink = torch.stack([inks[0], torch.where(keep, inks[1], inks[2])], 1)[:, :, None]
    binary = draw.chance(0.65, count)
    paper = torch.where(binary[:, None], 1.0, draw.uniform(count, 3))[:, None, :, None, None]
    trace = torch.where(binary[:, None], 0.0, draw.uniform(count, 3))[:, None, :, None, None]
    swap = draw.chance(0.35, count)[:, None, None, None, None]
    paper, trace = torch.where(swap, trace, paper), torch.where(swap, paper, trace)
    clean = binary & draw.chance(0.75, count)
    shot, light = photograph(paper + ink * (trace - paper), draw, clean=clean)
    none = torch.full((count, 2, CELLS), -1, device=draw.device)
    return Scenes(
        shot, kind, changed * keep, none, none, light, torch.ones(count, dtype=torch.long, device=draw.device)
    )


def _pixels(device: torch.device) -> tuple[Tensor, Tensor]:
    """x and y of the canvas in the panel's pixels."""
    y, x = torch.meshgrid(
        torch.arange(-_RIM, HEIGHT + _RIM, device=device),
        torch.arange(-_RIM, WIDTH + _RIM, device=device),
        indexing="ij",
    )
    return x + 0.5, y + 0.5


def _artwork(draw: Draw, count: int) -> Tensor:
    """A signed distance field [B, H', W'], negative inside the traces."""
    x, y = _pixels(draw.device)
    field = torch.full((count, *x.shape), 60.0, device=draw.device)

    def number(low: float, high: float) -> Tensor:
        return draw.uniform(count, 1, 1, low=low, high=high)

    copy = torch.arange(5, device=draw.device)[None, :, None, None]
    for _ in range(4):
        # A bus: up to five parallel traces that run, bend by 45 degrees or more, and run on.
        copies, used = 1 + draw.integers(5, count, 1, 1, 1), draw.chance(0.7, count, 1, 1, 1)
        half, gap, first, second = (
            draw.uniform(count, 1, 1, 1, low=low, high=high)
            for low, high in ((1.8, 7.0), (3.0, 12.0), (10, 260), (10, 260))
        )
        odd = draw.normal(count, 1, 1, 1, std=0.3) * draw.chance(0.1, count, 1, 1, 1)
        way = torch.pi / 4 * draw.integers(8, count, 1, 1, 1) + odd
        bend = torch.pi / 4 * (draw.integers(5, count, 1, 1, 1) - 2)
        px, py = (draw.uniform(count, 1, 1, 1, high=float(side)) for side in (WIDTH, HEIGHT))
        # Each copy's bend lies on the bisector, so that the traces stay parallel after it.
        bisector = way + (math.pi + bend) / 2
        length = copy * (2 * half + gap) / torch.cos(bend / 2).clamp(min=0.3)
        bx, by = px + length * bisector.cos(), py + length * bisector.sin()
        ax, ay = bx - first * way.cos(), by - first * way.sin()
        cx, cy = bx + second * (way + bend).cos(), by + second * (way + bend).sin()
        bus = torch.minimum(_segment(x, y, ax, ay, bx, by), _segment(x, y, bx, by, cx, cy)) - half
        pad = torch.hypot(x - cx, y - cy) - half * 1.9 - 1
        bus = torch.where(draw.chance(0.5, count, 1, 1, 1), torch.minimum(bus, pad), bus)
        field = torch.minimum(field, torch.where(used & (copy < copies), bus, 60.0).amin(1))
    # Rows of pads, round or square, with or without a drilled hole.
    for _ in range(2):
        pitch, radius = number(22, 60), number(5, 13)
        u = torch.remainder(x - number(0, 60), pitch) - pitch / 2
        v = torch.remainder(y - number(0, 60), pitch * number(0.7, 1.3)) - pitch / 2
        u, v = u * number(0.85, 1.2), v * number(0.85, 1.2)
        pad = torch.where(draw.chance(0.7, count, 1, 1), torch.hypot(u, v), torch.maximum(u.abs(), v.abs())) - radius
        inside = (x > number(-60, 250)) & (x < number(120, 460)) & (y > number(-90, 60)) & (y < number(50, 220))
        pad = torch.where(inside & draw.chance(0.45, count, 1, 1), pad, 60.0)
        field = torch.minimum(field, pad)
        drill = torch.where(draw.chance(0.4, count, 1, 1), radius * 0.5 - torch.hypot(u, v), -60.0)
        field = torch.where(inside, torch.maximum(field, drill), field)
    # A plane with a round clearing.
    plane = torch.maximum(
        (x - number(0, WIDTH)).abs() - number(20, 190), (y - number(0, HEIGHT)).abs() - number(12, 70)
    )
    clearing = number(8, 36) - torch.hypot(x - number(0, WIDTH), y - number(0, HEIGHT))
    plane = torch.maximum(plane, clearing)
    return torch.where(draw.chance(0.3, count, 1, 1), torch.minimum(field, plane), field)


def _segment(x: Tensor, y: Tensor, ax: Tensor, ay: Tensor, bx: Tensor, by: Tensor) -> Tensor:
    """Distance from a segment."""
    dx, dy = bx - ax, by - ay
    share = (((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy).clamp(min=1e-3)).clamp(0, 1)
    return torch.hypot(x - ax - share * dx, y - ay - share * dy)


def _change(draw: Draw, field: Tensor, ease: float) -> tuple[Tensor, Tensor, Tensor]:
    """The field with its changes, their kinds [B, 27], and where they lie."""
    count = len(field)
    x, y = _pixels(draw.device)
    row, column = (y / CELL).floor().long(), (x / CELL).floor().long()
    within = (row >= 0) & (row < ROWS) & (column >= 0) & (column < COLUMNS)
    cell = torch.where(within, row * COLUMNS + column, 0)
    edge = torch.minimum(torch.remainder(x, CELL), torch.remainder(y, CELL))
    edge = torch.minimum(edge, CELL - torch.maximum(torch.remainder(x, CELL), torch.remainder(y, CELL)))
    lowest = -functional.max_pool2d(-field[:, None], 5, 1, 2)[:, 0]
    highest = functional.max_pool2d(field[:, None], 5, 1, 2)[:, 0]
    kinds = torch.zeros(count, CELLS, dtype=torch.long, device=draw.device)
    flawed = field
    wanted = how_many(draw, count)
    where = []
    for turn in range(3):
        name = draw.choose([1.0] * len(_CHANGES), count)
        plain = severity(draw, count, 1, 1, ease=ease)
        radius = 2.2 + 4.3 * plain * draw.uniform(count, 1, 1, low=0.5)
        valid = torch.stack([
            (field < -1.2) & (field > -9) & (field < lowest + 0.35),
            (field > 1.2) & (field < 8) & (field > highest - 0.35),
            field.abs() < 1.0, field.abs() < 1.0, field > radius + 2.5, field < -radius - 1.8,
        ], 1)[torch.arange(count, device=draw.device), name]  # fmt: skip
        taken = kinds.gather(1, cell.flatten().expand(count, -1)).view_as(field) > 0
        valid &= within & (edge > 4.5) & ~taken
        place = torch.where(valid, draw.uniform(*field.shape), -1.0).flatten(1).max(1)
        real = (place.values > 0) & (turn < wanted)
        cx, cy = x.flatten()[place.indices], y.flatten()[place.indices]
        depth = field.flatten(1).gather(1, place.indices[:, None]).abs()[:, :, None]
        through = ((name == 0) | (name == 1))[:, None, None]
        radius = torch.where(through, depth + 1.2 + 2.5 * plain, radius)
        u, v = x - cx[:, None, None], y - cy[:, None, None]
        # Half of the changes are slender: a scratch-like cut, a whisker of a bridge. What parts or joins lies across.
        slender = 1 + 1.6 * draw.uniform(count, 1, 1) * draw.chance(0.5, count, 1, 1)
        long = torch.where(through, _across(field, cx, cy), draw.uniform(count, high=math.pi)[:, None, None])
        longer, thinner = torch.where(through, 1.0, slender.sqrt()), torch.where(through, slender, slender.sqrt())
        u, v = (u * long.cos() + v * long.sin()) / longer, (v * long.cos() - u * long.sin()) * thinner
        theta, phase = torch.atan2(v, u), draw.uniform(count, 1, 1, high=2 * math.pi)
        bumpy = 0.22 * torch.sin(2 * theta + phase) + 0.14 * torch.sin(3 * theta + 2.3 * phase)
        blob = (torch.hypot(u, v) - radius * (1 + bumpy)) / thinner
        blob = blob + 0.7 * draw.cloud(count, x.shape[0], x.shape[1], 2.5)
        removes = ((name == 0) | (name == 2) | (name == 5))[:, None, None]
        changed = torch.where(removes, torch.maximum(flawed, -blob), torch.minimum(flawed, blob))
        flawed = torch.where(real[:, None, None], changed, flawed)
        number = torch.tensor([KIND[one] for one in _CHANGES], device=draw.device)[name]
        spot = cell.flatten()[place.indices]
        old = kinds.gather(1, spot[:, None])[:, 0]
        kinds.scatter_(1, spot[:, None], torch.where(real, number, old)[:, None])
        where.append(torch.stack([cx, cy], 1))
    return flawed, kinds, torch.stack(where, 1)


def _across(field: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The direction [B, 1, 1], in radians, in which the field changes most around the places (x, y) of the panel."""
    angles = math.pi / 4 * torch.arange(4, device=field.device)
    rises = []
    for angle in angles.tolist():
        rise = torch.zeros_like(x)
        for side in (-3.0, 3.0):
            column = (x + side * math.cos(angle) + _RIM).long().clamp(0, field.shape[2] - 1)
            row = (y + side * math.sin(angle) + _RIM).long().clamp(0, field.shape[1] - 1)
            rise = rise + field.flatten(1).gather(1, (row * field.shape[2] + column)[:, None])[:, 0]
        rises.append(rise)
    # Towards the edges of a trace the field rises, towards those of a space it falls.
    here = torch.stack(rises, 1)
    inside = field.flatten(1).gather(1, ((y + _RIM).long() * field.shape[2] + (x + _RIM).long())[:, None]) < 0
    return angles[torch.where(inside, here, -here).argmax(1)][:, None, None]


def _frayed(draw: Draw, count: int, amount: Tensor) -> Tensor:
    """Edge noise in pixels."""
    return amount * 0.6 * (draw.cloud(count, HEIGHT, WIDTH, 2) + draw.cloud(count, HEIGHT, WIDTH, 5))


def _seen(field: Tensor, move: Tensor, turn: Tensor) -> Tensor:
    """The field under a camera that is moved [B, 2] (pixels) and turned [B, 1] (radians): [B, 132, 396]."""
    device = field.device
    y, x = torch.meshgrid(torch.arange(HEIGHT, device=device), torch.arange(WIDTH, device=device), indexing="ij")
    sx = x + _RIM + move[:, 0, None, None] + turn[:, :, None] * (y - HEIGHT / 2)
    sy = y + _RIM + move[:, 1, None, None] - turn[:, :, None] * (x - WIDTH / 2)
    grid = torch.stack([(2 * sx + 1) / field.shape[2] - 1, (2 * sy + 1) / field.shape[1] - 1], -1)
    return functional.grid_sample(field[:, None], grid, padding_mode="border", align_corners=False)[:, 0]
