"""Tiny random VLM checkpoints on disk, as a user would have them, and drawn pictures to ask them about.

Enters: nothing. Leaves: folders with config, generation config, weights, tokenizer, chat template and image processor.
Three families, because they differ in all that the harness must not take for granted:

    idefics3   byte-level tokenizer, a picture becomes 5 to 10 tiles, the template ends a turn with <end_of_utterance>,
               the generation config is full of sampling flags that must not leak into greedy answers
    llava      sentencepiece-like tokenizer ("▁" before a word, <s> added by the tokenizer), one tile a picture,
               a template without any end-of-turn token, pad token absent
    phi3v      the native Phi-3-vision: pictures as negative ids, fused linear layers, the tower inside the decoder's
               module, a special token that swallows the line end behind it

The tokenizers are trained here, on the sentences below; the weights are random (seeded), about 0.2 M parameters.
A checkpoint is built once in a process and removed at its end.
"""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path
from typing import Any, Literal

from harness.records import Finding, Sample, Truth

Style = Literal["idefics3", "llava", "phi3v"]

QUESTION = (
    "Compare the two images. Is the product in the bottom image passed or defective? Explain location and defect."
)

SENTENCES = [
    QUESTION,
    "The product in the bottom image is passed.",
    "The product in the bottom image is defective. The cube at 5U is missing.",
    "The product in the bottom image is defective. The cube at 9D is rotated and the cube at 2C is stained.",
    "Referenced image has two images inside. You should compare the condition of the cubes at each position.",
    "USER: ASSISTANT: User Assistant 1 2 3 4 5 6 7 8 9 U C D ? !",
]

IDEFICS3_TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}:"
    "{% if message['content'][0]['type'] != 'image' %}{{ ' ' }}{% endif %}"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}"
    "{% elif part['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)

LLAVA_TEMPLATE = (
    "{% for message in messages %}{{ message['role'].upper() + ': ' }}"
    "{% for part in message['content'] if part['type'] == 'image' %}{{ '<image>\n' }}{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] + ' ' }}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)


def idefics3_tokenizer() -> Any:
    """A byte-level BPE trained on SENTENCES, with the special tokens that Idefics3 needs."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<|im_start|>", "<|endoftext|>", "<pad>", "<fake_token_around_image>", "<image>", "<end_of_utterance>"]
    special += ["<global-img>", *(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7))]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=480, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|im_start|>",
        eos_token="<|endoftext|>",
        pad_token="<pad>",
        extra_special_tokens=special[3:],
    )


def llava_tokenizer() -> Any:
    """A sentencepiece-like BPE: "▁" for a space, one in front of the text, <s> before it."""
    return _sentencepiece_like("first", ["<unk>", "<s>", "</s>", "<image>"], extra_special_tokens=["<image>"])


def phi3v_tokenizer() -> Any:
    """The like, with Phi-3's special tokens: "▁" after each of them too, and <|assistant|> swallows its line end."""
    from tokenizers import AddedToken

    names = ("system", "user", "assistant", "end")
    turns = [AddedToken(f"<|{name}|>", rstrip=name == "assistant", special=True) for name in names]
    special = ["<unk>", "<s>", "</s>", "<|endoftext|>", *turns]
    return _sentencepiece_like("always", special, extra_special_tokens=turns, pad_token="<|endoftext|>")


def _sentencepiece_like(prepend: Any, special: list[Any], **settings: Any) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(  # type: ignore[assignment]
        [pre_tokenizers.Metaspace(prepend_scheme=prepend), pre_tokenizers.Punctuation()]
    )
    tokenizer.decoder = decoders.Sequence(  # type: ignore[assignment]
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=520, special_tokens=special + bytes_, show_progress=False)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        **settings,
    )


