"""Keys and values are written once, where they stay, and what a batch leaves behind does not reach the next."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from harness.answer import generate, prefix
from harness.answer.condition import Condition, Decoding
from harness.answer.decode import _Step, decode
from harness.answer.generate import answer_batches
from harness.answer.prefix import read_prompts
from harness.answer.slots import Slots
from harness.answer.verdict import VerdictOpenings, defective_probabilities
from harness.records import RawAnswer, Sample
from harness.vlm.batch import prompt_batch
from harness.vlm.load import Vlm, load_vlm
from tests import tiny_vlm
from tests.vlm.phi3v.build import tiny_checkpoint, tiny_processor

LONG = VerdictOpenings("The product in the bottom image is passed", "The product in the bottom image is defective")


@pytest.fixture
def phi3v() -> Vlm:
    return load_vlm(str(tiny_vlm.checkpoint("phi3v")), device="cpu")


def _ask(
    vlm: Vlm, samples: Sequence[Sample], budget: int, batch_size: int = 16, **settings: Any
) -> dict[str, RawAnswer]:
    condition = Condition("n0", decoding=Decoding(max_new_tokens=budget))
    batches = answer_batches(vlm, samples, model_id="m", condition=condition, batch_size=batch_size, **settings)
    return {answer.sample_id: answer for batch in batches for answer in batch}


def _texts(answers: Mapping[str, RawAnswer]) -> dict[str, str]:
    return {key: answer.text for key, answer in answers.items()}


def _watch(vlm: Vlm, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Rows and tokens a row of each forward pass."""
    shapes: list[tuple[int, int]] = []
    forward = vlm.base.forward

    def watched(**settings: Any) -> Any:
        shapes.append(tuple(settings["input_ids"].shape))
        return forward(**settings)

    watched.__signature__ = inspect.signature(forward)  # type: ignore[attr-defined]
    monkeypatch.setattr(vlm.base, "forward", watched)
    return shapes


class _Copies(TorchDispatchMode):
    """Notes the operations that make tensors as large as the keys of all prompts in one layer."""

    def __init__(self, slots: Slots) -> None:
        super().__init__()
        self.like = slots.layers[0][:, 0, :, : slots.used]
        self.known = {held.untyped_storage().data_ptr() for held in slots.layers}
        self.found: list[str] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, given: Sequence[Any] = (), settings: Mapping[str, Any] | None = None
    ) -> Any:
        made = function(*given, **settings or {})
        for tensor in made if isinstance(made, tuple | list) else [made]:
            if not isinstance(tensor, Tensor) or tensor.shape[-1:] != self.like.shape[-1:]:
                continue
            if tensor.numel() >= self.like.numel() and tensor.untyped_storage().data_ptr() not in self.known:
                self.found.append(str(function))
        return made


