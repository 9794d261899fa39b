"""`forward` and `process` in the call forms of tests/data/phi3v/check.py, for the native Phi-3-vision.

`forward` takes the attention from HARNESS_ATTENTION (eager or sdpa; default sdpa); `forward_eager` and `forward_sdpa`
say it themselves.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file

from harness.vlm.phi3v.configuration import Phi3VConfig
from harness.vlm.phi3v.image_processing import Phi3VImageProcessor
from harness.vlm.phi3v.modeling import Phi3VForConditionalGeneration


def build(state_dict_path: str, config_path: str, attention: str) -> Phi3VForConditionalGeneration:
    """The model of a golden checkpoint, in fp32 on the CPU: every weight by its published name, none left over."""
    config = Phi3VConfig.from_dict(json.loads(Path(config_path).read_text("utf-8")))
    config._attn_implementation = attention
    model = Phi3VForConditionalGeneration(config)
    model.load_state_dict(load_file(state_dict_path))
    return model.eval()


def forward(state_dict_path: str, config_path: str, inputs: dict[str, Any], generate: int = 0) -> dict[str, Any]:
    """Run one golden case; see check.py."""
    return _forward(state_dict_path, config_path, inputs, generate, os.environ.get("HARNESS_ATTENTION", "sdpa"))


def forward_eager(state_dict_path: str, config_path: str, inputs: dict[str, Any], generate: int = 0) -> dict[str, Any]:
    """The same with eager attention."""
    return _forward(state_dict_path, config_path, inputs, generate, "eager")


def forward_sdpa(state_dict_path: str, config_path: str, inputs: dict[str, Any], generate: int = 0) -> dict[str, Any]:
    """The same with scaled-dot-product attention."""
    return _forward(state_dict_path, config_path, inputs, generate, "sdpa")


def _forward(
    state_dict_path: str, config_path: str, inputs: dict[str, Any], generate: int, attention: str
) -> dict[str, Any]:
    model = build(state_dict_path, config_path, attention)
    before = inputs["input_ids"].clone()
    needs_gradients = "labels" in inputs
    with torch.set_grad_enabled(needs_gradients):
        embeds = model.model.embed(inputs["input_ids"], inputs.get("pixel_values"), inputs.get("image_sizes"))
        output = model(**inputs, output_hidden_states=True, use_cache=False)
    found: dict[str, Any] = {"logits": output.logits, "inputs_embeds": embeds, "last_hidden": output.hidden_states[-1]}
    if needs_gradients:
        output.loss.backward()
        found["loss"] = output.loss.item()
        found["grad_norms"] = {
            name: None if parameter.grad is None else parameter.grad.norm().item()
            for name, parameter in model.named_parameters()
        }
    if generate:
        prompt = {key: value for key, value in inputs.items() if key not in ("labels", "position_ids")}
        model.generation_config.eos_token_id = None
        made = model.generate(**prompt, max_new_tokens=generate, do_sample=False, pad_token_id=0)
        found["generated"] = made[:, inputs["input_ids"].shape[1] :]
    assert torch.equal(before, inputs["input_ids"]), "input_ids were changed in place"
    return found


def process(images: list[Image.Image], num_crops: int) -> dict[str, Any]:
    """Process pictures; see check.py."""
    return dict(Phi3VImageProcessor(num_crops=num_crops)(images))
