"""Has an answer the form of a training answer? (the "standardised comment" of the seed)

Enters: training answers. Leaves: the set of their sentence forms, with locations, defect names and numbers masked and
lists drawn together: "3C and 5U" has the form of "3C", and "missing at 3C, stain at 5U" that of "missing at 3C".
An answer is in style when each of its sentences has a form of that set.
Cost: a wrong answer in the right form is in style, which is the point of the figure. The masking knows nothing of
grammar: "3D cubes" loses its "3D", and "the cubes at 3C and 5U are" keeps a form apart from "the cube at 3C is".
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from harness.records import Grid, Vocabulary

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=。)|\n+")
_ITEM = "\ue000"  # a private-use character; one that an answer holds is dropped first
_LONGEST = 20_000  # characters of an answer that is looked at
_AND = r"(?:\s|[,;/&、]|\band\b|と|及び|および)"
_RUN = re.compile(rf"{_ITEM}(?:{_AND}{{0,8}}{_ITEM})+")
# A stretch with an item, said again behind a comma or an "and". The bounds keep the search linear in the text.
_AGAIN = re.compile(
    rf"(?<![a-z0-9])([^{_ITEM}\s][^{_ITEM}]{{0,39}}?{_ITEM}.{{0,79}}?|{_ITEM}.{{0,79}}?)(?:{_AND}{{1,8}}\1(?![a-z0-9]))+"
)


@dataclass(frozen=True, slots=True)
class AnswerForms:
    """The sentence forms of the training answers, and the words that were masked to get them."""

    forms: frozenset[str]
    masked: tuple[str, ...]

    def to_json(self) -> str:
        """As the ledger keeps it."""
        return json.dumps({"forms": sorted(self.forms), "masked": self.masked}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> AnswerForms:
        """Read back what to_json wrote."""
        stored = json.loads(text)
        return cls(frozenset(stored["forms"]), tuple(stored["masked"]))


def learn_forms(answers: Iterable[str], vocabulary: Vocabulary, grid: Grid) -> AnswerForms:
    """The forms of the sentences of some answers.

    Args:
        answers: training answers.
        vocabulary: its names and aliases are masked, with their simple inflections.
        grid: its cells are masked, in either order ("5U", "U5", "row U", "5列").
    """
    names = [*vocabulary.defects, *(alias for aliases in vocabulary.defects.values() for alias in aliases)]
    folded = {_fold(word) for word in [*names, *_places(grid)]}
    words = tuple(sorted(folded - {""}, key=lambda word: (-len(word), word)))
    pattern = _mask(words)
    return AnswerForms(frozenset(form for answer in answers for form in _forms(answer, pattern)), words)


def in_style(text: str, forms: AnswerForms) -> bool:
    """Whether every sentence of the answer has a form of the training answers.

    An empty answer has none, and so has one of over 20,000 characters: no training answer is that long.
    """
    return styles([text], forms)[0]


def styles(texts: Iterable[str], forms: AnswerForms) -> list[bool]:
    """in_style of each text."""
    pattern = _mask(forms.masked)
    found = [_forms(text, pattern) if len(text) <= _LONGEST else [] for text in texts]
    return [bool(sentences) and all(form in forms.forms for form in sentences) for sentences in found]


def _places(grid: Grid) -> Iterator[str]:
    """The ways to write a cell, a row and a column. A blank may be missing, or be a hyphen, in the answer."""
    for column in grid.columns:
        yield from (f"{column} {row}" for row in grid.rows)
        yield from (f"{row} {column}" for row in grid.rows)
        yield from (f"column {column}", f"{column}列", f"列{column}")
    for row in grid.rows:
        yield from (f"row {row}", f"{row}行", f"行{row}")


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold().replace(_ITEM, "")


def _mask(words: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join([*map(_word, words), r"\d+"]))


def _word(word: str) -> str:
    """A word as a pattern: bordered where it is Latin (Japanese has no borders between words), and inflected."""
    parts = (re.escape(part) for part in re.split(r"[\s-]+", word))
    pattern = r"[\s_-]?".join(parts)
    if re.match(r"[a-z0-9]", word):
        pattern = r"(?<![a-z0-9])" + pattern
    if re.search(r"[a-z]$", word) and len(word) > 3:
        pattern += rf"(?:{word[-1]}?(?:s|es|ed|d|ing))?"
    if re.search(r"[a-z0-9]$", word):
        pattern += r"(?![a-z0-9])"
    return pattern


def _forms(text: str, pattern: re.Pattern[str]) -> list[str]:
    sentences = (re.sub(r"\s+", " ", part).strip() for part in _SENTENCE_END.split(_fold(text)))
    return [_AGAIN.sub(r"\1", _RUN.sub(_ITEM, pattern.sub(_ITEM, sentence))) for sentence in sentences if sentence]