def test_verdicts_and_answers_leave_the_prompts_where_they_were_written(samples: list[Sample], tmp_path: Path) -> None:
    # As many heads of keys as of queries, as Phi-3-vision has; attention would repeat fewer of them.
    folder = tiny_checkpoint(tmp_path, num_key_value_heads=4, original_max_position_embeddings=1024)
    vlm = load_vlm(str(folder), device="cpu")
    inputs, slots = prompt_batch(vlm.processor, samples), Slots()
    prompts = read_prompts(vlm, inputs, slots, answered=24, opened=30)
    assert prompts is not None
    where = [held.data_ptr() for held in slots.layers]
    before = [held[..., : slots.used, :].clone() for held in slots.layers]
    assert len(where) == vlm.base.config.num_hidden_layers
    with _Copies(slots) as copies:
        defective_probabilities(vlm, inputs, [sample.question for sample in samples], LONG, prompts)
    for held, prompt in zip(slots.layers, before, strict=True):
        torch.testing.assert_close(held[..., : slots.used, :], prompt, rtol=0, atol=0)
    with copies:
        answers = decode(vlm, prompts, 24)
    # Once more, with half of the rows at an end by the fourth token: the others move.
    vlm.stop_token_ids = tuple({row[3] for row in answers[len(answers) // 2 :]})
    prompts = read_prompts(vlm, inputs, slots, answered=24, opened=30)
    assert prompts is not None
    with copies:
        decode(vlm, prompts, 24)
    assert slots.step.rows < len(samples), "rows were to be dropped"
    assert copies.found == []
    assert [held.data_ptr() for held in slots.layers] == where


def test_the_prompts_pass_attends_to_what_it_has_just_computed() -> None:
    slots = Slots()
    slots.prepare(2, 20)
    keys, values = torch.randn(2, 3, 9, 4), torch.randn(2, 3, 9, 4)
    seen = slots.update(keys, values, 0)
    assert seen[0] is keys
    assert seen[1] is values
    assert slots.layers[0].shape == (2, 2, 3, 32, 4), "places in whole sixteens"
    assert not slots.layers[0][..., 9:, :].any()
    slots.used = 8  # the last token goes through the model again
    more = torch.randn(2, 2, 3, 5, 4)
    seen = slots.update(more[:, 0], more[:, 1], 0)
    for found, prompt, pass_ in zip(seen, (keys, values), more.unbind(1), strict=True):
        assert torch.equal(found, torch.cat([prompt[:, :, :8], pass_], dim=2))


def test_prompts_are_read_in_parts_into_the_same_places(
    phi3v: Vlm, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = _ask(phi3v, samples, 12, openings=LONG)
    width = prompt_batch(phi3v.processor, samples)["input_ids"].shape[1]
    monkeypatch.setattr(prefix, "AT_ONCE", 4 * width + 3)
    shapes = _watch(phi3v, monkeypatch)
    found = _ask(phi3v, samples, 12, openings=LONG)
    assert [rows for rows, _ in shapes[:5]] == [4, 4, 3, 11, 11], "prompts, opening, step"
    assert _texts(found) == _texts(wanted)
    for key, answer in wanted.items():
        assert found[key].p_defective == pytest.approx(answer.p_defective, rel=5e-5)
    monkeypatch.setattr(prefix, "AT_ONCE", 1)
    assert _texts(_ask(phi3v, samples, 12)) == _texts(wanted)


def test_an_opening_longer_than_the_answers_has_its_places(
    phi3v: Vlm, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        shapes = _watch(phi3v, patched)
        found = _ask(phi3v, samples, 2, openings=LONG)
    prompt, opening, *steps = (width for _, width in shapes)
    assert prompt > 30 > opening > 2, "the prompts are read once"
    assert steps == [1, 1]
    monkeypatch.setattr(generate, "decodes", lambda _: False)
    wanted = _ask(phi3v, samples, 2, openings=LONG)
    assert _texts(found) == _texts(wanted)
    for key, answer in wanted.items():
        assert found[key].p_defective == pytest.approx(answer.p_defective, rel=5e-5)


def test_batches_of_one_shape_share_places_and_graphs(
    phi3v: Vlm, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [replace(sample, sample_id=f"{sample.sample_id}-{n}") for sample in samples[:4] for n in range(3)]
    written = _ask(phi3v, many, 24, batch_size=4)
    tokens = phi3v.processor.tokenizer(written[many[0].sample_id].text, add_special_tokens=False)["input_ids"]
    phi3v.stop_token_ids = (*phi3v.stop_token_ids, tokens[4])
    wanted = _ask(phi3v, many, 24, batch_size=4)
    assert len({answer.new_tokens for answer in wanted.values()}) > 1, "rows were to end at different places"
    begin = _Step.__init__
    recorded: list[tuple[_Step, int]] = []

    class Graph:
        """Stands in for a CUDA graph: it knows tensors by where they were when it was recorded."""

        def __init__(self, step: _Step) -> None:
            self.step, self.where, self.logits = step, self.addresses(step), step._forward()
            recorded.append((step, step.rows))

        @staticmethod
        def addresses(step: _Step) -> list[int]:
            return [t.data_ptr() for t in (step.ids, step.positions, step.mask, step.at, *step.layers)]

        def replay(self) -> None:
            assert self.addresses(self.step) == self.where
            self.logits.copy_(self.step._forward())

    def record(step: _Step) -> tuple[Graph, Tensor]:
        graph = Graph(step)
        return graph, graph.logits

    def begin_recording(step: _Step, *given: Any) -> None:
        begin(step, *given)
        step.records = True

    monkeypatch.setattr(_Step, "__init__", begin_recording)
    monkeypatch.setattr(_Step, "_record", record)
    found = _ask(phi3v, many, 24, batch_size=4)
    assert _texts(found) == _texts(wanted)
    assert len(set(recorded)) == len(recorded), "once for so many rows"
    assert {rows for _, rows in recorded} == {4, 2}
    assert len({step for step, _ in recorded}) < 3, "two of the three batches have the same shape"


def test_what_a_batch_left_behind_does_not_reach_the_next(phi3v: Vlm, samples: list[Sample]) -> None:
    inputs, slots = prompt_batch(phi3v.processor, samples), Slots()
    answers: list[list[list[int]]] = []
    for _ in range(2):
        prompts = read_prompts(phi3v, inputs, slots, answered=12)
        assert prompts is not None
        answers.append(decode(phi3v, prompts, 12))
        for held in slots.layers:
            held.fill_(float("nan"))
    assert answers[0] == answers[1]


def test_other_shapes_get_other_places(phi3v: Vlm, samples: list[Sample]) -> None:
    slots = Slots()
    for some in (samples, samples[:3]):
        prompts = read_prompts(phi3v, prompt_batch(phi3v.processor, some), slots, answered=12)
        assert prompts is not None
        assert {held.shape[0] for held in slots.layers} == {len(some)}
        assert slots.step is None
        assert len(decode(phi3v, prompts, 12)) == len(some)


def test_where_a_sliding_window_would_begin_generate_is_asked(
    samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    width = prompt_batch(tiny_processor(), samples)["input_ids"].shape[1]
    vlm = load_vlm(
        str(tiny_checkpoint(tmp_path, sliding_window=width + 12, original_max_position_embeddings=1024)), device="cpu"
    )
    inputs = prompt_batch(vlm.processor, samples)
    assert read_prompts(vlm, inputs, Slots(), answered=13) is None
    assert read_prompts(vlm, inputs, Slots(), answered=12) is not None
    found = _ask(vlm, samples, 12)
    monkeypatch.setattr(generate, "decodes", lambda _: False)
    assert _texts(found) == _texts(_ask(vlm, samples, 12))
