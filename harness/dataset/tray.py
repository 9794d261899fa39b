"""A tray of cubes as a camera sees it: what demo:cubes draws.

Enters: the colours of the cubes, the flaws of some, and a generator for what differs from shot to shot. Leaves: one
photo of the tray in which each cube stands within about 2 pixels of its cell's middle.
Shots of the same tray differ in exposure, tint, a slope and a bright spot of light, the camera's place (perspective,
shift and turn) and noise; each cube also stands a little differently, as if put down by hand. None of that is a defect.
Cost: about 7 ms a shot: the tray is drawn at twice the size and reduced by the perspective's own resampling.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from harness.dataset.sheet import Layout

Color = tuple[int, int, int]

DEFECTS = ("missing", "wrong color", "rotated", "chipped", "stain", "misaligned")

#: every one of them has others that differ by 150 or more in the sum over red, green and blue (_other)
COLORS: tuple[Color, ...] = (
    (196, 52, 46), (228, 142, 34), (226, 208, 70), (64, 146, 66), (54, 164, 178), (52, 84, 186), (142, 78, 168),
    (216, 120, 158), (226, 224, 214), (88, 88, 94), (120, 84, 54),
)  # fmt: skip

_SCALE = 2  # drawn larger, then reduced, for smooth edges
_EDGE = 25  # pixels, the side of a cube's face
_DEPTH = 6  # pixels, how much of its top and side the slight angle shows
_RIM = 22  # pixels of tray drawn beyond the panel, so that a camera a little off still sees tray


@dataclass(frozen=True, slots=True)
class Flaw:
    """A defect of one cube: `severity` 0 (hardly visible) .. 1 (plain), `turn` in [0, 1) says which way."""

    location: str
    defect: str
    severity: float
    turn: float


@dataclass(frozen=True, slots=True)
class Tray:
    """A tray: a colour a cell, in the order of grid.cells, the tray's own colour, and how round the slots are."""

    colors: tuple[Color, ...]
    ground: Color
    slot_radius: int


def photograph(tray: Tray, flaws: Sequence[Flaw], layout: Layout, rng: np.random.Generator) -> Image.Image:
    """Take one shot: RGB, of the layout's panel size."""
    drawn = _draw(tray, {flaw.location: flaw for flaw in flaws}, layout, rng)
    width, height = layout.panel
    # Where the panel's corners lie on the drawing: a shift, a turn, a zoom, and a little of each corner's own.
    angle, zoom, shift = math.radians(rng.normal(0, 0.3)), rng.normal(1, 0.003), rng.normal(0, 1.0, 2)
    own = rng.normal(0, 0.7, (4, 2))
    corners = []
    for number, (u, v) in enumerate(((-0.5, -0.5), (-0.5, 0.5), (0.5, 0.5), (0.5, -0.5))):
        x, y = u * width * zoom, v * height * zoom
        x, y = x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)
        corners += [
            (_RIM + width / 2 + x + shift[0] + own[number, 0]) * _SCALE,
            (_RIM + height / 2 + y + shift[1] + own[number, 1]) * _SCALE,
        ]
    large = (width * _SCALE, height * _SCALE)
    seen = drawn.transform(large, Image.Transform.QUAD, corners, Image.Resampling.BILINEAR).reduce(_SCALE)
    return _expose(seen, rng)


