"""Which attention implementation is taken, and that the reason is told."""

from __future__ import annotations

import importlib.machinery
import importlib.util

import pytest

from harness.errors import ModelError
from harness.vlm.attention import choose_attention


class HasAll:
    _supports_sdpa = True
    _supports_flash_attn = True


class HasSdpa:
    _supports_sdpa = True
    _supports_flash_attn = False


class HasEager:
    _supports_sdpa = False
    _supports_flash_attn = False


@pytest.fixture
def flash_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if flash-attn were installed: it cannot be had without a CUDA device."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: importlib.machinery.ModuleSpec(name, None) if name == "flash_attn" else find(name),
    )


@pytest.mark.usefixtures("flash_installed")
@pytest.mark.parametrize(
    ("device", "dtype", "model", "name", "reason"),
    [
        ("cuda", "bf16", HasAll, "flash_attention_2", "flash-attn is installed"),
        ("cuda", "fp32", HasAll, "sdpa", "not in fp32"),
        ("cpu", "bf16", HasAll, "sdpa", "needs a CUDA device"),
        ("cuda", "bf16", HasSdpa, "sdpa", "HasSdpa has none"),
        ("cuda", "bf16", HasEager, "eager", "no sdpa: HasEager has none"),
    ],
)
def test_auto(device: str, dtype: str, model: type, name: str, reason: str) -> None:
    choice = choose_attention("auto", device_type=device, dtype=dtype, model_class=model)
    assert choice.name == name
    assert reason in choice.reason


@pytest.mark.skipif(importlib.util.find_spec("flash_attn") is not None, reason="flash-attn is installed here")
def test_auto_without_flash_attn() -> None:
    choice = choose_attention("auto", device_type="cuda", dtype="bf16", model_class=HasAll)
    assert (choice.name, choice.reason) == ("sdpa", "no flash_attention_2: flash-attn is not installed")


@pytest.mark.parametrize(
    ("asked", "model", "words"),
    [
        ("flash_attention_2", HasAll, "flash_attention_2 cannot run: it needs a CUDA device, this is cpu"),
        ("sdpa", HasEager, "sdpa cannot run: HasEager has none"),
        ("spda", HasAll, "no attention implementation 'spda'"),
    ],
)
def test_what_is_asked_for_is_taken_or_refused(asked: str, model: type, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        choose_attention(asked, device_type="cpu", dtype="fp32", model_class=model)
    assert choose_attention("eager", device_type="cpu", dtype="fp32", model_class=model).name == "eager"
