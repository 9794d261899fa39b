"""Questions and answers in the checkpoint's own chat format.

Enters: a processor, a question, an answer. Leaves: the prompt up to where the model speaks, and the completion that a
model of this format would give: the answer and its end-of-turn token.

Training, answering and verdict probabilities all tokenise prompt and completion apart and put the ids together, so that
the three see the same ids. Cost: where a tokenizer would merge characters across that seam, the ids differ from those
of the text in one piece; the seam lies after a special token or a colon, where no known template merges.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from harness.errors import DataError, ModelError


def chat_prompt(processor: Any, question: str) -> str:
    """The prompt for one picture and one question, up to where the model's answer begins.

    Raises:
        DataError: the question holds one of the model's special tokens, such as its picture placeholder.
        ModelError: the chat template cannot hold a picture and a question.
    """
    _refuse_special(processor, question, "question")
    prompt = _render(processor, _user(question), add_generation_prompt=True)
    if question.strip() not in prompt or "{'type'" in prompt:
        raise ModelError(
            "the chat template does not take a message of a picture and a text",
            hint="take the checkpoint's own processor, with a chat template for pictures",
        )
    return prompt


def completion(processor: Any, question: str, answer: str, *, stop_token_ids: Sequence[int]) -> str:
    """What follows the prompt: the answer and the end of the turn as the chat template writes it.

    The template's text is cut after the first stop token behind the answer. Where it writes none (a template without
    an end-of-turn token, as LLaVA-1.5's), the tokenizer's end of text is appended, which must then be a stop token.
    White space around the answer is not part of it.

    Raises:
        DataError: the answer is empty or holds one of the model's special tokens.
        ModelError: the template does not write the answer, or its end of turn is no stop token.
    """
    _refuse_special(processor, answer, "answer")
    answer = answer.strip()
    if not answer:
        raise DataError("an empty answer cannot be trained on", hint="harness audit --data SRC lists empty answers")
    lead, tail = _around(processor, question, answer)
    tokenizer = processor.tokenizer
    stops = [str(token) for token in tokenizer.convert_ids_to_tokens(list(stop_token_ids))]
    cuts = [(tail.index(stop), len(stop)) for stop in stops if stop in tail]
    if cuts:
        start, length = min(cuts)
        return lead + answer + tail[: start + length]
    if tokenizer.eos_token_id not in stop_token_ids:
        raise ModelError(
            f"the chat template ends an answer with {tail!r}, and none of the stop tokens {', '.join(stops)} is in it",
            hint="set eos_token_id in the checkpoint's generation_config.json to its end-of-turn token",
        )
    return lead + answer + tail.rstrip() + str(tokenizer.eos_token)


def completion_ids(processor: Any, question: str, answer: str, *, stop_token_ids: Sequence[int]) -> list[int]:
    """The completion's token ids; the last one, and no other, is a stop token.

    Raises:
        DataError, ModelError: as `completion`.
    """
    text = completion(processor, question, answer, stop_token_ids=stop_token_ids)
    ids = _encode(processor, text)
    inner = [token for token in ids if token in set(stop_token_ids)]
    if not ids or ids[-1] not in stop_token_ids or len(inner) != 1:
        raise ModelError(
            f"the completion {text!r} does not end with its one stop token (ids {ids[-3:]})",
            hint="the tokenizer splits its own end-of-turn token: save the tokenizer with it as a special token",
        )
    return ids


def opening_ids(processor: Any, question: str, opening: str) -> list[int]:
    """Token ids of the beginning of an answer, as a completion would begin, without an end of turn.

    Raises:
        DataError: the opening is empty or holds one of the model's special tokens.
    """
    _refuse_special(processor, opening, "opening")
    if not opening.strip():
        raise DataError("an empty opening has no probability", hint="name the words that state the verdict")
    lead, _ = _around(processor, question, opening.strip())
    return _encode(processor, lead + opening.strip())


def prompt_digest(processor: Any) -> str:
    """A short hash of the prompt format, for the key under which answers are reused."""
    return hashlib.sha256(chat_prompt(processor, "What is shown?").encode()).hexdigest()[:16]


def _user(question: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]


def _render(processor: Any, messages: list[dict[str, Any]], *, add_generation_prompt: bool) -> str:
    from jinja2 import TemplateError

    try:
        return str(processor.apply_chat_template(messages, add_generation_prompt=add_generation_prompt, tokenize=False))
    except (TemplateError, TypeError) as error:
        raise ModelError(
            f"the chat template cannot write a message of a picture and a text: {error}",
            hint="take the checkpoint's own processor, with a chat template for pictures",
        ) from error


def _around(processor: Any, question: str, answer: str) -> tuple[str, str]:
    """What the template writes between prompt and answer, and after the answer."""
    prompt = chat_prompt(processor, question)
    # Templates take an assistant's message as parts or as plain text; one that expects text prints the parts.
    for content in ([{"type": "text", "text": answer}], answer):
        turn = {"role": "assistant", "content": content}
        try:
            whole = _render(processor, [*_user(question), turn], add_generation_prompt=False)
        except ModelError:
            continue
        begin = len(prompt) if whole.startswith(prompt) else whole.rfind(answer)
        at = whole.find(answer, begin) if begin >= 0 else -1
        if at >= 0 and "'type'" not in whole[begin:at]:
            return whole[begin:at], whole[at + len(answer) :]
    raise ModelError(
        f"the chat template does not write the answer {answer[:40]!r} as given",
        hint="take the checkpoint's own processor; its template must render an assistant's message",
    )


def _encode(processor: Any, text: str) -> list[int]:
    tokenizer = processor.tokenizer
    if text.startswith(" ") and _prefixes_a_space(tokenizer):
        # Such a tokenizer writes "answer" and " answer" as "▁answer" and "▁▁answer"; in running text it is the former.
        text = text[1:]
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


@lru_cache(maxsize=8)
def _prefixes_a_space(tokenizer: Any) -> bool:
    """Whether the tokenizer puts a space in front of a text by itself, as sentencepiece does."""
    first = tokenizer.convert_ids_to_tokens(tokenizer("a", add_special_tokens=False)["input_ids"])[0]
    return str(first).startswith("▁")


def _refuse_special(processor: Any, text: str, what: str) -> None:
    """A special token inside data would be read as one: a picture too many, or an end of turn in mid-sentence."""
    found = [token for token in _special_tokens(processor.tokenizer) if token in text]
    if found:
        raise DataError(
            f"the {what} {text[:60]!r} holds {found[0]!r}, which is a special token of the model",
            hint=f"remove it from the {what}; the picture and the turns are placed by the chat template",
        )


@lru_cache(maxsize=8)
def _special_tokens(tokenizer: Any) -> tuple[str, ...]:
    added = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
    return tuple(sorted({*map(str, tokenizer.all_special_tokens), *added}))
