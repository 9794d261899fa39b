"""Phi-3-vision, natively: no remote code, on today's transformers.

    configuration.py     config.json as published
    image_processing.py  pictures -> crops
    processing.py        prompts with pictures -> model inputs, the original's token ids
    vision.py            crops -> picture tokens
    rope.py              positions, by the length of each sequence
    modeling.py          the model, on transformers' Phi3 and CLIP parts

`register()` makes it an ordinary transformers model: AutoConfig, AutoProcessor, AutoImageProcessor, AutoTokenizer,
AutoModel, AutoModelForImageTextToText and AutoModelForCausalLM then load a phi3_v checkpoint, also one whose
config.json carries an auto_map. Remote code stays off, even where trust_remote_code=True asks for it.

On LoRA: of the tower's layers the last is never run, so an adapter there gets no gradient. The name set
"decoder+vision" has it nevertheless (294,912 of 32,243,712 parameters at rank 16), as the published figures do;
training on several processes then needs find_unused_parameters.
"""

from __future__ import annotations

import contextlib
import functools

MODEL_TYPE = "phi3_v"


@functools.cache
def register() -> None:
    """Register with transformers' auto classes; calling it again does nothing."""
    from transformers import (
        AutoConfig,
        AutoImageProcessor,
        AutoModel,
        AutoModelForCausalLM,
        AutoModelForImageTextToText,
        AutoProcessor,
        AutoTokenizer,
        PreTrainedTokenizerFast,
    )

    from harness.vlm.phi3v.configuration import Phi3VConfig
    from harness.vlm.phi3v.image_processing import Phi3VImageProcessor
    from harness.vlm.phi3v.modeling import Phi3VForConditionalGeneration, Phi3VModel
    from harness.vlm.phi3v.processing import Phi3VProcessor

    AutoConfig.register(MODEL_TYPE, Phi3VConfig)
    AutoModel.register(Phi3VConfig, Phi3VModel)
    AutoModelForImageTextToText.register(Phi3VConfig, Phi3VForConditionalGeneration)
    AutoModelForCausalLM.register(Phi3VConfig, Phi3VForConditionalGeneration)
    # Not LlamaTokenizer, which the published file names: on transformers 5 it gives other ids.
    AutoTokenizer.register(Phi3VConfig, fast_tokenizer_class=PreTrainedTokenizerFast)
    with contextlib.suppress(ImportError):  # before transformers 5.24 this auto class exists only with torchvision
        AutoImageProcessor.register(Phi3VConfig, slow_image_processor_class=Phi3VImageProcessor)
    AutoProcessor.register(Phi3VConfig, Phi3VProcessor)
