"""Samples become training batches: prompt and padding masked, answer and end of turn as targets.

Enters: samples. Leaves: the model's inputs, padded on the right, with labels. Works for every family, since the prompt
comes from the family's own processor and the completion is put behind it token by token.
Cost: with a feature cache a picture is one file read; without, it is opened and processed anew in every epoch, in the
loader's worker processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.errors import DataError
from harness.records import Sample
from harness.vlm.batch import append_completions, prompt_batch
from harness.vlm.features import FeatureCache
from harness.vlm.prompt import completion_ids

if TYPE_CHECKING:
    from torch import Tensor


class InspectionCollator:
    """A data collator for transformers.Trainer.

    Args:
        processor: the checkpoint's processor.
        stop_token_ids: the tokens that end an answer; each row's last target is one of them.
        pad_token_id: fills rows behind their end.

    `features` may be set to a cache that was prepared for the records, while tower and projector are frozen; a batch of
    which any entry is gone or damaged goes by pixels.
    """

    def __init__(self, processor: Any, *, stop_token_ids: Sequence[int], pad_token_id: int) -> None:
        self.processor = processor
        self.stop_token_ids = tuple(stop_token_ids)
        self.pad_token_id = pad_token_id
        self.features: FeatureCache | None = None

    def __call__(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """Build a batch.

        Returns:
            What `append_completions` gives: `input_ids`, `attention_mask`, `labels` int64 [B, L] and the pictures,
            or their features.

        Raises:
            DataError: a record's picture, question or answer cannot be used; the record is named.
        """
        inputs = prompt_batch(self.processor, samples, padding_side="right", features=self._known(samples))
        return append_completions(inputs, [self.completion(s) for s in samples], pad_token_id=self.pad_token_id)

    def _known(self, samples: Sequence[Sample]) -> list[Tensor] | None:
        if self.features is None:
            return None
        known = [features for s in samples if (features := self.features.read(s.image_id)) is not None]
        return known if len(known) == len(samples) else None

    def completion(self, sample: Sample) -> list[int]:
        """The sample's target token ids: its reference answer and the end of the turn."""
        try:
            return completion_ids(self.processor, sample.question, sample.reference, stop_token_ids=self.stop_token_ids)
        except DataError as error:
            raise DataError(f"record {sample.sample_id}: {error.message}", hint=error.hint) from error
