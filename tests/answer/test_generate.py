"""Answers: the batch does not matter, the checkpoint's sampling flags do not leak, and nothing is lost."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig
from scipy import stats

from harness.answer import generate
from harness.answer.condition import Condition, Decoding
from harness.answer.generate import ANSWER_VERSION, answer_batches, engine_fingerprint
from harness.answer.journal import AnswerJournal
from harness.answer.verdict import VerdictOpenings
from harness.errors import ConfigError, DataError, ModelError
from harness.records import RawAnswer, Sample
from harness.vlm.adapters import attach_adapter, use_adapter
from harness.vlm.batch import prompt_batch
from harness.vlm.load import Vlm
from tests import tiny_vlm

GREEDY = Condition("n0", decoding=Decoding(max_new_tokens=12))
SAMPLED = Condition("warm", decoding=Decoding(max_new_tokens=12, do_sample=True, temperature=0.8, top_p=0.9, seed=3))
OPENINGS = VerdictOpenings("The product in the bottom image is passed", "The product in the bottom image is defective")


def _ask(vlm: Vlm, samples: Sequence[Sample], condition: Condition = GREEDY, **settings: Any) -> dict[str, RawAnswer]:
    settings = {"model_id": "m", "batch_size": 8} | settings
    batches = answer_batches(vlm, samples, condition=condition, **settings)
    return {answer.sample_id: answer for batch in batches for answer in batch}


def _attach_trained(vlm: Vlm) -> None:
    torch.manual_seed(0)
    attach_adapter(vlm, LoraConfig(r=4, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, parameter in vlm.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)


def _greedy_by_hand(vlm: Vlm, sample: Sample, budget: int) -> list[int]:
    """The largest logit again and again, one row, no cache, no generate()."""
    inputs = prompt_batch(vlm.processor, [sample])
    tokens: list[int] = []
    with torch.no_grad():
        while len(tokens) < budget and (not tokens or tokens[-1] not in vlm.stop_token_ids):
            token = int(vlm.base(**inputs, use_cache=False).logits[0, -1].argmax())
            tokens.append(token)
            inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([[token]])], dim=1)
            inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    return tokens


def test_a_batch_of_one_and_a_batch_of_eight_say_the_same(vlm: Vlm, samples: list[Sample]) -> None:
    _attach_trained(vlm)
    for adapter in (None, "default"):
        with use_adapter(vlm, adapter):
            ones = _ask(vlm, samples, batch_size=1, openings=OPENINGS)
            eights = _ask(vlm, samples, batch_size=8, openings=OPENINGS)
        assert len({answer.text for answer in ones.values()}) > len(samples) // 2
        for sample in samples:
            one, eight = ones[sample.sample_id], eights[sample.sample_id]
            assert (one.text, one.new_tokens, one.finish_reason, one.prompt_tokens) == (
                eight.text,
                eight.new_tokens,
                eight.finish_reason,
                eight.prompt_tokens,
            )
            assert one.p_defective == pytest.approx(eight.p_defective, rel=2e-5)


def test_the_base_answers_as_if_no_adapter_were_there(vlm: Vlm, samples: list[Sample]) -> None:
    before = _ask(vlm, samples, openings=OPENINGS)
    _attach_trained(vlm)
    with use_adapter(vlm, None):
        off = _ask(vlm, samples, openings=OPENINGS)
    on = _ask(vlm, samples, openings=OPENINGS)
    for sample_id, answer in before.items():
        assert off[sample_id].text == answer.text
        assert off[sample_id].p_defective == answer.p_defective
    assert any(on[sample_id].text != answer.text for sample_id, answer in before.items())


def test_greedy_is_the_largest_logit_whatever_the_checkpoint_says(vlm: Vlm, samples: list[Sample]) -> None:
    # The Idefics3 checkpoint asks for sampling at temperature 0.7 with a repetition penalty and at most 40 tokens.
    own = vlm.base.generation_config
    found = _ask(vlm, samples[:4], Condition("n0", decoding=Decoding(max_new_tokens=50)))
    for sample in samples[:4]:
        tokens = _greedy_by_hand(vlm, sample, 50)
        stopped = tokens[-1] in vlm.stop_token_ids
        text = vlm.processor.tokenizer.decode(
            tokens[:-1] if stopped else tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        answer = found[sample.sample_id]
        assert answer.text == text.strip()
        assert answer.new_tokens == len(tokens)
        assert answer.finish_reason == ("stop" if stopped else "length")
        assert answer.prompt_tokens == prompt_batch(vlm.processor, [sample])["input_ids"].shape[1]
    assert vlm.base.generation_config is own


def test_an_answer_ends_at_its_first_stop_token(vlm: Vlm, samples: list[Sample]) -> None:
    tokens = {sample.sample_id: _greedy_by_hand(vlm, sample, 12) for sample in samples}
    # Declare a token that one answer holds in its midst to be a stop token: rows then end at different places.
    stop = tokens["sample-000"][5]
    vlm.stop_token_ids = (*vlm.stop_token_ids, stop)
    found = _ask(vlm, samples)
    ends = set()
    for sample_id, ids in tokens.items():
        answer = found[sample_id]
        place = next((number for number, token in enumerate(ids) if token in vlm.stop_token_ids), None)
        ends.add(place)
        assert answer.finish_reason == ("length" if place is None else "stop")
        assert answer.new_tokens == (12 if place is None else place + 1)
        kept = vlm.processor.tokenizer.decode(ids[:place], skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert answer.text == kept.strip()
    assert len(ends) > 1


def test_what_an_answer_records(idefics3: Vlm, samples: list[Sample], tmp_path: Path) -> None:
    journal = AnswerJournal(tmp_path / "answers.jsonl")
    seen: list[int] = []
    for batch in answer_batches(idefics3, samples, model_id="m7", condition=GREEDY, batch_size=4, repeat=2):
        journal.append(batch)
        seen += [len(batch)]
        assert len(journal.read()) == sum(seen)
    assert seen == [4, 4, 3]
    found = journal.read()
    assert {answer.sample_id for answer in found} == {sample.sample_id for sample in samples}
    assert {(a.model_id, a.condition_id, a.repeat, a.p_defective) for a in found} == {("m7", "n0", 2, None)}
    assert all(answer.seconds > 0 for answer in found)
    assert all(answer.answered_at.tzinfo is None for answer in found)


def test_the_longest_prompts_come_first(idefics3: Vlm, samples: list[Sample]) -> None:
    order = [
        a for batch in answer_batches(idefics3, samples, model_id="m", condition=GREEDY, batch_size=1) for a in batch
    ]
    areas = {s.sample_id: tiny_vlm.SIZES[number % len(tiny_vlm.SIZES)] for number, s in enumerate(samples)}
    found = [areas[answer.sample_id][0] * areas[answer.sample_id][1] for answer in order]
    assert found == sorted(found, reverse=True)


def test_no_samples_no_batches(idefics3: Vlm) -> None:
    assert _ask(idefics3, []) == {}


def test_sampled_answers_depend_on_seed_sample_and_repeat_alone(vlm: Vlm, samples: list[Sample]) -> None:
    first = _ask(vlm, samples, SAMPLED)
    alone = _ask(vlm, samples[::-1], SAMPLED, batch_size=1)
    assert {key: answer.text for key, answer in alone.items()} == {key: answer.text for key, answer in first.items()}
    again = _ask(vlm, samples, SAMPLED, repeat=1)
    reseeded = _ask(vlm, samples, replace(SAMPLED, decoding=replace(SAMPLED.decoding, seed=4)))
    greedy = _ask(vlm, samples)
    for other in (again, reseeded, greedy):
        assert sum(other[key].text != answer.text for key, answer in first.items()) > len(samples) // 2


def test_at_a_low_temperature_sampling_is_greedy(vlm: Vlm, samples: list[Sample]) -> None:
    cold = replace(SAMPLED, decoding=Decoding(max_new_tokens=12, do_sample=True, temperature=1e-4, seed=3))
    assert {k: a.text for k, a in _ask(vlm, samples, cold).items()} == {
        k: a.text for k, a in _ask(vlm, samples).items()
    }


def test_gumbel_noise_draws_from_the_softmax() -> None:
    logits = torch.tensor([[0.0, 1.0, -1.0, 2.0, float("-inf")]])
    draws = 4000
    noise = generate._GumbelNoise(list(range(draws)))
    found = noise(torch.zeros(draws, 1), logits.expand(draws, -1)).argmax(dim=1)
    counts = np.bincount(found.numpy(), minlength=5)
    assert counts[4] == 0
    expected = torch.softmax(logits[0].double(), 0).numpy()[:4] * draws
    assert stats.chisquare(counts[:4], expected).pvalue > 0.001
    again = generate._GumbelNoise([7])
    steps = [again(torch.zeros(1, 1), logits) for _ in range(2)]
    assert not torch.equal(steps[0], steps[1])
    assert torch.equal(generate._GumbelNoise([7])(torch.zeros(1, 1), logits), steps[0])


def test_out_of_memory_halves_the_batch_and_says_so(
    idefics3: Vlm, samples: list[Sample], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # A CPU has no OutOfMemoryError to provoke; tests/answer/test_gpu.py provokes a real one.
    wanted = _ask(idefics3, samples)
    answer = generate._answer
    sizes: list[int] = []

    def small_memory(vlm: Vlm, batch: Sequence[Sample], *rest: Any) -> list[RawAnswer]:
        sizes.append(len(batch))
        if len(batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return answer(vlm, batch, *rest)

    monkeypatch.setattr(generate, "_answer", small_memory)
    told: list[str] = []
    found = _ask(idefics3, samples, say=told.append)
    assert sizes == [8, 4, 2, 2, 2, 2, 2, 1]
    assert told == [
        "out of memory with 8 records a batch: going on with 4",
        "out of memory with 4 records a batch: going on with 2",
    ]
    assert {key: a.text for key, a in found.items()} == {key: a.text for key, a in wanted.items()}
    with caplog.at_level(logging.WARNING):
        _ask(idefics3, samples[:3], batch_size=3)
    assert "out of memory with 3 records a batch: going on with 1" in caplog.text


def test_a_record_that_does_not_fit_alone(
    idefics3: Vlm, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: Any) -> list[RawAnswer]:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(generate, "_answer", no_memory)
    with pytest.raises(ModelError, match="record sample-000 alone does not fit the memory of cpu"):
        _ask(idefics3, samples[:1], say=lambda _: None)


def test_requests_that_cannot_be_met(idefics3: Vlm, samples: list[Sample], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="batch_size must be at least 1, got 0"):
        _ask(idefics3, samples, batch_size=0)
    with pytest.raises(ConfigError, match="condition n1 is unknown: prompt 'canonical', noise 'blur'"):
        _ask(idefics3, samples, replace(GREEDY, condition_id="n1", noise="blur"))
    with pytest.raises(DataError, match="record gone cannot be read"):
        _ask(idefics3, [replace(samples[0], sample_id="gone", image_path=tmp_path / "gone.png")])


def test_the_fingerprint_holds_what_answers_depend_on(idefics3: Vlm, llava: Vlm) -> None:
    decoding = GREEDY.decoding
    found = engine_fingerprint(idefics3, decoding, OPENINGS)
    assert found["answer_version"] == ANSWER_VERSION == 2
    assert found["torch"] == torch.__version__
    assert (found["dtype"], found["attention"], found["device"]) == ("float32", "sdpa", "cpu")
    assert found["decoding"] == {
        "max_new_tokens": 12,
        "do_sample": False,
        "temperature": None,
        "top_p": None,
        "seed": None,
    }
    assert found["openings"] == {"passed": OPENINGS.passed, "defective": OPENINGS.defective}
    assert engine_fingerprint(idefics3, decoding, OPENINGS) == found
    others = [
        engine_fingerprint(idefics3, replace(decoding, max_new_tokens=13), OPENINGS),
        engine_fingerprint(idefics3, decoding, None),
        engine_fingerprint(llava, decoding, OPENINGS),
    ]
    assert all(other != found for other in others)
