"""The words of an answer that decided how it was read, marked in the text.

Enters: an answer and what its score says of those words. Leaves: its pieces in order, each with what it decided. A long
answer is shown by its beginning and by what stands around later words that decided.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

#: characters of an answer that are shown, and characters around later words that decided
SHOWN, AROUND = 600, 60
#: later places that are shown
PLACES = 6


@dataclass(frozen=True, slots=True)
class Mark:
    """What the characters start to end of an answer decided: "verdict", "location" or "defect"."""

    kind: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of an answer. `kind` is what it decided, "verdict", "location" or "defect"; "" for all else."""

    text: str
    kind: str


def pieces(text: str, stored: str | None) -> tuple[Piece, ...]:
    """An answer in pieces, in order.

    Args:
        stored: the words that decided, as the ledger keeps them; None marks nothing.
    """
    evidence = [Mark(*mark) for mark in json.loads(stored or "[]")]
    shown: list[Piece] = []
    end = 0
    for start, stop in _shown(len(text), evidence):
        if start > end:
            shown.append(Piece(" … ", ""))
        shown += _marked(text, start, stop, evidence)
        end = stop
    if end < len(text):
        shown.append(Piece(f" … ({len(text):,} characters)", ""))
    return tuple(shown)


def _shown(length: int, evidence: Sequence[Mark]) -> list[tuple[int, int]]:
    """The stretches of a text that are shown, apart and in order."""
    stretches = [(0, min(length, SHOWN))]
    later = sorted((e.start, e.end) for e in evidence if e.end > SHOWN)
    for start, end in later[:PLACES]:
        begin, stop = max(0, start - AROUND), min(length, end + AROUND, start + SHOWN)
        if begin <= stretches[-1][1]:
            stretches[-1] = (stretches[-1][0], max(stretches[-1][1], stop))
        else:
            stretches.append((begin, stop))
    return stretches


def _marked(text: str, start: int, stop: int, evidence: Sequence[Mark]) -> list[Piece]:
    """A stretch cut at the ends of what decided; where two overlap, cell and name show before the verdict."""
    kinds = [""] * (stop - start)
    for item in sorted(evidence, key=lambda e: e.kind != "verdict"):
        for place in range(max(item.start, start), min(item.end, stop)):
            kinds[place - start] = item.kind
    pieces: list[Piece] = []
    begin = start
    for place in range(start + 1, stop + 1):
        if place == stop or kinds[place - start] != kinds[begin - start]:
            pieces.append(Piece(text[begin:place], kinds[begin - start]))
            begin = place
    return pieces
