"""LoRA in half precision: peft's own answers and gradients, without its casts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from harness.vlm.lean_lora import make_lean


class _Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(24, 40)
        self.second = nn.Linear(40, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.nn.functional.silu(self.first(x)))


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        yield


def _model(dtype: torch.dtype, **settings: object) -> nn.Module:
    base = _Two().to(dtype).requires_grad_(False)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["first", "second"], init_lora_weights=False, **settings)
    return get_peft_model(base, config)


def _step(model: nn.Module, x: torch.Tensor, half: bool) -> tuple[torch.Tensor, list[torch.Tensor]]:
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        out = model(x)
    out.float().square().mean().backward()
    return out.detach().float(), [p.grad.clone() for p in model.parameters() if p.grad is not None]


def _near(one: torch.Tensor, other: torch.Tensor) -> None:
    assert torch.cosine_similarity(one.flatten(), other.flatten(), dim=0) > 0.999


@pytest.mark.parametrize("half", [True, False])
def test_half_precision_as_peft(half: bool) -> None:
    model = _model(torch.bfloat16)
    x = torch.randn(2, 7, 24, dtype=torch.bfloat16)
    wanted, gradients = _step(model, x, half)
    make_lean(model)
    found, others = _step(model, x, half)
    assert len(gradients) == len(others) == 4
    for one, other in zip([wanted, *gradients], [found, *others], strict=True):
        assert one.dtype == other.dtype
        _near(one, other)
    with model.disable_adapter():
        bare = model(x).float()
    assert not torch.allclose(bare, found, atol=1e-2), "the adapter must matter here"


def test_its_weights_and_gradients_stay_fp32() -> None:
    model = _model(torch.bfloat16)
    make_lean(model)
    _, gradients = _step(model, torch.randn(3, 24, dtype=torch.bfloat16), True)
    assert {gradient.dtype for gradient in gradients} == {torch.float32}


def test_no_activation_is_widened() -> None:
    model = _model(torch.bfloat16)
    make_lean(model)
    widened: list[str] = []

    class _Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor) and out.dtype == torch.float32 and 7 in out.shape:
                widened.append(str(func))
            return out

    with torch.no_grad(), _Watch():
        model(torch.randn(7, 24).to(torch.bfloat16))
    assert set(widened) <= {"aten.randn.default"}


def test_fp32_is_pefts_own_to_the_bit() -> None:
    model = _model(torch.float32)
    x = torch.randn(2, 7, 24)
    wanted, gradients = _step(model, x, False)
    make_lean(model)
    found, others = _step(model, x, False)
    assert torch.equal(found, wanted)
    assert all(torch.equal(one, other) for one, other in zip(gradients, others, strict=True))


def test_dropout_is_drawn_as_before() -> None:
    model = _model(torch.bfloat16, lora_dropout=0.5)
    x = torch.randn(64, 24, dtype=torch.bfloat16)
    model.train()
    torch.manual_seed(1)
    wanted, _ = _step(model, x, True)
    make_lean(model)
    torch.manual_seed(1)
    found, _ = _step(model, x, True)
    _near(wanted, found)


@pytest.mark.parametrize("kind", ["dora", "bias", "two adapters", "merged"])
def test_what_it_does_not_know_is_pefts_own(kind: str) -> None:
    settings = {"dora": {"use_dora": True}, "bias": {"lora_bias": True}}.get(kind, {})
    model = _model(torch.bfloat16, **settings)
    if kind == "two adapters":
        model.add_adapter(
            "other", LoraConfig(r=2, lora_alpha=4, target_modules=["first", "second"], init_lora_weights=False)
        )
        model.base_model.set_adapter(["default", "other"])
    if kind == "merged":
        model.merge_adapter()
    x = torch.randn(5, 24, dtype=torch.bfloat16)
    with torch.no_grad():
        wanted = model(x)
        make_lean(model)
        assert torch.equal(model(x), wanted)
