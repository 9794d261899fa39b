"""Two-panel scenes, drawn on the GPU in batches: what the tiny model was pretrained on. Nothing here is demo:cubes.

Enters: a family, how many, and a generator on the device. Leaves: Scenes: two panels of 132 x 396 pixels each, where
and how the lower one differs, and what stands where. Three families:

    objects   a shape a cell (discs, rings, crosses, lit blocks, balls, ...) in named colours
    lines     circuit-like line art in two tones, the lower panel moved by up to 4 pixels, edges frayed (lines.py)
    fields    stripes, blots and clouds

Camera, light, noise and blur differ between the panels and mean nothing. Cost on an H100: about 40 ms for 384 scenes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

ROWS, COLUMNS, CELL = 3, 9, 44
HEIGHT, WIDTH = ROWS * CELL, COLUMNS * CELL
CELLS = ROWS * COLUMNS

#: how a cell of the lower panel differs from the one above; 0 is not at all
KINDS = (
    "none", "gone", "extra", "recolored", "turned", "moved", "resized", "reshaped", "notched", "spotted",
    "gap", "bridge", "bite", "bump", "island", "hole", "disturbed",
)  # fmt: skip
KIND = {name: number for number, name in enumerate(KINDS)}

SHAPES = (
    "disc", "square", "triangle", "diamond", "ring", "cross", "bar", "hexagon", "half disc", "block", "ball", "drum",
)  # fmt: skip
ROUND = ("disc", "ring", "ball", "drum")
COLORS = {
    "red": (0.78, 0.16, 0.15), "orange": (0.92, 0.52, 0.10), "yellow": (0.93, 0.85, 0.25), "green": (0.20, 0.58, 0.24),
    "cyan": (0.18, 0.70, 0.74), "blue": (0.16, 0.32, 0.80), "purple": (0.52, 0.26, 0.66), "pink": (0.92, 0.52, 0.68),
    "brown": (0.45, 0.28, 0.14), "white": (0.93, 0.93, 0.90), "gray": (0.52, 0.52, 0.54), "black": (0.10, 0.10, 0.11),
}  # fmt: skip


@dataclass(slots=True)
class Scenes:
    """A batch of B scenes.

    `panels` [B, 2, 3, 132, 396] in [0, 1]; `kind` [B, 27] numbers of KINDS; `changed` [B, 132, 396] in {0, 1}: pixels
    of the lower panel that the change altered; `shape`, `color` [B, 2, 27], -1 where a cell is empty or the family has
    none; `light` [B, 2] the mean gain of each panel; `family` 0 objects, 1 lines, 2 fields.
    """

    panels: Tensor
    kind: Tensor
    changed: Tensor
    shape: Tensor
    color: Tensor
    light: Tensor
    family: Tensor


def join(parts: list[Scenes]) -> Scenes:
    """Several batches as one."""
    return Scenes(*(torch.cat([getattr(part, name) for part in parts]) for name in Scenes.__slots__))


class Draw:
    """Random numbers of one generator, on its device."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator
        self.device = generator.device

    def uniform(self, *size: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform numbers."""
        return low + (high - low) * torch.rand(*size, generator=self.generator, device=self.device)

    def normal(self, *size: int, std: float = 1.0) -> Tensor:
        """Normal numbers."""
        return std * torch.randn(*size, generator=self.generator, device=self.device)

    def integers(self, high: int, *size: int) -> Tensor:
        """Whole numbers below `high`."""
        return torch.randint(high, size, generator=self.generator, device=self.device)

    def chance(self, share: float, *size: int) -> Tensor:
        """True with this chance."""
        return self.uniform(*size) < share

    def choose(self, weights: list[float], *size: int) -> Tensor:
        """Places of a list, with these weights."""
        table = torch.tensor(weights, device=self.device).cumsum(0)
        return torch.searchsorted(table / table[-1], self.uniform(*size)).clamp(max=len(weights) - 1)

    def cloud(self, count: int, height: int, width: int, step: float) -> Tensor:
        """Smooth noise [count, height, width] of about unit variance, whose grains measure `step` pixels."""
        coarse = self.normal(count, 1, max(2, round(height / step)), max(2, round(width / step)))
        return 1.4 * functional.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)[:, 0]


def how_many(draw: Draw, count: int) -> Tensor:
    """Changes of each scene: none in 45 %, then one, two, three."""
    return draw.choose([0.45, 0.35, 0.12, 0.08], count)


def severity(draw: Draw, *size: int, ease: float) -> Tensor:
    """Severities in [0, 1], plain ones commoner; `ease` 1 leaves only plain ones, as the curriculum begins."""
    plain = draw.uniform(*size).sqrt()
    return plain + (1 - plain) * ease


def photograph(panels: Tensor, draw: Draw, *, clean: Tensor) -> tuple[Tensor, Tensor]:
    """Light, tint, blur and noise, of each panel its own.

    Args:
        panels: [B, 2, 3, H, W] in [0, 1].
        clean: [B] True where the scene stays as drawn.

    Returns:
        The panels, and the mean gain [B, 2].
    """
    count, _, _, height, width = panels.shape
    down, across = torch.meshgrid(
        torch.linspace(-1, 1, height, device=draw.device),
        torch.linspace(-1, 1, width, device=draw.device),
        indexing="ij",
    )
    slope, spot = draw.normal(count, 2, 2, 1, 1, std=0.07), draw.uniform(count, 2, 2, 1, 1, low=-0.8, high=0.8)
    gain = draw.uniform(count, 2, 1, 1, low=0.72, high=1.12)
    light = 1 + slope[:, :, 0] * across + slope[:, :, 1] * down
    distance = (across - spot[:, :, 0]) ** 2 + 0.3 * (down - spot[:, :, 1]) ** 2
    light = (light + draw.uniform(count, 2, 1, 1, high=0.14) * torch.exp(-2 * distance)) * gain
    tint = 1 + draw.normal(count, 2, 3, 1, 1, std=0.025)
    lit = panels * light[:, :, None] * tint
    soft = functional.avg_pool2d(lit.flatten(0, 1), 3, 1, 1, count_include_pad=False).view_as(lit)
    lit = lit + (soft - lit) * (draw.uniform(count, 2, 1, 1, 1) * draw.chance(0.4, count, 2, 1, 1, 1))
    grain = draw.uniform(count, 2, 1, 1, 1, high=0.035) * draw.normal(*panels.shape)
    lit = (lit + grain).clamp(0, 1)
    keep = clean[:, None, None, None, None]
    return torch.where(keep, panels, lit), torch.where(clean[:, None], 1.0, gain[:, :, 0, 0])


def objects(count: int, draw: Draw, *, ease: float = 0.0) -> Scenes:
    """Draw scenes of one object a cell."""
    shape, color = _arranged(draw, count, len(SHAPES)), _arranged(draw, count, len(COLORS))
    empty = draw.uniform(count, CELLS) < draw.choose([0.6, 0.4], count)[:, None] * draw.uniform(count, 1, high=0.4)
    shape = shape.masked_fill(empty, -1)
    kind = _placed(draw, shape)
    plain = severity(draw, count, CELLS, ease=ease)
    side = 2.0 * draw.chance(0.5, count, CELLS) - 1
    lower = {
        "shape": torch.where(kind == KIND["gone"], -1, shape),
        "color": color.clone(),
    }
    other = (shape.clamp(min=0) + 1 + draw.integers(len(SHAPES) - 1, count, CELLS)) % len(SHAPES)
    newcomer = draw.integers(len(SHAPES), count, CELLS)
    lower["shape"] = torch.where(kind == KIND["reshaped"], other, lower["shape"])
    lower["shape"] = torch.where(kind == KIND["extra"], newcomer, lower["shape"])
    table = torch.tensor(list(COLORS.values()), device=draw.device)
    # Neighbours in brightness, such as gray and brown, make a hard lesson of a slight change: any other will do.
    target = (color + 1 + draw.integers(len(COLORS) - 1, count, CELLS)) % len(COLORS)
    lower["color"] = torch.where(kind == KIND["recolored"], target, color)
    paint = table[color] + draw.normal(count, CELLS, 3, std=0.03) * draw.chance(0.5, count, 1, 1)
    share = torch.where(kind == KIND["recolored"], 0.2 + 0.8 * plain, 0.0)[:, :, None]
    paints = torch.stack([paint, paint + share * (table[target] - paint)], 1)

    size = draw.uniform(count, 1, low=9, high=17) * (
        1 + draw.normal(count, CELLS, std=0.08) * draw.chance(0.3, count, 1)
    )
    angle = draw.uniform(count, 1, high=math.pi) * draw.chance(0.4, count, 1)
    angle = angle + draw.uniform(count, CELLS, high=math.pi) * draw.chance(0.1, count, 1)
    sizes, angles, offsets = (value[:, None].repeat(1, 2, *[1] * (value.ndim - 1)) for value in
                              (size, angle, torch.zeros(count, CELLS, 2, device=draw.device)))  # fmt: skip
    angles[:, 1] += torch.where(kind == KIND["turned"], side * (0.1 + 0.65 * plain), 0.0)
    way = draw.uniform(count, CELLS, high=2 * math.pi)
    reach = torch.where(kind == KIND["moved"], 2.5 + 6.5 * plain, 0.0)[:, :, None]
    offsets[:, 1] += reach * torch.stack([way.cos(), way.sin()], -1)
    sizes[:, 1] *= torch.where(kind == KIND["resized"], (1 + 0.4 * (0.25 + 0.75 * plain)) ** side, 1.0)
    # As if put down by hand, in both panels.
    offsets += draw.normal(count, 2, CELLS, 2, std=0.4)
    angles += draw.normal(count, 2, CELLS, std=0.017)

    ground = _ground(draw, count)
    slots = draw.chance(0.4, count)
    hollow = draw.uniform(count, low=0.6, high=0.92)
    warp = _camera(draw, count)
    relief = draw.uniform(count, 1, 1, 1, low=0.18, high=0.4)
    panels = []
    for panel in (0, 1):
        u, v = _local(warp[:, panel])
        backdrop = ground
        rim = torch.maximum(u.abs(), v.abs()) - draw_slot(size)
        slot = ((0.5 - rim).clamp(0, 1) * slots[:, None, None, None])[:, :, None]
        backdrop = backdrop * (1 - slot * (1 - hollow)[:, None, None, None, None])
        names = shape if panel == 0 else lower["shape"]
        du, dv = u - offsets[:, panel, :, 0, None, None], v - offsets[:, panel, :, 1, None, None]
        cos, sin = angles[:, panel].cos()[:, :, None, None], angles[:, panel].sin()[:, :, None, None]
        p, q = du * cos + dv * sin, dv * cos - du * sin
        a = sizes[:, panel, :, None, None]
        distance, shade = _solid(names, p, q, a, relief)
        painted = (paints[:, panel, :, :, None, None] * shade[:, :, None]).clamp(0, 1)
        if panel == 1:
            notch = _notch(draw, p, q, a, plain)
            distance = torch.where(
                (kind == KIND["notched"])[:, :, None, None], torch.maximum(distance, -notch), distance
            )
            blot, tone = _blot(draw, p, q, a, plain)
            blot = blot * (kind == KIND["spotted"])[:, :, None, None]
            dark = (painted.mean((2, 3, 4)) > 0.42)[:, :, None, None, None]
            painted = painted + blot[:, :, None] * (torch.where(dark, 0.16, 0.86) * tone - painted)
        cover = ((0.5 - distance).clamp(0, 1) * (names >= 0)[:, :, None, None])[:, :, None]
        panels.append(_assembled(backdrop * (1 - cover) + painted * cover))
    mask = (kind > 0)[:, :, None, None].expand(-1, -1, CELL, CELL) & (torch.hypot(*_local(None, draw.device)) < 18)
    changed = _assembled(mask[:, :, None].float())[:, 0]
    shot, light = photograph(torch.stack(panels, 1), draw, clean=draw.chance(0.05, count))
    return Scenes(
        shot, kind, changed, torch.stack([shape, lower["shape"]], 1),
        torch.stack([color, lower["color"]], 1).masked_fill(torch.stack([shape, lower["shape"]], 1) < 0, -1), light,
        torch.zeros(count, dtype=torch.long, device=draw.device),
    )  # fmt: skip


def fields(count: int, draw: Draw, *, ease: float = 0.0) -> Scenes:
    """Draw scenes without objects: clouds, stripes, blots; a change is a spot where the field is another."""
    step = 8 + 24 * float(draw.uniform(1))
    cloud = draw.cloud(count, HEIGHT, WIDTH, step) + 0.3 * draw.cloud(count, HEIGHT, WIDTH, 6)
    y, x = torch.meshgrid(
        torch.arange(HEIGHT, device=draw.device), torch.arange(WIDTH, device=draw.device), indexing="ij"
    )
    way, wave = draw.uniform(count, 1, 1, high=math.pi), draw.uniform(count, 1, 1, low=0.12, high=0.5)
    stripes = torch.sin(wave * (x * way.cos() + y * way.sin()) + 0.8 * cloud)
    field = torch.where(draw.chance(0.5, count, 1, 1), stripes, cloud)
    kind, changed, spots = _spots(draw, count, ease)
    both = torch.stack([field, field + spots], 1)
    levels = draw.integers(3, count, 1, 1, 1)
    stepped = torch.where(levels == 0, both, torch.sign(both) * torch.where(levels == 1, 1.0, (both.abs() > 0.6) + 0.2))
    share = torch.sigmoid(2 * stepped)[:, :, None]
    one, two = draw.uniform(count, 1, 3, 1, 1), draw.uniform(count, 1, 3, 1, 1)
    shot, light = photograph(one + share * (two - one), draw, clean=draw.chance(0.1, count))
    none = torch.full((count, 2, CELLS), -1, device=draw.device)
    return Scenes(shot, kind, changed, none, none, light, torch.full((count,), 2, device=draw.device))


def _spots(draw: Draw, count: int, ease: float) -> tuple[Tensor, Tensor, Tensor]:
    """Kinds [B, 27], the mask [B, H, W] and what to add to a field of unit variance."""
    chosen = draw.uniform(count, CELLS).argsort(1).argsort(1) < how_many(draw, count)[:, None]
    plain = severity(draw, count, CELLS, ease=ease)[:, :, None, None]
    u, v = _local(None, draw.device)
    middle = draw.normal(count, CELLS, 2, 1, 1, std=3.5).clamp(-9, 9)
    radius = 4 + 9 * plain
    inside = (radius - torch.hypot(u - middle[:, :, 0], v - middle[:, :, 1]) + 0.5).clamp(0, 1)
    inside = inside * chosen[:, :, None, None]
    sign = 2.0 * draw.chance(0.5, count, CELLS, 1, 1) - 1
    return (
        torch.where(chosen, KIND["disturbed"], 0),
        (_assembled(inside[:, :, None])[:, 0] > 0.5).float(),
        _assembled((inside * sign * (0.9 + 1.6 * plain))[:, :, None])[:, 0],
    )


def _arranged(draw: Draw, count: int, names: int) -> Tensor:
    """[B, 27] numbers below `names`: all alike, by row, by column, or mixed of a few."""
    table = draw.uniform(count, names).argsort(1)
    row = torch.arange(CELLS, device=draw.device) // COLUMNS
    column = torch.arange(CELLS, device=draw.device) % COLUMNS
    few = 2 + draw.integers(4, count, 1)
    ways = torch.stack([
        torch.zeros(count, CELLS, dtype=torch.long, device=draw.device), row.expand(count, -1),
        (column % (2 + draw.integers(3, count, 1))), draw.integers(1 << 20, count, CELLS) % few,
    ], 1)  # fmt: skip
    way = draw.choose([0.3, 0.2, 0.2, 0.3], count)
    return table.gather(1, ways[torch.arange(count, device=draw.device), way] % names)


def _placed(draw: Draw, shape: Tensor) -> Tensor:
    """[B, 27] kinds of change that each cell can have."""
    count = len(shape)
    chosen = draw.uniform(count, CELLS).argsort(1).argsort(1) < how_many(draw, count)[:, None]
    names = ("gone", "recolored", "turned", "moved", "resized", "reshaped", "notched", "spotted")
    table = torch.tensor([KIND[name] for name in names], device=draw.device)
    kind = table[draw.choose([1.0, 1.2, 1.3, 1.2, 0.6, 0.5, 1.5, 1.4], count, CELLS)]
    level = torch.tensor([SHAPES.index(name) for name in ROUND], device=draw.device)
    turns = (kind == KIND["turned"]) & (shape[:, :, None] == level).any(-1)
    kind = torch.where(turns, KIND["notched"], kind)
    kind = torch.where(shape < 0, KIND["extra"], kind)
    return torch.where(chosen, kind, 0)


def _ground(draw: Draw, count: int) -> Tensor:
    """[B, 27, 3, 44, 44] what the objects lie on."""
    tone = draw.uniform(count, 1, 3, 1, 1, low=0.15, high=0.95)
    gray = tone.mean(2, keepdim=True)
    tone = gray + (tone - gray) * draw.uniform(count, 1, 1, 1, 1)
    rough = draw.cloud(count, HEIGHT, WIDTH, 3 + 20 * float(draw.uniform(1)))
    rough = rough.view(count, ROWS, CELL, COLUMNS, CELL).transpose(2, 3).reshape(count, CELLS, 1, CELL, CELL)
    return (tone + rough * draw.uniform(count, 1, 1, 1, 1, high=0.05) * draw.chance(0.5, count, 1, 1, 1, 1)).clamp(0, 1)


def _camera(draw: Draw, count: int) -> Tensor:
    """[B, 2, 6] how each panel's camera stands: shift (2), turn, zoom, and two of shear, in pixels and shares."""
    spread = torch.tensor([1.1, 1.1, 0.006, 0.004, 0.004, 0.004], device=draw.device)
    return draw.normal(count, 2, 6) * spread * draw.uniform(count, 1, 1, high=1.4)


def _local(warp: Tensor | None, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Coordinates of every pixel from its cell's middle, [B or 1, 27, 44, 44] in pixels, as the camera sees them."""
    device = warp.device if warp is not None else device
    line = torch.arange(CELL, device=device) + 0.5 - CELL / 2
    v, u = torch.meshgrid(line, line, indexing="ij")
    u, v = u.expand(1, CELLS, CELL, CELL), v.expand(1, CELLS, CELL, CELL)
    if warp is None:
        return u, v
    cells = torch.arange(CELLS, device=device)
    x = u + ((cells % COLUMNS - (COLUMNS - 1) / 2) * CELL)[None, :, None, None]
    y = v + ((cells // COLUMNS - (ROWS - 1) / 2) * CELL)[None, :, None, None]
    dx, dy, turn, zoom, lean, shear = (warp[:, i, None, None, None] for i in range(6))
    return u + dx + zoom * x - turn * y + shear * y, v + dy + zoom * y + turn * x + lean * y


def draw_slot(size: Tensor) -> Tensor:
    """Half the side of a slot around objects of this size, [B, 1, 1, 1]."""
    return (size.mean(1) + 4).clamp(max=20)[:, None, None, None]


def _solid(names: Tensor, p: Tensor, q: Tensor, a: Tensor, relief: Tensor) -> tuple[Tensor, Tensor]:
    """Signed distance (negative inside, pixels) and shading of the shape that stands in each cell."""
    r, m, n = torch.hypot(p, q), p.abs(), q.abs()
    box = torch.maximum(m, n)
    forms = (
        r - a, box - 0.88 * a, torch.maximum(0.866 * m + 0.5 * q, -q) - 0.55 * a, 0.707 * (m + n) - 0.78 * a,
        (r - 0.7 * a).abs() - 0.27 * a,
        torch.minimum(torch.maximum(m - a, n - 0.36 * a), torch.maximum(m - 0.36 * a, n - a)),
        torch.maximum(m - a, n - 0.42 * a), torch.maximum(m, 0.5 * m + 0.866 * n) - 0.9 * a,
        torch.maximum(r - a, q - 0.15 * a), box - 0.92 * a, r - a, torch.maximum(m - 0.75 * a, n - 0.95 * a),
    )  # fmt: skip
    distance, shade = forms[0], torch.ones_like(p)
    which = names[:, :, None, None]
    for number, form in enumerate(forms):
        distance = torch.where(which == number, form, distance)
    edge = relief * a
    lit = torch.where(q < -0.92 * a + edge, 1.25, torch.where(p > 0.92 * a - edge, 0.62, 1.0))
    ball = 0.55 + 0.65 * (1 - ((p + 0.35 * a) ** 2 + (q + 0.35 * a) ** 2) / (2.2 * a * a)).clamp(0, 1)
    drum = torch.where(q < -0.5 * a, 1.2, 0.6 + 0.5 * (1 - (p + 0.2 * a).abs() / a).clamp(0, 1))
    for name, look in (("block", lit), ("ball", ball), ("drum", drum)):
        shade = torch.where(which == SHAPES.index(name), look, shade)
    return distance, shade


def _notch(draw: Draw, p: Tensor, q: Tensor, a: Tensor, plain: Tensor) -> Tensor:
    """Signed distance of what is broken off: a corner, or a round bite at the rim."""
    count = len(p)
    way = draw.uniform(count, CELLS, 1, 1, high=2 * math.pi)
    quarter = math.pi / 4 + math.pi / 2 * draw.integers(4, count, CELLS, 1, 1)
    corner = draw.chance(0.6, count, CELLS, 1, 1)
    way = torch.where(corner, quarter, way)
    depth = (3 + 6.5 * plain)[:, :, None, None]
    along = p * way.cos() + q * way.sin()
    cut = torch.where(corner, 1.24, 0.95) * a - depth - along
    bite = torch.hypot(p - 0.92 * a * way.cos(), q - 0.92 * a * way.sin()) - depth
    return torch.where(corner, cut, bite)


def _blot(draw: Draw, p: Tensor, q: Tensor, a: Tensor, plain: Tensor) -> tuple[Tensor, Tensor]:
    """How much of a spot covers each pixel, and the spot's own tint."""
    count = len(p)
    s = plain[:, :, None, None]
    way, off = draw.uniform(count, CELLS, 1, 1, high=2 * math.pi), draw.uniform(count, CELLS, 1, 1, high=0.4)
    u, v = p - off * a * way.cos(), q - off * a * way.sin()
    theta = torch.atan2(v, u)
    radius = (2.0 + 4.5 * s) * (1 + 0.25 * torch.sin(2 * theta + 3 * way) + 0.15 * torch.sin(3 * theta + 5 * way))
    cover = ((radius - torch.hypot(u, v)) / draw.uniform(count, CELLS, 1, 1, low=1, high=2.5) + 0.5).clamp(0, 1)
    tint = 1 + draw.normal(count, CELLS, 3, 1, 1, std=0.15)
    return cover * (0.45 + 0.5 * s), tint


def _assembled(cells: Tensor) -> Tensor:
    """[B, 27, C, 44, 44] -> [B, C, 132, 396]."""
    count, _, channels, _, _ = cells.shape
    grid = cells.view(count, ROWS, COLUMNS, channels, CELL, CELL).permute(0, 3, 1, 4, 2, 5)
    return grid.reshape(count, channels, HEIGHT, WIDTH)
