"""Which pictures are nearly equal to a test picture? A model that saw one in training would be tested on its memory.

Enters: test pictures and others, each with its perceptual hash. Leaves: the pairs that are one picture taken over:
re-encoded, shifted by a few pixels, a little brighter, rescaled by a few percent.

A perceptual hash sees the scene, and a defect is smaller than the scene: on one-product data half of all pairs lie
within 4 of its 64 bits. So the hash only shortlists; then two comparisons of pixels decide, and both look for the
largest local difference, because one small defect makes a picture another record:

    1. thumbnails of 112 x 84, all at once in numpy: each must lie within the other's envelope of +-2 cells
    2. at full size and in colour: the pictures are aligned by phase correlation, brightness and contrast levelled, and
       the difference beyond an edge tolerance of 1 pixel is averaged over 5 x 5 pixels

Cost: reading the pictures (4 ms each) and, per test picture, about 25 ms for 1000 others; step 2 takes 40 ms a pair.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Grey = NDArray[np.float32]

#: bits of 64 within which a pair is looked at
HAMMING = 22
#: cells of the thumbnails that are compared
THUMBNAIL = (112, 84)
#: levelled grey values (a standard deviation is 48): the largest excess of a thumbnail's cell
THUMBNAIL_EXCESS = 40.0
#: the same at full size, averaged over 5 x 5 pixels
EXCESS = 20.0
#: full size means at most this many pixels along the longer side
LONGEST = 640
#: the largest shift, as a share of the side
SHIFT = 0.03
#: the largest relative difference of the pictures' proportions
PROPORTIONS = 0.03


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture to compare: 16 hex digits of its perceptual hash, and its file."""

    phash: str
    path: Path


@dataclass(frozen=True, slots=True)
class NearPair:
    """A record whose picture is nearly equal to a test record's.

    `hamming` counts differing bits of the perceptual hashes; `excess` is the largest local difference in levelled grey
    values (a standard deviation of the picture is 48), below EXCESS.
    """

    test: str
    other: str
    hamming: int
    excess: float


def near_duplicates(tests: Mapping[str, Picture], others: Mapping[str, Picture]) -> list[NearPair]:
    """The others that are nearly equal to a test picture, each with the nearest one.

    Args:
        tests: sample id -> picture, of the test split.
        others: sample id -> picture, of all that might be trained on.

    Raises:
        OSError: a file cannot be read.
    """
    if not tests or not others:
        return []
    test_ids, other_ids = list(tests), list(others)
    distances = _hamming([tests[i].phash for i in test_ids], [others[i].phash for i in other_ids])
    wanted_tests = [i for i in range(len(test_ids)) if (distances[i] <= HAMMING).any()]
    wanted_others = [j for j in range(len(other_ids)) if (distances[:, j] <= HAMMING).any()]
    if not wanted_tests:
        return []
    shortlist = _thumbnail_matches(
        [tests[test_ids[i]].path for i in wanted_tests],
        [others[other_ids[j]].path for j in wanted_others],
        distances[wanted_tests][:, wanted_others] <= HAMMING,
    )
    best: dict[str, NearPair] = {}
    for row, column in shortlist:
        test_id, other_id = test_ids[wanted_tests[row]], other_ids[wanted_others[column]]
        excess = picture_excess(tests[test_id].path, others[other_id].path)
        if excess < EXCESS and (other_id not in best or excess < best[other_id].excess):
            hamming = int(distances[wanted_tests[row], wanted_others[column]])
            best[other_id] = NearPair(test_id, other_id, hamming, excess)
    return list(best.values())


def picture_excess(one: Path, other: Path) -> float:
    """The largest local difference of two pictures after alignment, over the three colours, in levelled values; 255
    where the proportions differ."""
    import numpy as np
    from PIL import Image

    first, second = _picture(one), _picture(other)
    if abs(first.width / first.height / (second.width / second.height) - 1) > PROPORTIONS:
        return 255.0
    size = _bounded(first.size)
    a, b = (
        _level(np.asarray(picture.resize(size, Image.Resampling.BILINEAR), dtype=np.float32))
        for picture in (first, second)
    )
    here, there = _common_part(a.mean(axis=2), b.mean(axis=2))
    a, b = _level(a[here]), _level(b[there])
    return max(_local_excess(x[:, :, colour], y[:, :, colour]) for colour in range(3) for x, y in ((a, b), (b, a)))


