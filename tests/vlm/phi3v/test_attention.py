"""The lean attention: transformers' own in fp32 to the bit, its answers and gradients in bf16."""

from __future__ import annotations

import pytest
import torch
from transformers.models.phi3.modeling_phi3 import Phi3Attention, apply_rotary_pos_emb

from harness.vlm.phi3v.attention import Phi3VAttention, turn
from tests.vlm.phi3v.build import tiny_model


def _angles(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    angles = torch.rand(*shape, generator=torch.Generator().manual_seed(1)) * 6
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


@pytest.mark.parametrize("rows", [1, 2])
def test_turning_and_its_gradient(rows: int) -> None:
    heads = torch.randn(2, 5, 6, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    cosines, sines = (part.double() for part in _angles(rows, 5, 4))
    found, wanted = heads.clone().requires_grad_(), heads.clone().requires_grad_()
    turned = turn(found, cosines, sines)
    theirs, _ = apply_rotary_pos_emb(wanted.transpose(1, 2), wanted.transpose(1, 2), cosines, sines)
    torch.testing.assert_close(turned, theirs.transpose(1, 2))
    turned.square().sin().sum().backward()
    theirs.square().sin().sum().backward()
    torch.testing.assert_close(found.grad, wanted.grad)
    assert torch.autograd.gradcheck(lambda x: turn(x, cosines, sines), (heads.requires_grad_(),))


def test_bf16_turns_nearer_to_the_truth() -> None:
    heads = torch.randn(2, 64, 6, 96, generator=torch.Generator().manual_seed(0))
    cosines, sines = _angles(2, 64, 48)
    exact = turn(heads.bfloat16().double(), cosines.bfloat16().double(), sines.bfloat16().double())
    low = heads.bfloat16()
    found = turn(low, cosines.bfloat16(), sines.bfloat16())
    theirs, _ = apply_rotary_pos_emb(low.transpose(1, 2), low.transpose(1, 2), cosines.bfloat16(), sines.bfloat16())
    assert found.dtype == torch.bfloat16
    assert (found - exact).abs().mean() <= (theirs.transpose(1, 2) - exact).abs().mean()


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_layers_as_transformers(attention: str, dtype: torch.dtype) -> None:
    """Grouped keys too: 4 heads of queries, 2 of keys and values."""
    model = tiny_model(attention=attention, num_attention_heads=4, num_key_value_heads=2).to(dtype).train()
    layers = [module for module in model.modules() if isinstance(module, Phi3Attention)]
    assert {type(layer) for layer in layers} == {Phi3VAttention}
    ids = torch.randint(3, 60, (2, 9), generator=torch.Generator().manual_seed(2))
    found = []
    for kind in (Phi3VAttention, Phi3Attention):
        for layer in layers:
            layer.__class__ = kind
        model.zero_grad()
        output = model(input_ids=ids, labels=ids, use_cache=True)
        output.loss.backward()
        gradients = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        found.append((output.logits.detach().float().flatten(), gradients.float()))
    for one, other in zip(*found, strict=True):
        if dtype == torch.float32:
            assert torch.equal(one, other)
        else:
            assert torch.cosine_similarity(one, other, dim=0) > 0.999


def test_a_cache_is_filled_as_by_transformers() -> None:
    model = tiny_model().to(torch.bfloat16).eval()
    ids = torch.randint(3, 60, (2, 9), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        whole = model(input_ids=ids).logits[:, -1].float()
        first = model(input_ids=ids[:, :-1], use_cache=True)
        cache = first["cache"] if "cache" in first else first["past_key_values"]
        name = "cache" if "cache" in first else "past_key_values"
        last = model(input_ids=ids[:, -1:], use_cache=True, **{name: cache}).logits[:, -1].float()
    assert torch.cosine_similarity(whole.flatten(), last.flatten(), dim=0) > 0.999
