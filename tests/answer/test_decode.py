"""Our own loop says what transformers' generate() says, row by row, whatever ends when."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig

from harness.answer import generate
from harness.answer.condition import Condition, Decoding
from harness.answer.decode import _Step, decode, decodes
from harness.answer.generate import answer_batches
from harness.answer.prefix import read_prompts
from harness.answer.slots import Slots
from harness.answer.verdict import VerdictOpenings
from harness.records import RawAnswer, Sample
from harness.vlm.adapters import attach_adapter, use_adapter
from harness.vlm.batch import prompt_batch
from harness.vlm.load import Vlm, load_vlm
from tests import tiny_vlm
from tests.vlm.phi3v.build import tiny_checkpoint, tiny_processor

GREEDY = Condition("n0", decoding=Decoding(max_new_tokens=24))
WARM = Condition("warm", decoding=Decoding(max_new_tokens=24, do_sample=True, temperature=0.9, top_p=0.8, seed=5))


@pytest.fixture
def phi3v() -> Vlm:
    return load_vlm(str(tiny_vlm.checkpoint("phi3v")), device="cpu")


def _ask(
    vlm: Vlm, samples: Sequence[Sample], condition: Condition, batch_size: int = 16, **settings: Any
) -> dict[str, RawAnswer]:
    batches = answer_batches(vlm, samples, model_id="m", condition=condition, batch_size=batch_size, **settings)
    return {answer.sample_id: answer for batch in batches for answer in batch}


def _end_early(vlm: Vlm, samples: Sequence[Sample]) -> None:
    """Make stop tokens of what the model often writes, so that its rows end at different places."""
    inputs = prompt_batch(vlm.processor, samples)
    rows, _ = generate._generate(vlm, inputs, GREEDY.decoding, [])
    written = Counter(token for row in rows for token in set(row[4:]) - set(row[:4]))
    vlm.stop_token_ids = tuple(token for token, _ in written.most_common(3))


@pytest.mark.parametrize("condition", [GREEDY, WARM], ids=["greedy", "sampled"])
@pytest.mark.parametrize("adapted", [False, True])
def test_it_says_what_generate_says(
    phi3v: Vlm, samples: list[Sample], monkeypatch: pytest.MonkeyPatch, condition: Condition, adapted: bool
) -> None:
    if adapted:
        torch.manual_seed(0)
        attach_adapter(phi3v, LoraConfig(r=4, target_modules=["qkv_proj", "down_proj"], task_type="CAUSAL_LM"))
        with torch.no_grad():
            for name, parameter in phi3v.model.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(std=0.1)
    _end_early(phi3v, samples)
    assert decodes(phi3v)
    found = _ask(phi3v, samples, condition)
    monkeypatch.setattr(generate, "decodes", lambda _: False)
    wanted = _ask(phi3v, samples, condition)
    assert {key: (a.text, a.new_tokens, a.finish_reason) for key, a in found.items()} == {
        key: (a.text, a.new_tokens, a.finish_reason) for key, a in wanted.items()
    }
    if condition is GREEDY:
        assert len({answer.new_tokens for answer in found.values()}) > 1, "rows were to end at different places"


def test_rows_that_have_ended_are_dropped(phi3v: Vlm, samples: list[Sample], monkeypatch: pytest.MonkeyPatch) -> None:
    _end_early(phi3v, samples)
    rows: list[int] = []
    forward = phi3v.base.forward

    def watched(**settings: Any) -> Any:
        rows.append(len(settings["input_ids"]))
        return forward(**settings)

    watched.__signature__ = inspect.signature(forward)  # type: ignore[attr-defined]
    inputs = prompt_batch(phi3v.processor, samples)
    prompts = read_prompts(phi3v, inputs, Slots(), answered=24)
    assert prompts is not None
    monkeypatch.setattr(phi3v.base, "forward", watched)
    answers = decode(phi3v, prompts, 24)
    lengths = [next((i + 1 for i, token in enumerate(row) if token in phi3v.stop_token_ids), 24) for row in answers]
    assert rows[0] == len(samples)
    assert rows == sorted(rows, reverse=True)
    assert rows[-1] <= len(samples) // 2
    assert len(rows) == max(lengths), "it goes on no longer than the longest answer"
    assert all(rows[place] >= sum(length > place for length in lengths) for place in range(len(rows)))


def test_a_step_that_no_graph_can_hold_runs_as_it_is(
    phi3v: Vlm, samples: list[Sample], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = _ask(phi3v, samples, GREEDY)
    tried: list[int] = []

    def refuse(step: _Step) -> None:
        tried.append(len(step.ids))
        raise RuntimeError("operation not permitted when stream is capturing")

    begin = _Step.__init__

    def begin_recording(step: _Step, *args: Any) -> None:
        begin(step, *args)
        step.records = step.vlm.records_steps

    monkeypatch.setattr(_Step, "__init__", begin_recording)
    monkeypatch.setattr(_Step, "_record", refuse)
    found = _ask(phi3v, samples, GREEDY)
    assert tried == [len(samples)], "once a batch"
    assert "runs as it is" in caplog.text
    assert {key: answer.text for key, answer in found.items()} == {key: answer.text for key, answer in wanted.items()}


def test_one_token_alone(phi3v: Vlm, samples: list[Sample]) -> None:
    answers = _ask(phi3v, samples[:3], Condition("n0", decoding=Decoding(max_new_tokens=1)))
    assert {answer.new_tokens for answer in answers.values()} == {1}


def test_the_base_is_untouched_by_an_adapter_that_is_off(phi3v: Vlm, samples: list[Sample]) -> None:
    before = _ask(phi3v, samples, GREEDY)
    attach_adapter(phi3v, LoraConfig(r=4, target_modules=["o_proj"], init_lora_weights=False, task_type="CAUSAL_LM"))
    with use_adapter(phi3v, None):
        off = _ask(phi3v, samples, GREEDY)
    on = _ask(phi3v, samples, GREEDY)
    assert {key: answer.text for key, answer in off.items()} == {key: answer.text for key, answer in before.items()}
    assert {key: answer.text for key, answer in on.items()} != {key: answer.text for key, answer in before.items()}


def test_where_the_long_rope_would_begin_generate_is_asked(samples: list[Sample], tmp_path: Path) -> None:
    width = prompt_batch(tiny_processor(), samples)["input_ids"].shape[1]
    vlm = load_vlm(str(tiny_checkpoint(tmp_path, original_max_position_embeddings=width + 8)), device="cpu")
    assert read_prompts(vlm, prompt_batch(vlm.processor, samples), Slots(), answered=24) is None
    answers = _ask(vlm, samples, GREEDY)
    assert len(answers) == len(samples)


def test_eager_attention_that_was_asked_for_is_kept() -> None:
    assert not decodes(load_vlm(str(tiny_vlm.checkpoint("phi3v")), device="cpu", attention="eager"))
    assert not decodes(load_vlm(str(tiny_vlm.checkpoint("llava")), device="cpu"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_recorded_graphs_say_what_generate_says(samples: list[Sample], monkeypatch: pytest.MonkeyPatch) -> None:
    vlm = load_vlm(str(tiny_vlm.checkpoint("phi3v")), device="cuda", dtype="fp32")
    many = [replace(sample, sample_id=f"{sample.sample_id}-{n}") for sample in samples for n in range(3)]
    texts = _ask(vlm, samples, GREEDY)
    vlm.stop_token_ids = tuple(
        vlm.processor.tokenizer(answer.text, add_special_tokens=False)["input_ids"][4]
        for answer in list(texts.values())[:3]
    )
    recorded: list[tuple[_Step, int]] = []
    record = _Step._record

    def watched(step: _Step) -> Any:
        recorded.append((step, step.rows))
        return record(step)

    monkeypatch.setattr(_Step, "_record", watched)
    settings: dict[str, Any] = {"batch_size": 4, "openings": VerdictOpenings("It is passed", "It is defective")}
    found = _ask(vlm, many, GREEDY, **settings)
    assert vlm.records_steps
    assert len(set(recorded)) == len(recorded)
    assert len({step for step, _ in recorded}) < len(many) // 4, "batches of one shape share their graphs"
    monkeypatch.setattr(generate, "decodes", lambda _: False)
    wanted = _ask(vlm, many, GREEDY, **settings)
    assert {key: answer.text for key, answer in found.items()} == {key: answer.text for key, answer in wanted.items()}
    for key, answer in wanted.items():
        assert found[key].p_defective == pytest.approx(answer.p_defective, rel=1e-3)
