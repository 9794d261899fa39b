"""How near an answer's words are to the reference's: ROUGE-L by rouge-score, BLEU and chrF by sacrebleu.

Enters: texts and references. Leaves: figures in the libraries' own units (ROUGE-L in [0, 1], BLEU and chrF in
[0, 100]). Japanese needs care with two of the three: rouge-score keeps only a-z and 0-9, so that any two Japanese texts
would score 0, and sacrebleu's usual tokenizer sees a Japanese sentence as one word. Both take each Japanese character
as a token here (a word splitter such as MeCab would be one more thing to install, and its dictionary changes figures).
chrF counts characters and needs nothing. English figures are exactly the libraries' own.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.score.intervals import Bootstrap, Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Kana, the signs 々〆〇, and the ideographs in daily use; half-width kana are folded before.
_JAPANESE = "\u3005-\u3007\u3040-\u30ff\u3400-\u9fff"
_IS_JAPANESE = re.compile(f"[{_JAPANESE}\uff66-\uff9f]")
_TOKEN = re.compile(f"[a-z0-9]+|[{_JAPANESE}]")

#: resamples for BLEU and chrF, whose formulas are computed one resample at a time
TEXT_RESAMPLES = 500


@dataclass(frozen=True, slots=True)
class Likeness:
    """One answer against its reference: ROUGE-L F1 in [0, 1], sentence BLEU and chrF in [0, 100]."""

    rouge_l: float
    bleu: float
    chrf: float


class WordTokenizer:
    """ROUGE's own tokens (lower-case runs of a-z and 0-9), and each Japanese character as one.

    A text that holds Japanese is folded first (NFKC), since such texts write "５Ｕ" for "5U" as well.
    """

    def tokenize(self, text: str) -> list[str]:
        """The tokens of a text."""
        if _IS_JAPANESE.search(text):
            text = unicodedata.normalize("NFKC", text)
        return _TOKEN.findall(text.lower())


class TextScorers:
    """The three scorers, made once. The reference decides how BLEU splits: "char" for Japanese, else "13a"."""

    def __init__(self) -> None:
        from rouge_score.rouge_scorer import RougeScorer
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF

        self._rouge: Any = RougeScorer(["rougeL"], use_stemmer=False, tokenizer=WordTokenizer())
        # Effective order: a sentence of three words has no 4-grams, and would score 0 whatever it says.
        # Force: a hundred answers that end in " ." are no reason for a warning on stderr.
        self._sentence_bleu: dict[bool, Any] = {
            japanese: BLEU(effective_order=True, force=True, tokenize=_splitter(japanese)) for japanese in (False, True)
        }
        self._corpus_bleu: dict[bool, Any] = {
            japanese: BLEU(force=True, tokenize=_splitter(japanese)) for japanese in (False, True)
        }
        self._chrf: Any = CHRF()

    def sentence(self, text: str, reference: str) -> Likeness:
        """The three figures of one answer."""
        bleu = self._sentence_bleu[_is_japanese(reference)]
        return Likeness(
            float(self._rouge.score(reference, text)["rougeL"].fmeasure),
            float(bleu.sentence_score(text, [reference]).score),
            float(self._chrf.sentence_score(text, [reference]).score),
        )

    def corpus(
        self, texts: Sequence[str], references: Sequence[str], groups: Sequence[str] | None = None
    ) -> tuple[Interval, Interval]:
        """Corpus BLEU and chrF of at least one answer, with 95 % bootstrap intervals.

        The corpus counts as Japanese when more than half of its references do.
        """
        japanese = 2 * sum(_is_japanese(reference) for reference in references) > len(references)
        boot = Bootstrap(len(texts), groups, resamples=TEXT_RESAMPLES)
        bleu = _corpus(self._corpus_bleu[japanese], texts, references, boot, f"tokens {_splitter(japanese)}")
        return bleu, _corpus(self._chrf, texts, references, boot, "chrF2")


def _splitter(japanese: bool) -> str:
    return "char" if japanese else "13a"


def _is_japanese(text: str) -> bool:
    return bool(_IS_JAPANESE.search(text))


def _corpus(metric: Any, texts: Sequence[str], references: Sequence[str], boot: Bootstrap, how: str) -> Interval:
    """A corpus figure and its percentile interval.

    corpus_score(n_bootstrap=...) draws by record only, gives a symmetric interval, and takes its seed from the
    environment; so the counts of each answer, from which sacrebleu itself resamples, are summed up here.
    """
    import numpy as np

    counts = metric._extract_corpus_statistics(list(texts), [list(references)])
    value = float(metric._aggregate_and_compute(counts).score)
    resampled = boot.sums(np.asarray(counts).T.tolist()).T.astype(int).tolist()
    draws: NDArray[np.float64] = np.array([metric._aggregate_and_compute([row]).score for row in resampled])
    found = boot.interval(value, draws, len(texts))
    return Interval(value, found.low, found.high, found.n, f"corpus, {how}; {found.method}")
