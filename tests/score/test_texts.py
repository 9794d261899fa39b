"""Words against words: English as the libraries have it, Japanese not 0."""

from __future__ import annotations

import logging
import string

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from harness.score.texts import TextScorers, WordTokenizer, bleu_scores, chrf_scores

SCORERS = TextScorers()
ENGLISH = st.text(st.sampled_from(string.ascii_letters[:6] + " .,;:-3C"), max_size=40)


@settings(deadline=None, max_examples=60)
@given(text=ENGLISH, reference=ENGLISH)
def test_english_is_the_libraries_own(text: str, reference: str) -> None:
    found = SCORERS.sentence(text, reference)
    rouge = RougeScorer(["rougeL"], use_stemmer=False).score(reference, text)["rougeL"].fmeasure
    assert found.rouge_l == rouge
    assert found.bleu == sacrebleu.sentence_bleu(text, [reference]).score
    assert found.chrf == sacrebleu.sentence_chrf(text, [reference]).score


def test_rouge_by_hand() -> None:
    """4 of 5 words in order against 6: precision .8, recall 4/6."""
    found = SCORERS.sentence("the cube is missing there", "the cube at 3C is missing")
    assert found.rouge_l == pytest.approx(2 * 0.8 * (4 / 6) / (0.8 + 4 / 6))


def test_the_same_words_score_full_in_both_languages() -> None:
    for text in ("The cube at 3C is missing.", "3Cのキューブが欠品しています。"):
        found = SCORERS.sentence(text, text)
        assert found.rouge_l == 1
        assert found.bleu == pytest.approx(100)
        assert found.chrf == pytest.approx(100)


def test_japanese_is_not_zero_and_orders_answers() -> None:
    reference = "不合格です。5Uのキューブが欠品です。"
    near = SCORERS.sentence("不合格です。3Cのキューブが欠品です。", reference)
    far = SCORERS.sentence("合格です。差はありません。", reference)
    assert RougeScorer(["rougeL"]).score("欠品", "欠品")["rougeL"].fmeasure == 0, "why there is a tokenizer of our own"
    assert near.rouge_l > far.rouge_l > 0
    assert near.bleu > far.bleu > 0
    assert near.chrf > far.chrf > 0
    assert (
        near.bleu == sacrebleu.sentence_bleu("不合格です。3Cのキューブが欠品です。", [reference], tokenize="char").score
    )


def test_full_width_letters_of_a_japanese_text_are_letters() -> None:
    assert WordTokenizer().tokenize("５Ｕが欠品") == ["5u", "が", "欠", "品"]
    assert WordTokenizer().tokenize("ｷｭｰﾌﾞ") == ["キ", "ュ", "ー", "ブ"]


@pytest.mark.parametrize(("text", "reference"), [("", "a b"), ("a b", ""), ("", ""), ("", "欠品")])
def test_empty_texts_score_nothing(text: str, reference: str) -> None:
    found = SCORERS.sentence(text, reference)
    assert (found.rouge_l, found.bleu, found.chrf) == (0, 0, 0)


@pytest.mark.parametrize("groups", [None, ["a", "a", "b", "b"] * 10])
@pytest.mark.parametrize(
    ("answers", "references", "tokens"),
    [
        (["the cube at 3C is missing", "passed it is"] * 20, ["the cube at 5U is missing", "it is passed"] * 20, "13a"),
        (["3Cが欠品です", "合格"] * 20, ["5Uが欠品です", "合格です"] * 20, "char"),
    ],
)  # fmt: skip
def test_corpus_figures(answers: list[str], references: list[str], tokens: str, groups: list[str] | None) -> None:
    bleu, chrf = SCORERS.corpus(answers, references, groups)
    assert bleu.value == pytest.approx(sacrebleu.corpus_bleu(answers, [references], tokenize=tokens).score)
    assert chrf.value == pytest.approx(sacrebleu.corpus_chrf(answers, [references]).score)
    assert f"tokens {tokens}" in bleu.method
    for found in (bleu, chrf):
        assert found.n == 40
        assert ("by group" in found.method) == (groups is not None) or "no scatter" in found.method
        assert found.low is None or found.high is None or found.low <= (found.value or 0) <= found.high


def test_corpus_intervals_agree_with_sacrebleus_bootstrap() -> None:
    answers = ["the cube at 3C is missing" if i % 3 else "it is passed" for i in range(120)]
    references = ["the cube at 3C is missing"] * 120
    bleu, chrf = SCORERS.corpus(answers, references)
    for found, metric in ((bleu, sacrebleu.BLEU()), (chrf, sacrebleu.CHRF())):
        theirs = metric.corpus_score(answers, [references], n_bootstrap=1000)
        assert found.low is not None
        assert found.high is not None
        assert (found.high - found.low) / 2 == pytest.approx(theirs._ci, rel=0.12)


@settings(deadline=None, max_examples=60)
@given(pairs=st.lists(st.tuples(ENGLISH, ENGLISH), min_size=1, max_size=6))
def test_scores_of_many_resamples_are_sacrebleus_of_each(pairs: list[tuple[str, str]]) -> None:
    answers, references = [list(side) for side in zip(*pairs, strict=True)]
    for metric, ours in ((sacrebleu.BLEU(force=True), bleu_scores), (sacrebleu.CHRF(), chrf_scores)):
        counts = np.asarray(metric._extract_corpus_statistics(answers, [references]))
        rows = np.random.default_rng(0).integers(0, 4, (12, len(pairs))) @ counts
        wanted = [metric._aggregate_and_compute([row]).score for row in rows.tolist()]
        np.testing.assert_allclose(ours(rows.astype(float)), wanted, rtol=1e-9, atol=1e-9)


def test_a_hundred_spaced_full_stops_are_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        SCORERS.corpus(["it is passed ."] * 150, ["it is passed ."] * 150)
    assert not caplog.records
