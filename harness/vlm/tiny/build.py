"""Builds the tiny checkpoint: configuration, tokenizer, processor and seeded random weights, in the published layout.

Enters: a folder and a seed. Leaves: a checkpoint of about 0.6 million parameters that loads like any other. The
tokenizer is byte-level (any text can be written in it) with Phi-3's special tokens, trained on the sentences below. The
same seed and library versions give the same weights. Cost: two seconds, once; the folder is kept in the user's cache.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

#: goes up whenever the same seed gives another checkpoint
TINY_VERSION = 1

SPECIAL = ("<unk>", "<s>", "<|endoftext|>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>")

SENTENCES = (
    "Referenced image has two images inside. Compare the two images and find the differences. The two images have "
    "coordinate letters 1 to 9 horizontally and U, C, D vertically to find position. You should compare the condition "
    "of the cubes at each position one by one. The top image is one of passed product. You should evaluate whether the "
    "product in the bottom image is passed or defective. If you find differences in the bottom image, explain its "
    "location and defect name.",
    "The product in the bottom image is passed. No difference is found.",
    "The product in the bottom image is defective. Location: 3C, Defect: missing; Location: 5U, Defect: wrong color.",
    "rotated chipped stain misaligned open short mousebite spur copper pin-hole 1 2 3 4 5 6 7 8 9 U C D",
)


def checkpoint() -> Path:
    """The folder of the tiny checkpoint; it is built at the first call."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "harness" / f"tiny-{TINY_VERSION}"
    if not (folder / "model.safetensors").is_file():
        part = folder.with_name(f"{folder.name}.{os.getpid()}.part")
        build(part)
        if folder.exists():
            shutil.rmtree(folder)
        part.rename(folder)
    return folder


def build(folder: Path, *, seed: int = 0) -> None:
    """Write the checkpoint into a folder."""
    import torch

    from harness.vlm.phi3v import register
    from harness.vlm.phi3v.image_processing import Phi3VImageProcessor
    from harness.vlm.phi3v.modeling import Phi3VForConditionalGeneration
    from harness.vlm.phi3v.processing import Phi3VProcessor

    register()
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer()
    config = _config(tokenizer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Phi3VForConditionalGeneration(config)
    model.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids(["<|end|>", "<|endoftext|>"])
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.bos_token_id = tokenizer.bos_token_id
    model.save_pretrained(folder)
    processor = Phi3VProcessor(Phi3VImageProcessor(num_crops=4, tile_size=112, tile_tokens=4), tokenizer)
    processor.save_pretrained(folder)


def _tokenizer() -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE(unk_token="<unk>"))  # a token of a vocabulary, no password
    # Digits stand alone, so that every cell is a digit and a letter.
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=list(SPECIAL),
        show_progress=False,
    )  # fmt: skip
    core.train_from_iterator(SENTENCES, trainer)
    core.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", core.token_to_id("<s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", bos_token="<s>", eos_token="<|endoftext|>",
        pad_token="<|endoftext|>", model_max_length=2048, padding_side="left",
    )  # fmt: skip


def _config(tokenizer: Any) -> Any:
    from harness.vlm.phi3v.configuration import Phi3VConfig

    half_of_a_head = 16
    published = {
        "model_type": "phi3_v",
        "vocab_size": len(tokenizer),
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": 4096,
        "original_max_position_embeddings": 2048,
        "rope_scaling": {"type": "su", "short_factor": [1.0] * half_of_a_head, "long_factor": [1.0] * half_of_a_head},
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "embd_layer": {"hd_transform_order": "sub_glb"},
        "clip_config": {
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "image_size": 112,
            "patch_size": 14,
        },
    }
    return Phi3VConfig.from_dict(json.loads(json.dumps(published)))
