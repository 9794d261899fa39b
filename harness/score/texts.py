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
    import numpy as np
    from numpy.typing import NDArray

# Kana, the signs 々〆〇, and the ideographs in daily use; half-width kana are folded before.
_JAPANESE = "\u3005-\u3007\u3040-\u30ff\u3400-\u9fff"
_IS_JAPANESE = re.compile(f"[{_JAPANESE}\uff66-\uff9f]")
_TOKEN = re.compile(f"[a-z0-9]+|[{_JAPANESE}]")

#: resamples for BLEU and chrF
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
    resampled = boot.sums(np.asarray(counts).T.tolist()).T
    draws = bleu_scores(resampled) if how.startswith("tokens") else chrf_scores(resampled)
    found = boot.interval(value, draws, len(texts))
    return Interval(value, found.low, found.high, found.n, f"corpus, {how}; {found.method}")


def bleu_scores(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Corpus BLEU of rows of counts, as sacrebleu computes it with "exp" smoothing, all rows at once.

    Args:
        counts: [rows, 10]: words of the answers and of the references, n-grams (1 to 4) that match, n-grams of the
            answers.

    Returns:
        [rows], in [0, 100].
    """
    import numpy as np

    answers, references, matches, grams = counts[:, 0], counts[:, 1], counts[:, 2:6], counts[:, 6:10]
    precisions = np.zeros_like(matches)
    halving, reached = np.ones(len(counts)), np.ones(len(counts), dtype=bool)
    for order in range(matches.shape[1]):
        match, gram = matches[:, order], grams[:, order]
        reached &= gram > 0
        halving = np.where(reached & (match == 0), 2 * halving, halving)
        top = np.where(match == 0, 1 / halving, match)
        precisions[:, order] = np.where(reached, 100 * top / np.where(gram > 0, gram, 1), 0)
    short = np.where(answers > 0, np.exp(1 - references / np.where(answers > 0, answers, 1)), 0)
    defined = (precisions > 0).all(axis=1) & matches.any(axis=1)
    mean = np.exp(np.log(np.where(precisions > 0, precisions, 1)).mean(axis=1))
    found: NDArray[np.float64] = np.where(defined, np.where(answers < references, short, 1) * mean, 0)
    return found


def chrf_scores(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Corpus chrF2 of rows of counts, as sacrebleu computes it, all rows at once.

    Args:
        counts: [rows, 18]: for character n-grams of 1 to 6, those of the answers, of the references, and the matches.

    Returns:
        [rows], in [0, 100].
    """
    import numpy as np

    answers, references, matches = counts[:, 0::3], counts[:, 1::3], counts[:, 2::3]
    counted = (answers > 0) & (references > 0)
    orders = np.maximum(counted.sum(axis=1), 1)
    precision = np.where(counted, matches / np.where(counted, answers, 1), 0).sum(axis=1) / orders
    recall = np.where(counted, matches / np.where(counted, references, 1), 0).sum(axis=1) / orders
    below = 4 * precision + recall
    found: NDArray[np.float64] = 100 * 5 * precision * recall / np.where(below > 0, below, 1)
    return found
