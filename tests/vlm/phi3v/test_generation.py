"""generate(): caches, the long rope's switch, beams and samples, stop tokens."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache, GenerationConfig

from harness.vlm.phi3v.modeling import CACHE, Phi3VForConditionalGeneration
from harness.vlm.phi3v.processing import Phi3VProcessor
from harness.vlm.phi3v.rope import sequence_lengths
from tests.vlm.phi3v.build import pictures, prompt, tiny_model, tiny_processor

QUESTIONS = ("What?", "Is the product in the bottom image passed or defective?", "Where?")
TOKENS = 24
CACHES: dict[str, dict[str, Any]] = {
    "dynamic": {},
    "static": {"cache_implementation": "static"},
    "none": {"use_cache": False},
}


@pytest.fixture(scope="module")
def processor() -> Phi3VProcessor:
    return tiny_processor()


@pytest.fixture(scope="module")
def batch(processor: Phi3VProcessor) -> Any:
    """Three rows of differing lengths, padded on the left."""
    return processor(text=[prompt(q) for q in QUESTIONS], images=[[picture] for picture in pictures(3)])


def _switch(batch: Any, where: str) -> int:
    """How many tokens the short rope is to reach: so that rows of a batch cross it ... in TOKENS tokens."""
    lengths = batch["attention_mask"].sum(-1)
    shortest, longest = int(lengths.min()), int(lengths.max())
    assert longest + 4 - shortest < TOKENS
    return {"never": 200, "each at its step": longest + 4, "some": longest - 2, "before": shortest - 2}[where]


def _endless(**changes: Any) -> Phi3VForConditionalGeneration:
    model = tiny_model(**changes)
    model.generation_config.eos_token_id = None
    return model


def _answers(model: Phi3VForConditionalGeneration, inputs: Any, tokens: int, **how: Any) -> Tensor:
    made: Tensor = model.generate(**inputs, max_new_tokens=tokens, do_sample=False, **how)
    return made[:, inputs["input_ids"].shape[1] :]


def _by_whole_forward_passes(model: Phi3VForConditionalGeneration, inputs: Any, tokens: int) -> Tensor:
    """Greedy answers of one row without generate(), without a cache."""
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    pixels = {"pixel_values": inputs["pixel_values"], "image_sizes": inputs["image_sizes"]}
    for _ in range(tokens):
        with torch.no_grad():
            logits = model(input_ids=ids, attention_mask=mask, **pixels, use_cache=False).logits
        ids = torch.cat([ids, logits[:, -1:].argmax(-1)], dim=1)
        mask = torch.ones_like(ids)
    return ids[:, inputs["input_ids"].shape[1] :]


@pytest.mark.parametrize("switch", ["never", "each at its step", "some", "before"])
@pytest.mark.parametrize("cache", CACHES)
def test_a_batch_answers_as_its_rows(processor: Phi3VProcessor, batch: Any, cache: str, switch: str) -> None:
    model = _endless(original_max_position_embeddings=_switch(batch, switch))
    together = _answers(model, batch, TOKENS, **CACHES[cache])
    for row, (question, picture) in enumerate(zip(QUESTIONS, pictures(3), strict=True)):
        alone = processor(text=prompt(question), images=picture)
        assert together[row].tolist() == _by_whole_forward_passes(model, alone, TOKENS)[0].tolist()


def test_features_serve_across_the_switch(batch: Any) -> None:
    model = _endless(original_max_position_embeddings=_switch(batch, "each at its step"))
    with torch.no_grad():
        features = model.get_image_features(batch["pixel_values"], batch["image_sizes"])
    text = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
    found = _answers(model, text | {"image_features": features}, TOKENS)
    assert torch.equal(found, _answers(model, batch, TOKENS))


def test_pixels_run_through_the_tower_once(batch: Any) -> None:
    model = _endless(original_max_position_embeddings=_switch(batch, "each at its step"))
    runs: list[int] = []
    hook = model.get_encoder("image").register_forward_hook(lambda *_: runs.append(1))
    _answers(model, batch, TOKENS)
    hook.remove()
    assert len(runs) == 1


def test_the_switch_matters(batch: Any) -> None:
    # Without it the tests above would compare equal things.
    switch = _switch(batch, "each at its step")
    near, far = (_endless(original_max_position_embeddings=switch) for _ in range(2))
    far._is_cache_stale = lambda *_, **__: False  # type: ignore[method-assign]  # what keeping the short keys would give
    assert not torch.equal(_answers(near, batch, TOKENS), _answers(far, batch, TOKENS))


def test_sequence_lengths() -> None:
    position_ids = torch.tensor([[0, 0, 0, 1, 2, 3], [0, 1, 2, 0, 1, 1]])
    assert sequence_lengths(position_ids).tolist() == [[1, 1, 4, 4, 4, 4], [3, 3, 3, 2, 2, 2]]
    assert sequence_lengths(torch.tensor([[6], [9]])).tolist() == [[7], [10]]


def test_sequences_come_back_with_tokens_at_the_pictures(processor: Phi3VProcessor, batch: Any) -> None:
    model = _endless(image_token_id=7)
    made = model.generate(**batch, max_new_tokens=4, do_sample=False)
    prompts = batch["input_ids"]
    assert torch.equal(made[:, : prompts.shape[1]], prompts.masked_fill(prompts < 0, 7))
    assert len(processor.tokenizer.batch_decode(made)) == 3
    unnamed = _endless().generate(**batch, max_new_tokens=4, do_sample=False)
    assert torch.equal(unnamed[:, : prompts.shape[1]], prompts.clamp(min=0))  # <unk>, as the original


def test_penalties_that_look_ids_up(batch: Any) -> None:
    made = _answers(_endless(), batch, 6, repetition_penalty=50.0, no_repeat_ngram_size=2)
    for row, own in zip(made.tolist(), batch["input_ids"].tolist(), strict=True):
        assert len(set(row)) == 6
        assert not set(row) & set(own)


@pytest.mark.parametrize("how", [{"num_beams": 3}, {"num_beams": 3, "num_return_sequences": 2}])
def test_beams_with_several_pictures_a_row(processor: Phi3VProcessor, how: dict[str, Any]) -> None:
    model = _endless()
    first, second, third = pictures(3)
    texts = [prompt("Compare.", 2), prompt("What?")]
    together = _answers(model, processor(text=texts, images=[[first, second], [third]]), 5, **how)
    alone = [
        _answers(model, processor(text=texts[0], images=[first, second]), 5, **how),
        _answers(model, processor(text=texts[1], images=third), 5, **how),
    ]
    assert torch.equal(together, torch.cat(alone))


def test_samples_of_a_row_see_its_pictures(processor: Phi3VProcessor) -> None:
    model = _endless()
    first, second, third = pictures(3)
    batch = processor(text=[prompt("Compare.", 2), prompt("What?")], images=[[first, second], [third]])
    # With one token allowed, sampling is greedy: each of a row's samples must be the row's answer.
    made = model.generate(**batch, max_new_tokens=4, do_sample=True, top_k=1, num_return_sequences=3)
    greedy = model.generate(**batch, max_new_tokens=4, do_sample=False)
    assert torch.equal(made, greedy.repeat_interleave(3, dim=0))


@pytest.mark.parametrize("cached", [10, 30, 45])
def test_a_cached_beginning(processor: Phi3VProcessor, cached: int) -> None:
    # 10: before the pictures; 30: amid the first one; 45: amid the second.
    model = _endless()
    inputs = processor(text=prompt("Compare.", 2), images=pictures(2))
    assert int((inputs["input_ids"] < 0).sum()) == 52
    with torch.no_grad():
        features = model.get_image_features(inputs["pixel_values"], inputs["image_sizes"])
        embeds = model.model.embed(inputs["input_ids"], image_features=features)
        cache = DynamicCache(config=model.config)
        model(inputs_embeds=embeds[:, :cached], use_cache=True, past_key_values=cache)
    found = _answers(model, inputs, 6, **{CACHE: cache})
    assert torch.equal(found, _answers(model, inputs, 6))


def test_generate_from_embeddings(batch: Any) -> None:
    model = _endless()
    with torch.no_grad():
        embeds = model.model.embed(batch["input_ids"], batch["pixel_values"], batch["image_sizes"])
    found = model.generate(
        inputs_embeds=embeds, attention_mask=batch["attention_mask"], max_new_tokens=5, do_sample=False
    )
    assert torch.equal(found, _answers(model, batch, 5))
    crossing = _endless(original_max_position_embeddings=_switch(batch, "each at its step"))
    with pytest.raises(ValueError, match="give it as input_ids and image_features"):
        crossing.generate(inputs_embeds=embeds, attention_mask=batch["attention_mask"], max_new_tokens=TOKENS)


@pytest.mark.parametrize("named", [None, 2, [2]])
def test_stop_tokens_where_the_checkpoint_has_wrong_ones(named: Any, tmp_path: Any) -> None:
    model = tiny_model(vocab_size=32064, num_hidden_layers=1, eos_token_id=2)
    assert model.generation_config.eos_token_id == [32007, 32000]
    model.generation_config = GenerationConfig(eos_token_id=named, bos_token_id=1)
    model.save_pretrained(tmp_path)
    again = Phi3VForConditionalGeneration.from_pretrained(tmp_path)
    assert again.generation_config.eos_token_id == [32007, 32000]
    assert again.generation_config.bos_token_id == 1


def test_stop_tokens_that_are_named_stay(tmp_path: Any) -> None:
    model = tiny_model(vocab_size=32064, num_hidden_layers=1)
    model.generation_config = GenerationConfig(eos_token_id=[32007, 32001, 32000])
    model.save_pretrained(tmp_path)
    again = Phi3VForConditionalGeneration.from_pretrained(tmp_path)
    assert again.generation_config.eos_token_id == [32007, 32001, 32000]
    # <|end|> is not in the vocabulary: </s> is not replaced by something that does not exist.
    assert tiny_model().generation_config.eos_token_id == 2
