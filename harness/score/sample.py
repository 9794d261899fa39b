"""One answer held against its truth: outcome, cells, findings, and how near its words are to the reference.

Enters: an answer's text and what was read from it, the truth and the reference answer. Leaves: a SampleScore.
Findings are sets, so that saying a thing twice costs and gains nothing; before counting, on both sides, a pair that
says less than another of the same answer is dropped: (None, name) where the name also has a cell, (cell, None) where
the cell also has a name. What is left is counted as it stands: a name without a cell is a finding but not a cell.
Cost: about 0.6 ms an answer, and a second or two for loading the text scorers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.records import Finding, Outcome, ParsedAnswer, SampleScore, Truth
from harness.score.style import AnswerForms, styles
from harness.score.texts import Likeness, TextScorers


def score_answer(text: str, reference: str, truth: Truth, parsed: ParsedAnswer, forms: AnswerForms) -> SampleScore:
    """Score one answer; see `score_answers` for many, which loads the text scorers once."""
    return score_answers([text], [reference], [truth], [parsed], forms)[0]


def score_answers(
    texts: Sequence[str],
    references: Sequence[str],
    truths: Sequence[Truth],
    parsed: Sequence[ParsedAnswer],
    forms: AnswerForms,
) -> list[SampleScore]:
    """Score answers, one SampleScore each, in order.

    Args:
        texts: the answers as given.
        references: the reference answers.
        truths: what is true of each product.
        parsed: what was read from each text.
        forms: the sentence forms of the training answers.

    Raises:
        ValueError: the sequences are not of one length.
    """
    words = TextScorers()
    return [
        _score(truth, read, style, words.sentence(text, reference))
        for text, reference, truth, read, style in zip(
            texts, references, truths, parsed, styles(texts, forms), strict=True
        )
    ]


def _score(truth: Truth, parsed: ParsedAnswer, style: bool, likeness: Likeness) -> SampleScore:
    true_pairs, read_pairs = normalised(truth.findings), normalised(parsed.findings)
    true_cells, read_cells = _cells(true_pairs), _cells(read_pairs)
    verdict_correct = parsed.verdict == truth.verdict
    # A set is right only under the right verdict: "passed" names no cell, and is not a right place for a defective
    # product of which no cell is known.
    return SampleScore(
        parsed=parsed.verdict is not None,
        reason=parsed.reason,
        verdict=parsed.verdict,
        outcome=_outcome(truth, parsed),
        verdict_correct=verdict_correct,
        location_correct=verdict_correct and read_cells == true_cells,
        location_tp=len(read_cells & true_cells),
        location_fp=len(read_cells - true_cells),
        location_fn=len(true_cells - read_cells),
        defect_names_correct=verdict_correct and _names(read_pairs) == _names(true_pairs),
        finding_tp=len(read_pairs & true_pairs),
        finding_fp=len(read_pairs - true_pairs),
        finding_fn=len(true_pairs - read_pairs),
        # The pairs, not the two sets apart: the right names at each other's cells are not all right.
        exact=verdict_correct and read_pairs == true_pairs,
        rouge_l=likeness.rouge_l,
        sentence_bleu=likeness.bleu,
        sentence_chrf=likeness.chrf,
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
