"""Training pictures that were kept out because they nearly equal a test picture, each beside that picture.

Enters: a Ledger and a cycle id. Leaves: a line a pair; the page shows both pictures, so that a person can judge.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.store import Ledger, pages

#: pairs whose pictures a page shows
SHOWN = 24


@dataclass(frozen=True, slots=True)
class PicturePlaced:
    """A picture where a page finds it, with its size in pixels, so that the page keeps its room before it is loaded."""

    found: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class PairShown:
    """A record kept out of training and the test record that it nearly equals.

    Files are below the ledger's pool; pictures are where the page finds them, None where the file is gone.
    """

    sample_id: str
    test_id: str
    image_file: str
    test_file: str
    source: str
    test_source: str
    picture: PicturePlaced | None = None
    test_picture: PicturePlaced | None = None


def pairs_shown(ledger: Ledger, cycle_id: str) -> tuple[PairShown, ...]:
    """The pairs of a cycle."""
    return tuple(PairShown(**row) for row in pages.lookalikes(ledger, cycle_id))