def _hamming(tests: Sequence[str], others: Sequence[str]) -> NDArray[np.uint8]:
    """Differing bits, shape [tests, others]."""
    import numpy as np

    a = np.array([int(h, 16) for h in tests], dtype=np.uint64)
    b = np.array([int(h, 16) for h in others], dtype=np.uint64)
    bits: NDArray[np.uint8] = np.bitwise_count(a[:, None] ^ b[None, :])
    return bits


def _thumbnail_matches(
    tests: Sequence[Path], others: Sequence[Path], near: NDArray[np.bool_]
) -> Iterator[tuple[int, int]]:
    """Pairs (test, other) whose thumbnails lie within each other's envelopes."""
    import numpy as np

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as threads:
        test_thumbs = np.stack(list(threads.map(_thumbnail, tests)))
        other_thumbs = np.stack(list(threads.map(_thumbnail, others)))
    other_low, other_high = _envelope(other_thumbs)
    for row, thumb in enumerate(test_thumbs):
        columns = np.flatnonzero(near[row])
        low, high = _envelope(thumb[None])
        for start in range(0, len(columns), 128):
            part = columns[start : start + 128]
            outside = np.maximum(thumb - other_high[part], other_low[part] - thumb).max(axis=(1, 2, 3))
            inside = np.maximum(other_thumbs[part] - high, low - other_thumbs[part]).max(axis=(1, 2, 3))
            for column in part[np.maximum(outside, inside) < THUMBNAIL_EXCESS]:
                yield row, int(column)


def _thumbnail(path: Path) -> NDArray[np.int16]:
    import numpy as np
    from PIL import Image
    from scipy.ndimage import gaussian_filter

    # Blurred, because a line thinner than a cell is strong in one cell or weak in two, as the shift has it.
    small = np.asarray(_picture(path).resize(THUMBNAIL, Image.Resampling.BOX), dtype=np.float32)
    thumbnail: NDArray[np.int16] = gaussian_filter(_level(small), (1, 1, 0)).round().astype(np.int16)
    return thumbnail


def _envelope(thumbs: NDArray[np.int16]) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    from scipy.ndimage import maximum_filter, minimum_filter

    # +-2 cells are +-2 % of the side: the shift and the rescaling that still count as the same picture.
    size = (1, 5, 5, 1)
    return minimum_filter(thumbs, size), maximum_filter(thumbs, size)


def _picture(path: Path):  # type: ignore[no-untyped-def]  # a PIL picture; PIL is imported only when needed
    from PIL import Image, ImageOps

    with Image.open(path) as opened:
        return ImageOps.exif_transpose(opened).convert("RGB")


def _bounded(size: tuple[int, int]) -> tuple[int, int]:
    scale = min(1.0, LONGEST / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _level(values: Grey) -> Grey:
    """Mean 0 and standard deviation 48 over pixels and colours: the camera's gain and offset drop out, hues stay."""
    spread = float(values.std())
    levelled: Grey = (values - values.mean()) * (48.0 / spread if spread > 1e-6 else 0.0)
    return levelled


def _common_part(a: Grey, b: Grey) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where the common part of two pictures lies in each, by the whole-pixel shift that phase correlation finds."""
    import numpy as np

    spectrum = np.fft.rfft2(a) * np.conj(np.fft.rfft2(b))
    surface = np.fft.irfft2(spectrum / (np.abs(spectrum) + 1e-6), s=a.shape)
    rows, columns = int(SHIFT * a.shape[0]) + 1, int(SHIFT * a.shape[1]) + 1
    window = np.roll(surface, (rows, columns), axis=(0, 1))[: 2 * rows + 1, : 2 * columns + 1]
    peak = np.unravel_index(int(window.argmax()), window.shape)
    dy, dx = int(peak[0]) - rows, int(peak[1]) - columns
    height, width = a.shape[0] - abs(dy), a.shape[1] - abs(dx)

    def part(down: int, right: int) -> tuple[slice, slice]:
        top, left = max(down, 0), max(right, 0)
        return slice(top, top + height), slice(left, left + width)

    return part(dy, dx), part(-dy, -dx)


def _local_excess(a: Grey, b: Grey) -> float:
    """How far `a` leaves the envelope of `b` (+-1 pixel), averaged over 5 x 5 pixels, at its worst place."""
    import numpy as np
    from scipy.ndimage import maximum_filter, minimum_filter, uniform_filter

    outside = np.maximum(a - maximum_filter(b, 3), minimum_filter(b, 3) - a)
    return float(uniform_filter(np.maximum(outside, 0.0), 5).max())
