"""Training pictures that were kept out because they nearly equal a test picture, each beside that picture.

Enters: a Ledger and a cycle id. Leaves: a line a pair; the page shows both pictures, so that a person can judge.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.store import Ledger, pages

#: pairs whose pictures a page shows
SHOWN = 24


@dataclass(frozen=True, slots=True)
class PairShown:
    """A record kept out of training and the test record that it nearly equals.

    Files are below the ledger's pool; pictures are where the page finds them, "" where the file is gone.
    """

    sample_id: str
    test_id: str
    image_file: str
    test_file: str
    source: str
    test_source: str
    picture: str = ""
    test_picture: str = ""


def pairs_shown(ledger: Ledger, cycle_id: str) -> tuple[PairShown, ...]:
    """The pairs of a cycle."""
    return tuple(PairShown(**row) for row in pages.lookalikes(ledger, cycle_id))
