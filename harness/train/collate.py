"""Samples become training batches: prompt and padding masked, answer and end of turn as targets.

Enters: samples. Leaves: the model's inputs, padded on the right, with labels. Works for every family, since the prompt
comes from the family's own processor and the completion is put behind it token by token.
Cost: with a feature cache a picture is one file read; without, it is opened and processed anew in every epoch, in the
loader's worker processes.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.errors import DataError
from harness.records import Sample
from harness.vlm.batch import IGNORED, append_completions, prompt_batch, to_device
from harness.vlm.features import FeatureCache
from harness.vlm.packing import pack_rows, unmasked_rows
from harness.vlm.prompt import completion_ids

if TYPE_CHECKING:
    from torch import Tensor

    from harness.vlm.load import Vlm


class InspectionCollator:
    """A data collator for transformers.Trainer.

    Args:
        processor: the checkpoint's processor.
        stop_token_ids: the tokens that end an answer; each row's last target is one of them.
        pad_token_id: fills rows behind their end.

    `features` may be set to a cache that was prepared for the records, while tower and projector are frozen; a batch of
    which any entry is gone or damaged goes by pixels. `answers_alone` lets the model compute logits at the answers'
    places alone (see `takes_answers_alone`): of a prompt of 1,000 tokens and an answer of 40, 4 % of them. `attention`
    names the implementation for packed rows (vlm/packing.py); with one, a batch is a single row without padding, or
    with `packs` off its rows padded and without a mask.
    """

    def __init__(self, processor: Any, *, stop_token_ids: Sequence[int], pad_token_id: int) -> None:
        self.processor = processor
        self.stop_token_ids = tuple(stop_token_ids)
        self.pad_token_id = pad_token_id
        self.features: FeatureCache | None = None
        self.answers_alone = False
        self.attention: str | None = None
        self.packs = True
        self._completions: dict[tuple[str, str], list[int]] = {}

    def __call__(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """Build a batch.

        Returns:
            What `append_completions` gives: `input_ids`, `attention_mask`, `labels` int64 [B, L] and the pictures,
            or their features; with `answers_alone` also `logits_to_keep` [K], the places before any row's targets, and
            `shift_labels` [B, K], the targets that the logits there speak of. Packed, what `pack_rows` or
            `unmasked_rows` makes of it.

        Raises:
            DataError: a record's picture, question or answer cannot be used; the record is named.
        """
        inputs = prompt_batch(self.processor, samples, padding_side="right", features=self._known(samples))
        batch = append_completions(inputs, [self.completion(s) for s in samples], pad_token_id=self.pad_token_id)
        if "image_features" in batch:
            batch["places_are_filled"] = True  # their places are as many as they are
        if self.attention is not None:
            batch = pack_rows(batch) if self.packs else unmasked_rows(batch)
        return batch | answer_places(batch["labels"]) if self.answers_alone else batch

    def _known(self, samples: Sequence[Sample]) -> list[Tensor] | None:
        if self.features is None:
            return None
        known = [features for s in samples if (features := self.features.read(s.image_id)) is not None]
        return known if len(known) == len(samples) else None

    def completion(self, sample: Sample) -> list[int]:
        """The sample's target token ids: its reference answer and the end of the turn."""
        words = (sample.question, sample.reference)
        if words not in self._completions:  # rendered and tokenised once, not in every epoch
            try:
                self._completions[words] = completion_ids(self.processor, *words, stop_token_ids=self.stop_token_ids)
            except DataError as error:
                raise DataError(f"record {sample.sample_id}: {error.message}", hint=error.hint) from error
        return self._completions[words]


def answer_places(labels: Tensor) -> dict[str, Tensor]:
    """`logits_to_keep` [K] and `shift_labels` [B, K] for labels [B, L]: what the loss needs of the logits."""
    targets = labels[:, 1:]
    places = (targets != IGNORED).any(dim=0).nonzero().squeeze(1)
    return {"logits_to_keep": places, "shift_labels": targets[:, places].contiguous()}


def takes_answers_alone(vlm: Vlm) -> bool:
    """Whether the model's loss over the answers' logits alone is its loss, found out on four tokens of text.

    transformers' models mostly can; one that takes no `logits_to_keep`, or computes its loss by itself, cannot.
    """
    import torch

    parameters = inspect.signature(vlm.base.forward).parameters
    if "logits_to_keep" not in parameters or not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return False
    words = vlm.processor.tokenizer("passed or defective", add_special_tokens=False)["input_ids"]
    ids = torch.tensor([(words * 4)[:4]])
    labels = ids.clone()
    labels[:, :2] = IGNORED
    inputs = to_device({"input_ids": ids, "attention_mask": torch.ones_like(ids)}, device=vlm.device, dtype=vlm.dtype)
    alone = {name: value.to(vlm.device) for name, value in answer_places(labels).items()}
    labels = labels.to(vlm.device)
    was_training = vlm.base.training
    vlm.base.eval()
    try:
        with torch.no_grad():
            whole = vlm.base(**inputs, labels=labels, use_cache=False).loss
            part = vlm.base(**inputs, labels=labels, use_cache=False, **alone).loss
    except (TypeError, ValueError, RuntimeError):  # a model that takes the arguments and trips over them
        return False
    finally:
        vlm.base.train(was_training)
    return bool(torch.allclose(whole.float(), part.float(), rtol=1e-3 if vlm.dtype == torch.float32 else 2e-2))
