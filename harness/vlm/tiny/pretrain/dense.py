"""What each patch and each picture token must know: the dense lessons of the pretraining, whose heads are thrown away.

Enters: Scenes. Leaves: the picture as the processor would give it, [B, 3, 336, 336], and for the 24 x 24 patches and
the 12 x 12 merged tokens which cell they lie in, what stands there, and how it differs from the cell above. A language
model alone stays at chance on spot-the-difference for minutes; with these labels it learns in as many seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from harness.dataset.sheet import Layout, draw_sheet
from harness.vlm.phi3v.image_processing import CLIP_MEAN, CLIP_STD
from harness.vlm.tiny.pretrain.scenes import CELL, CELLS, COLORS, COLUMNS, HEIGHT, KINDS, SHAPES, WIDTH, Draw, Scenes

TILE, PATCH = 336, 14
IGNORE = -100


@dataclass(slots=True)
class Geometry:
    """Where the sheet lies in the tile: its size and upper left corner there, and how far the panels moved on it."""

    width: int = TILE
    height: int = 246  # int(336 / (420 / 308)), as the processor rounds
    left: int = 0
    upper: int = 45
    move: tuple[int, int] = (0, 0)


@dataclass(slots=True)
class Lesson:
    """Labels of the patches [B, 576] or tokens [B, 144]; IGNORE where a lesson does not apply.

    `cell` is 0..53 (upper panel first), `kind` the change, on the lower panel alone, `changed` 0 / 1 the same by
    pixels, `shape`, `color` what stands in the cell.
    """

    cell: Tensor
    kind: Tensor
    changed: Tensor
    shape: Tensor
    color: Tensor

    def rows(self, chosen: Tensor) -> Lesson:
        """The labels of some pictures."""
        return Lesson(*(getattr(self, name)[chosen] for name in self.__slots__))


def shaken(draw: Draw) -> Geometry:
    """A geometry moved and scaled a little."""
    share = float(draw.uniform(1, low=0.94, high=1.03))
    width, height = round(TILE * share), round(246 * share)
    dx, dy, sx, sy = (
        int(value) for value in (draw.uniform(4) * torch.tensor([13, 13, 9, 9], device=draw.device)).long()
    )
    return Geometry(width, height, (TILE - width) // 2 + dx - 6, (TILE - height) // 2 + dy - 6, (sx - 4, sy - 4))


def paper(device: torch.device) -> Tensor:
    """An empty sheet [3, 308, 420] with its coordinates, in [0, 1]."""
    layout = Layout()
    empty = Image.new("RGB", layout.panel)
    sheet = np.asarray(draw_sheet(empty, empty, layout), dtype=np.float32) / 255
    return torch.from_numpy(sheet).permute(2, 0, 1).to(device)


def pictures(scenes: Scenes, sheet: Tensor, at: Geometry) -> tuple[Tensor, Tensor]:
    """The scenes on sheets, resized, padded and normalised: [B, 3, 336, 336]; and the change mask [B, 336, 336]."""
    count = len(scenes.kind)
    sheets = sheet.expand(count, -1, -1, -1).clone()
    mask = torch.zeros(count, 1, *sheet.shape[1:], device=sheet.device)
    for panel, (left, upper) in enumerate(Layout().corners):
        x, y = left + at.move[0], upper + at.move[1]
        width = min(WIDTH, sheet.shape[2] - x)
        height = min(HEIGHT, sheet.shape[1] - y)
        sheets[:, :, y : y + height, x : x + width] = scenes.panels[:, panel, :, :height, :width]
        if panel:
            mask[:, 0, y : y + height, x : x + width] = scenes.changed[:, :height, :width]
    # Eight bits, as a picture file has.
    sheets = (sheets * 255).round() / 255
    small = functional.interpolate(sheets, (at.height, at.width), mode="bilinear", antialias=True, align_corners=False)
    small_mask = functional.interpolate(
        mask, (at.height, at.width), mode="bilinear", antialias=True, align_corners=False
    )
    tile = functional.pad(small, _padding(at), value=1.0)
    mean, std = (torch.tensor(v, device=sheet.device)[:, None, None] for v in (CLIP_MEAN, CLIP_STD))
    return (tile - mean) / std, functional.pad(small_mask, _padding(at))[:, 0]


def _padding(at: Geometry) -> tuple[int, int, int, int]:
    """Left, right, above, below; negative values cut."""
    return at.left, TILE - at.left - at.width, at.upper, TILE - at.upper - at.height


def lesson(scenes: Scenes, mask: Tensor, at: Geometry, *, step: int) -> Lesson:
    """Labels of the squares of `step` pixels that the tile is made of."""
    device = mask.device
    line = torch.arange(TILE // step, device=device) * step + step / 2
    y, x = torch.meshgrid((line - at.upper) * 308 / at.height, (line - at.left) * 420 / at.width, indexing="ij")
    cell = torch.full(x.shape, -1, dtype=torch.long, device=device)
    middle = torch.zeros_like(x, dtype=torch.bool)
    for panel, (left, upper) in enumerate(Layout().corners):
        u, v = x - left - at.move[0], y - upper - at.move[1]
        inside = (u >= 0) & (u < WIDTH) & (v >= 0) & (v < HEIGHT)
        number = (v // CELL).long() * COLUMNS + (u // CELL).long() + panel * CELLS
        cell = torch.where(inside, number, cell)
        near = torch.maximum((u % CELL - CELL / 2).abs(), (v % CELL - CELL / 2).abs()) < 15
        middle |= inside & near
    cell, middle = cell.flatten(), middle.flatten()
    count = len(scenes.kind)
    blank = torch.full((count, 2 * CELLS + 1), IGNORE, device=device)
    both = blank.clone()
    both[:, CELLS : 2 * CELLS] = scenes.kind
    kind = both[:, cell]
    share = functional.avg_pool2d(mask[:, None], step)[:, 0].flatten(1)
    touched = share > 0.03
    # In a changed cell, the squares at its border that saw no change are neither right nor wrong.
    kind = torch.where((kind > 0) & ~(middle | touched), IGNORE, kind)
    stands = []
    for names in (scenes.shape, scenes.color):
        both = blank.clone()
        both[:, : 2 * CELLS] = torch.where(names < 0, IGNORE, names).flatten(1)
        stands.append(both[:, cell].masked_fill(~middle, IGNORE))
    place = torch.where(cell < 0, IGNORE, cell).expand(count, -1)
    return Lesson(place, kind, touched.long(), *stands)


class Heads(nn.Module):
    """Linear readings of the tower's patches and of the projected tokens."""

    def __init__(self, patch_width: int, token_width: int) -> None:
        super().__init__()
        outputs = {"cell": 2 * CELLS, "kind": len(KINDS), "changed": 2, "shape": len(SHAPES), "color": len(COLORS)}
        self.patch = nn.ModuleDict({name: nn.Linear(patch_width, size) for name, size in outputs.items()})
        self.token = nn.ModuleDict({name: nn.Linear(token_width, outputs[name]) for name in ("cell", "kind")})


#: weight of each lesson in the loss; "none" counts less than a change, because it is thirty times as common
WEIGHTS = {"cell": 0.1, "kind": 1.0, "changed": 1.0, "shape": 0.15, "color": 0.15}
_NONE = 0.3


def dense_loss(heads: nn.ModuleDict, features: Tensor, labels: Lesson) -> dict[str, Tensor]:
    """Cross entropy of each lesson, weighted."""
    losses = {}
    for name, head in heads.items():
        target = getattr(labels, name).flatten()
        logits = head(features).flatten(0, 1).float()
        weight = None
        if name in ("kind", "changed"):
            weight = torch.ones(logits.shape[1], device=logits.device)
            weight[0] = _NONE
        losses[name] = WEIGHTS[name] * functional.cross_entropy(logits, target, weight, ignore_index=IGNORE)
    return losses
