"""One answer held against its truth: outcome, cells, findings, and how near its words are to the reference.

Enters: an answer's text and what was read from it, the truth and the reference answer. Leaves: a SampleScore.
Findings are sets; before counting, a pair that says less than another of the same answer is dropped: (None, name) where
the name also has a cell, (cell, None) where the cell also has a name. A finding without a cell does not count among
cells. Cost: about 0.5 ms an answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from harness.records import Finding, Outcome, ParsedAnswer, SampleScore, Truth
from harness.score.style import AnswerForms, styles

_JAPANESE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uff66-\uff9f]")
_TOKEN = re.compile(r"[a-z0-9]+|[\u3040-\u30ff\u3400-\u9fff\uff66-\uff9f]")


def score_answer(text: str, reference: str, truth: Truth, parsed: ParsedAnswer, forms: AnswerForms) -> SampleScore:
    """Score one answer; see `score_answers` for many."""
    return score_answers([text], [reference], [truth], [parsed], forms)[0]


def score_answers(
    texts: Sequence[str],
    references: Sequence[str],
    truths: Sequence[Truth],
    parsed: Sequence[ParsedAnswer],
    forms: AnswerForms,
) -> list[SampleScore]:
    """Score answers, one SampleScore each, in order."""
    words = TextScorers()
    return [
        _score(truth, read, style, *words.sentence(text, reference))
        for text, reference, truth, read, style in zip(
            texts, references, truths, parsed, styles(texts, forms), strict=True
        )
    ]


def _score(truth: Truth, parsed: ParsedAnswer, style: bool, rouge_l: float, bleu: float, chrf: float) -> SampleScore:
    true_pairs, read_pairs = normalised(truth.findings), normalised(parsed.findings)
    true_cells, read_cells = _cells(true_pairs), _cells(read_pairs)
    true_names, read_names = _names(true_pairs), _names(read_pairs)
    verdict_correct = parsed.verdict == truth.verdict
    location_correct = parsed.verdict is not None and read_cells == true_cells
    names_correct = parsed.verdict is not None and read_names == true_names
    return SampleScore(
        parsed=parsed.verdict is not None,
        reason=parsed.reason,
        verdict=parsed.verdict,
        outcome=_outcome(truth, parsed),
        verdict_correct=verdict_correct,
        location_correct=location_correct,
        location_tp=len(read_cells & true_cells),
        location_fp=len(read_cells - true_cells),
        location_fn=len(true_cells - read_cells),
        defect_names_correct=names_correct,
        finding_tp=len(read_pairs & true_pairs),
        finding_fp=len(read_pairs - true_pairs),
        finding_fn=len(true_pairs - read_pairs),
        exact=verdict_correct and read_pairs == true_pairs,
        rouge_l=rouge_l,
        sentence_bleu=bleu,
        sentence_chrf=chrf,
        in_style=style,
    )


def normalised(findings: Iterable[Finding]) -> frozenset[tuple[str | None, str | None]]:
    """Findings as a set of (cell, name), without those that say less than another."""
    pairs = {(finding.location, finding.defect) for finding in findings}
    located = {name for cell, name in pairs if cell is not None and name is not None}
    named = {cell for cell, name in pairs if cell is not None and name is not None}
    return frozenset(
        (cell, name)
        for cell, name in pairs
        if (cell is not None or name is not None)
        and not (cell is None and name in located)
        and not (name is None and cell in named)
    )


def _cells(pairs: frozenset[tuple[str | None, str | None]]) -> set[str]:
    return {cell for cell, _ in pairs if cell is not None}


def _names(pairs: frozenset[tuple[str | None, str | None]]) -> set[str]:
    return {name for _, name in pairs if name is not None}


def _outcome(truth: Truth, parsed: ParsedAnswer) -> Outcome:
    if parsed.verdict is None:
        return "unreadable"
    if truth.verdict == "passed":
        return "true_pass" if parsed.verdict == "passed" else "overkill"
    return "true_defect" if parsed.verdict == "defective" else "escape"


class WordTokenizer:
    """ROUGE's own tokens (lower-case runs of a-z and 0-9), and each Japanese character as one.

    rouge-score's tokenizer keeps Latin letters alone, so that any two Japanese texts would score 0.
    """

    def tokenize(self, text: str) -> list[str]:
        """The tokens of a text."""
        return _TOKEN.findall(text.lower())


class TextScorers:
    """ROUGE-L (rouge-score), BLEU and chrF (sacrebleu), made once. BLEU splits Japanese texts by character."""

    def __init__(self) -> None:
        from rouge_score.rouge_scorer import RougeScorer
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF

        self._rouge: Any = RougeScorer(["rougeL"], tokenizer=WordTokenizer())
        self._bleu: dict[bool, Any] = {
            japanese: BLEU(effective_order=True, tokenize="char" if japanese else "13a") for japanese in (False, True)
        }
        self._chrf: Any = CHRF()
        self._corpus_bleu = {japanese: BLEU(tokenize="char" if japanese else "13a") for japanese in (False, True)}

    def sentence(self, text: str, reference: str) -> tuple[float, float, float]:
        """ROUGE-L F1 in [0, 1], BLEU and chrF in [0, 100], of one answer."""
        bleu = self._bleu[bool(_JAPANESE.search(reference))]
        return (
            float(self._rouge.score(reference, text)["rougeL"].fmeasure),
            float(bleu.sentence_score(text, [reference]).score),
            float(self._chrf.sentence_score(text, [reference]).score),
        )

    def corpus(self, texts: Sequence[str], references: Sequence[str]) -> tuple[float, float]:
        """BLEU and chrF in [0, 100] of a set of answers; it counts as Japanese when most references are."""
        japanese = sum(bool(_JAPANESE.search(reference)) for reference in references) * 2 > len(references)
        bleu = self._corpus_bleu[japanese].corpus_score(list(texts), [list(references)])
        chrf = self._chrf.corpus_score(list(texts), [list(references)])
        return float(bleu.score), float(chrf.score)
