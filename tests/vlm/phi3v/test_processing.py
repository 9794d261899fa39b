"""Prompts with pictures: the original's ids, the chat format, padding, and what does not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoProcessor, AutoTokenizer

from harness.vlm import phi3v
from harness.vlm.phi3v.processing import Phi3VProcessor
from tests.vlm.phi3v.build import GOLDENS, pictures, prompt, tiny_processor

PROMPTS = {one["name"]: one for one in json.loads((GOLDENS / "processor.json").read_text("utf-8"))["prompts"]}
HUB = ("Phi-3-vision-128k-instruct", "Phi-3.5-vision-instruct")


@pytest.fixture(scope="module")
def processor() -> Phi3VProcessor:
    return tiny_processor()


@pytest.fixture(scope="module", params=HUB)
def published(request: pytest.FixtureRequest, shared: Path) -> Phi3VProcessor:
    """The processor of a published checkpoint."""
    phi3v.register()
    found: Phi3VProcessor = AutoProcessor.from_pretrained(shared / "phi3v" / "hub" / request.param)
    return found


def _golden_ids(case: dict[str, Any]) -> list[int]:
    runs = [run if isinstance(run, list) else [run, 1] for run in case["input_ids_rle"]]
    return [token for token, count in runs for _ in range(count)]


def _golden_pictures(case: dict[str, Any]) -> list[Any]:
    from PIL import Image

    found = []
    for name in case["images"]:
        with Image.open(GOLDENS / "images" / f"{name}.png") as picture:
            found.append(picture.convert("RGB"))
    return found


@pytest.mark.parametrize("name", PROMPTS)
def test_ids_are_the_originals(published: Phi3VProcessor, name: str) -> None:
    case = PROMPTS[name]
    made = published(text=case["text"], images=_golden_pictures(case) or None, num_crops=case["num_crops"])
    assert made["input_ids"].tolist() == [_golden_ids(case)]
    assert bool(made["attention_mask"].all()) == case["attention_mask_all_ones"]
    assert sorted(made) == sorted(case["keys"])


def test_ids_are_the_originals_after_saving(published: Phi3VProcessor, tmp_path: Path) -> None:
    # No config.json lies here: AutoTokenizer alone would take LlamaTokenizer, whose ids are others.
    published.save_pretrained(tmp_path)
    for again in (AutoProcessor.from_pretrained(tmp_path), Phi3VProcessor.from_pretrained(tmp_path)):
        assert again.image_processor.to_dict() == published.image_processor.to_dict()
        assert again.chat_template == published.chat_template
        for case in PROMPTS.values():
            made = again(text=case["text"], images=_golden_pictures(case) or None, num_crops=case["num_crops"])
            assert made["input_ids"].tolist() == [_golden_ids(case)]


def test_a_batch_of_golden_prompts_is_padded_on_the_left(published: Phi3VProcessor) -> None:
    cases = list(PROMPTS.values())
    made = published(text=[c["text"] for c in cases], images=[_golden_pictures(c) for c in cases], num_crops=4)
    assert len(made["pixel_values"]) == sum(len(c["images"]) for c in cases)
    for row, case in enumerate(cases):
        ids = _golden_ids(case)
        width = made["input_ids"].shape[1]
        assert made["input_ids"][row].tolist() == [32000] * (width - len(ids)) + ids
        assert made["attention_mask"][row].tolist() == [0] * (width - len(ids)) + [1] * len(ids)


def test_tokenizer_of_the_auto_class(shared: Path) -> None:
    phi3v.register()
    text = PROMPTS["text"]
    for name in HUB:
        tokenizer = AutoTokenizer.from_pretrained(shared / "phi3v" / "hub" / name)
        assert tokenizer(text["text"]).input_ids == _golden_ids(text)


def test_chat_template_writes_the_published_format(processor: Phi3VProcessor) -> None:
    picture = {"type": "image"}

    def say(text: str) -> dict[str, str]:
        return {"type": "text", "text": text}

    multi_turn = PROMPTS["multi_turn"]["text"]
    question, answer, more = "Is there a defect? Answer yes or no.", "Yes.", "Where is it?"
    turns = [
        {"role": "user", "content": [picture, say(question)]},
        {"role": "assistant", "content": [say(answer)]},
        {"role": "user", "content": more},
    ]
    assert processor.apply_chat_template(turns, add_generation_prompt=True) == multi_turn
    turns[1] = {"role": "assistant", "content": answer}
    assert processor.apply_chat_template(turns, add_generation_prompt=True) == multi_turn
    two = [{"role": "user", "content": [picture, picture, say("Compare the two pictures.")]}]
    assert processor.apply_chat_template(two, add_generation_prompt=True) == PROMPTS["two"]["text"]
    system = [{"role": "system", "content": "You are a careful inspector."}, turns[0]]
    assert processor.apply_chat_template(system, add_generation_prompt=True) == (
        "<|system|>\nYou are a careful inspector.<|end|>\n" + multi_turn.split("Yes.")[0]
    )
    later = [*turns[:2], {"role": "user", "content": [picture, say(more)]}]
    assert "<|user|>\n<|image_2|>\nWhere is it?" in processor.apply_chat_template(later, add_generation_prompt=True)
    assert processor.apply_chat_template(turns[:2]).endswith(f"<|assistant|>\n{answer}<|end|>\n")
    # As on the model card: a plain text that holds the tags itself.
    plain = [{"role": "user", "content": f"<|image_1|>\n{question}"}]
    assert processor.apply_chat_template(plain, add_generation_prompt=True) == multi_turn.split("Yes.")[0]


def test_chat_template_with_pictures_in_it(processor: Phi3VProcessor) -> None:
    chats = [
        [
            {
                "role": "user",
                "content": [
                    *({"type": "image", "image": picture} for picture in own),
                    {"type": "text", "text": "What?"},
                ],
            }
        ]
        for own in (pictures(2), pictures(1))
    ]
    made = processor.apply_chat_template(
        chats, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    wanted = processor(text=[prompt("What?", 2), prompt("What?")], images=[pictures(2), pictures(1)])
    assert set(made) == set(wanted)
    assert all(torch.equal(made[key], wanted[key]) for key in wanted)


def test_pictures_come_in_several_forms(processor: Phi3VProcessor) -> None:
    first, second = pictures(2)
    one = processor(text=prompt("What?"), images=first)
    for same in ([first], [[first]], (first,), [np.asarray(first)]):
        found = processor(text=[prompt("What?")], images=same)
        assert torch.equal(found["pixel_values"], one["pixel_values"])
        assert torch.equal(found["input_ids"], one["input_ids"])
    assert torch.equal(processor(prompt("What?"), [first])["input_ids"], one["input_ids"])
    assert torch.equal(processor([first], prompt("What?"))["input_ids"], one["input_ids"])
    # One picture a row needs no nesting.
    flat = processor(text=[prompt("What?"), prompt("Where?")], images=[first, second])
    nested = processor(text=[prompt("What?"), prompt("Where?")], images=[[first], [second]])
    assert all(torch.equal(flat[key], nested[key]) for key in nested)
    text = processor(text="<|user|>\nWhat?<|end|>\n<|assistant|>\n")
    assert sorted(text) == ["attention_mask", "input_ids"]


def test_tags_in_any_order(processor: Phi3VProcessor) -> None:
    # The original takes this without an error, and shows the model each picture at the other's place.
    first, second = pictures(2)
    made = processor(text="<|user|>\n<|image_2|>\n<|image_1|>\nCompare.<|end|>\n", images=[first, second])
    turned = processor(text="<|user|>\n<|image_1|>\n<|image_2|>\nCompare.<|end|>\n", images=[second, first])
    assert torch.equal(made["pixel_values"], turned["pixel_values"])
    assert torch.equal(made["image_sizes"], turned["image_sizes"])
    marks = [token for token in made["input_ids"][0].tolist() if token < 0]
    tokens = processor.image_processor.calc_num_image_tokens([first, second])
    assert marks == [-2] * tokens[1] + [-1] * tokens[0]


@pytest.mark.parametrize(
    ("text", "count", "message"),
    [
        ("<|image_1|>\na", 2, r"^2 pictures for 1 tags: the text's tags are <\|image_1\|>, it needs"),
        ("<|image_1|> <|image_2|> a", 1, r"^1 pictures for 2 tags"),
        ("<|image_1|> <|image_1|> a", 2, r"^2 pictures for 2 tags: the text's tags are <\|image_1\|> <\|image_1\|>"),
        ("<|image_2|> a", 1, r"^1 pictures for 1 tags: the text's tags are <\|image_2\|>"),
        ("<|image_0|> a", 1, r"^1 pictures for 1 tags: the text's tags are <\|image_0\|>"),
        ("a", 1, r"^1 pictures for 0 tags: the text's tags are none"),
        ("<|image_1|> a", 0, r"^0 pictures for 1 tags"),
        (["<|image_1|> a", "b"], [1, 1], r"^row 1: 1 pictures for 0 tags"),
        (["<|image_1|> a", "b"], [1], r"^1 rows of pictures for 2 texts"),
        (["<|image_1|> a", "b"], 1, r"^1 pictures for 2 texts: give a list of pictures a row"),
    ],
)
def test_tags_and_pictures_that_do_not_fit(
    processor: Phi3VProcessor, text: Any, count: int | list[int], message: str
) -> None:
    images = [pictures(n) for n in count] if isinstance(count, list) else pictures(count)
    with pytest.raises(ValueError, match=message):
        processor(text=text, images=images)


def test_other_mistakes(processor: Phi3VProcessor) -> None:
    picture = pictures(1)[0]
    with pytest.raises(ValueError, match="needs a text"):
        processor(images=picture)
    with pytest.raises(ValueError, match="not mixed"):
        processor(text=["<|image_1|> a", "<|image_1|> b"], images=[picture, [picture]])
    with pytest.raises(ValueError, match="no videos and no audio"):
        processor(text="a", videos=[picture])
    with pytest.raises(ValueError, match="rows of unequal length"):
        processor(text=["a", "passed or defective"], padding=False)
    with pytest.raises(ValueError, match="padding='long'"):
        processor(text=["a", "passed or defective"], padding="long")
    with pytest.raises(ValueError, match="padding_side='top'"):
        processor(text="a", padding_side="top")
    with pytest.raises(TypeError, match="num_crop"):
        processor(text="a", num_crop=4)


def test_padding(processor: Phi3VProcessor) -> None:
    texts = ["a", "passed or defective"]
    rows = [processor(text=text)["input_ids"][0].tolist() for text in texts]
    pad, width = processor.tokenizer.pad_token_id, max(map(len, rows))
    right = processor(text=texts, padding_side="right")
    assert right["input_ids"][0].tolist() == rows[0] + [pad] * (width - len(rows[0]))
    assert processor(text=texts, pad_to_multiple_of=16)["input_ids"].shape == (2, 16)
    assert processor(text=texts, padding="max_length", max_length=40)["input_ids"].shape == (2, 40)
    loose = processor(text=texts, padding=False, return_tensors=None)
    assert loose["input_ids"] == rows
    assert loose["attention_mask"] == [[1] * len(row) for row in rows]
    other = tiny_processor()
    assert other.tokenizer.padding_side == "left"
    other.tokenizer.padding_side = "right"
    assert torch.equal(other(text=texts)["input_ids"], right["input_ids"])
    grouped = processor(text=texts, text_kwargs={"padding_side": "right"}, images_kwargs={"num_crops": 1})
    assert torch.equal(grouped["input_ids"], right["input_ids"])


def test_truncation_never_cuts_a_picture(processor: Phi3VProcessor) -> None:
    text = "passed or defective, passed or defective"
    whole = processor(text=text)["input_ids"][0].tolist()
    assert processor(text=text, truncation=True, max_length=5)["input_ids"][0].tolist() == whole[:5]
    fits = processor(text=prompt("What?"), images=pictures(1), truncation=True, max_length=1000)
    assert int((fits["input_ids"] < 0).sum()) == 27
    with pytest.raises(ValueError, match=r"row 0 has \d+ tokens, 27 of them a picture's: cutting it to 20 would cut"):
        processor(text=prompt("What?"), images=pictures(1), truncation=True, max_length=20)


def test_decoding_leaves_pictures_out(processor: Phi3VProcessor) -> None:
    made = processor(text=[prompt("Compare the two images."), prompt("Is the cube missing?")], images=pictures(2))
    texts = processor.batch_decode(made["input_ids"], skip_special_tokens=True)
    assert [text.split() for text in texts] == [["Compare", "the", "two", "images."], ["Is", "the", "cube", "missing?"]]
    assert processor.decode(made["input_ids"][0].tolist(), skip_special_tokens=True) == texts[0]
