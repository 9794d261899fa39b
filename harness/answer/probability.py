"""Samples become P(defective) alone, in batches: where only the score is wanted, no text is generated.

Enters: a Vlm with the adapter that is to answer, samples, noise levels (None: as they are). Leaves: one probability a
sample, batch by batch, the same as an answer's own. Costs two passes over the prompt a record; an answer of 40 tokens
costs some tens of passes more.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.answer.batches import in_batches
from harness.answer.noise import disturb, paraphrase
from harness.answer.verdict import VerdictOpenings, defective_probabilities
from harness.records import Sample
from harness.score.noise_plan import NoiseLevels
from harness.vlm.batch import open_picture, prompt_batch

if TYPE_CHECKING:
    from harness.vlm.load import Vlm

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class VerdictProbability:
    """P(defective) of one sample, in [0, 1]; `seconds` is its share of the batch."""

    sample_id: str
    p_defective: float
    seconds: float


def probability_batches(
    vlm: Vlm,
    samples: Sequence[Sample],
    openings: VerdictOpenings,
    *,
    batch_size: int,
    levels: NoiseLevels | None = None,
    paraphrased: str | None = None,
    say: Callable[[str], None] = logger.warning,
) -> Iterator[list[VerdictProbability]]:
    """Ask the model for its verdict's probability, and for nothing else.

    Which adapter answers is the caller's choice (`use_adapter`).

    Args:
        batch_size: records a batch, at most; halved for good when the memory does not hold one.
        levels: noise under which pictures and questions are shown; None shows them as they are.
        paraphrased: words for a paraphrased question, see `noise.paraphrase`.
        say: told, in one line, when the batch is halved.

    Yields:
        The probabilities of each batch, in the order in which they were made.

    Raises:
        ConfigError: batch_size is below 1.
        DataError: a picture cannot be read or the processor refuses it or the question.
        ModelError: one record alone does not fit the memory, or the logits are not finite.
    """

    def ask(batch: Sequence[Sample]) -> list[VerdictProbability]:
        return _ask(vlm, batch, openings, levels, paraphrased)

    yield from in_batches(vlm, samples, ask, batch_size=batch_size, say=say)


def _ask(
    vlm: Vlm,
    batch: Sequence[Sample],
    openings: VerdictOpenings,
    levels: NoiseLevels | None,
    paraphrased: str | None,
) -> list[VerdictProbability]:
    start = time.perf_counter()
    pictures = [open_picture(sample) for sample in batch]
    if levels is not None:
        pictures = [disturb(p, levels, sample.sample_id) for p, sample in zip(pictures, batch, strict=True)]
        if levels.value("prompt"):
            batch = [replace(sample, question=paraphrase(sample.question, paraphrased)) for sample in batch]
    inputs = prompt_batch(vlm.processor, batch, padding_side="left", pictures=pictures)
    found = defective_probabilities(vlm, inputs, [sample.question for sample in batch], openings)
    seconds = (time.perf_counter() - start) / len(batch)
    return [VerdictProbability(sample.sample_id, p, seconds) for sample, p in zip(batch, found, strict=True)]
