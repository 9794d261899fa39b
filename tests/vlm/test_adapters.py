"""Adapters on the resident model: on, off, wrong ones, and the proof that one is there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig

from harness.errors import ModelError
from harness.records import Sample
from harness.vlm.adapters import TRAINED, attach_adapter, check_adapter, detach_adapters, load_adapter, use_adapter
from harness.vlm.batch import prompt_batch
from harness.vlm.identity import adapter_hash
from harness.vlm.load import Vlm

CONFIG: dict[str, Any] = {"r": 4, "lora_alpha": 8, "task_type": "CAUSAL_LM"}


def _attach_trained(vlm: Vlm, seed: int, targets: list[str] | None = None) -> None:
    """Attach an adapter with B matrices as training would leave them: not 0."""
    torch.manual_seed(seed)
    attach_adapter(vlm, LoraConfig(target_modules=targets or ["q_proj", "down_proj"], **CONFIG))
    with torch.no_grad():
        for name, parameter in vlm.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)


def _save(vlm: Vlm, folder: Path) -> Path:
    vlm.model.save_pretrained(str(folder), save_embedding_layers=False)
    return folder


def _logits(vlm: Vlm, sample: Sample) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = vlm.base(**prompt_batch(vlm.processor, [sample])).logits
    return logits


def test_switched_off_the_base_is_untouched(vlm: Vlm, samples: list[Sample]) -> None:
    base = _logits(vlm, samples[0])
    _attach_trained(vlm, 0)
    assert not torch.equal(_logits(vlm, samples[0]), base)
    with use_adapter(vlm, None):
        assert torch.equal(_logits(vlm, samples[0]), base)
    with use_adapter(vlm, TRAINED):
        assert not torch.equal(_logits(vlm, samples[0]), base)
    detach_adapters(vlm)
    assert torch.equal(_logits(vlm, samples[0]), base)
    assert vlm.model is vlm.base
    assert not any("lora" in name for name, _ in vlm.model.named_modules())


def test_check_measures_the_change_and_refuses_none(vlm: Vlm, samples: list[Sample]) -> None:
    base = _logits(vlm, samples[0])[:, -32:]
    attach_adapter(vlm, LoraConfig(target_modules=["q_proj"], **CONFIG))
    with pytest.raises(ModelError, match="changes nothing: its B matrices are 0: it was never trained"):
        check_adapter(vlm, samples[0])
    _attach_trained(vlm, 0)
    change = check_adapter(vlm, samples[0])
    assert change == pytest.approx(float((_logits(vlm, samples[0])[:, -32:] - base).abs().max()))
    with torch.no_grad():
        for name, parameter in vlm.model.named_parameters():
            if "lora_B" in name:
                parameter.fill_(float("nan"))
    with pytest.raises(ModelError, match="logits are not finite"):
        check_adapter(vlm, samples[0])


def test_check_refuses_an_adapter_that_cannot_reach_the_logits(idefics3: Vlm, samples: list[Sample]) -> None:
    # Trained, but with a scale of nothing.
    _attach_trained(idefics3, 0)
    for module in idefics3.model.modules():
        if hasattr(module, "lora_B"):
            module.scaling[TRAINED] = 0.0
    with pytest.raises(ModelError, match="does not reach the logits"):
        check_adapter(idefics3, samples[0])


def test_adapters_side_by_side(vlm: Vlm, samples: list[Sample], tmp_path: Path) -> None:
    base = _logits(vlm, samples[0])
    saved, wanted = [], []
    for seed in (1, 2):
        _attach_trained(vlm, seed)
        wanted.append(_logits(vlm, samples[0]))
        saved.append(_save(vlm, tmp_path / str(seed)))
    detach_adapters(vlm)
    load_adapter(vlm, saved[0], "c0001")
    load_adapter(vlm, saved[1], "c0002")
    for name, logits in [("c0002", wanted[1]), ("c0001", wanted[0]), (None, base), ("c0002", wanted[1])]:
        with use_adapter(vlm, name):
            assert torch.equal(_logits(vlm, samples[0]), logits)
    # The same name again replaces what was there.
    load_adapter(vlm, saved[0], "c0002")
    with use_adapter(vlm, "c0002"):
        assert torch.equal(_logits(vlm, samples[0]), wanted[0])
    with use_adapter(vlm, "c0001"), use_adapter(vlm, None):
        assert torch.equal(_logits(vlm, samples[0]), base)
    # A single one again, too: peft would wrap a model twice.
    detach_adapters(vlm)
    load_adapter(vlm, saved[0], "c0003")
    load_adapter(vlm, saved[1], "c0003")
    with use_adapter(vlm, "c0003"):
        assert torch.equal(_logits(vlm, samples[0]), wanted[1])


def test_adapters_with_different_targets_side_by_side(vlm: Vlm, samples: list[Sample], tmp_path: Path) -> None:
    wanted = []
    for name, targets in (("c0001", ["q_proj"]), ("c0002", ["down_proj", "k_proj"])):
        _attach_trained(vlm, 0, targets)
        wanted.append(_logits(vlm, samples[0]))
        _save(vlm, tmp_path / name)
    detach_adapters(vlm)
    for name in ("c0001", "c0002"):
        load_adapter(vlm, tmp_path / name, name)
    for name, logits in zip(("c0001", "c0002"), wanted, strict=True):
        with use_adapter(vlm, name):
            assert torch.equal(_logits(vlm, samples[0]), logits)


def test_an_unknown_name(vlm: Vlm) -> None:
    with pytest.raises(ModelError, match=r"no adapter 'c0009' is loaded \(loaded: none\)"), use_adapter(vlm, "c0009"):
        pass
    _attach_trained(vlm, 0)
    with pytest.raises(ModelError, match=r"\(loaded: default\)"), use_adapter(vlm, "c0009"):
        pass


def test_adapters_that_do_not_load_leave_the_model_as_it_was(
    idefics3: Vlm, llava: Vlm, samples: list[Sample], tmp_path: Path
) -> None:
    base = _logits(llava, samples[0])
    with pytest.raises(ModelError, match="holds no adapter"):
        load_adapter(llava, tmp_path)
    _attach_trained(idefics3, 0, ["model.text_model.layers.0.self_attn.q_proj"])
    other = _save(idefics3, tmp_path / "other")
    _attach_trained(llava, 0)
    good = _save(llava, tmp_path / "good")
    detach_adapters(llava)
    torn = Path(shutil.copytree(good, tmp_path / "torn"))
    (torn / "adapter_model.safetensors").write_bytes((good / "adapter_model.safetensors").read_bytes()[:-50])
    wider = Path(shutil.copytree(good, tmp_path / "wider"))
    config = json.loads((good / "adapter_config.json").read_text("utf-8"))
    (wider / "adapter_config.json").write_text(json.dumps(config | {"r": 8}), "utf-8")
    fewer = Path(shutil.copytree(good, tmp_path / "fewer"))
    (fewer / "adapter_config.json").write_text(json.dumps(config | {"target_modules": ["q_proj"]}), "utf-8")
    more = Path(shutil.copytree(good, tmp_path / "more"))
    targets = ["q_proj", "down_proj", "k_proj"]
    (more / "adapter_config.json").write_text(json.dumps(config | {"target_modules": targets}), "utf-8")
    for folder in (other, torn, wider, fewer, more):
        with pytest.raises(ModelError, match=f"the adapter {folder} does not fit {llava.model_ref}: "):
            load_adapter(llava, folder, "bad")
        assert torch.equal(_logits(llava, samples[0]), base)
        assert llava.model is llava.base
    load_adapter(llava, good, "good")
    with pytest.raises(ModelError, match="does not fit"):
        load_adapter(llava, torn, "bad")
    with use_adapter(llava, "good"):
        assert not torch.equal(_logits(llava, samples[0]), base)


def test_the_hash_is_of_what_the_adapter_computes(vlm: Vlm, tmp_path: Path) -> None:
    _attach_trained(vlm, 0)
    first = _save(vlm, tmp_path / "first")
    moved = Path(shutil.copytree(first, tmp_path / "moved"))
    config = json.loads((moved / "adapter_config.json").read_text("utf-8"))
    config |= {"base_model_name_or_path": "elsewhere", "target_modules": sorted(config["target_modules"], reverse=True)}
    (moved / "adapter_config.json").write_text(json.dumps(config), "utf-8")
    assert adapter_hash(moved) == adapter_hash(first)
    (moved / "adapter_config.json").write_text(json.dumps(config | {"lora_alpha": 16}), "utf-8")
    assert adapter_hash(moved) != adapter_hash(first)
    _attach_trained(vlm, 1)
    assert adapter_hash(_save(vlm, tmp_path / "second")) != adapter_hash(first)
    (moved / "adapter_config.json").write_text("{", "utf-8")
    with pytest.raises(ModelError, match="is not JSON"):
        adapter_hash(moved)
    (moved / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"no adapter_model\.safetensors"):
        adapter_hash(moved)


def test_targets_that_cannot_be_adapted(vlm: Vlm, samples: list[Sample]) -> None:
    base = _logits(vlm, samples[0])
    with pytest.raises(ModelError, match="the adapter does not fit"):
        attach_adapter(vlm, LoraConfig(target_modules=["input_layernorm"], **CONFIG))
    assert torch.equal(_logits(vlm, samples[0]), base)
