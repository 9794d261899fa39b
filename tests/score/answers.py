"""Truths, readings and scores as the tests of this room need them, made by hand or drawn by hypothesis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import strategies as st

from harness.records import Finding, ParsedAnswer, SampleScore, Truth, Verdict
from harness.score import AnswerForms, score_answer

NO_FORMS = AnswerForms(frozenset(), ())
PAIR = ("3C", "missing")


def true(verdict: Verdict, *pairs: tuple[str | None, str | None]) -> Truth:
    return Truth(verdict, tuple(Finding(*pair) for pair in pairs))


def read(verdict: Verdict | None, *pairs: tuple[str | None, str | None]) -> ParsedAnswer:
    return ParsedAnswer(verdict, "" if verdict else "no_decision", tuple(Finding(*pair) for pair in pairs), (), 1)


def score(truth: Truth, parsed: ParsedAnswer, text: str = "a b c", reference: str = "a b c") -> SampleScore:
    return score_answer(text, reference, truth, parsed, NO_FORMS)


_RIGHT: dict[tuple[bool, Verdict | None], SampleScore] = {}


def verdict_score(defective: bool, verdict: Verdict | None) -> SampleScore:
    """The score of an answer to a product (missing at 3C where defective) that says where and what, if it says so."""
    key = (defective, verdict)
    if key not in _RIGHT:
        truth = true("defective", PAIR) if defective else true("passed")
        _RIGHT[key] = score(truth, read(verdict, *([PAIR] if verdict == "defective" else [])))
    return _RIGHT[key]


def right_or_wrong(answers: Sequence[bool]) -> list[SampleScore]:
    """Scores of answers to defective products that are right, or call them passed."""
    return [verdict_score(True, "defective" if right else "passed") for right in answers]


def with_words(score: SampleScore, rouge_l: float) -> SampleScore:
    return replace(score, rouge_l=rouge_l)


cells = st.sampled_from(["1U", "3C", "5U", "9D"])
names = st.sampled_from(["missing", "stain", "short"])
pairs = st.lists(st.tuples(st.none() | cells, st.none() | names).filter(any), max_size=5)
verdicts = st.sampled_from(["passed", "defective", None])
