"""P(defective) against a slow computation that shares nothing with it but the model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from harness.answer.verdict import VerdictOpenings, choose_openings, defective_probabilities, log_probabilities
from harness.errors import ModelError
from harness.records import Sample, Truth
from harness.vlm.batch import prompt_batch
from harness.vlm.load import Vlm

OPENINGS = VerdictOpenings("The product in the bottom image is passed", "The product in the bottom image is defective")

PASSED, DEFECTIVE = Truth("passed"), Truth("defective")


def _by_hand(vlm: Vlm, sample: Sample, opening: str) -> float:
    """Log-probability of the opening, one row, no padding, the log-softmax written out in double precision."""
    # Both families' templates put one space before an answer; LLaVA's tokenizer adds it by itself.
    text = opening if vlm.processor.tokenizer("x", add_special_tokens=False).tokens()[0] == "▁x" else f" {opening}"
    continuation = vlm.processor.tokenizer(text, add_special_tokens=False)["input_ids"]
    content = [{"type": "image"}, {"type": "text", "text": sample.question}]
    with Image.open(sample.image_path) as picture:
        prompt = vlm.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        inputs = vlm.processor(text=prompt, images=[picture.convert("RGB")], return_tensors="pt")
    if inputs["input_ids"][0, :2].tolist() == [vlm.processor.tokenizer.bos_token_id] * 2:
        inputs["input_ids"], inputs["attention_mask"] = inputs["input_ids"][:, 1:], inputs["attention_mask"][:, 1:]
    length = inputs["input_ids"].shape[1]
    inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([continuation])], dim=1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    with torch.no_grad():
        logits = vlm.base(**inputs).logits[0].double().numpy()
    total = 0.0
    for place, token in enumerate(continuation):
        row = logits[length + place - 1]
        total += row[token] - row.max() - np.log(np.exp(row - row.max()).sum())
    return total


def test_equals_a_slow_computation_by_hand(vlm: Vlm, samples: list[Sample]) -> None:
    questions = [sample.question for sample in samples]
    found = defective_probabilities(vlm, prompt_batch(vlm.processor, samples), questions, OPENINGS)
    for sample, p in zip(samples, found, strict=True):
        passed, defective = (_by_hand(vlm, sample, opening) for opening in (OPENINGS.passed, OPENINGS.defective))
        assert p == pytest.approx(1 / (1 + np.exp(passed - defective)), rel=1e-4, abs=1e-9)


def test_padding_side_and_neighbours_do_not_matter(vlm: Vlm, samples: list[Sample]) -> None:
    questions = [sample.question for sample in samples]
    left = defective_probabilities(vlm, prompt_batch(vlm.processor, samples), questions, OPENINGS)
    right_inputs = prompt_batch(vlm.processor, samples, padding_side="right")
    assert defective_probabilities(vlm, right_inputs, questions, OPENINGS) == left
    alone = [defective_probabilities(vlm, prompt_batch(vlm.processor, [s]), [s.question], OPENINGS)[0] for s in samples]
    np.testing.assert_allclose(alone, left, rtol=2e-5)


def test_swapped_openings_give_the_complement(idefics3: Vlm, samples: list[Sample]) -> None:
    inputs, questions = prompt_batch(idefics3.processor, samples[:4]), [s.question for s in samples[:4]]
    swapped = VerdictOpenings(OPENINGS.defective, OPENINGS.passed)
    one = defective_probabilities(idefics3, inputs, questions, OPENINGS)
    other = defective_probabilities(idefics3, inputs, questions, swapped)
    np.testing.assert_allclose(np.add(one, other), 1, atol=1e-6)


def test_a_model_that_cannot_leave_out_logits(
    idefics3: Vlm, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = prompt_batch(idefics3.processor, samples[:3])
    continuations = [[40, 41, 42], [43], [44, 45]]
    wanted = log_probabilities(idefics3, inputs, continuations)
    forward = idefics3.base.forward

    def old_forward(
        input_ids: torch.Tensor, attention_mask: torch.Tensor, use_cache: bool, **pictures: object
    ) -> object:
        return forward(input_ids=input_ids, attention_mask=attention_mask, use_cache=use_cache, **pictures)

    monkeypatch.setattr(idefics3.base, "forward", old_forward)
    torch.testing.assert_close(log_probabilities(idefics3, inputs, continuations), wanted)


def test_the_log_softmax_runs_in_fp32_for_a_bf16_model(idefics3: Vlm, samples: list[Sample]) -> None:
    inputs = prompt_batch(idefics3.processor, samples[:3])
    idefics3.model.to(torch.bfloat16)
    half = replace_dtype(idefics3)
    logs = log_probabilities(half, inputs, [[40, 41], [42], [43]])
    assert logs.dtype == torch.float32
    # bf16 has 8 bits: a sum computed in it would be a multiple of 1/32 at this size.
    assert not torch.equal(logs, logs.to(torch.bfloat16).float())


def replace_dtype(vlm: Vlm) -> Vlm:
    vlm.dtype = torch.bfloat16
    return vlm


def test_logits_that_are_no_numbers_are_told(idefics3: Vlm, samples: list[Sample]) -> None:
    with torch.no_grad():
        idefics3.base.lm_head.weight[:] = float("nan")
    inputs = prompt_batch(idefics3.processor, samples[:2])
    with pytest.raises(ModelError, match="logits are not finite"):
        defective_probabilities(idefics3, inputs, [s.question for s in samples[:2]], OPENINGS)


def test_the_commonest_opening_wins() -> None:
    answers = [
        ("The product is passed.", PASSED, 21),
        ("The product is passed, all well.", PASSED, 21),
        ("Passed.", PASSED, 6),
        ("Defective: 5U missing", DEFECTIVE, 9),
        (" Defective at 3C", DEFECTIVE, 10),
        ("It is defective", DEFECTIVE, 15),
    ]
    assert choose_openings(answers) == VerdictOpenings("The product is passed", "Defective")
    assert choose_openings(reversed(answers)) == choose_openings(answers)


def test_ties_go_to_the_shortest_then_the_first() -> None:
    passed = [("B good", PASSED, 6), ("A good", PASSED, 6), ("All good", PASSED, 8)]
    defective = [("Bad thing", DEFECTIVE, 9), ("Bad", DEFECTIVE, 3)]
    for answers in (passed + defective, defective[::-1] + passed[::-1]):
        assert choose_openings(answers) == VerdictOpenings("A good", "Bad")


def test_without_one_verdict_there_are_no_openings() -> None:
    assert choose_openings([]) is None
    assert choose_openings([("Passed.", PASSED, 6)]) is None
    assert choose_openings([("Passed.", PASSED, 6), ("Bad", DEFECTIVE, 0)]) is None
    assert choose_openings([("Verdict: OK", PASSED, 8), ("Verdict: NG", DEFECTIVE, 8)]) is None
