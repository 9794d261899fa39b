"""Samples as model inputs, and completions behind prompts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from harness.errors import DataError, ModelError
from harness.records import Sample
from harness.vlm.batch import IGNORED, append_completions, by_length, prompt_batch, to_device
from harness.vlm.load import Vlm, load_vlm
from tests import tiny_vlm
from tests.vlm.phi3v.build import tiny_processor


def _unpadded(vlm: Vlm, sample: Sample) -> torch.Tensor:
    return prompt_batch(vlm.processor, [sample])["input_ids"][0]


def test_rows_of_a_batch_are_the_single_prompts(vlm: Vlm, samples: list[Sample]) -> None:
    batch = prompt_batch(vlm.processor, samples, padding_side="left")
    assert batch["attention_mask"].dtype == torch.int64
    lengths = batch["attention_mask"].sum(dim=1)
    assert len(set(lengths.tolist())) > 1, "the samples must differ in length for this test to say anything"
    for row, sample in enumerate(samples):
        single = _unpadded(vlm, sample)
        assert torch.equal(batch["input_ids"][row, -int(lengths[row]) :], single)
        assert not batch["attention_mask"][row, : -int(lengths[row])].any()


def test_bos_appears_once(idefics3: Vlm, llava: Vlm, samples: list[Sample]) -> None:
    # Idefics3's template writes it, LLaVA's tokenizer does. (Phi-3-vision was trained with one after each picture too.)
    for vlm in (idefics3, llava):
        ids = _unpadded(vlm, samples[0])
        assert int((ids == vlm.processor.tokenizer.bos_token_id).sum()) == 1
        assert ids[0] == vlm.processor.tokenizer.bos_token_id


@pytest.mark.parametrize("side", ["left", "right"])
def test_completions_follow_prompts_whatever_the_padding(vlm: Vlm, samples: list[Sample], side: str) -> None:
    inputs = prompt_batch(vlm.processor, samples[:4], padding_side="left" if side == "left" else "right")
    completions = [[7], [8, 9, 10], [11, 12], [13]]
    batch = append_completions(inputs, completions, pad_token_id=vlm.pad_token_id)
    for row, sample in enumerate(samples[:4]):
        prompt = _unpadded(vlm, sample).tolist()
        whole = prompt + completions[row]
        assert batch["input_ids"][row, : len(whole)].tolist() == whole
        assert batch["input_ids"][row, len(whole) :].tolist() == [vlm.pad_token_id] * (
            batch["input_ids"].shape[1] - len(whole)
        )
        assert batch["attention_mask"][row].tolist() == [1] * len(whole) + [0] * (
            batch["input_ids"].shape[1] - len(whole)
        )
        assert batch["labels"][row, : len(prompt)].tolist() == [IGNORED] * len(prompt)
        assert batch["labels"][row, len(prompt) : len(whole)].tolist() == completions[row]
        assert batch["labels"][row, len(whole) :].unique().tolist() in ([], [IGNORED])
    assert torch.equal(batch["pixel_values"], inputs["pixel_values"])


def test_tensors_per_token_are_carried_along() -> None:
    inputs = {
        "input_ids": torch.tensor([[0, 5, 6], [7, 8, 9]]),
        "attention_mask": torch.tensor([[0, 1, 1], [1, 1, 1]]),
        "mm_token_type_ids": torch.tensor([[0, 1, 2], [3, 4, 5]]),
        "cross_attention_mask": torch.tensor([[[0], [1], [2]], [[3], [4], [5]]]),
        "pixel_values": torch.zeros(2, 1, 3, 4, 4),
    }
    batch = append_completions(inputs, [[11, 12], [13]], pad_token_id=0)
    assert batch["input_ids"].tolist() == [[5, 6, 11, 12], [7, 8, 9, 13]]
    # Text is type 0; what the last token of the prompt sees of the pictures, the answer sees too.
    assert batch["mm_token_type_ids"].tolist() == [[1, 2, 0, 0], [3, 4, 5, 0]]
    assert batch["cross_attention_mask"].squeeze(-1).tolist() == [[1, 2, 2, 2], [3, 4, 5, 5]]
    assert batch["labels"].tolist() == [[IGNORED, IGNORED, 11, 12], [IGNORED, IGNORED, IGNORED, 13]]
    with pytest.raises(ModelError, match="position_ids"):
        append_completions(inputs | {"position_ids": inputs["input_ids"]}, [[1], [2]], pad_token_id=0)


def test_the_processors_inputs_are_not_changed(vlm: Vlm, samples: list[Sample]) -> None:
    inputs = prompt_batch(vlm.processor, samples[:2])
    before = {name: tensor.clone() for name, tensor in inputs.items()}
    append_completions(inputs, [[1], [2, 3]], pad_token_id=vlm.pad_token_id)
    assert all(torch.equal(tensor, before[name]) for name, tensor in inputs.items())


def test_only_floats_change_dtype() -> None:
    moved = to_device(
        {"input_ids": torch.tensor([1]), "pixel_values": torch.zeros(1), "sizes": [(3, 4)]},
        device=torch.device("cpu"),
        dtype=torch.bfloat16,
    )
    assert moved["input_ids"].dtype == torch.int64
    assert moved["pixel_values"].dtype == torch.bfloat16
    assert moved["sizes"] == [(3, 4)]


def test_what_the_processor_refuses_is_told_with_the_records(samples: list[Sample]) -> None:
    vlm = load_vlm(str(tiny_vlm.checkpoint("phi3v")), device="cpu")
    two = replace(samples[0], sample_id="two", question="<|image_2|>\nWhat is it?")
    with pytest.raises(DataError, match=r"the processor refuses .*tags are <\|image_1\|> <\|image_2\|>.* records two"):
        prompt_batch(vlm.processor, [two])


def test_pictures_that_cannot_be_read_are_named(vlm: Vlm, samples: list[Sample], tmp_path: Path) -> None:
    absent = replace(samples[0], sample_id="absent", image_path=tmp_path / "absent.png")
    with pytest.raises(DataError, match=r"record absent cannot be read: .*absent\.png"):
        prompt_batch(vlm.processor, [samples[1], absent])
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(DataError, match="record text cannot be read"):
        prompt_batch(vlm.processor, [replace(samples[0], sample_id="text", image_path=tmp_path / "text.png")])
    (tmp_path / "torn.png").write_bytes(samples[0].image_path.read_bytes()[:70])
    with pytest.raises(DataError, match="record torn cannot be read"):
        prompt_batch(vlm.processor, [replace(samples[0], sample_id="torn", image_path=tmp_path / "torn.png")])


def test_the_longest_record_has_the_most_tokens(tmp_path: Path) -> None:
    """For Phi-3-vision a small square has more tokens than a large wide picture; elsewhere the area stands for them."""
    samples, sizes = [], [(640, 160), (96, 96), (64, 64)]
    for number, size in enumerate(sizes):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", size).save(path)
        samples.append(Sample(str(number), str(number), path, "?", "yes", None, 1, "g"))
    processor = tiny_processor()
    tokens = [processor.image_processor.calc_num_image_tokens_from_image_size(*size) for size in sizes]
    order = sorted(samples, key=by_length(processor), reverse=True)
    assert [tokens[int(s.sample_id)] for s in order] == sorted(tokens, reverse=True)
    assert tokens[1] != tokens[0]
    without = SimpleNamespace(image_processor=SimpleNamespace())
    assert [s.sample_id for s in sorted(samples, key=by_length(without), reverse=True)] == ["0", "1", "2"]
    longer = replace(samples[2], sample_id="3", reference="yes, at great length")
    assert max(samples[2], longer, key=by_length(processor)) is longer
