"""Samples become model inputs, and completions are put behind prompts. One way for training, answering and verdicts.

Enters: samples, whose pictures are opened here, at batch time, or whose features are known (features.py). Leaves: the
model's keyword arguments as tensors on the CPU. Nothing is ever truncated: a cut picture placeholder is a wrong input,
not a shorter one.
Cost: rows are padded to the longest; sort by length to pay little.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from harness.errors import DataError, ModelError
from harness.records import Sample
from harness.vlm.prompt import chat_prompt

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from torch import Tensor

#: Labels at these places do not enter the loss (PyTorch's cross entropy ignores this value).
IGNORED = -100


def open_picture(sample: Sample) -> Image:
    """The sample's picture as RGB.

    Raises:
        DataError: the file is absent or no picture.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(sample.image_path) as picture:
            return picture.convert("RGB")
    except (OSError, UnidentifiedImageError) as error:
        raise picture_unread(sample, error) from error


def prompt_batch(
    processor: Any,
    samples: Sequence[Sample],
    *,
    padding_side: Literal["left", "right"] = "left",
    pictures: Sequence[Image] | None = None,
    features: Sequence[Tensor] | None = None,
) -> dict[str, Any]:
    """Prompts and pictures of the samples as one batch.

    Args:
        pictures: RGB pictures to show in place of the samples' own (a noise study's); None opens the samples' own.
        features: one [tokens, hidden] a sample, where the model goes by them; no picture is opened then.

    Returns:
        The processor's tensors: `input_ids` and `attention_mask` int64 [B, L], `pixel_values` float32 and what else the
        family has, or the list `image_features` as given. B = number of samples, L = the longest prompt in tokens.

    Raises:
        DataError: a picture cannot be read, or the processor refuses it or the question.
    """
    # Records mostly ask the same question; a template takes a millisecond to render.
    by_question = {
        question: chat_prompt(processor, question) for question in dict.fromkeys(s.question for s in samples)
    }
    prompts = [by_question[sample.question] for sample in samples]
    # As ProcessorMixin.apply_chat_template does: a template that writes <s> itself must not get a second one.
    bos = processor.tokenizer.bos_token
    own_bos = {"add_special_tokens": False} if bos and prompts[0].startswith(bos) else {}
    if features is not None:
        counts = [[len(one)] for one in features]
        return {
            **processor.text_inputs(prompts, counts, padding_side=padding_side, **own_bos),
            "image_features": list(features),
        }
    shown = [[picture] for picture in (map(open_picture, samples) if pictures is None else pictures)]
    try:
        inputs = processor(
            text=prompts,
            images=shown,
            padding=True,
            padding_side=padding_side,
            truncation=False,
            return_tensors="pt",
            **own_bos,
        )
    except ValueError as error:
        raise picture_refused(error, samples) from error
    return dict(inputs)


def by_length(processor: Any) -> Callable[[Sample], tuple[int, int, str]]:
    """A key that sorts records by length without preprocessing: by a picture's tokens, then by the text.

    Tokens come from the picture's size where the processor can tell (Phi-3-vision's follow the shape: a square has more
    than a wide one of four times its area), else the area stands for them.

    Raises:
        DataError: the key is asked for a record whose picture cannot be read.
    """
    tokens = getattr(processor.image_processor, "calc_num_image_tokens_from_image_size", None)

    def length(sample: Sample) -> tuple[int, int, str]:
        from PIL import Image, UnidentifiedImageError

        try:
            with Image.open(sample.image_path) as picture:
                width, height = picture.size
        except (OSError, UnidentifiedImageError) as error:
            raise picture_unread(sample, error) from error
        size = width * height if tokens is None else int(tokens(width, height))
        return size, len(sample.question) + len(sample.reference), sample.sample_id

    return length


def picture_unread(sample: Sample, error: Exception) -> DataError:
    """What to raise where a picture of the pool cannot be opened."""
    return DataError(
        f"the picture of record {sample.sample_id} cannot be read: {sample.image_path} ({error})",
        hint="the pool was changed from outside: add the source again with harness cycle --data SRC",
    )


def picture_refused(error: ValueError, samples: Sequence[Sample]) -> DataError:
    """What to raise where a processor raised on the samples."""
    names = ", ".join(sample.sample_id for sample in samples[:3])
    return DataError(
        f"the processor refuses a picture or a question ({error}); records {names}{' ...' * (len(samples) > 3)}",
        hint="harness audit --data SRC checks the pictures",
    )


def append_completions(
    inputs: Mapping[str, Any], completions: Sequence[Sequence[int]], *, pad_token_id: int
) -> dict[str, Any]:
    """Put one completion behind each row's prompt, padded on the right, with labels on the completions alone.

    On the right, because then the positions 0, 1, 2 ... that a model takes by itself are right in every row, and the
    padding lies behind all that is looked at.

    Args:
        inputs: a batch of prompts, padded on either side. Every tensor [B, L, ...] is taken as one per token: masks
            are 1 on the completion, type ids are 0 there (text), deeper ones repeat what the prompt's last token has.
        completions: B lists of token ids, none empty.
        pad_token_id: fills `input_ids` behind a row's end.

    Returns:
        The inputs with [B, L'] in place of [B, L], and `labels` int64 [B, L'] with IGNORED outside the completions.

    Raises:
        ModelError: the processor gives position ids, which cannot be continued without knowing the family.
    """
    import torch

    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    rows, width = ids.shape
    assert len(completions) == rows
    assert all(len(tokens) > 0 for tokens in completions)
    if "position_ids" in inputs:
        raise ModelError(
            "the processor gives position_ids, which cannot be continued behind the prompt",
            hint="take a checkpoint whose model computes its positions",
        )
    prompts = [mask[row].bool() for row in range(rows)]
    lengths = [int(prompts[row].sum()) + len(completions[row]) for row in range(rows)]
    result: dict[str, Any] = {}
    for name, tensor in inputs.items():
        if isinstance(tensor, list) or tensor.shape[:2] != (rows, width):
            result[name] = tensor
            continue
        wide = tensor.new_full((rows, max(lengths), *tensor.shape[2:]), pad_token_id if name == "input_ids" else 0)
        for row in range(rows):
            kept = tensor[row][prompts[row]]
            wide[row, : len(kept)] = kept
            behind = wide[row, len(kept) : lengths[row]]
            if name == "input_ids":
                behind.copy_(torch.tensor(completions[row], dtype=ids.dtype))
            elif name == "attention_mask":
                behind.fill_(1)
            elif tensor.ndim > 2:
                behind.copy_(kept[-1:].expand_as(behind))
        result[name] = wide
    labels = torch.full((rows, max(lengths)), IGNORED, dtype=torch.long)
    for row, tokens in enumerate(completions):
        labels[row, lengths[row] - len(tokens) : lengths[row]] = torch.tensor(tokens)
    result["labels"] = labels
    return result


def to_device(inputs: Mapping[str, Any], *, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Inputs on the model's device; floating-point ones (pixels, features) in the model's dtype."""

    def moved(value: Any) -> Any:
        if isinstance(value, list):
            return [moved(one) for one in value]
        if not hasattr(value, "is_floating_point"):
            return value
        return value.to(device, dtype if value.is_floating_point() else None, non_blocking=True)

    return {name: moved(value) for name, value in inputs.items()}
