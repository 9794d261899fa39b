"""Training batches: what is masked and what is a target, read back as text."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from harness.errors import DataError
from harness.records import Sample
from harness.train.collate import InspectionCollator, takes_answers_alone
from harness.vlm.batch import prompt_batch
from harness.vlm.load import Vlm


def _collator(vlm: Vlm) -> InspectionCollator:
    return InspectionCollator(vlm.processor, stop_token_ids=vlm.stop_token_ids, pad_token_id=vlm.pad_token_id)


def _decode(vlm: Vlm, ids: torch.Tensor) -> str:
    # Phi-3-vision's places for pictures have negative ids, which are no tokens.
    return str(vlm.processor.tokenizer.decode(ids[ids >= 0], clean_up_tokenization_spaces=False))


def test_only_the_answer_and_its_end_are_targets(vlm: Vlm, samples: list[Sample]) -> None:
    batch = _collator(vlm)(samples)
    ends = {"Idefics3Processor": "<end_of_utterance>", "LlavaProcessor": "</s>", "Phi3VProcessor": "<|end|>"}
    end = ends[type(vlm.processor).__name__]
    for row, sample in enumerate(samples):
        labels = batch["labels"][row]
        trained = labels != -100
        assert _decode(vlm, labels[trained]).strip() == f"{sample.reference}{end}"
        # The targets are one stretch, at the end of the row's own tokens, and equal to the inputs there.
        places = trained.nonzero().squeeze(1)
        length = int(batch["attention_mask"][row].sum())
        assert places.tolist() == list(range(length - len(places), length))
        assert torch.equal(batch["input_ids"][row][trained], labels[trained])
        prompt = prompt_batch(vlm.processor, [sample])["input_ids"][0]
        assert torch.equal(batch["input_ids"][row, : length - len(places)], prompt)


def test_the_loss_is_that_of_single_rows(vlm: Vlm, samples: list[Sample]) -> None:
    collator = _collator(vlm)
    with torch.no_grad():
        batch = collator(samples[:5])
        together = vlm.base(**batch).loss
        total, tokens = torch.zeros(()), 0
        for sample in samples[:5]:
            one = collator([sample])
            logits = vlm.base(**{name: value for name, value in one.items() if name != "labels"}).logits
            total += F.cross_entropy(logits[0, :-1], one["labels"][0, 1:], ignore_index=-100, reduction="sum")
            tokens += int((one["labels"] != -100).sum())
    torch.testing.assert_close(together, total / tokens, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("items", [None, 57])
def test_the_loss_over_the_answers_logits_alone_is_the_loss(vlm: Vlm, samples: list[Sample], items: int | None) -> None:
    assert takes_answers_alone(vlm)
    vlm.base.requires_grad_(True)
    counted = {} if items is None else {"num_items_in_batch": torch.tensor(items)}
    found = []
    for alone in (False, True):
        collator = _collator(vlm)
        collator.answers_alone = alone
        batch = collator(samples[:5])
        output = vlm.base(**batch, **counted)
        vlm.base.zero_grad()
        output.loss.backward()
        gradients = {name: p.grad.clone() for name, p in vlm.base.named_parameters() if p.grad is not None}
        found.append((output.loss.detach(), gradients, output.logits.shape[1]))
    (whole, wanted, width), (part, gradients, kept) = found
    torch.testing.assert_close(part, whole, rtol=1e-6, atol=1e-6)
    assert gradients.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-3, atol=1e-5 * float(gradient.abs().max() + 1e-3))
    assert kept < width


def test_a_model_that_computes_its_loss_by_itself_gives_all_logits(
    idefics3: Vlm, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = idefics3.base.forward

    def own_loss(input_ids: Any = None, labels: Any = None, logits_to_keep: Any = 0, **kwargs: Any) -> Any:
        kwargs.pop("shift_labels", None)
        output = forward(input_ids=input_ids, logits_to_keep=logits_to_keep, **kwargs)
        shifted = output.logits[:, :-1].flatten(0, 1)
        output.loss = F.cross_entropy(shifted, labels[:, 1:].flatten(), ignore_index=-100)
        return output

    monkeypatch.setattr(idefics3.base, "forward", own_loss)
    assert not takes_answers_alone(idefics3)

    def old(input_ids: Any = None, labels: Any = None, **kwargs: Any) -> Any:
        return forward(input_ids=input_ids, labels=labels, **kwargs)

    monkeypatch.setattr(idefics3.base, "forward", old)
    assert not takes_answers_alone(idefics3)


def test_nothing_is_truncated(vlm: Vlm, samples: list[Sample]) -> None:
    vlm.processor.tokenizer.model_max_length = 8
    long = replace(samples[0], question="Compare the two images. " * 40, reference="The cube is missing. " * 40)
    batch = _collator(vlm)([long, samples[1]])
    trained = batch["labels"][0] != -100
    assert _decode(vlm, batch["labels"][0][trained]).count("The cube is missing.") == 40
    assert _decode(vlm, batch["input_ids"][0]).count("Compare the two images.") == 40
    with torch.no_grad():
        assert torch.isfinite(vlm.base(**batch).loss)


def test_a_record_that_cannot_be_trained_on_is_named(vlm: Vlm, samples: list[Sample]) -> None:
    collator = _collator(vlm)
    with pytest.raises(DataError, match="record bad: an empty answer"):
        collator([samples[0], replace(samples[1], sample_id="bad", reference=" ")])
    end = vlm.processor.tokenizer.convert_ids_to_tokens(vlm.stop_token_ids[0])
    with pytest.raises(DataError, match=f"record bad: the answer 'passed{re.escape(end)}' holds '{re.escape(end)}'"):
        collator.completion(replace(samples[1], sample_id="bad", reference=f"passed{end}"))
