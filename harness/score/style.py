"""Has an answer the form of a training answer? (the "standardised comment" of the seed)

Enters: training answers. Leaves: the set of their sentence forms, with locations, defect names and numbers masked and
runs of masked items drawn together, so that "3C and 5U" has the form of "3C". An answer is in style when each of its
sentences has a form of that set. Cost: a wrong answer in the right form is in style; that is the point of the figure.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from harness.records import Grid, Vocabulary

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n+")
_ITEM = "\u241f"  # a control picture that no answer holds
_RUN = re.compile(rf"{_ITEM}(?:(?:\s|,|、|;|/|&|\band\b|と|及び|および)*{_ITEM})+")


@dataclass(frozen=True, slots=True)
class AnswerForms:
    """The sentence forms of the training answers, and what was masked to get them."""

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
    """The forms of the sentences of some answers."""
    masked = [*grid.cells, *vocabulary.defects, *(alias for names in vocabulary.defects.values() for alias in names)]
    words = tuple(sorted({_fold(word) for word in masked if word}, key=lambda word: (-len(word), word)))
    pattern = _mask(words)
    return AnswerForms(frozenset(form for answer in answers for form in _forms(answer, pattern)), words)


def in_style(text: str, forms: AnswerForms) -> bool:
    """Whether every sentence of the answer has a form of the training answers; an empty answer has none."""
    found = _forms(text, _mask(forms.masked))
    return bool(found) and all(form in forms.forms for form in found)


def styles(texts: Iterable[str], forms: AnswerForms) -> list[bool]:
    """in_style of each text."""
    pattern = _mask(forms.masked)
    found = [_forms(text, pattern) for text in texts]
    return [bool(sentences) and all(form in forms.forms for form in sentences) for sentences in found]


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _mask(words: tuple[str, ...]) -> re.Pattern[str]:
    # A Latin word is masked as a whole word, with the inflections that a sentence gives it; Japanese has no borders.
    parts = [
        rf"(?<!\w){re.escape(word)}(?:s|es|ed|d|ing)?(?!\w)" if word.isascii() else re.escape(word) for word in words
    ]
    return re.compile("|".join([*parts, r"\d+"]))


def _forms(text: str, pattern: re.Pattern[str]) -> list[str]:
    sentences = (part.strip() for part in _SENTENCE_END.split(_fold(text)))
    masked = (_RUN.sub(_ITEM, pattern.sub(_ITEM, sentence)) for sentence in sentences if sentence)
    return [re.sub(r"\s+", " ", sentence) for sentence in masked]
