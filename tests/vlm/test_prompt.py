"""The chat format: what is asked, what is trained, and that data cannot break out of it."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
from transformers import AutoProcessor

from harness.errors import DataError, ModelError
from harness.vlm import phi3v
from harness.vlm.load import Vlm
from harness.vlm.prompt import chat_prompt, completion, completion_ids, opening_ids, prompt_digest

ANSWER = "The product in the bottom image is passed."


def test_prompts_are_the_templates(idefics3: Vlm, llava: Vlm) -> None:
    assert chat_prompt(idefics3.processor, "What is it?") == (
        "<|im_start|>User:<image>What is it?<end_of_utterance>\nAssistant:"
    )
    assert chat_prompt(llava.processor, "What is it?") == "USER: <image>\nWhat is it? ASSISTANT:"


def test_completions_end_with_the_models_own_end_of_turn(idefics3: Vlm, llava: Vlm) -> None:
    # Idefics3's template writes a space, the end of the turn and a line end, which is cut off.
    text = completion(idefics3.processor, "What is it?", ANSWER, stop_token_ids=idefics3.stop_token_ids)
    assert text == f" {ANSWER}<end_of_utterance>"
    # LLaVA's writes no end at all: the tokenizer's end of text stands in.
    text = completion(llava.processor, "What is it?", f" {ANSWER}\n", stop_token_ids=llava.stop_token_ids)
    assert text == f" {ANSWER}</s>"


def test_completion_ids_are_those_of_running_text(idefics3: Vlm, llava: Vlm) -> None:
    names = idefics3.processor.tokenizer.convert_ids_to_tokens
    ids = completion_ids(idefics3.processor, "What is it?", "The cube", stop_token_ids=idefics3.stop_token_ids)
    assert names(ids) == ["ĠThe", "Ġcube", "<end_of_utterance>"]
    names = llava.processor.tokenizer.convert_ids_to_tokens
    ids = completion_ids(llava.processor, "What is it?", "The cube", stop_token_ids=llava.stop_token_ids)
    # One "▁", not two: the tokenizer's own space stands for the template's; and no <s> in mid-text.
    assert names(ids) == ["▁The", "▁cube", "</s>"]


def test_prompt_and_completion_apart_are_the_ids_of_the_whole(vlm: Vlm) -> None:
    tokenizer = vlm.processor.tokenizer
    prompt = chat_prompt(vlm.processor, "What is it?")
    text = completion(vlm.processor, "What is it?", ANSWER, stop_token_ids=vlm.stop_token_ids)
    apart = completion_ids(vlm.processor, "What is it?", ANSWER, stop_token_ids=vlm.stop_token_ids)
    prompt_ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    assert tokenizer(prompt + text, add_special_tokens=False)["input_ids"] == prompt_ids + apart


def test_an_opening_is_the_beginning_of_a_completion(vlm: Vlm) -> None:
    whole = completion_ids(vlm.processor, "What is it?", ANSWER, stop_token_ids=vlm.stop_token_ids)
    opening = opening_ids(vlm.processor, "What is it?", ANSWER.removesuffix("."))
    assert opening == whole[: len(opening)]
    assert len(opening) == len(whole) - 2
    with pytest.raises(DataError, match="empty opening"):
        opening_ids(vlm.processor, "What is it?", "  ")


def test_phi_3_visions_ids_are_the_originals(shared: Path) -> None:
    # What the published processor makes of a whole conversation, with the real tokenizer.
    goldens = json.loads((shared / "phi3v" / "goldens" / "processor.json").read_text("utf-8"))
    answered = next(prompt for prompt in goldens["prompts"] if prompt["name"] == "answered")
    phi3v.register()
    processor = AutoProcessor.from_pretrained(shared / "phi3v" / "hub" / "Phi-3-vision-128k-instruct")
    question, answer = "Is there a defect? Answer yes or no.", "Yes, a scratch near the left edge."
    prompt = chat_prompt(processor, question)
    text = completion(processor, question, answer, stop_token_ids=[32007, 32000])
    assert answered["text"] == f"{prompt}{text}\n<|endoftext|>"
    ids = completion_ids(processor, question, answer, stop_token_ids=[32007, 32000])
    whole = answered["input_ids_rle"]
    begin = whole.index(32001) + 1
    assert ids == whole[begin : whole.index(32007, begin) + 1]
    opening = opening_ids(processor, question, "Yes, a scratch")
    assert opening == ids[: len(opening)]
    assert opening == [3869, 29892, 263, 22728]


def test_japanese_goes_through(idefics3: Vlm) -> None:
    answer = "下の製品は不良です。5Uのキューブが欠けています。"
    ids = completion_ids(idefics3.processor, "良否を判定してください。", answer, stop_token_ids=idefics3.stop_token_ids)
    decoded = idefics3.processor.tokenizer.decode(ids[:-1], clean_up_tokenization_spaces=False)
    assert decoded.strip() == answer


@pytest.mark.parametrize("token", ["<image>", "<end_of_utterance>", "<pad>", "<row_1_col_2>"])
def test_special_tokens_in_data_are_refused_by_name(idefics3: Vlm, token: str) -> None:
    with pytest.raises(DataError, match=f"the question .* holds '{token}'"):
        chat_prompt(idefics3.processor, f"{token}\nWhat is it?")
    with pytest.raises(DataError, match=f"the answer .* holds '{token}'"):
        completion(idefics3.processor, "What is it?", f"passed{token}", stop_token_ids=idefics3.stop_token_ids)
    with pytest.raises(DataError, match=f"the opening .* holds '{token}'"):
        opening_ids(idefics3.processor, "What is it?", f"passed{token}")


def test_an_empty_answer_is_refused(vlm: Vlm) -> None:
    with pytest.raises(DataError, match="empty answer"):
        completion_ids(vlm.processor, "What is it?", " \n", stop_token_ids=vlm.stop_token_ids)


def test_a_template_that_takes_an_assistants_text_as_text(idefics3: Vlm) -> None:
    processor = copy.copy(idefics3.processor)
    processor.chat_template = (
        "{% for m in messages %}{% if m['role'] == 'user' %}User:<image>{{ m['content'][1]['text'] }}\n"
        "{% else %}Assistant: {{ m['content'] }}<end_of_utterance>\n{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}Assistant:{% endif %}"
    )
    text = completion(processor, "What is it?", ANSWER, stop_token_ids=idefics3.stop_token_ids)
    assert text == f" {ANSWER}<end_of_utterance>"


def test_a_template_whose_prompt_is_no_beginning_of_the_whole(idefics3: Vlm) -> None:
    # As templates do that open a thinking block for the model and leave it out of finished turns.
    processor = copy.copy(idefics3.processor)
    processor.chat_template = idefics3.processor.chat_template.replace("'Assistant:'", "'Assistant:<think>'")
    text = completion(processor, "What is it?", ANSWER, stop_token_ids=idefics3.stop_token_ids)
    assert text == f"{ANSWER}<end_of_utterance>"


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{{ m['role'] + m['content'] }}{% endfor %}",
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}{% endfor %}",
        "{{ raise_exception('text only') }}",
        "fixed text",
    ],
)
def test_a_template_that_takes_no_picture(idefics3: Vlm, template: str) -> None:
    processor = copy.copy(idefics3.processor)
    processor.chat_template = template
    with pytest.raises(ModelError, match="chat template"):
        chat_prompt(processor, "What is it?")


def test_a_template_that_drops_the_answer(idefics3: Vlm) -> None:
    processor = copy.copy(idefics3.processor)
    processor.chat_template = "{% for m in messages[:1] %}User:<image>{{ m['content'][1]['text'] }}{% endfor %}"
    with pytest.raises(ModelError, match="does not write the answer"):
        completion(processor, "What is it?", ANSWER, stop_token_ids=idefics3.stop_token_ids)


def test_an_end_of_turn_that_stops_nothing(idefics3: Vlm) -> None:
    pad = idefics3.pad_token_id
    with pytest.raises(ModelError, match="none of the stop tokens <pad> is in it"):
        completion(idefics3.processor, "What is it?", ANSWER, stop_token_ids=[pad])


def test_the_digest_follows_the_template(idefics3: Vlm, llava: Vlm) -> None:
    processor = copy.copy(idefics3.processor)
    assert prompt_digest(processor) == prompt_digest(idefics3.processor) != prompt_digest(llava.processor)
    processor.chat_template = processor.chat_template.replace("Assistant", "Inspector")
    assert prompt_digest(processor) != prompt_digest(idefics3.processor)
