"""The fused norm: transformers' own in fp32 to the bit, and nearer to the truth than it in bf16."""

from __future__ import annotations

import pytest
import torch
from transformers.models.phi3.modeling_phi3 import Phi3RMSNorm

from harness.vlm.phi3v.norm import Phi3VRMSNorm
from tests.vlm.phi3v.build import tiny_model


def _pair(dtype: torch.dtype) -> tuple[Phi3RMSNorm, Phi3VRMSNorm, torch.Tensor]:
    made = torch.Generator().manual_seed(0)
    own, fused = Phi3RMSNorm(96, 1e-5), Phi3VRMSNorm(96, 1e-5)
    own.weight.data.normal_(1.0, 0.3, generator=made)
    fused.load_state_dict(own.state_dict())
    return own.to(dtype), fused.to(dtype), (3 * torch.randn(5, 7, 96, generator=made)).to(dtype)


def test_fp32_to_the_bit() -> None:
    own, fused, x = _pair(torch.float32)
    assert torch.equal(own(x), fused(x))


@pytest.mark.parametrize("autocast", [False, True])
def test_bf16_is_nearer_to_the_truth(autocast: bool) -> None:
    own, fused, x = _pair(torch.bfloat16)
    exact = torch.nn.functional.rms_norm(x.double(), (96,), own.weight.double(), 1e-5)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found, theirs = fused(x), own(x)
    assert found.dtype == torch.bfloat16
    assert (found.double() - exact).abs().mean() <= (theirs.double() - exact).abs().mean()


def test_gradients_in_bf16() -> None:
    own, fused, x = _pair(torch.bfloat16)
    gradients = []
    for norm in (own, fused):
        again = x.clone().requires_grad_()
        norm(again).float().square().sum().backward()
        assert again.grad is not None
        gradients.append(again.grad.float().flatten())
    assert torch.cosine_similarity(*gradients, dim=0) > 0.999


def test_every_norm_of_the_decoder_is_fused() -> None:
    model = tiny_model()
    norms = [module for module in model.modules() if isinstance(module, Phi3RMSNorm)]
    assert len(norms) == 2 * model.config.num_hidden_layers + 1
    assert {type(norm) for norm in norms} == {Phi3VRMSNorm}
