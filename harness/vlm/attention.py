"""Which attention implementation runs: flash_attention_2 where it can, else sdpa, else eager.

Enters: what was asked for, the device, the dtype, the model class. Leaves: a choice and the reason for it, to be told
to the user. Cost: sdpa is within a few per cent of flash-attention on short prompts; eager is slower and takes memory
that grows with the square of the prompt, but every model has it.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any, Literal, get_args

from harness.errors import ModelError

Attention = Literal["sdpa", "eager", "flash_attention_2"]


@dataclass(frozen=True, slots=True)
class AttentionChoice:
    """The implementation, by transformers' name, and why it was taken."""

    name: Attention
    reason: str


def choose_attention(asked: str, *, device_type: str, dtype: str, model_class: Any) -> AttentionChoice:
    """Choose an implementation that this device, dtype and model can run.

    Args:
        asked: "auto", or one of "sdpa", "eager", "flash_attention_2", which is then taken or refused.
        device_type: "cuda", "cpu", "mps".
        dtype: "bf16", "fp16" or "fp32"; flash-attention computes in the first two alone.
        model_class: the transformers model class; it says what it supports.

    Raises:
        ModelError: the name is unknown, or what was asked for cannot run here.
    """
    if asked not in ("auto", *get_args(Attention)):
        raise ModelError(
            f"no attention implementation {asked!r}",
            hint=f"one of: auto, {', '.join(get_args(Attention))}, as in --set model.attention=sdpa",
        )
    no_flash = _why_no_flash(device_type, dtype, model_class)
    no_sdpa = "" if getattr(model_class, "_supports_sdpa", False) else f"{model_class.__name__} has none"
    if asked == "flash_attention_2" and no_flash:
        raise ModelError(f"flash_attention_2 cannot run: {no_flash}", hint="--set model.attention=auto")
    if asked == "sdpa" and no_sdpa:
        raise ModelError(f"sdpa cannot run: {no_sdpa}", hint="--set model.attention=eager")
    if asked == "auto":
        if not no_flash:
            return AttentionChoice("flash_attention_2", "flash-attn is installed")
        if not no_sdpa:
            return AttentionChoice("sdpa", f"no flash_attention_2: {no_flash}")
        return AttentionChoice("eager", f"no flash_attention_2: {no_flash}; no sdpa: {no_sdpa}")
    name: Attention = next(known for known in get_args(Attention) if known == asked)
    return AttentionChoice(name, "asked for")


def _why_no_flash(device_type: str, dtype: str, model_class: Any) -> str:
    """Why flash_attention_2 cannot run; empty where it can."""
    if device_type != "cuda":
        return f"it needs a CUDA device, this is {device_type}"
    if dtype == "fp32":
        return "it computes in bf16 or fp16, not in fp32"
    if importlib.util.find_spec("flash_attn") is None:
        return "flash-attn is not installed"
    if not getattr(model_class, "_supports_flash_attn", False):
        return f"{model_class.__name__} has none"
    return ""
