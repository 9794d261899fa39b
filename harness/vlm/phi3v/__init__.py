"""Phi-3-vision, natively: no remote code, on today's transformers.

    configuration.py     config.json as published
    image_processing.py  pictures -> crops
    processing.py        prompts with pictures -> model inputs, the original's token ids
    modeling.py          the model, on transformers' Phi3 and CLIP parts

`register()` makes it an ordinary transformers model: AutoConfig, AutoProcessor, AutoImageProcessor,
AutoModelForImageTextToText and AutoModelForCausalLM then load a phi3_v checkpoint, also one whose config.json carries
an auto_map, with remote code off.
"""

from __future__ import annotations

import contextlib

MODEL_TYPE = "phi3_v"

_registered = False


def register() -> None:
    """Register with transformers' auto classes; calling it again does nothing."""
    global _registered  # transformers' registries are global too
    if _registered:
        return
    from transformers import (
        AutoConfig,
        AutoImageProcessor,
        AutoModelForCausalLM,
        AutoModelForImageTextToText,
        AutoProcessor,
        AutoTokenizer,
        PreTrainedTokenizerFast,
    )

    from harness.vlm.phi3v.configuration import Phi3VConfig
    from harness.vlm.phi3v.image_processing import Phi3VImageProcessor
    from harness.vlm.phi3v.modeling import Phi3VForConditionalGeneration
    from harness.vlm.phi3v.processing import Phi3VProcessor

    AutoConfig.register(MODEL_TYPE, Phi3VConfig)
    AutoModelForImageTextToText.register(Phi3VConfig, Phi3VForConditionalGeneration)
    AutoModelForCausalLM.register(Phi3VConfig, Phi3VForConditionalGeneration)
    # Not LlamaTokenizer, which the published file names: on transformers 5 it gives other ids.
    AutoTokenizer.register(Phi3VConfig, fast_tokenizer_class=PreTrainedTokenizerFast)
    with contextlib.suppress(ImportError):  # before transformers 5.24 this auto class exists only with torchvision
        AutoImageProcessor.register(Phi3VConfig, slow_image_processor_class=Phi3VImageProcessor)
    AutoProcessor.register(Phi3VConfig, Phi3VProcessor)
    _registered = True
