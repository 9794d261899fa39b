"""Answers of an inspector held against their references, for users of `evaluate`: the figures of a harness ledger.

    import evaluate
    from harness.score.evaluate_metric import PATH

    inspector = evaluate.load(PATH)
    inspector.compute(predictions=[...], references=[...], vocabulary={"missing": ["absent"]})

Enters: texts. Leaves: every figure by its name in the ledger (verdict_accuracy, miss_rate, digital_sn and so on),
None where it is not defined, and with `intervals=True` each figure's 95 % interval, n and method as well. It runs the
same parser and scorer as a cycle. Cost: about 1 ms an answer, and 0.5 s a call for the text scores' intervals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import evaluate

from harness.parse import UnreadTruth, generic_vocabulary, merge_vocabulary, parse_answer, read_truth
from harness.records import Finding, Grid, Truth, Vocabulary
from harness.score import AnswerForms, aggregate, score_answers

_DESCRIPTION = (
    "Scores a visual inspector's answers in words: verdict (passed or defective), cells and defect names, against "
    "reference answers. Positive = defective; an answer without a decision is unreadable and counts as wrong."
)
_INPUTS = """
Args:
    predictions: the answers as given.
    references: the reference answers, in the same order.
    vocabulary: defect name -> aliases; without it a generic list in English and Japanese.
    exact_vocabulary: take `vocabulary` as it is, as when it comes from a ledger's product, instead of adding what the
        generic list knows about its names.
    columns, rows: the coordinates at the panels; 1 to 9 and U, C, D by default.
    truths: what is true, where the references do not say it: [{"verdict": "defective", "findings": [{"location": "5U",
        "defect": "missing"}]}, ...].
    forms: the sentence forms of the training answers as the ledger's product keeps them (JSON), for style_rate.
    p_defective: P(defective) of each answer, for auroc.
    groups: each record's part or lot, for intervals.
    intervals: give {"value", "ci_low", "ci_high", "n", "method"} for each figure instead of its value.
Returns:
    a figure by name, None where it is not defined.
Raises:
    ValueError: a reference states no verdict and no truths are given, or the lists are not of one length.
"""


class InspectorMetric(evaluate.Metric):  # type: ignore[misc]  # evaluate is untyped
    """The metric that `evaluate.load` gives."""

    def _info(self) -> Any:
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": text, "references": text}),
        )

    def _compute(
        self,
        *,
        predictions: Sequence[str],
        references: Sequence[str],
        vocabulary: Mapping[str, Sequence[str]] | None = None,
        exact_vocabulary: bool = False,
        columns: Sequence[str] | None = None,
        rows: Sequence[str] | None = None,
        truths: Sequence[Mapping[str, Any]] | None = None,
        forms: str | None = None,
        p_defective: Sequence[float | None] | None = None,
        groups: Sequence[str] | None = None,
        intervals: bool = False,
    ) -> dict[str, Any]:
        grid = Grid(tuple(columns or Grid().columns), tuple(rows or Grid().rows))
        names = _vocabulary(vocabulary or {}, exact=exact_vocabulary)
        true = _given(truths) if truths is not None else _read(references, names, grid)
        scores = score_answers(
            predictions,
            references,
            true,
            [parse_answer(text, names, grid) for text in predictions],
            AnswerForms(frozenset(), ()) if forms is None else AnswerForms.from_json(forms),
        )
        chances = [None] * len(predictions) if p_defective is None else p_defective
        figures = aggregate(scores, true, predictions, references, chances, groups=groups)
        kept = [figure for figure in figures if forms is not None or figure.metric != "style_rate"]
        if not intervals:
            return {figure.metric: figure.value for figure in kept}
        return {
            figure.metric: {
                "value": figure.value,
                "ci_low": figure.ci_low,
                "ci_high": figure.ci_high,
                "n": figure.n,
                "method": figure.method,
            }
            for figure in kept
        }


def _vocabulary(names: Mapping[str, Sequence[str]], *, exact: bool) -> Vocabulary:
    if exact:
        return Vocabulary({name: tuple(aliases) for name, aliases in names.items()})
    return merge_vocabulary(names, generic_vocabulary())


def _given(truths: Sequence[Mapping[str, Any]]) -> list[Truth]:
    return [
        Truth(truth["verdict"], tuple(Finding(f.get("location"), f.get("defect")) for f in truth.get("findings") or ()))
        for truth in truths
    ]


def _read(references: Sequence[str], vocabulary: Vocabulary, grid: Grid) -> list[Truth]:
    read = [read_truth(None, None, None, reference, vocabulary, grid) for reference in references]
    unread = [(place, truth) for place, truth in enumerate(read) if isinstance(truth, UnreadTruth)]
    if unread:
        place, truth = unread[0]
        raise ValueError(
            f"{len(unread)} of {len(references)} references state no truth, the first is number {place} "
            f"({truth.reason}: {references[place][:60]!r}); give truths=[...] beside them"
        )
    return [truth for truth in read if isinstance(truth, Truth)]
