"""The sheet that a record's picture is: two panels, one above the other, with the grid's coordinates at both.

Enters: two panels of one size, the passed product's and the tested one's. Leaves: one RGB picture, in which the cell of
row r and column c is the square of `cell` pixels at (c * cell, r * cell) of its panel. With 9 x 3 cells of 44 pixels it
measures 420 x 308, the panels' corners lie at (20, 16) and (20, 172), and nothing is ever drawn inside a panel.
Cost: the coordinates are drawn once for a grid and kept; after that a sheet is two pastes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

from harness.records import Grid

CELL = 44  # pixels a side

_PAPER = (200, 200, 200)
_INK = (0, 0, 0)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things lie on a sheet, in pixels."""

    grid: Grid = field(default_factory=Grid)
    cell: int = CELL

    @property
    def panel(self) -> tuple[int, int]:
        """Width and height of a panel."""
        return self.cell * len(self.grid.columns), self.cell * len(self.grid.rows)

    @property
    def unit(self) -> float:
        """What the margins are counted in: 1 for cells of 44 pixels."""
        return self.cell / CELL

    @property
    def corners(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """The upper left corners of the top and the bottom panel."""
        left, above, between = round(20 * self.unit), round(16 * self.unit), round(24 * self.unit)
        return (left, above), (left, above + self.panel[1] + between)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the sheet."""
        (left, _), (_, below) = self.corners
        rest = round(4 * self.unit)
        return left + self.panel[0] + rest, below + self.panel[1] + rest

    def box(self, panel: int, place: int) -> tuple[int, int, int, int]:
        """Left, upper, right, lower edge of a cell; `place` counts as grid.cells does, `panel` is 0 (top) or 1."""
        row, column = divmod(place, len(self.grid.columns))
        left, upper = self.corners[panel]
        x, y = left + column * self.cell, upper + row * self.cell
        return x, y, x + self.cell, y + self.cell


def draw_sheet(top: Image.Image, bottom: Image.Image, layout: Layout) -> Image.Image:
    """Put two panels of the layout's panel size on one sheet."""
    sheet = _empty_sheet(layout).copy()
    for panel, corner in zip((top, bottom), layout.corners, strict=True):
        assert panel.size == layout.panel, f"a panel of {panel.size} on a sheet for {layout.panel}"
        sheet.paste(panel, corner)
    return sheet


@lru_cache(maxsize=4)
def _empty_sheet(layout: Layout) -> Image.Image:
    """Paper with the coordinates and a tick at each cell's border."""
    sheet = Image.new("RGB", layout.size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=15 * layout.unit)
    tick = max(2, round(4 * layout.unit))
    for left, upper in layout.corners:
        for number, name in enumerate(layout.grid.columns):
            x = left + (number + 0.5) * layout.cell
            draw.text((x, upper - 8 * layout.unit), name, fill=_INK, font=font, anchor="mm")
        for number, name in enumerate(layout.grid.rows):
            y = upper + (number + 0.5) * layout.cell
            draw.text((left - 10 * layout.unit, y), name, fill=_INK, font=font, anchor="mm")
        for number in range(len(layout.grid.columns) + 1):
            x = left + number * layout.cell
            draw.line((x, upper - tick, x, upper - 1), fill=_INK)
        for number in range(len(layout.grid.rows) + 1):
            y = upper + number * layout.cell
            draw.line((left - tick, y, left - 1, y), fill=_INK)
    return sheet
