"""How far do two pictures differ, once they lie on each other? The exact half of the search for lookalikes.

Enters: two pictures of nearly the same proportions. Leaves: their largest local difference, as a share of what encoding
and resampling explain: below 1 the one is a copy of the other, and one small defect lifts it above 1.

The larger picture is laid on the smaller by least squares over its scale, shift, brightness and contrast (Lucas and
Kanade 1981, coarse to fine); then gain and offset of each colour are levelled, and what is left is blurred a little,
because the noise of a JPEG averages out and a defect does not:

    brightness  blurred by 1.3 pixels; allowed are 12 grey values, and what a displacement of 0.25 pixels explains
    colour      blurred by 5 pixels, as JPEG keeps colour coarsely; allowed are 5 values, and the same displacement

What it finds and what it tells apart is measured by benchmarks/audit_cpu.py and written down in benchmarks/RESULTS.md.
Not found: mirrored or turned copies, copies made without any filter (nearest neighbour), and of two-level scans some
enlarged ones and JPEGs of quality 40 and less. Not told apart: a single pixel, a recolouring of a few percent at equal
brightness, and beyond 1344 pixels what vanishes at that size. Cost: 50 to 100 ms a pair of 420 x 308 pixels that
matches, 30 ms a pair that does not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

Plane = NDArray[np.float32]

#: pixels along the longer side at which pictures are compared, at most; no model here sees more
LONGEST = 1344
#: pixels; the blur before brightness and colour are compared
BLUR, COLOUR_BLUR = 1.3, 5.0
#: values of 0..255 that noise and encoding explain, and the displacement in pixels that resampling explains
NOISE, COLOUR_NOISE, DISPLACEMENT = 12.0, 5.0, 0.25
#: the largest difference of scale and the largest shift, as shares of the side, that still count as the same picture
REACH = 0.05
#: the largest gain between two exposures of the same picture, and the largest offset in values of 0..255
GAIN, OFFSET = 1.25, 64.0
#: values this near 0 or 255 may have been clipped
CLIPPED = 4.0
#: pixels along the shorter side; what is smaller is never called a lookalike, only equal
SMALLEST = 24
#: pixels along the border that are not judged: interpolation has nothing beyond them to go by
BORDER = 4
#: what a difference at a quarter of the size must exceed to be taken for the answer
PLAIN = 1.5
#: a share that no other levelling brings below 1
HOPELESS = 3.0

_LUMA = np.array((0.299, 0.587, 0.114), dtype=np.float32)
_CHROMA = np.array(((-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312)), dtype=np.float32)  # ITU-R BT.601


@dataclass(frozen=True, slots=True)
class _Placing:
    """Where a picture lies in another: relative growth and shift along x and y, as shares of the other's sides."""

    grow_x: float = 0.0
    grow_y: float = 0.0
    shift_x: float = 0.0
    shift_y: float = 0.0

    @property
    def reach(self) -> float:
        return max(map(abs, (self.grow_x, self.grow_y, self.shift_x, self.shift_y)))


