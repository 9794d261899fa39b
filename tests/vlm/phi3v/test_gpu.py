"""What differs on a CUDA device: bf16, compiled decoding with a static cache, several attentions, placement."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageTextToText

from harness.vlm import phi3v
from harness.vlm.phi3v.modeling import Phi3VForConditionalGeneration
from tests.vlm.phi3v.build import pictures, prompt, tiny_checkpoint, tiny_model, tiny_processor

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    # The compiler's own, on code that is not ours.
    pytest.mark.filterwarnings("ignore::UserWarning:torch"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),
    pytest.mark.filterwarnings("ignore::FutureWarning:torch"),
]

QUESTIONS = ("What?", "Is the product in the bottom image passed or defective?", "Where?")


@pytest.fixture(scope="module")
def batch() -> Any:
    """Three rows of differing lengths, padded on the left."""
    return tiny_processor()(text=[prompt(q) for q in QUESTIONS], images=[[p] for p in pictures(3)]).to("cuda")


def _endless(**changes: Any) -> Phi3VForConditionalGeneration:
    model = tiny_model(**changes).cuda()
    model.generation_config.eos_token_id = None
    return model


@pytest.mark.parametrize("switch", [200, 52])
def test_compiled_decoding_answers_as_without_a_cache(batch: Any, switch: int) -> None:
    model = _endless(original_max_position_embeddings=switch)
    plain = model.generate(**batch, max_new_tokens=24, do_sample=False, use_cache=False)
    assert torch.equal(model.generate(**batch, max_new_tokens=24, do_sample=False), plain)
    static = model.generate(**batch, max_new_tokens=24, do_sample=False, cache_implementation="static")
    assert torch.equal(static, plain)


@pytest.mark.parametrize("attention", ["eager", "sdpa", "flash_attention_2"])
def test_bf16_is_near_fp32(batch: Any, attention: str) -> None:
    if attention == "flash_attention_2" and importlib.util.find_spec("flash_attn") is None:
        pytest.skip("flash-attn is not installed")
    exact = tiny_model(attention="eager").cuda()
    model = tiny_model(attention="eager").cuda().to(torch.bfloat16)
    model.set_attn_implementation(attention)
    assert model.get_encoder("image").config._attn_implementation == attention
    rows = batch["attention_mask"].bool()
    with torch.no_grad():
        wanted = exact(**batch).logits[rows]
        found = model(**batch | {"pixel_values": batch["pixel_values"].to(torch.bfloat16)}).logits[rows].float()
    assert (found - wanted).norm() / wanted.norm() < 0.05
    assert torch.nn.functional.cosine_similarity(found.flatten(), wanted.flatten(), dim=0) > 0.999


def test_device_map(tmp_path: Path, batch: Any) -> None:
    phi3v.register()
    folder = tiny_checkpoint(tmp_path)
    # The tower's module on the CPU, the decoder on the device: features travel, and pixels to the tower.
    places = {"": 0, "model.vision_embed_tokens": "cpu"}
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32, device_map=places)
    whole = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32, device_map="auto")
    with torch.no_grad():
        assert (model(**batch).logits - whole(**batch).logits).abs().max() < 1e-3
    tokens = whole.generate(**batch, max_new_tokens=3, do_sample=False)
    assert torch.equal(model.generate(**batch, max_new_tokens=3, do_sample=False), tokens)
