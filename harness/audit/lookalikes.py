"""Which pictures are nearly equal? A model that saw a test picture in training would be tested on its memory.

Enters: pictures with their perceptual hashes. Leaves: the pairs that are one picture taken over: re-encoded, shifted by
a few pixels, rescaled (to half as well), a little brighter. shortlist.py says which pairs are worth a look,
difference.py looks: one small defect makes a picture another record, and a perceptual hash cannot see it.

Cost: 5 ms a picture, and 30 to 100 ms a pair that is looked at, of which there are at most five a picture; from POOL
pictures on the work is spread over processes. They are spawned, so a script that calls this needs the usual
`if __name__ == "__main__":`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from harness.audit.difference import aligned_difference
from harness.audit.shortlist import DISTANCE_WITHIN, shortlist, thumbnail

#: pictures from which on processes are worth their start
POOL = 600
#: test pictures that a picture is compared with by pixels, and pictures of its own side, at most: a copy is nearest
NEAREST, NEAREST_WITHIN = 4, 1


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture to compare: 16 hex digits of its perceptual hash, and its file."""

    phash: str
    path: Path


@dataclass(frozen=True, slots=True)
class NearPair:
    """Two pictures, by their names, that are nearly equal; `one` is the test picture where only one of them is.

    `hamming` counts differing bits of the perceptual hashes; `share` is the largest local difference over what encoding
    and resampling explain, below 1.
    """

    one: str
    other: str
    hamming: int
    share: float


def find_lookalikes(pictures: Mapping[str, Picture], tests: Collection[str]) -> list[NearPair]:
    """The pairs of pictures that are nearly equal, the likest first.

    Args:
        pictures: name -> picture, each picture once.
        tests: the names of those of the test split. Every other picture is compared with its NEAREST of these; on its
            own side each is compared with its nearest only, which tells that it is there twice, not how often.

    Raises:
        OSError: a file cannot be read.
    """
    import numpy as np

    if len(pictures) < 2:
        return []
    names, paths = list(pictures), [picture.path for picture in pictures.values()]
    hashes = [picture.phash for picture in pictures.values()]
    inside = [place for place, name in enumerate(names) if name in tests]
    outside = [place for place, name in enumerate(names) if name not in tests]
    with _spread(len(paths)) as spread:
        thumbnails = np.stack(list(spread(thumbnail, paths)))
        candidates = shortlist(thumbnails, hashes, inside, outside, nearest=NEAREST)
        for side in (inside, outside):
            candidates += shortlist(thumbnails, hashes, side, side, nearest=NEAREST_WITHIN, limit=DISTANCE_WITHIN)
        shares = list(spread(_difference, [(paths[pair.one], paths[pair.other]) for pair in candidates]))
    near = [
        NearPair(names[pair.one], names[pair.other], pair.hamming, share)
        for pair, share in zip(candidates, shares, strict=True)
        if share < 1
    ]
    return sorted(near, key=lambda pair: pair.share)


def _difference(paths: tuple[Path, Path]) -> float:
    return aligned_difference(*paths)


@contextmanager
def _spread(pictures: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """A map over processes where there is enough to do, else the usual map."""
    if pictures < POOL or (os.cpu_count() or 1) < 2:
        yield map
        return
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as processes:
        yield lambda work, items: processes.map(work, items, chunksize=16)
