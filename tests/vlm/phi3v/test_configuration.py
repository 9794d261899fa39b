"""config.json as published, and checkpoints that name remote code."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor

from harness.vlm import phi3v
from harness.vlm.phi3v.configuration import Phi3VConfig
from harness.vlm.phi3v.modeling import Phi3VForConditionalGeneration, Phi3VModel
from harness.vlm.phi3v.processing import Phi3VProcessor
from tests.vlm.phi3v.build import DEV, tiny_checkpoint, tiny_config, tiny_model

#: as in the published files
AUTO_MAP = {
    "AutoConfig": "configuration_phi3_v.Phi3VConfig",
    "AutoModelForCausalLM": "modeling_phi3_v.Phi3VForCausalLM",
}
PROCESSOR_AUTO_MAP = {
    "AutoProcessor": "processing_phi3_v.Phi3VProcessor",
    "AutoImageProcessor": "image_processing_phi3_v.Phi3VImageProcessor",
}


@pytest.fixture(autouse=True)
def _registered() -> None:
    phi3v.register()
    phi3v.register()  # as often as one likes


@pytest.fixture
def naming_code(tmp_path: Path) -> Path:
    """A checkpoint whose every file names remote code that is not there."""
    folder = tiny_checkpoint(tmp_path / "checkpoint")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config |= {"auto_map": AUTO_MAP, "_attn_implementation": "flash_attention_2"}
    (folder / "config.json").write_text(json.dumps(config))
    saved = json.loads((folder / "processor_config.json").read_text("utf-8"))
    # As published: the image processor's settings in a file of their own.
    (folder / "processor_config.json").unlink()
    published = saved["image_processor"] | {"auto_map": PROCESSOR_AUTO_MAP, "processor_class": "Phi3VProcessor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(published))
    return folder


@pytest.mark.parametrize("trust", [None, False, True])
def test_remote_code_stays_off(naming_code: Path, trust: bool | None) -> None:
    config = AutoConfig.from_pretrained(naming_code, trust_remote_code=trust)
    assert type(config) is Phi3VConfig
    for auto in (AutoModelForImageTextToText, AutoModelForCausalLM):
        model = auto.from_pretrained(naming_code, trust_remote_code=trust)
        assert type(model) is Phi3VForConditionalGeneration
        assert model.config._attn_implementation == "sdpa"
    assert type(AutoModel.from_pretrained(naming_code, trust_remote_code=trust)) is Phi3VModel
    processor = AutoProcessor.from_pretrained(naming_code, trust_remote_code=trust)
    assert type(processor) is Phi3VProcessor
    assert processor.image_processor.tile_size == 56


@pytest.mark.parametrize("name", ["Phi-3-vision-128k-instruct", "Phi-3.5-vision-instruct"])
def test_published_files(name: str, shared: Path) -> None:
    folder = shared / "phi3v" / "hub" / name
    published = json.loads((folder / "config.json").read_text("utf-8"))
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    assert type(config) is Phi3VConfig
    assert config.rope_parameters["rope_type"] == "longrope"
    assert config.rope_parameters["long_factor"] == published["rope_scaling"]["long_factor"]
    assert config.pad_token_id == 32000
    assert config.image_token_id == 32044
    tower = config.vision_config
    assert (tower.hidden_size, tower.num_hidden_layers, tower.image_size, tower.patch_size) == (1024, 24, 336, 14)
    written = json.loads(config.to_json_string())
    dropped = {"auto_map", "_attn_implementation", "_name_or_path", "torch_dtype", "transformers_version"}
    assert {key: written.get(key) for key in published if key not in dropped} == {
        key: value for key, value in published.items() if key not in dropped
    }
    processor = AutoProcessor.from_pretrained(folder, trust_remote_code=False)
    assert processor.image_processor.num_crops == (16 if name == "Phi-3-vision-128k-instruct" else 4)
    with torch.device("meta"):
        model = Phi3VForConditionalGeneration(config)
    assert model.generation_config.eos_token_id == [32007, 32000]
    # sqrt(1 + ln(32) / ln(4096))
    assert math.isclose(model.model.rotary_emb.attention_scaling, 1.190238, abs_tol=1e-6)


def test_config_round_trip(tmp_path: Path) -> None:
    config = tiny_config(merge_size=1, image_token_id=9, embd_layer={"hd_transform_order": "glb_sub"})
    config.save_pretrained(tmp_path)
    again = AutoConfig.from_pretrained(tmp_path)
    own, found = config.to_dict(), again.to_dict()
    assert {key: found[key] for key in own if key != "_name_or_path"} == {
        key: value for key, value in own.items() if key != "_name_or_path"
    }


def test_a_partial_rotary_factor_is_not_lost(tmp_path: Path) -> None:
    # The published form has no word for it.
    rope = {"type": "longrope", "short_factor": [1.0] * 4, "long_factor": [2.0] * 4, "partial_rotary_factor": 0.5}
    config = tiny_config(rope_scaling=rope)
    config.save_pretrained(tmp_path)
    again = AutoConfig.from_pretrained(tmp_path)
    assert again.rope_parameters == config.rope_parameters
    assert again.rope_parameters["partial_rotary_factor"] == 0.5


def test_without_a_long_rope(tmp_path: Path) -> None:
    model = tiny_model(rope_scaling=None)
    assert model.config.rope_parameters["rope_type"] == "default"
    ids = torch.arange(3, 253)[None]
    with torch.no_grad():
        assert model(input_ids=ids).logits.isfinite().all()
    model.config.save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).rope_parameters == model.config.rope_parameters


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embd_layer": {"projection_cls": "linear"}}, r"embd_layer.projection_cls is 'linear'"),
        ({"embd_layer": {"use_hd_transform": False}}, r"embd_layer.use_hd_transform is False"),
        ({"embd_layer": {"hd_transform_order": "sub"}}, r"embd_layer.hd_transform_order is 'sub'"),
        ({"img_processor": {"type_feature": "cls_patch"}}, r"img_processor.type_feature is 'cls_patch'"),
        ({"img_processor": {"layer_idx": -6}}, r"a tower of 3 layers lacks"),
        ({"merge_size": 3}, r"tiles of 56 pixels hold no whole number of tokens"),
    ],
)
def test_what_the_model_lacks_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_config(**changes)


@pytest.mark.parametrize(("index", "depth"), [(-2, 2), (-1, 3), (1, 1)])
def test_the_layer_that_is_used(index: int, depth: int) -> None:
    model = tiny_model(img_processor={"layer_idx": index})
    tower = model.get_encoder("image")
    runs: list[int] = []
    for layer in tower.encoder.layers:
        layer.register_forward_hook(lambda *_: runs.append(1))
    with torch.no_grad():
        tower(torch.zeros(1, 3, 56, 56))
    assert len(runs) == depth


def test_loading_the_decoder_alone() -> None:
    model = AutoModel.from_pretrained(DEV, dtype=torch.float32)
    whole = AutoModelForCausalLM.from_pretrained(DEV, dtype=torch.float32)
    ids = torch.tensor([[1, 5, 9]])
    with torch.no_grad():
        hidden = model(input_ids=ids).last_hidden_state
        assert torch.equal(whole.lm_head(hidden), whole(input_ids=ids).logits)
