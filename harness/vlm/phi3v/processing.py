"""Phi3VProcessor: prompts with <|image_1|> tags and pictures -> model inputs, with the original's very token ids.

Enters: texts (one or many) and pictures (a list a row, or one list for one row). Leaves: input_ids in which a picture's
tokens are its negative number (-1, -2, ...), attention_mask, pixel_values, image_sizes. The text is cut at the tags and
each piece is tokenised by itself, so that a second <s> follows every picture: the model was trained so.
Rows are padded on the left by default. Nothing that holds a picture is ever truncated.

The negative ids are the published contract, and the model's own `generate` handles them. What looks ids up by itself
(an embedding, a tokenizer's decode) must leave them out first; this processor's decode does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from transformers import BatchFeature, PreTrainedTokenizerFast, ProcessorMixin

from harness.vlm.phi3v.image_processing import Phi3VImageProcessor

_TAG = re.compile(r"<\|image_(\d+)\|>")

#: the published format, for messages whose content is a text or a list of parts; pictures are numbered in their order
CHAT_TEMPLATE = (
    "{%- set ns = namespace(image=0) -%}"
    "{%- for message in messages -%}"
    "{{- '<|' + message['role'] + '|>\n' -}}"
    "{%- if message['content'] is string -%}{{- message['content'] -}}"
    "{%- else -%}"
    "{%- for part in message['content'] -%}"
    "{%- if part['type'] == 'image' -%}{%- set ns.image = ns.image + 1 -%}{{- '<|image_' ~ ns.image ~ '|>\n' -}}"
    "{%- elif part['type'] == 'text' -%}{{- part['text'] -}}{%- endif -%}"
    "{%- endfor -%}"
    "{%- endif -%}"
    "{{- '<|end|>\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt and messages[-1]['role'] != 'assistant' -%}{{- '<|assistant|>\n' -}}{%- endif -%}"
)


class Phi3VProcessor(ProcessorMixin):  # type: ignore[misc]  # transformers is untyped
    """The processor of Phi-3-vision: an image processor, a tokenizer, and the chat format."""

    def __init__(self, image_processor: Any, tokenizer: Any, chat_template: str | None = None, **kwargs: Any) -> None:
        self.image_processor = image_processor
        self.tokenizer = tokenizer
        super().__init__(image_processor, tokenizer, chat_template=chat_template or CHAT_TEMPLATE)
        # The published files say right, which is of no use to generate().
        self.tokenizer.padding_side = "left"

    @classmethod
    def _get_arguments_from_pretrained(cls, folder: Any, processor_dict: Any = None, **kwargs: Any) -> list[Any]:
        # Not the auto classes. AutoTokenizer obeys the published tokenizer_class, LlamaTokenizer, where no config.json
        # lies beside it, and that gives other ids. AutoImageProcessor needs torchvision before transformers 5.24.
        return [
            Phi3VImageProcessor.from_pretrained(folder, **kwargs),
            PreTrainedTokenizerFast.from_pretrained(folder, **kwargs),
        ]

    def __call__(
        self,
        images: Any = None,
        text: str | Sequence[str] | None = None,
        *,
        padding: bool | str = True,
        padding_side: str | None = None,
        pad_to_multiple_of: int | None = None,
        max_length: int | None = None,
        truncation: bool | None = None,
        add_special_tokens: bool = True,
        num_crops: int | None = None,
        return_tensors: str | None = "pt",
        videos: None = None,
        audio: None = None,
        text_kwargs: dict[str, Any] | None = None,
        images_kwargs: dict[str, Any] | None = None,
    ) -> BatchFeature:
        """Prompts and pictures -> model inputs.

        Args:
            images: pictures by the numbers of their tags: one for one prompt, a list for one prompt, or a list a row.
            text: one prompt or several. In either order with `images`, as the published processor took them.
            padding: True fills up to the longest row, "max_length" up to `max_length`; False leaves rows as they are.
            padding_side: "left" or "right"; None is the tokenizer's, which is left unless it was set otherwise.
            pad_to_multiple_of: the width is filled up to a multiple of this.
            max_length: in tokens; of use with padding="max_length" and truncation=True alone.
            truncation: rows of mere text are cut to `max_length`; a longer row with pictures is an error.
            add_special_tokens: whether each piece of text begins with <s>, as the model was trained.
            num_crops: in place of the image processor's own.
            return_tensors: "pt", "np", or None, which leaves lists of ids, and torch tensors of pictures.
            videos, audio: None; named because transformers' callers name them.
            text_kwargs, images_kwargs: more of the above, as transformers' callers group them.

        Returns:
            `input_ids` and `attention_mask` [B, L]; with pictures `pixel_values` [pictures, num_crops + 1, 3, H, W] and
            `image_sizes` [pictures, 2], in the order in which the texts name them.

        Raises:
            ValueError: tags and pictures do not fit, a picture would be truncated, or a picture is refused.
        """
        if text_kwargs or images_kwargs:
            own: dict[str, Any] = {
                "padding": padding, "padding_side": padding_side, "pad_to_multiple_of": pad_to_multiple_of,
                "max_length": max_length, "truncation": truncation, "add_special_tokens": add_special_tokens,
                "num_crops": num_crops, "return_tensors": return_tensors,
            }  # fmt: skip
            return self(images, text, **own | (text_kwargs or {}) | (images_kwargs or {}))
        if _is_text(images) or (text is not None and not _is_text(text)):
            images, text = text, images
        if text is None or not _is_text(text):
            raise ValueError("Phi-3-vision needs a text, or a list of texts")
        if videos is not None or audio is not None:
            raise ValueError("Phi-3-vision takes pictures and text, no videos and no audio")
        texts = [text] if isinstance(text, str) else list(text)
        rows = [
            _named_pictures(one, pictures, f"row {number}: " if len(texts) > 1 else "")
            for number, (one, pictures) in enumerate(zip(texts, _rows_of_pictures(images, len(texts)), strict=True))
        ]
        pictures = [picture for row in rows for picture in row]
        seen = self.image_processor(pictures, num_crops=num_crops) if pictures else None
        tokens = iter(seen["num_img_tokens"].tolist() if seen is not None else ())
        ids = [
            self._encode(one, [next(tokens) for _ in row], add_special_tokens)
            for one, row in zip(texts, rows, strict=True)
        ]
        if truncation and max_length is not None:
            ids = [_truncated(one, max_length, number) for number, one in enumerate(ids)]
        data: dict[str, Any] = {"input_ids": ids, "attention_mask": [[1] * len(one) for one in ids]}
        if padding is not False:
            side = padding_side or self.tokenizer.padding_side
            data = _padded(ids, self.tokenizer.pad_token_id, side, _width(ids, padding, max_length, pad_to_multiple_of))
        elif return_tensors is not None and len({len(one) for one in ids}) > 1:
            raise ValueError("rows of unequal length need padding=True, or return_tensors=None")
        if return_tensors is not None:
            data = {name: torch.tensor(value) for name, value in data.items()}
        if seen is not None:
            data["pixel_values"], data["image_sizes"] = seen["pixel_values"], seen["image_sizes"]
        return BatchFeature(data, tensor_type=return_tensors)

    def text_inputs(
        self,
        text: Sequence[str],
        picture_tokens: Sequence[Sequence[int]],
        *,
        padding_side: str | None = None,
        add_special_tokens: bool = True,
    ) -> BatchFeature:
        """`input_ids` and `attention_mask` as __call__ gives them, for pictures whose features are known already.

        Args:
            text: the prompts.
            picture_tokens: a row, the number of tokens of each of its pictures, by the numbers of their tags.
            padding_side: "left" or "right"; None is the tokenizer's.
            add_special_tokens: whether each piece of text begins with <s>.

        Raises:
            ValueError: tags and pictures do not fit.
        """
        ids = [
            self._encode(one, _named_pictures(one, counts, f"row {number}: "), add_special_tokens)
            for number, (one, counts) in enumerate(zip(text, picture_tokens, strict=True))
        ]
        side = padding_side or self.tokenizer.padding_side
        data = _padded(ids, self.tokenizer.pad_token_id, side, _width(ids, True, None, None))
        return BatchFeature({name: torch.tensor(value) for name, value in data.items()})

    def _encode(self, text: str, tokens: Sequence[int], add_special_tokens: bool) -> list[int]:
        """The ids of one prompt; `tokens` holds the number of tokens of its pictures, in the order of their tags."""
        # The pieces of text and the numbers of the tags between them, by turns.
        first, *rest = _TAG.split(text)
        ids = list(self.tokenizer(first, add_special_tokens=add_special_tokens).input_ids)
        for count, number, piece in zip(tokens, rest[::2], rest[1::2], strict=True):
            ids += [-int(number)] * count
            ids += self.tokenizer(piece, add_special_tokens=add_special_tokens).input_ids
        return ids

    def batch_decode(self, sequences: Any, **kwargs: Any) -> list[str]:
        """Texts of rows of ids; places of picture tokens are left out."""
        return [self.decode(sequence, **kwargs) for sequence in sequences]

    def decode(self, ids: Any, **kwargs: Any) -> str:
        """The text of one row of ids; places of picture tokens are left out."""
        values = ids.tolist() if hasattr(ids, "tolist") else list(ids)
        return str(self.tokenizer.decode([value for value in values if value >= 0], **kwargs))

    @property
    def model_input_names(self) -> list[str]:
        """What the model takes from here."""
        return ["input_ids", "attention_mask", "pixel_values", "image_sizes"]


def _is_text(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(isinstance(one, str) for one in value)
    return isinstance(value, str)


def _rows_of_pictures(images: Any, rows: int) -> list[list[Any]]:
    """The pictures of each row, in the order given."""
    if images is None:
        return [[] for _ in range(rows)]
    if not isinstance(images, list | tuple):
        images = [images]
    nested = [list(row) if isinstance(row, list | tuple) else None for row in images]
    if nested and all(row is not None for row in nested):
        if len(nested) != rows:
            raise ValueError(f"{len(nested)} rows of pictures for {rows} texts")
        return [row for row in nested if row is not None]
    if any(row is not None for row in nested):
        raise ValueError("pictures come either as one list, or as a list a row, not mixed")
    if rows == 1:
        return [list(images)]
    if len(images) != rows:
        raise ValueError(f"{len(images)} pictures for {rows} texts: give a list of pictures a row")
    return [[picture] for picture in images]


def _named_pictures(text: str, pictures: Sequence[Any], where: str) -> list[Any]:
    """A row's pictures in the order in which its text names them.

    Raises:
        ValueError: the tags are not the numbers 1 to n, once each, for n pictures.
    """
    tags = [int(number) for number in _TAG.findall(text)]
    if sorted(tags) != list(range(1, len(pictures) + 1)):
        raise ValueError(
            f"{where}{len(pictures)} pictures for {len(tags)} tags: the text's tags are "
            f"{' '.join(f'<|image_{tag}|>' for tag in tags) or 'none'}, it needs the numbers from 1 on, once a picture"
        )
    return [pictures[tag - 1] for tag in tags]


def _truncated(ids: list[int], max_length: int, row: int) -> list[int]:
    if len(ids) > max_length and min(ids) < 0:
        raise ValueError(
            f"row {row} has {len(ids)} tokens, {sum(token < 0 for token in ids)} of them a picture's: cutting it to "
            f"{max_length} would cut the picture; take fewer num_crops, or a shorter text"
        )
    return ids[:max_length]


def _width(ids: Sequence[Sequence[int]], padding: bool | str, max_length: int | None, multiple: int | None) -> int:
    """The width to which rows are filled up."""
    width = max(map(len, ids))
    if padding == "max_length" and max_length is not None:
        width = max(width, max_length)
    elif padding not in (True, "longest", "max_length"):
        raise ValueError(f"padding={padding!r}: it is True, False, 'longest' or 'max_length'")
    return width if multiple is None else -(-width // multiple) * multiple


def _padded(ids: Sequence[list[int]], pad: int, side: str, width: int) -> dict[str, list[list[int]]]:
    if side not in ("left", "right"):
        raise ValueError(f"padding_side={side!r}: it is 'left' or 'right'")
    left = side == "left"
    rows, mask = [], []
    for one in ids:
        filling = width - len(one)
        rows.append([pad] * filling + one if left else one + [pad] * filling)
        mask.append([0] * filling + [1] * len(one) if left else [1] * len(one) + [0] * filling)
    return {"input_ids": rows, "attention_mask": mask}