def _text_config(tokenizer: Any) -> dict[str, Any]:
    return {
        "model_type": "llama",
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        # Ten times the usual: the logits of random weights then differ by more than rounding.
        "initializer_range": 0.2,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def build_idefics3(folder: Path, *, seed: int = 0) -> Path:
    """Write a tiny Idefics3 checkpoint to `folder`."""
    import torch
    from transformers import GenerationConfig, Idefics3Config, Idefics3ForConditionalGeneration, Idefics3Processor
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

    tokenizer = idefics3_tokenizer()
    end_of_turn = tokenizer.convert_tokens_to_ids("<end_of_utterance>")
    pictures = Idefics3ImageProcessorPil(size={"longest_edge": 48}, max_image_size={"longest_edge": 16})
    processor = Idefics3Processor(pictures, tokenizer, image_seq_len=4, chat_template=IDEFICS3_TEMPLATE)
    config = Idefics3Config(
        text_config=_text_config(tokenizer),
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 16,
            "patch_size": 4,
            "initializer_range": 0.2,
        },
        scale_factor=2,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Idefics3ForConditionalGeneration(config)
    # What real checkpoints ship: sampling flags on, a penalty, and the end of the turn beside the end of the text.
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=0.7,
        top_p=0.8,
        repetition_penalty=1.5,
        max_length=40,
        eos_token_id=[end_of_turn, tokenizer.eos_token_id],
        pad_token_id=tokenizer.pad_token_id,
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def build_llava(folder: Path, *, seed: int = 0) -> Path:
    """Write a tiny LLaVA checkpoint to `folder`."""
    import torch
    from transformers import GenerationConfig, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    tokenizer = llava_tokenizer()
    pictures = CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    processor = LlavaProcessor(
        pictures,
        tokenizer,
        patch_size=4,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=LLAVA_TEMPLATE,
    )
    config = LlavaConfig(
        text_config=_text_config(tokenizer),
        vision_config={
            "model_type": "clip_vision_model",
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 16,
            "patch_size": 4,
            "projection_dim": 32,
            "initializer_range": 0.2,
        },
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlavaForConditionalGeneration(config)
    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def build_phi3v(folder: Path, *, seed: int = 0, **changes: Any) -> Path:
    """Write a tiny Phi-3-vision checkpoint to `folder`: tiles of 56 px, which are 2 x 2 tokens each."""
    import torch
    from transformers import GenerationConfig

    from harness.vlm.phi3v.configuration import Phi3VConfig
    from harness.vlm.phi3v.image_processing import Phi3VImageProcessor
    from harness.vlm.phi3v.modeling import Phi3VForConditionalGeneration
    from harness.vlm.phi3v.processing import Phi3VProcessor

    tokenizer = phi3v_tokenizer()
    processor = Phi3VProcessor(Phi3VImageProcessor(num_crops=4, tile_size=56, tile_tokens=2), tokenizer)
    text = _text_config(tokenizer) | changes
    del text["model_type"]
    config = Phi3VConfig(
        **text,
        original_max_position_embeddings=1024,
        embd_layer={"hd_transform_order": "sub_glb"},
        clip_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "image_size": 56,
            "patch_size": 14,
            "initializer_range": 0.2,
        },
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Phi3VForConditionalGeneration(config)
    end_of_turn = tokenizer.convert_tokens_to_ids("<|end|>")
    model.generation_config = GenerationConfig(eos_token_id=[end_of_turn, tokenizer.pad_token_id])
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@functools.cache
def checkpoint(style: Style = "idefics3") -> Path:
    """The folder of a tiny checkpoint, built at the first call in this process. Copy it before changing it."""
    folder = Path(tempfile.mkdtemp(prefix=f"tiny-{style}-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    build = {"idefics3": build_idefics3, "llava": build_llava, "phi3v": build_phi3v}[style]
    return build(folder)


SIZES = [(48, 48), (48, 32), (32, 48), (64, 24), (96, 96), (40, 48), (48, 20), (30, 30)]


def draw_samples(folder: Path, count: int) -> list[Sample]:
    """Draw `count` two-panel pictures of differing sizes; every second one lacks a cube in the lower panel."""
    from PIL import Image, ImageDraw

    folder.mkdir(parents=True, exist_ok=True)
    samples = []
    for number in range(count):
        width, height = SIZES[number % len(SIZES)]
        picture = Image.new("RGB", (width, height), (235, 235, 225))
        pen = ImageDraw.Draw(picture)
        column = number % 9
        defective = number % 2 == 1
        for panel in (0, 1):
            for cell in range(9):
                if panel and defective and cell == column:
                    continue
                left, top = cell * width // 9, panel * height // 2 + height // 8
                colour = (40 + 20 * cell, 60 + 11 * (number % 16), 200 - 15 * cell)
                pen.rectangle((left, top, left + max(width // 12, 1), top + height // 4), fill=colour)
        path = folder / f"{number:03d}.png"
        picture.save(path)
        location = f"{column + 1}U"
        samples.append(
            Sample(
                sample_id=f"sample-{number:03d}",
                image_id=f"image-{number:03d}",
                image_path=path,
                question=QUESTION if number % 3 else "Is the product in the bottom image passed or defective?",
                reference=(
                    f"The product in the bottom image is defective. The cube at {location} is missing."
                    if defective
                    else "The product in the bottom image is passed."
                ),
                truth=Truth("defective", (Finding(location, "missing"),)) if defective else Truth("passed"),
                truth_version=1,
                group=f"group-{number:03d}",
            )
        )
    return samples
