"""The prompts' cache serves answer and verdict alike: what is said does not change, only what is computed twice."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig

from harness.answer import generate
from harness.answer.condition import Decoding
from harness.answer.prefix import CachedPrompts, read_prompts
from harness.answer.slots import Slots
from harness.answer.verdict import VerdictOpenings, defective_probabilities, log_probabilities
from harness.records import Sample
from harness.vlm.adapters import attach_adapter
from harness.vlm.batch import prompt_batch
from harness.vlm.load import Vlm, load_vlm
from tests import tiny_vlm
from tests.vlm.phi3v.build import tiny_checkpoint, tiny_processor

OPENINGS = (
    VerdictOpenings("The product in the bottom image is passed", "The product in the bottom image is defective"),
    # Nothing in common, and of unlike length.
    VerdictOpenings("The cube at 9D is rotated and the cube at 2C is stained", "Passed"),
    VerdictOpenings("No", "Yes"),
)


def _asked(
    vlm: Vlm, samples: Sequence[Sample], budget: int = 12
) -> tuple[dict[str, Any], list[str], CachedPrompts | None]:
    inputs = prompt_batch(vlm.processor, samples)
    _, prompts = generate._generate(vlm, inputs, Decoding(max_new_tokens=budget), [])
    return inputs, [sample.question for sample in samples], prompts


@pytest.mark.parametrize("adapted", [False, True])
def test_probabilities_are_those_of_whole_passes(vlm: Vlm, samples: list[Sample], adapted: bool) -> None:
    if adapted:
        torch.manual_seed(0)
        attach_adapter(vlm, LoraConfig(r=4, target_modules=["o_proj", "down_proj"], task_type="CAUSAL_LM"))
        with torch.no_grad():
            for name, parameter in vlm.model.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(std=0.1)
    inputs, questions, prompts = _asked(vlm, samples)
    assert prompts is not None
    for openings in OPENINGS:
        found = defective_probabilities(vlm, inputs, questions, openings, prompts)
        wanted = defective_probabilities(vlm, inputs, questions, openings)
        assert found == pytest.approx(wanted, rel=5e-5, abs=1e-9)
        # The cache holds the prompts again: it can be asked as often as wanted.
        assert defective_probabilities(vlm, inputs, questions, openings, prompts) == found
        if openings is OPENINGS[0]:
            assert len({round(p, 6) for p in found}) > len(samples) // 2


def test_prompts_read_without_an_answer_give_the_same(samples: list[Sample]) -> None:
    vlm = load_vlm(str(tiny_vlm.checkpoint("phi3v")), device="cpu")
    inputs, questions, prompts = _asked(vlm, samples)
    read = read_prompts(vlm, inputs, Slots(), answered=12, opened=30)
    assert prompts is not None
    assert read is not None
    for openings in OPENINGS:
        found = defective_probabilities(vlm, inputs, questions, openings, read)
        assert found == pytest.approx(defective_probabilities(vlm, inputs, questions, openings, prompts), rel=5e-5)


def test_log_probabilities_of_unlike_continuations(vlm: Vlm, samples: list[Sample]) -> None:
    inputs, _, prompts = _asked(vlm, samples[:4])
    continuations = [[40, 41, 42, 43], [44], [45, 46], [47, 48, 49]]
    found = log_probabilities(vlm, inputs, continuations, prompts)
    torch.testing.assert_close(found, log_probabilities(vlm, inputs, continuations), rtol=1e-5, atol=1e-4)
    # Each row by itself, without padding.
    for row, tokens in enumerate(continuations):
        alone = log_probabilities(vlm, prompt_batch(vlm.processor, [samples[row]]), [tokens])
        torch.testing.assert_close(found[row : row + 1], alone, rtol=1e-5, atol=1e-4)


def _forwards(vlm: Vlm, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    widths: list[int] = []
    forward = vlm.base.forward

    def watched(*args: Any, **kwargs: Any) -> Any:
        ids = kwargs.get("input_ids", args[0] if args else None)
        widths.append(ids.shape[1])
        return forward(*args, **kwargs)

    watched.__signature__ = inspect.signature(forward)  # type: ignore[attr-defined]
    monkeypatch.setattr(vlm.base, "forward", watched)
    return widths


def test_one_short_pass_says_both_verdicts(
    idefics3: Vlm, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, questions, prompts = _asked(idefics3, samples[:3])
    widths = _forwards(idefics3, monkeypatch)
    defective_probabilities(idefics3, inputs, questions, OPENINGS[0], prompts)
    assert len(widths) == 1
    assert widths[0] < 20 < inputs["input_ids"].shape[1]
    widths.clear()
    defective_probabilities(idefics3, inputs, questions, OPENINGS[1], prompts)
    assert len(widths) == 2
    assert max(widths) < 30


@pytest.mark.parametrize("limit", ["beyond", "between", "below"])
def test_a_long_rope_is_never_mixed_with_a_short_one(samples: list[Sample], tmp_path: Path, limit: str) -> None:
    budget, opening = 12, VerdictOpenings("The cube at 9D is rotated and the cube at 2C is stained", "passed")
    processor = tiny_processor()
    width = prompt_batch(processor, samples)["input_ids"].shape[1]
    room = {"beyond": 100, "between": 14, "below": 6}[limit]
    vlm = load_vlm(str(tiny_checkpoint(tmp_path, original_max_position_embeddings=width + room)), device="cpu")
    assert vlm.base.config.rope_parameters["rope_type"] == "longrope"
    vlm.stop_token_ids = (0,)
    inputs, questions, prompts = _asked(vlm, samples, budget)
    assert (prompts is None) == (limit == "below")
    if prompts is not None:
        assert prompts.room == room
    found = defective_probabilities(vlm, inputs, questions, opening, prompts)
    wanted = defective_probabilities(vlm, inputs, questions, opening)
    assert found == pytest.approx(wanted, rel=5e-5, abs=1e-9)
    if limit == "between":
        # The opening alone would have crossed over, so the prompts were computed again.
        assert found == wanted


def test_multi_dimensional_positions_are_not_continued(idefics3: Vlm, samples: list[Sample]) -> None:
    idefics3.base.config.get_text_config().rope_parameters["mrope_section"] = [4, 2, 2]
    assert _asked(idefics3, samples[:2])[2] is None