def aligned_difference(one: Path, other: Path) -> float:
    """The largest local difference of two aligned pictures, over what is allowed there.

    Returns:
        Below 1 where they are one picture; infinite where they cannot be aligned. A plain difference is not measured
        to the end: the share is then the first one seen above PLAIN.

    Raises:
        OSError: a file cannot be read.
    """
    from PIL import Image

    first, second = sorted((read_picture(one, LONGEST), read_picture(other, LONGEST)), key=lambda p: p.width * p.height)
    if min(first.size) < SMALLEST or abs(first.width / first.height / (second.width / second.height) - 1) > REACH:
        return math.inf
    placing = _Placing()
    share = math.inf
    for factor in (16, 4, 1):
        width, height = first.width // factor, first.height // factor
        if factor > 1 and min(width, height) < 24:
            continue
        reference, laid = first, second
        if factor > 1:
            reference = first.resize((width, height), Image.Resampling.BOX)
            half = max(1, 2 * second.width // factor), max(1, 2 * second.height // factor)
            laid = second.resize(half, Image.Resampling.BOX)  # twice as fine as the reference, and cheap to lay on it
        placing = _refined(reference, laid, placing, rounds=8 if factor > 1 else 3)
        if placing.reach > REACH:
            return math.inf
        if factor == 1 or min(width, height) >= 64:
            share = _share(reference, laid, placing)
            if share > PLAIN:  # what a mean over a square shows, its pixels show
                break
    return share


def read_picture(path: Path, longest: int) -> Image.Image:
    """A picture in RGB, turned upright, of at most so many pixels along its longer side."""
    from PIL import Image, ImageOps

    with Image.open(path) as opened:
        opened.draft("RGB", (2 * longest, 2 * longest))  # a large JPEG is decoded at a fraction of its size
        picture = ImageOps.exif_transpose(opened).convert("RGB")
    scale = longest / max(picture.size)
    if scale >= 1:
        return picture
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return picture.resize(size, Image.Resampling.BICUBIC)


def _refined(reference: Image.Image, other: Image.Image, placing: _Placing, *, rounds: int) -> _Placing:
    """Gauss-Newton steps towards the placing with the least squared difference in grey."""
    from scipy.ndimage import gaussian_filter

    width, height = reference.size
    grey: Plane = gaussian_filter(np.asarray(reference.convert("L"), dtype=np.float32), 1.0, truncate=3)
    down, right = np.gradient(grey)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    right, down = right * width, down * height
    slopes = np.stack(
        (right * ((x + 0.5) / width - 0.5), down * ((y + 0.5) / height - 0.5), right, down, grey, np.ones_like(x))
    )
    laid = other.convert("L")
    for _ in range(rounds):
        part = _common_part(reference.size, placing)
        there = np.asarray(_laid_on(laid, reference.size, placing), dtype=np.float32)
        left = (grey - gaussian_filter(there, 1.0, truncate=3))[part].ravel()
        inner = slopes[:, part[0], part[1]].reshape(len(slopes), -1)
        normal = (inner @ inner.T).astype(np.float64)
        normal += np.eye(len(slopes)) * (1e-7 * float(np.trace(normal)) + 1e-9)  # a bare picture fixes no placing
        step = np.linalg.solve(normal, (inner @ left).astype(np.float64))
        placing = _Placing(
            placing.grow_x + float(step[0]),
            placing.grow_y + float(step[1]),
            placing.shift_x + float(step[2]),
            placing.shift_y + float(step[3]),
        )
        if placing.reach > 2 * REACH or np.abs(step[:4]).max() * max(width, height) < 0.01:
            break
    return placing


def _laid_on(other: Image.Image, size: tuple[int, int], placing: _Placing) -> Image.Image:
    """The part of the other picture that the placing names, resampled to a size; edges go on beyond the border."""
    from PIL import Image

    margin = int(3.2 * REACH * max(other.size)) + 1
    pad = ((margin, margin), (margin, margin), (0, 0))
    pixels = np.asarray(other)
    padded = Image.fromarray(np.pad(pixels, pad[: pixels.ndim], mode="edge"))
    (left, right), (top, bottom) = (
        (side * (0.5 + shift - (1 + grow) / 2) + margin, side * (0.5 + shift + (1 + grow) / 2) + margin)
        for side, shift, grow in (
            (other.width, placing.shift_x, placing.grow_x),
            (other.height, placing.shift_y, placing.grow_y),
        )
    )
    return padded.resize(size, Image.Resampling.BICUBIC, box=(left, top, right, bottom))


def _common_part(size: tuple[int, int], placing: _Placing) -> tuple[slice, slice]:
    """The rows and columns of the first picture that the other shows too, less the border."""
    parts = []
    for side, shift, grow in ((size[1], placing.shift_y, placing.grow_y), (size[0], placing.shift_x, placing.grow_x)):
        low, high = 0.5 + shift - (1 + grow) / 2, 0.5 + shift + (1 + grow) / 2
        before = math.ceil(max(0.0, -low) / (1 + grow) * side) + BORDER
        after = math.ceil(max(0.0, high - 1) / (1 + grow) * side) + BORDER
        parts.append(slice(before, side - after))
    return parts[0], parts[1]


def _share(reference: Image.Image, other: Image.Image, placing: _Placing) -> float:
    """The largest local difference over what is allowed there.

    Levelled both ways, because a picture that was made brighter until it clipped follows from the darker one, but the
    darker one does not follow from it.
    """
    part = _common_part(reference.size, placing)
    first = np.asarray(reference, dtype=np.float32)[part]
    second = np.asarray(_laid_on(other, reference.size, placing), dtype=np.float32)[part]
    share = math.inf
    for unclipped in (False, True):
        for target, values in ((first, second), (second, first)):
            share = min(share, _levelled_share(target, values, unclipped=unclipped))
            if share < 1.0 or share > HOPELESS:
                return share
    return share


def _levelled_share(target: Plane, values: Plane, *, unclipped: bool) -> float:
    """The largest local difference of a picture and what the other one, levelled, says that it is."""
    level = _levelled(values, target, unclipped=unclipped)
    share = _excess(target @ _LUMA, level @ _LUMA, BLUR, NOISE)
    colours = [(_quartered(target @ weights), _quartered(level @ weights)) for weights in _CHROMA]
    if min(colours[0][0].shape) > 1:
        share = max(share, *(_excess(a, b, COLOUR_BLUR / 4, COLOUR_NOISE) for a, b in colours))
    return share


def _levelled(values: Plane, target: Plane, *, unclipped: bool) -> Plane:
    """Each colour with the gain and offset that fit the target best, clipped as a picture clips.

    The 2 % that fit worst do not count, they may be a defect; with `unclipped` nor do pixels near black or white.
    """
    level = np.empty_like(values)
    for colour in range(3):
        x, y = values[::2, ::2, colour].ravel(), target[::2, ::2, colour].ravel()
        if unclipped:
            inside = (np.minimum(x, y) > CLIPPED) & (np.maximum(x, y) < 255 - CLIPPED)
            if inside.mean() > 0.02:
                x, y = x[inside], y[inside]
        gain, offset = _line(x, y)
        left = np.abs(gain * x + offset - y)
        kept = left <= max(1.0, float(np.quantile(left, 0.98)))
        gain, offset = _line(x[kept], y[kept])
        level[:, :, colour] = np.clip(gain * values[:, :, colour] + offset, 0.0, 255.0)
    return level


def _line(x: Plane, y: Plane) -> tuple[float, float]:
    spread = float(x.var())
    gain = float(((x - x.mean()) * (y - y.mean())).mean()) / spread if spread > 1e-3 else 1.0
    gain = min(max(gain, 1 / GAIN), GAIN)
    return gain, min(max(float(y.mean()) - gain * float(x.mean()), -OFFSET), OFFSET)


def _quartered(plane: Plane) -> Plane:
    """Means over squares of 4 x 4."""
    height, width = plane.shape[0] // 4 * 4, plane.shape[1] // 4 * 4
    means: Plane = plane[:height, :width].reshape(height // 4, 4, width // 4, 4).mean(axis=(1, 3))
    return means


def _excess(first: Plane, second: Plane, blur: float, noise: float) -> float:
    from scipy.ndimage import gaussian_filter, maximum_filter

    smooth = gaussian_filter(first, blur, truncate=3)
    down, right = np.gradient(smooth)
    steepest = maximum_filter(np.hypot(down, right), 3)
    found = np.abs(gaussian_filter(second - first, blur, truncate=3))
    return float((found / (noise + DISPLACEMENT * steepest)).max())
