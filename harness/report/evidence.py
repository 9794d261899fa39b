"""The words of an answer that decided how it was read, marked in the text.

Enters: an answer and the product's vocabulary and grid. Leaves: its pieces in order, each with what it decided. A long
answer is shown by its beginning and by what stands around later words that decided. Cost: parsing, 1 ms an answer.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from harness.parse import PARSER_VERSION, parse_answer
from harness.records import Evidence, Grid, Vocabulary
from harness.store.rows import ProductRow

#: characters of an answer that are shown, and characters around later words that decided
SHOWN, AROUND = 600, 60
#: later places that are shown
PLACES = 6


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of an answer. `kind` is what it decided, "verdict", "location" or "defect"; "" for all else."""

    text: str
    kind: str


@dataclass(frozen=True, slots=True)
class Marker:
    """Marks answers of one product."""

    vocabulary: Vocabulary
    grid: Grid

    @classmethod
    def of(cls, product: ProductRow | None) -> Marker:
        """For the answers of a product; where none is stored, with the generic names."""
        if product is None:
            from harness.parse import generic_vocabulary

            return cls(generic_vocabulary(), Grid())
        grid = json.loads(product.grid)
        words = {name: tuple(aliases) for name, aliases in json.loads(product.vocabulary).items()}
        return cls(Vocabulary(words), Grid(tuple(grid["columns"]), tuple(grid["rows"])))

    def pieces(self, text: str) -> tuple[Piece, ...]:
        """The answer in pieces, in order."""
        evidence = parse_answer(text, self.vocabulary, self.grid).evidence
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


def version_note(parser_version: int | None) -> str:
    """What to say where the scores shown are by another parser than the marks; "" where they are by the same."""
    if parser_version is None or parser_version == PARSER_VERSION:
        return ""
    return (
        f"The scores are by parser version {parser_version}, the marks by version {PARSER_VERSION}: "
        "harness rescore brings the scores up to date."
    )


def _shown(length: int, evidence: tuple[Evidence, ...]) -> list[tuple[int, int]]:
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


def _marked(text: str, start: int, stop: int, evidence: tuple[Evidence, ...]) -> list[Piece]:
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
