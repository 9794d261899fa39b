"""Phi3VProcessor: prompts with <|image_1|> tags and pictures -> model inputs, with the original's very token ids.

Enters: texts (one or many) and pictures (a list a row, or one list for one row). Leaves: input_ids in which a picture's
tokens are its negative number (-1, -2, ...), attention_mask, pixel_values, image_sizes. The text is cut at the tags and
each piece is tokenised by itself, so that a second <s> follows every picture: the model was trained so.
Rows are padded on the left by default. Truncation is refused: it would cut pictures in half.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoTokenizer, BatchFeature, ProcessorMixin

from harness.vlm.phi3v.image_processing import Phi3VImageProcessor

_TAG = re.compile(r"<\|image_(\d+)\|>")

#: the published format, for messages whose content is a text or a list of parts
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
        self.num_img_tokens = image_processor.num_img_tokens
        self.img_tokens = [f"<|image_{number}|>" for number in range(1, 1000)]

    @classmethod
    def _get_arguments_from_pretrained(cls, folder: Any, processor_dict: Any = None, **kwargs: Any) -> list[Any]:
        # transformers before 5.24 would look for the image processor through an auto class that needs torchvision.
        return [Phi3VImageProcessor.from_pretrained(folder, **kwargs), AutoTokenizer.from_pretrained(folder, **kwargs)]

    def __call__(
        self,
        text: str | Sequence[str] | None = None,
        images: Any = None,
        *,
        padding: bool | str = True,
        padding_side: str = "left",
        num_crops: int | None = None,
        return_tensors: str | None = "pt",
        truncation: bool | None = None,
        **_: Any,
    ) -> BatchFeature:
        """Prompts and pictures -> model inputs.

        Args:
            text: one prompt or several.
            images: pictures in the order of their tags: one for one prompt, a list for one prompt, or a list a row.
            padding: shorter rows are filled up with the pad token; False leaves rows of equal length only.
            padding_side: "left" or "right".
            num_crops: in place of the image processor's own.

        Raises:
            ValueError: tags and pictures do not fit, truncation is asked for, or rows differ in length without padding.
        """
        if text is None:
            raise ValueError("Phi-3-vision needs a text")
        if truncation:
            raise ValueError("truncation would cut a picture's tokens in half: shorten the text instead")
        texts = [text] if isinstance(text, str) else list(text)
        rows = _rows_of_pictures(images, len(texts))
        pictures = [picture for row in rows for picture in row]
        seen = self.image_processor(pictures, num_crops=num_crops) if pictures else None
        counts = iter(seen["num_img_tokens"].tolist() if seen is not None else ())
        ids = [
            self._encode(one, [next(counts) for _ in row], f"row {number}: " if len(texts) > 1 else "")
            for number, (one, row) in enumerate(zip(texts, rows, strict=True))
        ]
        data: dict[str, Any] = self._pad(ids, padding, padding_side)
        if seen is not None:
            data["pixel_values"], data["image_sizes"] = seen["pixel_values"], seen["image_sizes"]
        return BatchFeature(data, tensor_type=return_tensors)

    def _encode(self, text: str, tokens: Sequence[int], where: str) -> list[int]:
        """The ids of one prompt; `tokens` holds the number of tokens of each of its pictures."""
        tags = [int(number) for number in _TAG.findall(text)]
        if tags != list(range(1, len(tokens) + 1)):
            raise ValueError(
                f"{where}{len(tokens)} pictures, but the text's tags are "
                f"{' '.join(f'<|image_{tag}|>' for tag in tags) or 'none'}: number them 1, 2, ... in order, one each"
            )
        pieces = _TAG.split(text)[::2]
        ids = list(self.tokenizer(pieces[0]).input_ids)
        for number, (count, piece) in enumerate(zip(tokens, pieces[1:], strict=True), start=1):
            ids += [-number] * count
            ids += self.tokenizer(piece).input_ids
        return ids

    def _pad(self, rows: list[list[int]], padding: bool | str, side: str) -> dict[str, torch.Tensor]:
        width = max(map(len, rows))
        if padding is False and any(len(row) != width for row in rows):
            raise ValueError("rows of unequal length need padding=True")
        pad = self.tokenizer.pad_token_id
        ids = torch.full((len(rows), width), pad, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for number, row in enumerate(rows):
            place = slice(width - len(row), width) if side == "left" else slice(0, len(row))
            ids[number, place] = torch.tensor(row)
            mask[number, place] = 1
        return {"input_ids": ids, "attention_mask": mask}

    def batch_decode(self, sequences: Any, **kwargs: Any) -> list[str]:
        """Texts of id rows; places of picture tokens are left out."""
        return [self.decode(sequence, **kwargs) for sequence in sequences]

    def decode(self, ids: Any, **kwargs: Any) -> str:
        """The text of one row of ids; places of picture tokens are left out."""
        values = ids.tolist() if hasattr(ids, "tolist") else list(ids)
        return str(self.tokenizer.decode([value for value in values if value >= 0], **kwargs))

    @property
    def model_input_names(self) -> list[str]:
        """What the model takes from here."""
        return ["input_ids", "attention_mask", "pixel_values", "image_sizes"]


def _rows_of_pictures(images: Any, rows: int) -> list[list[Any]]:
    """Pictures a row."""
    if images is None:
        return [[] for _ in range(rows)]
    if not isinstance(images, list | tuple):
        images = [images]
    nested = [list(row) if isinstance(row, list | tuple) else None for row in images]
    if all(row is not None for row in nested):
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
