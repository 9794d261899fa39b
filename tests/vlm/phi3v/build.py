"""Tiny phi3_v models and checkpoints of any shape, for the tests of this folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from harness.vlm.phi3v.configuration import Phi3VConfig
from harness.vlm.phi3v.image_processing import Phi3VImageProcessor
from harness.vlm.phi3v.modeling import Phi3VForConditionalGeneration
from harness.vlm.phi3v.processing import Phi3VProcessor
from tests import tiny_vlm

GOLDENS = Path(__file__).resolve().parents[2] / "data" / "phi3v" / "goldens"
DEV = GOLDENS / "dev"

#: sizes of pictures that take different grids of tiles
SIZES = ((640, 480), (300, 900), (1344, 672), (200, 200), (900, 260))


def tiny_config(**changes: Any) -> Phi3VConfig:
    """A configuration of 0.1 M parameters: tiles of 56 pixels (2 x 2 tokens), long rope beyond 200 tokens."""
    settings: dict[str, Any] = {
        "vocab_size": 560,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1600,
        "original_max_position_embeddings": 200,
        "rope_scaling": {
            "type": "su",
            "short_factor": [1.0, 1.05, 1.1, 1.25, 1.45, 1.8, 2.0, 2.3],
            "long_factor": [1.05, 1.3, 1.9, 3.2, 6.0, 9.5, 14.0, 18.0],
        },
        "rope_theta": 10000.0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        # Ten times the usual: the logits of random weights then differ by more than rounding.
        "initializer_range": 0.2,
        "clip_config": {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "image_size": 56,
            "patch_size": 14,
        },
    }
    return Phi3VConfig(**settings | changes)


def tiny_model(seed: int = 0, attention: str = "sdpa", **changes: Any) -> Phi3VForConditionalGeneration:
    """A random model in fp32; its separators are not zero, as they would be fresh."""
    config = tiny_config(**changes)
    config._attn_implementation = attention
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Phi3VForConditionalGeneration(config)
        torch.nn.init.normal_(model.model.vision_embed_tokens.glb_GN)
        torch.nn.init.normal_(model.model.vision_embed_tokens.sub_GN)
    return model.eval()


def tiny_processor(num_crops: int = 4) -> Phi3VProcessor:
    """The processor that fits tiny_config, with a tokenizer trained on the tests' sentences."""
    return Phi3VProcessor(
        Phi3VImageProcessor(num_crops=num_crops, tile_size=56, tile_tokens=2), tiny_vlm.phi3v_tokenizer()
    )


def tiny_checkpoint(folder: Path, **changes: Any) -> Path:
    """Write a whole checkpoint, weights and processor."""
    tiny_model(**changes).save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    return folder


def pictures(count: int = len(SIZES), seed: int = 0) -> list[Image.Image]:
    """Pictures of noise, of different sizes."""
    noise = np.random.default_rng(seed)
    sizes = [SIZES[number % len(SIZES)] for number in range(count)]
    small = [noise.integers(0, 256, (12, 16, 3), dtype=np.uint8) for _ in sizes]
    return [Image.fromarray(one).resize(size) for one, size in zip(small, sizes, strict=True)]


def prompt(question: str, count: int = 1) -> str:
    """The published format."""
    tags = "".join(f"<|image_{number}|>\n" for number in range(1, count + 1))
    return f"<|user|>\n{tags}{question}<|end|>\n<|assistant|>\n"
