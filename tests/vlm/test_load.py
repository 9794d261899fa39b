"""Loading a checkpoint as a user would, and the words for every way in which it may be no good."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from harness.errors import ModelError
from harness.records import Sample
from harness.vlm.batch import prompt_batch
from harness.vlm.load import Vlm, default_model, load_vlm
from tests import tiny_vlm


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A tiny checkpoint of one's own to damage."""
    return Path(shutil.copytree(tiny_vlm.checkpoint("idefics3"), tmp_path / "checkpoint"))


def _edit_json(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text("utf-8")) | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}), "utf-8")


def test_loads_both_families_as_the_checkpoint_says(vlm: Vlm) -> None:
    assert vlm.device == torch.device("cpu")
    assert vlm.dtype == torch.float32
    assert {p.dtype for p in vlm.model.parameters()} == {torch.float32}
    assert vlm.attention == "sdpa"
    assert vlm.model.config._attn_implementation == "sdpa"
    assert vlm.revision is None
    assert vlm.base is vlm.model
    assert not vlm.model.training
    assert not any(p.requires_grad for p in vlm.model.parameters())
    assert vlm.describe().startswith(f"model {vlm.model_ref}: {type(vlm.model).__name__}, ")


def test_stop_and_pad_tokens(idefics3: Vlm, llava: Vlm) -> None:
    names = idefics3.processor.tokenizer.convert_ids_to_tokens
    assert names(list(idefics3.stop_token_ids)) == ["<end_of_utterance>", "<|endoftext|>"]
    assert names(idefics3.pad_token_id) == "<pad>"
    # LLaVA's tokenizer has no pad token; the end of text serves, masked.
    assert llava.processor.tokenizer.convert_ids_to_tokens([*llava.stop_token_ids, llava.pad_token_id]) == [
        "</s>",
        "</s>",
    ]


def test_the_same_weights_give_the_same_logits_as_transformers_alone(vlm: Vlm, samples: list[Sample]) -> None:
    reference = transformers.AutoModelForImageTextToText.from_pretrained(vlm.model_ref, attn_implementation="eager")
    inputs = prompt_batch(vlm.processor, samples[:1])
    with torch.no_grad():
        torch.testing.assert_close(vlm.model(**inputs).logits, reference(**inputs).logits, atol=2e-5, rtol=1e-4)


def test_dtype_and_attention_as_asked(copy: Path) -> None:
    vlm = load_vlm(str(copy), dtype="bf16", attention="eager", device="cpu")
    assert vlm.dtype == torch.bfloat16
    assert {p.dtype for p in vlm.model.parameters()} == {torch.bfloat16}
    assert vlm.model.config._attn_implementation == "eager"
    assert vlm.attention_reason == "asked for"


def test_base_hash_follows_content_not_place(copy: Path, idefics3: Vlm) -> None:
    first = load_vlm(str(copy), device="cpu").base_hash
    assert first == idefics3.base_hash
    (copy / "README.md").write_text("a card")
    (copy / "optimizer.pt").write_bytes(b"leftover")
    assert load_vlm(str(copy), device="cpu").base_hash == first
    _edit_json(copy / "generation_config.json", eos_token_id=5)
    changed = load_vlm(str(copy), device="cpu")
    assert changed.base_hash != first
    assert changed.stop_token_ids == (5,)


def test_base_hash_of_other_weights_differs(tmp_path: Path, idefics3: Vlm) -> None:
    other = load_vlm(str(tiny_vlm.build_idefics3(tmp_path, seed=1)), device="cpu")
    assert other.base_hash != idefics3.base_hash


def test_without_eos_in_the_generation_config_the_tokenizers_counts(copy: Path) -> None:
    (copy / "generation_config.json").unlink()
    _edit_json(copy / "config.json", eos_token_id=None)
    vlm = load_vlm(str(copy), device="cpu")
    assert vlm.processor.tokenizer.eos_token_id in vlm.stop_token_ids


