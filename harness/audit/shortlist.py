"""Which pictures may be copies of each other? The cheap half of the search for lookalikes, over all pairs at once.

Enters: pictures. Leaves: pairs worth a look at their pixels, nearest first, none of them decided.

A perceptual hash sees the scene, and on one-product data half of all pairs show the same scene: it leaves out what is
plainly another picture and no more. What is left is sorted by the tangent distance (Simard, LeCun and Denker 1993) of
two thumbnails: the share of the one that no small shift or rescaling, gain or offset of the other explains, a linear
projection and so one matrix product for all pairs. Thumbnails are blurred before they are sampled, so that a shift of
5 pixels stays linear, and the floor keeps a picture of little contrast from being all edge and noise.

Measured on 23 kinds of copies (re-encoded, shifted by up to 5 pixels, cropped, rescaled, a bit brighter): all 1012 of
44 drawn trays lie below 0.2; of 1242 of 54 windows of circuit boards 9 lie beyond the limit, half-size copies of two
windows that are all but blank. Of the pairs of 600 drawn trays 0.006 % lie below it, of 1400 windows 0.06 %. Cost: 3 kB
and 4 ms a picture, and 50 million pairs a matrix product of 0.5 TFLOP.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float32]
    Thumbnails = NDArray[np.float16]

#: bits of 64 within which a pair is looked at; copies differ in at most 14
HAMMING = 22
#: the share of a thumbnail that may be unexplained across a split, and where only a report is at stake
DISTANCE, DISTANCE_WITHIN = 0.25, 0.2
#: cells of a thumbnail in brightness; colour has half as many each way
COLUMNS, ROWS = 32, 24
#: cells; the blur of a thumbnail, and points a cell each way at which it is blurred
BLUR, FINE = 1.0, 3
#: outer cells of brightness that do not count (half as many of colour), because a shift fills them anew
RING = 2
#: grey values; root mean square below which a thumbnail is not stretched
FLOOR = 5.0
#: pictures whose distances to all others are in memory at once
BLOCK = 64


@dataclass(frozen=True, slots=True)
class Candidate:
    """Two pictures, by their places, that may be one. `distance` is the unexplained share, `hamming` counts bits."""

    one: int
    other: int
    distance: float
    hamming: int


def thumbnail(path: Path) -> Thumbnails:
    """A picture as brightness and two colours of a few cells, blurred, in one row.

    Raises:
        OSError: the file cannot be read.
    """
    import numpy as np
    from PIL import Image
    from scipy.ndimage import gaussian_filter

    from harness.audit.difference import read_picture

    size = COLUMNS * FINE, ROWS * FINE
    small = read_picture(path, 1344).resize(size, Image.Resampling.BOX).convert("YCbCr")
    sigma = BLUR * FINE
    fine = gaussian_filter(np.asarray(small, dtype=np.float32), (sigma, sigma, 0), mode="nearest", truncate=3)
    cells = fine.reshape(ROWS, FINE, COLUMNS, FINE, 3).mean(axis=(1, 3))
    colours = cells[:, :, 1:].reshape(ROWS // 2, 2, COLUMNS // 2, 2, 2).mean(axis=(1, 3)) - 128
    return np.concatenate([cells[:, :, 0].ravel() - 128, 2 * colours.ravel()]).astype(np.float16)


def shortlist(
    thumbnails: Thumbnails,
    hashes: Sequence[str],
    ones: Sequence[int],
    others: Sequence[int],
    *,
    nearest: int,
    limit: float = DISTANCE,
) -> list[Candidate]:
    """The pairs of `ones` and `others` worth a look, each of the others with its nearest ones, the nearest pair first.

    Args:
        thumbnails: shape [pictures, cells].
        hashes: 16 hex digits each.
        ones, others: places of pictures; where they are the same places, each pair is looked at once.
        nearest: how many of the ones at most.
        limit: the largest distance.
    """
    import numpy as np

    bits = np.array([int(text, 16) for text in hashes], dtype=np.uint64)
    rows, columns = np.asarray(ones), np.asarray(others)
    if not len(rows) or not len(columns):
        return []
    within = rows.shape == columns.shape and bool((rows == columns).all())
    targets = _levelled(thumbnails[columns].astype(np.float32))
    whole = (targets**2).sum(axis=1)
    found: dict[int, list[Candidate]] = {}
    for start in range(0, len(rows), BLOCK):
        part = rows[start : start + BLOCK]
        first = start if within else 0  # each pair once: only the columns from here on
        bases = np.stack([_tangents(row.astype(np.float32)) for row in thumbnails[part]])
        explained = (bases.reshape(-1, bases.shape[2]) @ targets[first:].T).reshape(*bases.shape[:2], -1)
        distance = np.sqrt(np.maximum(whole[first:] - (explained**2).sum(axis=1), 0.0))
        hamming = np.bitwise_count(bits[part][:, None] ^ bits[columns[first:]][None, :])
        for row, column in np.argwhere((distance < limit) & (hamming <= HAMMING)):
            if within and first + column <= start + row:
                continue
            pair = Candidate(
                int(part[row]), int(columns[first + column]), float(distance[row, column]), int(hamming[row, column])
            )
            _keep(found.setdefault(pair.other, []), pair, nearest)
    return sorted((pair for pairs in found.values() for pair in pairs), key=lambda pair: pair.distance)


def _keep(kept: list[Candidate], pair: Candidate, most: int) -> None:
    kept.append(pair)
    if len(kept) > most:
        kept.sort(key=lambda candidate: candidate.distance)
        kept.pop()


def _planes(cells: Vector) -> Iterator[Vector]:
    """Views of brightness and the two colours, each [rows, columns, planes], of thumbnails in one row."""
    split = COLUMNS * ROWS
    yield cells[..., :split].reshape(*cells.shape[:-1], ROWS, COLUMNS, 1)
    yield cells[..., split:].reshape(*cells.shape[:-1], ROWS // 2, COLUMNS // 2, 2)


def _levelled(cells: Vector) -> Vector:
    """Without the outer cells; mean 0 a plane, and length 1 where there is contrast. Shape [..., inner cells]."""
    import numpy as np

    inner = [
        plane[..., ring:-ring, ring:-ring, :] for plane, ring in zip(_planes(cells), (RING, RING // 2), strict=True)
    ]
    centred = [plane - plane.mean(axis=(-3, -2), keepdims=True) for plane in inner]
    flat = np.concatenate([plane.reshape(*cells.shape[:-1], -1) for plane in centred], axis=-1)
    length = np.linalg.norm(flat, axis=-1, keepdims=True)
    levelled: Vector = flat / np.hypot(length, FLOOR * np.sqrt(flat.shape[-1]))
    return levelled


def _tangents(cells: Vector) -> Vector:
    """Orthonormal: what a picture becomes by gain, shift and rescaling, to first order. Shape [5, inner cells]."""
    import numpy as np

    moved: list[list[Vector]] = [[] for _ in range(5)]
    for plane in _planes(cells):
        down, right = np.gradient(plane, axis=(0, 1))
        height, width = plane.shape[:2]
        y = (((np.arange(height, dtype=np.float32) + 0.5) / height - 0.5)[:, None, None]) * height
        x = (((np.arange(width, dtype=np.float32) + 0.5) / width - 0.5)[None, :, None]) * width
        # one cell of brightness is half a cell of colour: the shift is a share of the side in both
        ways = (plane, right * width, down * height, right * x, down * y)
        for way, plane_moved in zip(moved, ways, strict=True):
            way.append(plane_moved.ravel())
    tangents = _levelled(np.stack([np.concatenate(way) for way in moved]))
    basis, _ = np.linalg.qr(tangents.T)
    return np.ascontiguousarray(basis.T)
