"""The least seconds that a machine needs for a record or an answer, from its measured limits and the model's sizes.

Enters: a loaded model, the limits, the lengths of records. Leaves: a floor a kind of work, all by the same formulas.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image
from torch import nn

from benchmarks.gpu import Machine
from harness.records import Sample
from harness.train.collate import InspectionCollator
from harness.vlm.load import Vlm
from harness.vlm.prompt import chat_prompt

#: rows for which a step of decoding reads the weights once
ROWS = 64


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens without padding: of a prompt with its picture, and with the reference answer behind it."""

    prompt: int
    whole: int


def lengths(vlm: Vlm, samples: Sequence[Sample]) -> Lengths:
    """Means over the samples, whose pictures have one size."""
    width, height = Image.open(samples[0].image_path).size
    picture = vlm.processor.image_processor.calc_num_image_tokens_from_image_size(width, height)
    prompts = [chat_prompt(vlm.processor, sample.question) for sample in samples]
    prompt = vlm.processor.text_inputs(prompts, [[picture]] * len(prompts))["attention_mask"].sum()
    collator = InspectionCollator(vlm.processor, stop_token_ids=vlm.stop_token_ids, pad_token_id=vlm.pad_token_id)
    answers = sum(len(collator.completion(sample)) for sample in samples)
    return Lengths(round(int(prompt) / len(samples)), round((int(prompt) + answers) / len(samples)))


@dataclass(frozen=True, slots=True)
class Floors:
    """Seconds that the machine needs at least for a record or an answer.

    Training: 4 x parameters x tokens (forward, and gradients of activations; LoRA has none of weights), a forward 2 x.
    Parameters are the decoder's linear layers: neither the embedding table nor the head, which is needed at answers
    alone; attention's products are left out. Decoding reads the weights once a token for `ROWS` rows, and each row's
    keys and values. Features are the tower and the projection, once a picture.
    """

    training: float
    forward: float
    prefill: float
    decoding: float
    features: float
    training_flops: float


def compute_floors(vlm: Vlm, machine: Machine, tokens: Lengths, *, crops: int, new_tokens: int) -> Floors:
    """Of this model on this machine."""
    base, config, tower = vlm.base, vlm.base.config, vlm.base.config.vision_config
    decoder = _weights(base.get_decoder().layers)
    embedding = base.get_picture_embedding()
    seen = _weights(embedding.img_processor.vision_model.encoder.layers[: config.tower_depth])
    places = (crops + 1) * ((tower.image_size // tower.patch_size) ** 2 + 1)
    picture = 2 * (seen * places + _weights([embedding.img_projection]) * (crops + 1) * config.tile_tokens**2)
    size = next(base.parameters()).element_size()
    head = base.get_output_embeddings().weight.numel()
    keys = (
        2 * config.num_hidden_layers * config.num_key_value_heads * (config.hidden_size // config.num_attention_heads)
    )
    read = size * ((decoder + head) / ROWS + keys * (tokens.prompt + new_tokens / 2))
    return Floors(
        training=4 * decoder * tokens.whole / machine.matmul,
        forward=2 * decoder * tokens.whole / machine.matmul,
        prefill=2 * decoder * tokens.prompt / machine.matmul,
        decoding=new_tokens * read / machine.copy,
        features=picture / machine.matmul,
        training_flops=4.0 * decoder * tokens.whole,
    )


def _weights(modules: Any) -> int:
    linears = [m for module in modules for m in module.modules() if isinstance(m, nn.Linear)]
    return sum(linear.weight.numel() for linear in linears)