def _expose(seen: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Uneven light, tint, noise."""
    pixels: NDArray[np.float32] = np.asarray(seen, dtype=np.float32)
    height, width, _ = pixels.shape
    across = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    slope, spot = rng.normal(0, 0.06, 2), rng.uniform(-0.8, 0.8, 2)
    light = 1 + slope[0] * across + slope[1] * down
    light += rng.uniform(0, 0.12) * np.exp(-2 * ((across - spot[0]) ** 2 + 0.3 * (down - spot[1]) ** 2))
    light *= rng.uniform(0.84, 1.1)
    tint = rng.normal(1, 0.02, 3).astype(np.float32)
    noise = rng.standard_normal((height, width, 3), dtype=np.float32) * rng.uniform(2, 7)
    lit = pixels * light.astype(np.float32)[:, :, None] * tint + noise
    return Image.fromarray(np.clip(lit, 0, 255).astype(np.uint8))


def _draw(tray: Tray, flaws: dict[str, Flaw], layout: Layout, rng: np.random.Generator) -> Image.Image:
    width, height = ((side + 2 * _RIM) * _SCALE for side in layout.panel)
    sheet = Image.new("RGB", (width, height), tray.ground)
    draw = ImageDraw.Draw(sheet)
    slot = _shade(tray.ground, 0.72)
    half = (_EDGE / 2 + 4) * _SCALE
    hand = rng.normal(0, 1, (len(tray.colors), 3))
    columns = len(layout.grid.columns)
    for place, (cell, color) in enumerate(zip(layout.grid.cells, tray.colors, strict=True)):
        row, column = divmod(place, columns)
        x, y = (_RIM + (column + 0.5) * layout.cell) * _SCALE, (_RIM + (row + 0.5) * layout.cell) * _SCALE
        box = (x - half, y - half, x + half, y + half)
        draw.rounded_rectangle(box, radius=tray.slot_radius * _SCALE, fill=slot)
        stand = hand[place] * (0.4 * _SCALE, 0.4 * _SCALE, math.radians(1.0))
        _draw_cube(sheet, draw, (x + stand[0], y + stand[1]), stand[2], color, flaws.get(cell))
    return sheet


def _draw_cube(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    center: tuple[float, float],
    angle: float,
    color: Color,
    flaw: Flaw | None,
) -> None:
    """Draw a cube; the numbers from slight to plain are those of each defect's two ends."""
    x, y = center
    kind = flaw.defect if flaw else None
    if kind == "missing":
        return
    if flaw and kind == "rotated":
        angle += math.radians(6 + 36 * flaw.severity) * (1 if flaw.turn < 0.5 else -1)
    elif flaw and kind == "misaligned":
        reach, way = (3 + 6 * flaw.severity) * _SCALE, 2 * math.pi * flaw.turn
        x, y = x + reach * math.cos(way), y + reach * math.sin(way)
    elif flaw and kind == "wrong color":
        color = _mixed(color, _other(color, flaw.turn), 0.15 + 0.85 * flaw.severity)
    half, depth = _EDGE / 2 * _SCALE, _DEPTH * _SCALE
    face = [(-half, -half + depth), (half - depth, -half + depth), (half - depth, half), (-half, half)]
    top = [(-half, -half + depth), (-half + depth, -half), (half, -half), (half - depth, -half + depth)]
    side = [(half - depth, -half + depth), (half, -half), (half, half - depth), (half - depth, half)]
    for shape, light in ((top, 1.2), (side, 0.66), (face, 1.0)):
        draw.polygon(_turned(shape, angle, (x, y)), fill=_shade(color, light))
    if flaw and kind == "chipped":
        # A corner of the face breaks off and shows the dark of the slot; the upper right one would hit three faces.
        cut = (4 + 9 * flaw.severity) * _SCALE
        cx, cy, dx, dy = ((-half, half, 1, -1), (half - depth, half, -1, -1), (-half, -half + depth, 1, 1))[
            int(flaw.turn * 3)
        ]
        broken = [(cx, cy), (cx + dx * cut, cy), (cx + dx * cut * 0.45, cy + dy * cut * 0.5), (cx, cy + dy * cut)]
        draw.polygon(_turned(broken, angle, (x, y)), fill=_shade(color, 0.28))
    elif flaw and kind == "stain":
        _stain(sheet, (x - depth / 2, y + depth / 2), flaw, dark=sum(color) > 330)


def _stain(sheet: Image.Image, center: tuple[float, float], flaw: Flaw, *, dark: bool) -> None:
    """A soft blot of three drops on the face."""
    reach = (2.2 + 4.6 * flaw.severity) * _SCALE
    side = 2 * round(2 * reach) + 1
    blot = Image.new("L", (side, side), 0)
    draw = ImageDraw.Draw(blot)
    for number in range(3):
        way = 2 * math.pi * (flaw.turn * 5 + number / 3)
        drop = reach * (0.75, 0.6, 0.5)[number]
        bx, by = side / 2 + reach * 0.4 * math.cos(way), side / 2 + reach * 0.4 * math.sin(way)
        draw.ellipse((bx - drop, by - drop, bx + drop, by + drop), fill=round(255 * (0.4 + 0.5 * flaw.severity)))
    off = (_EDGE / 2 - _DEPTH) * _SCALE * 0.4
    left = round(center[0] + off * math.cos(2 * math.pi * flaw.turn * 3) - side / 2)
    upper = round(center[1] + off * math.sin(2 * math.pi * flaw.turn * 3) - side / 2)
    sheet.paste((46, 36, 28) if dark else (224, 216, 200), (left, upper), blot)


def _other(color: Color, turn: float) -> Color:
    """Another of the colours, well apart from this one."""
    others = [other for other in COLORS if sum(abs(a - b) for a, b in zip(other, color, strict=True)) >= 150]
    return others[int(turn * len(others))]


def _mixed(color: Color, other: Color, share: float) -> Color:
    red, green, blue = (round(a + share * (b - a)) for a, b in zip(color, other, strict=True))
    return red, green, blue


def _shade(color: Color, light: float) -> Color:
    red, green, blue = (min(255, int(c * light)) for c in color)
    return red, green, blue


def _turned(
    points: Sequence[tuple[float, float]], angle: float, center: tuple[float, float]
) -> list[tuple[float, float]]:
    cos, sin = math.cos(angle), math.sin(angle)
    return [(center[0] + px * cos - py * sin, center[1] + px * sin + py * cos) for px, py in points]