def test_a_hub_id_is_resolved_to_its_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, idefics3: Vlm) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    repo = tmp_path / "models--maker--inspector"
    shutil.copytree(idefics3.model_ref, repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    vlm = load_vlm("maker/inspector", device="cpu")
    assert vlm.revision == commit
    assert vlm.model_ref == "maker/inspector"
    assert vlm.base_hash != idefics3.base_hash
    assert load_vlm("maker/inspector", revision=commit, device="cpu").base_hash == vlm.base_hash
    with pytest.raises(ModelError, match="no model maker/inspector@v2"):
        load_vlm("maker/inspector", revision="v2", device="cpu")
    with pytest.raises(ModelError, match="no model maker/nothing: neither a folder here nor to be had from the Hub"):
        load_vlm("maker/nothing", device="cpu")


def _no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _remote_code(folder: Path) -> None:
    _edit_json(folder / "config.json", model_type="odd_vlm", auto_map={"AutoConfig": "configuration_odd.OddConfig"})


def _unknown_type(folder: Path) -> None:
    _edit_json(folder / "config.json", model_type="odd_vlm")


def _torn_config(folder: Path) -> None:
    (folder / "config.json").write_text("{", "utf-8")


def _no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _torn_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def _one_weight_missing(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.text_model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _one_weight_misshapen(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] = weights["lm_head.weight"][:7].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _text_only(folder: Path) -> None:
    config = transformers.LlamaConfig(
        vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)


def _no_processor(folder: Path) -> None:
    (folder / "processor_config.json").unlink()


def _no_chat_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()


def _no_stop(folder: Path) -> None:
    (folder / "generation_config.json").unlink()
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config["text_config"]["eos_token_id"] = None
    (folder / "config.json").write_text(json.dumps(config | {"eos_token_id": None}), "utf-8")
    _edit_json(folder / "tokenizer_config.json", eos_token=None)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_no_config, "it has no config.json"),
        (_remote_code, "needs code of its own"),
        (_unknown_type, "config.json cannot be used .*odd_vlm"),
        (_torn_config, "config.json cannot be used .*not a valid JSON"),
        (_no_weights, "weights cannot be used .*no file named model.safetensors"),
        (_torn_weights, "weights cannot be used .*SafetensorError"),
        (_one_weight_missing, r"lacks 1 weights .*model\.text_model\.layers\.1\.mlp\.up_proj\.weight"),
        (_one_weight_misshapen, "weights cannot be used"),
        (_text_only, "no vision-language model: its model_type is 'llama'"),
        (_no_processor, "processor cannot be used"),
        (_no_chat_template, "no chat template"),
        (_no_stop, "names no token that ends an answer"),
    ],
)
def test_a_bad_checkpoint_is_told_in_one_line(copy: Path, damage: Callable[[Path], None], words: str) -> None:
    damage(copy)
    with pytest.raises(ModelError, match=words) as caught:
        load_vlm(str(copy), device="cpu")
    assert str(copy) in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint
    assert "\n" not in caught.value.hint


def test_superfluous_weights_are_told(copy: Path, caplog: pytest.LogCaptureFixture) -> None:
    weights = load_file(copy / "model.safetensors")
    save_file(weights | {"extra.weight": torch.ones(2)}, copy / "model.safetensors", metadata={"format": "pt"})
    with caplog.at_level(logging.WARNING):
        load_vlm(str(copy), device="cpu")
    assert "1 weights are not used: extra.weight" in caplog.text


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("./nowhere", "no such folder"),
        ("/nowhere/at/all", "no such folder"),
        ("three/part/id", "no such folder"),
        (__file__, "a file, not a folder"),
    ],
)
def test_a_name_that_is_nothing(model: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        load_vlm(model, device="cpu")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"dtype": "int3"}, "no dtype 'int3'"),
        ({"device": "abacus"}, "no device 'abacus'"),
        ({"attention": "psychic"}, "no attention implementation 'psychic'"),
        ({"attention": "flash_attention_2"}, "flash_attention_2 cannot run: it needs a CUDA device"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, str], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        load_vlm(str(tiny_vlm.checkpoint("llava")), **({"device": "cpu"} | settings))


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a CUDA device")
def test_without_a_cuda_device() -> None:
    assert default_model() == "tiny"
    with pytest.raises(ModelError, match="torch sees no CUDA device"):
        load_vlm(str(tiny_vlm.checkpoint("llava")), device="cuda")
    assert load_vlm(str(tiny_vlm.checkpoint("llava"))).device == torch.device("cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_with_a_cuda_device() -> None:
    assert default_model() == "microsoft/Phi-3-vision-128k-instruct"
    vlm = load_vlm(str(tiny_vlm.checkpoint("idefics3")))
    assert vlm.device == torch.device("cuda", 0)
    assert vlm.dtype == torch.bfloat16
    del vlm
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1e-6)
    try:
        with pytest.raises(ModelError, match="does not fit cuda:0 in fp32"):
            load_vlm(str(tiny_vlm.checkpoint("idefics3")), dtype="fp32")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
