"""The demo data: trays of 9 x 3 cubes, drawn; the top panel passed, the bottom panel under test.

Enters: how many records, and a seed. Leaves: SourceRecords as a source gives them (PNG or JPEG bytes, the seed's
question, an answer in words, truth columns, a group a tray, a severity), or a folder that `datasets` loads. The same
seed gives the same bytes. Half of the trays are passed; the others have one (70 %), two (20 %) or three (10 %) defects.
What must not decide is varied between the panels: light, exposure, camera shift and turn, noise, JPEG quality.
Cost: about 15 ms a record.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from harness.records import Grid, SourceRecord

QUESTION = (
    "Referenced image has two images inside. Compare the two images and find the differences. The two images have "
    "coordinate letters 1 to 9 horizontally and U, C, D vertically to find position. You should compare the condition "
    "of the cubes at each position one by one. The top image is one of passed product. You should evaluate whether the "
    "product in the bottom image is passed or defective. If you find differences in the bottom image, explain its "
    "location and defect name."
)
DEFECTS = ("missing", "wrong color", "rotated", "chipped", "stain", "misaligned")

GRID = Grid()
CELL = 44  # pixels a side
MARGIN = 24  # pixels for the letters at the left
HEADER = 22  # pixels for the digits above each panel
PANEL = (CELL * len(GRID.columns), CELL * len(GRID.rows))
SIZE = (MARGIN + PANEL[0], 2 * (HEADER + PANEL[1]))
SCALE = 2  # drawn larger, then reduced, for smooth edges
EDGE = 26  # pixels, the side of a cube's face
DEPTH = 6  # pixels, how much of its top and side the slight angle shows

#: light enough to be told apart in grey by a tenth at least
COLORS = ((196, 62, 54), (222, 150, 40), (226, 205, 70), (74, 150, 76), (60, 160, 170), (58, 92, 180), (140, 84, 160),
          (205, 120, 150), (235, 232, 222), (92, 92, 96))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Flaw:
    """A defect of one cube: `severity` 0 (hardly visible) .. 1 (plain), `turn` in [0, 1) a choice of its own."""

    location: str
    defect: str
    severity: float
    turn: float


def generate(n: int, seed: int = 0) -> Iterator[SourceRecord]:
    """Draw n records; record i of a seed is the same whatever n is."""
    for number in range(n):
        yield draw_record(number, seed)


def draw_record(number: int, seed: int) -> SourceRecord:
    """Draw one record."""
    rng = np.random.default_rng([seed, number])
    colors = _tray_colors(rng)
    flaws = _flaws(rng)
    background = tuple(int(c) for c in rng.integers(118, 176, 3))
    sheet = Image.new("RGB", SIZE, (255, 255, 255))
    for panel, shown in enumerate(((), flaws)):
        tray = _photograph(_draw_tray(colors, shown, background), rng)
        sheet.paste(tray, (MARGIN, HEADER + panel * (HEADER + PANEL[1])))
    _print_coordinates(sheet)
    data = io.BytesIO()
    sheet.save(data, "JPEG", quality=int(rng.integers(82, 96)))
    defective = bool(flaws)
    return SourceRecord(
        where=f"demo:cubes seed {seed} row {number}",
        image=data.getvalue(),
        question=QUESTION,
        answer=answer_of(flaws),
        verdict="defective" if defective else "passed",
        locations=tuple(flaw.location for flaw in flaws),
        defects=tuple(flaw.defect for flaw in flaws),
        group=f"tray-{seed}-{number}",
        severity=min(flaw.severity for flaw in flaws) if defective else None,
        source="demo:cubes",
        split="train",
    )


def answer_of(flaws: tuple[Flaw, ...]) -> str:
    """The reference answer in words."""
    if not flaws:
        return "The product in the bottom image is passed. No difference is found."
    parts = "; ".join(f"Location: {flaw.location}, Defect: {flaw.defect}" for flaw in flaws)
    return f"The product in the bottom image is defective. {parts}."


def write_folder(out: Path, *, n: int, seed: int = 0) -> None:
    """Write records as an imagefolder with metadata.jsonl, which datasets.load_dataset loads."""
    part = out.with_name(out.name + ".part")
    (part / "train").mkdir(parents=True)
    with (part / "train" / "metadata.jsonl").open("w", encoding="utf-8") as metadata:
        for number, record in enumerate(generate(n, seed)):
            assert record.image is not None
            name = f"{number:05d}.jpg"
            (part / "train" / name).write_bytes(record.image)
            line = {
                "file_name": name,
                "question": record.question,
                "answer": record.answer,
                "verdict": record.verdict,
                "locations": record.locations,
                "defects": record.defects,
                "group": record.group,
                "severity": record.severity,
                "source": record.source,
            }
            metadata.write(json.dumps(line, ensure_ascii=False) + "\n")
    card = (
        "# demo:cubes\n\nDrawn trays of 9 x 3 cubes in two stacked panels (top: passed, bottom: under test), made by "
        f"`harness data demo --n {n} --seed {seed}`.\nColumns: image, question, answer, verdict, locations, defects, "
        "group, severity (0 hardly visible .. 1 plain), source.\n"
    )
    (part / "README.md").write_text(card, encoding="utf-8")
    part.rename(out)


def _tray_colors(rng: np.random.Generator) -> list[tuple[int, int, int]]:
    """A colour a cell: the whole tray alike, by rows, by columns, or mixed."""
    palette = [COLORS[i] for i in rng.permutation(len(COLORS))]
    columns, rows = len(GRID.columns), len(GRID.rows)
    layout = int(rng.integers(0, 4))
    mixed = rng.integers(0, 4, rows * columns)

    def index(row: int, column: int) -> int:
        return (0, row, column % 3, int(mixed[row * columns + column]))[layout]

    return [palette[index(row, column)] for row in range(rows) for column in range(columns)]


def _flaws(rng: np.random.Generator) -> tuple[Flaw, ...]:
    if rng.random() < 0.5:
        return ()
    count = int(rng.choice([1, 2, 3], p=[0.7, 0.2, 0.1]))
    places = sorted(int(place) for place in rng.choice(len(GRID.cells), count, replace=False))
    flaws = []
    for place in places:
        defect = DEFECTS[int(rng.integers(len(DEFECTS)))]
        severity, turn = round(float(rng.random()), 3), float(rng.random())
        flaws.append(Flaw(GRID.cells[place], defect, 1.0 if defect == "missing" else severity, turn))
    return tuple(flaws)


def _draw_tray(colors: list[tuple[int, int, int]], flaws: tuple[Flaw, ...], background: tuple[int, ...]) -> Image.Image:
    tray = Image.new("RGB", (PANEL[0] * SCALE, PANEL[1] * SCALE), background)
    draw = ImageDraw.Draw(tray)
    by_cell = {flaw.location: flaw for flaw in flaws}
    slot = tuple(int(c * 0.72) for c in background)
    for place, cell in enumerate(GRID.cells):
        row, column = divmod(place, len(GRID.columns))
        x, y = (column + 0.5) * CELL * SCALE, (row + 0.5) * CELL * SCALE
        half = (EDGE / 2 + 4) * SCALE
        draw.rounded_rectangle((x - half, y - half, x + half, y + half), radius=4 * SCALE, fill=slot)
        _draw_cube(tray, draw, (x, y), colors[place], by_cell.get(cell))
    return tray


def _draw_cube(
    tray: Image.Image,
    draw: ImageDraw.ImageDraw,
    center: tuple[float, float],
    color: tuple[int, int, int],
    flaw: Flaw | None,
) -> None:
    strength = 0.0 if flaw is None else flaw.severity
    kind = None if flaw is None else flaw.defect
    turn = 0.0 if flaw is None else flaw.turn
    if kind == "missing":
        return
    angle = math.radians((12 + 30 * strength) * (1 if turn < 0.5 else -1)) if kind == "rotated" else 0.0
    x, y = center
    if kind == "misaligned":
        reach, way = (4 + 6 * strength) * SCALE, 2 * math.pi * turn
        x, y = x + reach * math.cos(way), y + reach * math.sin(way)
    if kind == "wrong color":
        other = COLORS[int(turn * len(COLORS))]
        if sum(abs(a - b) for a, b in zip(other, color, strict=True)) < 120:
            other = tuple(255 - c for c in color)  # type: ignore[assignment]
        share = 0.35 + 0.65 * strength
        color = tuple(round(a + share * (b - a)) for a, b in zip(color, other, strict=True))  # type: ignore[assignment]
    half, depth = EDGE / 2 * SCALE, DEPTH * SCALE
    face = [(-half, -half + depth), (half - depth, -half + depth), (half - depth, half), (-half, half)]
    top = [(-half, -half + depth), (-half + depth, -half), (half, -half), (half - depth, -half + depth)]
    side = [(half - depth, -half + depth), (half, -half), (half, half - depth), (half - depth, half)]
    for shape, light in ((top, 1.22), (side, 0.68), (face, 1.0)):
        points = [_turned(point, angle, (x, y)) for point in shape]
        draw.polygon(points, fill=tuple(min(255, int(c * light)) for c in color))
    if kind == "chipped":
        cut = (6 + 9 * strength) * SCALE
        sx, sy = (1 if turn < 0.5 else -1), (1 if (turn * 4) % 1 < 0.5 else -1)
        corner = (x + sx * half * 0.8 - depth / 2, y + sy * half * 0.8 + depth / 2)
        shape = [corner, (corner[0] - sx * cut, corner[1]), (corner[0], corner[1] - sy * cut)]
        draw.polygon(shape, fill=tuple(int(c * 0.35) for c in color))
    if kind == "stain":
        radius = (3 + 5 * strength) * SCALE
        spot = (x - depth / 2 + (turn - 0.5) * half * 0.6, y + depth / 2 + ((turn * 7) % 1 - 0.5) * half * 0.6)
        patch = Image.new("L", tray.size, 0)
        box = (spot[0] - radius, spot[1] - radius * 0.8, spot[0] + radius, spot[1] + radius * 0.8)
        ImageDraw.Draw(patch).ellipse(box, fill=int(255 * (0.45 + 0.5 * strength)))
        dark = (44, 34, 26) if sum(color) > 300 else (222, 214, 196)
        tray.paste(Image.new("RGB", tray.size, dark), mask=patch)


def _turned(point: tuple[float, float], angle: float, center: tuple[float, float]) -> tuple[float, float]:
    cos, sin = math.cos(angle), math.sin(angle)
    return center[0] + point[0] * cos - point[1] * sin, center[1] + point[0] * sin + point[1] * cos


def _photograph(tray: Image.Image, rng: np.random.Generator) -> Image.Image:
    """One shot: a little turned and shifted, under uneven light, with noise."""
    turned = tray.rotate(float(rng.normal(0, 0.35)), Image.Resampling.BILINEAR, fillcolor=tray.getpixel((2, 2)))
    shift = rng.normal(0, 1.0, 2) * SCALE
    shifted = turned.transform(
        turned.size, Image.Transform.AFFINE, (1, 0, float(shift[0]), 0, 1, float(shift[1])), Image.Resampling.BILINEAR,
        fillcolor=tray.getpixel((2, 2)),
    )  # fmt: skip
    pixels: NDArray[np.float32] = np.asarray(shifted.resize(PANEL, Image.Resampling.BOX), dtype=np.float32)
    slope = rng.normal(0, 0.06, 2)
    across = np.linspace(-1, 1, PANEL[0], dtype=np.float32)[None, :, None]
    down = np.linspace(-1, 1, PANEL[1], dtype=np.float32)[:, None, None]
    light = (1 + slope[0] * across + slope[1] * down) * rng.uniform(0.88, 1.1)
    tint = rng.normal(1, 0.015, 3)
    noise = rng.normal(0, rng.uniform(2, 7), pixels.shape)
    return Image.fromarray(np.clip(pixels * light * tint + noise, 0, 255).astype(np.uint8))


def _print_coordinates(sheet: Image.Image) -> None:
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=15)
    for panel in range(2):
        top = panel * (HEADER + PANEL[1])
        for number, digit in enumerate(GRID.columns):
            draw.text((MARGIN + (number + 0.5) * CELL, top + HEADER / 2), digit, fill=(0, 0, 0), font=font, anchor="mm")
        for number, letter in enumerate(GRID.rows):
            place = (MARGIN / 2, top + HEADER + (number + 0.5) * CELL)
            draw.text(place, letter, fill=(0, 0, 0), font=font, anchor="mm")
