"""The tiny checkpoint's parts: configuration, tokenizer, processor; and a checkpoint with random weights.

Enters: nothing but the texts of this project. Leaves: a folder in the published layout that loads like any other
phi3_v checkpoint. The tokenizer is a byte-level BPE of 1,024 pieces with Phi-3's special tokens: any text can be
written in it, a digit is always a piece of its own, and so "5U" is "5" and "U". Pictures become one tile of 336 pixels
(num_crops 0: the overview alone), 24 x 24 patches, 157 tokens. Cost: random_checkpoint takes two seconds.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SPECIAL = ("<unk>", "<s>", "<|endoftext|>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>")
VOCABULARY = 1024
FOLDER = Path(__file__).parent / "checkpoint"

#: a word, a digit, or punctuation, each with the space before it
_PIECES = r" ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def random_checkpoint(folder: Path, seed: int = 0) -> Path:
    """Write a checkpoint of the tiny architecture with random weights: it talks without sense."""
    import torch

    from harness.vlm import phi3v
    from harness.vlm.phi3v.modeling import Phi3VForConditionalGeneration

    phi3v.register()
    tokenizer = load_tokenizer() if (FOLDER / "tokenizer.json").is_file() else train_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Phi3VForConditionalGeneration(configuration(tokenizer))
    save(model, tokenizer, folder)
    return folder


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write model, tokenizer and processor; the weights in half precision, which halves the file."""
    import copy

    import torch

    half = copy.deepcopy(model).to("cpu", torch.float16)
    half.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids(["<|end|>", "<|endoftext|>"])
    half.generation_config.pad_token_id = tokenizer.pad_token_id
    half.generation_config.bos_token_id = tokenizer.bos_token_id
    half.save_pretrained(folder)
    processor(tokenizer).save_pretrained(folder)


def processor(tokenizer: Any) -> Any:
    """The processor: the picture as one tile."""
    from harness.vlm.phi3v.image_processing import Phi3VImageProcessor
    from harness.vlm.phi3v.processing import Phi3VProcessor

    return Phi3VProcessor(Phi3VImageProcessor(num_crops=0, tile_size=336, tile_tokens=12), tokenizer)


def configuration(tokenizer: Any) -> Any:
    """3.7 million parameters: a tower of 5 layers of width 160, all of them run, and a decoder of 4 of width 192."""
    from harness.vlm.phi3v.configuration import Phi3VConfig

    return Phi3VConfig(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=4096,
        original_max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        embd_layer={"hd_transform_order": "sub_glb"},
        img_processor={"name": "clip_vision_model", "layer_idx": -1},
        clip_config={
            "hidden_size": 160,
            "intermediate_size": 512,
            "num_hidden_layers": 5,
            "num_attention_heads": 5,
            "image_size": 336,
            "patch_size": 14,
        },
    )


def load_tokenizer() -> Any:
    """The tokenizer of the embedded checkpoint."""
    from transformers import PreTrainedTokenizerFast

    loader: Any = PreTrainedTokenizerFast
    return loader.from_pretrained(FOLDER)


def train_tokenizer() -> Any:
    """Train the tokenizer on the texts of the pretraining, the records' question and answers, and a little Japanese."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    core: Any = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    turns = [AddedToken(name, special=True, normalized=False, rstrip=name == "<|assistant|>") for name in SPECIAL]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=turns,
        show_progress=False,
    )  # fmt: skip
    core.train_from_iterator(_texts(), trainer)
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", core.token_to_id("<s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", bos_token="<s>", eos_token="<|endoftext|>",
        pad_token="<|endoftext|>", model_max_length=4096, padding_side="left",
    )  # fmt: skip


def _texts() -> Iterator[str]:
    from harness.dataset.cubes import QUESTION
    from harness.dataset.stack import ENGLISH, JAPANESE
    from harness.dataset.tray import DEFECTS
    from harness.records import Finding, Grid
    from harness.vlm.tiny.pretrain.vocabulary import draw_told
    from harness.vlm.tiny.pretrain.words import PREAMBLES, talk

    dice = random.Random(0)
    for _ in range(6000):
        yield from talk(draw_told(dice), dice)
    names_of_defects = (
        *DEFECTS,
        "open",
        "short",
        "mousebite",
        "spur",
        "copper",
        "pin-hole",
        "scratch",
        "crack",
        "burr",
    )
    for _ in range(20):
        yield QUESTION
        yield from PREAMBLES
        for wording in (ENGLISH, JAPANESE):
            yield wording.ask(Grid())
            yield wording.passed
            for defect in names_of_defects:
                yield wording.answer([Finding(dice.choice(Grid().cells), defect)])
