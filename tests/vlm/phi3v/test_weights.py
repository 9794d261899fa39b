"""Weights by their published names, in and out; sizes of the real model."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

from harness.train.lora import lora_targets, trainable_share
from harness.vlm import phi3v
from harness.vlm.phi3v.configuration import Phi3VConfig
from harness.vlm.phi3v.modeling import Phi3VForConditionalGeneration
from tests.vlm.phi3v.build import DEV, tiny_checkpoint, tiny_config

PUBLISHED = load_file(DEV / "model.safetensors")


@pytest.fixture(autouse=True)
def _registered() -> None:
    phi3v.register()


@pytest.fixture(scope="module")
def real() -> Phi3VForConditionalGeneration:
    """The model in its real configuration, without memory."""
    ones = [1.0] * 48
    rope = {"type": "su", "short_factor": ones, "long_factor": ones}
    config = Phi3VConfig(max_position_embeddings=131072, sliding_window=131072, rope_scaling=rope)
    with torch.device("meta"):
        return Phi3VForConditionalGeneration(config)


def _assert_published(weights: dict[str, torch.Tensor]) -> None:
    assert set(weights) == set(PUBLISHED)
    for name, weight in PUBLISHED.items():
        assert torch.equal(weights[name], weight), name


def test_published_weights_in_and_out(tmp_path: Path) -> None:
    model = AutoModelForImageTextToText.from_pretrained(DEV, dtype=torch.float32)
    assert type(model) is Phi3VForConditionalGeneration
    _assert_published(model.state_dict())
    model.save_pretrained(tmp_path)
    _assert_published(load_file(tmp_path / "model.safetensors"))


def test_sharded_weights_out_and_in(tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(DEV, dtype=torch.float32)
    model.save_pretrained(tmp_path, max_shard_size="300KB")
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text("utf-8"))
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 2
    assert set(index["weight_map"]) == set(PUBLISHED)
    _assert_published({name: weight for shard in shards for name, weight in load_file(shard).items()})
    again = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32, device_map={"": "cpu"})
    _assert_published(again.state_dict())


def test_saved_config_keeps_the_published_form(tmp_path: Path) -> None:
    published = json.loads((DEV / "config.json").read_text("utf-8"))
    AutoModelForCausalLM.from_pretrained(DEV, dtype=torch.float32).save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text("utf-8"))
    tower = published.pop("clip_config")
    assert {k: tower[k] for k in written.pop("clip_config")}.items() <= tower.items()
    assert published.pop("torch_dtype") == written.pop("dtype")
    assert {key: written.get(key) for key in published} == published


@pytest.mark.parametrize("dtype", [torch.bfloat16, "auto"])
def test_dtype(dtype: torch.dtype | str) -> None:
    model = AutoModelForImageTextToText.from_pretrained(DEV, dtype=dtype)
    expected = torch.float32 if dtype == "auto" else dtype
    assert {p.dtype for p in model.parameters()} == {expected}
    ids = torch.tensor([[1, 5, 9]])
    assert model(input_ids=ids).logits.dtype == expected


def test_bf16_keeps_the_angles_in_fp32() -> None:
    position_ids = torch.tensor([[0, 1, 1000]])
    first = AutoModelForImageTextToText.from_pretrained(DEV, dtype=torch.float32).model.rotary_emb
    rounded = AutoModelForImageTextToText.from_pretrained(DEV, dtype=torch.float32).to(torch.bfloat16).model.rotary_emb
    wanted, _ = first(torch.zeros(1), position_ids)
    found, _ = rounded(torch.zeros(1), position_ids)
    assert torch.equal(wanted, found)


def test_missing_and_extra_weights_are_named(tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path / "tiny")
    weights = load_file(folder / "model.safetensors")
    lost = "model.vision_embed_tokens.img_processor.vision_model.encoder.layers.1.mlp.fc1.weight"
    extra = "model.layers.7.mlp.down_proj.weight"
    weights[extra] = weights["model.layers.1.mlp.down_proj.weight"].clone()
    # In the original's state_dict, in no checkpoint: an alias, to be passed over in silence.
    weights["model.vision_embed_tokens.wte.weight"] = weights["model.embed_tokens.weight"].clone()
    del weights[lost], weights["model.vision_embed_tokens.sub_GN"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    _, info = AutoModelForImageTextToText.from_pretrained(folder, output_loading_info=True)
    assert set(info["missing_keys"]) == {lost, "model.vision_embed_tokens.sub_GN"}
    assert set(info["unexpected_keys"]) == {extra}


def test_real_parameter_counts(real: Phi3VForConditionalGeneration) -> None:
    def count(*parts: str) -> int:
        return sum(p.numel() for n, p in real.named_parameters() if any(part in n for part in parts))

    assert count("model.embed_tokens") == count("lm_head") == 98_500_608
    assert sum(p.numel() for n, p in real.named_parameters() if "model.layers" in n and "attn" in n) == 1_207_959_552
    assert sum(p.numel() for n, p in real.named_parameters() if "model.layers" in n and "mlp" in n) == 2_415_919_104
    norms = [
        p.numel() for n, p in real.named_parameters() if "model.norm" in n or ("model.layers" in n and "norm" in n)
    ]
    assert sum(norms) == 199_680
    assert count("img_processor") == 303_507_456
    assert count("img_processor.vision_model.encoder.layers.23", "post_layernorm") == 12_598_272
    assert count("img_projection") == 22_026_240
    assert count("_GN") == 8_192
    assert count("") == 4_146_621_440
    assert len(real.state_dict()) == 592
    assert real.config.tower_depth == 23


def test_real_weight_names(real: Phi3VForConditionalGeneration, shared: Path) -> None:
    index = shared / "phi3v" / "hub" / "Phi-3-vision-128k-instruct" / "model.safetensors.index.json"
    assert set(real.state_dict()) == set(json.loads(index.read_text("utf-8"))["weight_map"])


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft uses the old name
@pytest.mark.parametrize(
    ("name_set", "trainable", "percent"),
    [("decoder", 25_165_824, 0.6069), ("decoder+vision", 32_243_712, 0.7776), ("seed", 15_728_640, 0.3793)],
)
def test_real_lora_share(name_set: str, trainable: int, percent: float, real: Phi3VForConditionalGeneration) -> None:
    from peft import LoraConfig, get_peft_model

    with torch.device("meta"):
        adapted = get_peft_model(copy.deepcopy(real), LoraConfig(r=16, target_modules=lora_targets(real, name_set)))
    share = trainable_share(adapted)
    assert share.trainable == trainable
    assert share.total - share.trainable == 4_146_621_440
    assert round(100 * share.share_of_base, 4) == percent


def test_attention_of_decoder_and_tower_apart() -> None:
    config = tiny_config()
    config._attn_implementation = {"": "sdpa", "clip_config": "eager"}
    model = Phi3VForConditionalGeneration(config)
    tower = model.get_encoder("image")
    assert (model.config._attn_implementation, tower.config._attn_implementation) == ("sdpa", "eager")
    model.set_attn_implementation("eager")
    assert model.model.layers[0].self_attn.config._attn_implementation == "eager"
    model.set_attn_implementation("sdpa")
    assert tower.encoder.layers[0].self_attn.config._attn_implementation == "sdpa"
    with pytest.raises(ValueError, match="flash_attention_9"):
        model.set_attn_implementation("flash_attention_9")
