"""The Triton kernels against PyTorch's operations: on a CUDA device as they are, elsewhere in Triton's interpreter."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from torch import nn

from harness.vlm import fused, lean_lora
from harness.vlm.load import load_vlm
from harness.vlm.phi3v import attention, mlp
from tests import tiny_vlm

pytest.importorskip("triton", reason="Triton is not installed: pip install triton (Linux)")
CUDA = torch.cuda.is_available()
from harness.vlm import kernels  # noqa: E402

DEVICE = torch.device("cuda" if CUDA else "cpu")
HALF = torch.bfloat16 if CUDA else torch.float16  # the interpreter's products of bf16 are wrong
DTYPES = [torch.float32, torch.bfloat16] if CUDA else [torch.float32]


@pytest.fixture
def draw() -> Any:
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(DEVICE, dtype).requires_grad_()

    return drawn


def _compare(found: Any, wanted: Any, leaves: list[torch.Tensor]) -> None:
    """Values and gradients of two ways to the same, up to rounding."""
    sides = []
    generator = torch.Generator().manual_seed(9)
    above = [torch.randn(part.shape, generator=generator).to(part) for part in found]
    for way in (found, wanted):
        out = list(way)
        gradients = torch.autograd.grad(out, leaves, above, retain_graph=True)
        sides.append([part.detach().float().flatten() for part in (*out, *gradients)])
    exact = leaves[0].dtype == torch.float32
    for one, other in zip(*sides, strict=True):
        if exact:
            torch.testing.assert_close(one, other, rtol=2e-4, atol=2e-3)
        assert torch.cosine_similarity(one, other, dim=0) > (0.999999 if exact else 0.999)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "width"), [(6, 40), (37, 300)])
@pytest.mark.parametrize("rank", [0, 16])
def test_swiglu(draw: Any, dtype: torch.dtype, rows: int, width: int, rank: int) -> None:
    both, added = draw(rows, 2 * width, dtype=dtype), _added(draw, rows, 2 * width, rank, dtype)
    gate, up = _sum(both, added).chunk(2, dim=-1)
    _compare([kernels.SwiGLU.apply(both, *added)], [F.silu(gate) * up], [both, *added])


def _added(draw: Any, rows: int, columns: int, rank: int, dtype: torch.dtype) -> list[torch.Tensor]:
    """What a LoRA layer has still to add; nothing for rank 0."""
    return [draw(rows, rank, dtype=dtype), draw(columns, rank)] if rank else []


def _sum(base: torch.Tensor, added: list[torch.Tensor]) -> torch.Tensor:
    return base + F.linear(added[0], added[1].to(base.dtype)) if added else base


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("heads", "groups", "width"), [(4, 4, 16), (6, 2, 12)])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("rank", [0, 16])
def test_turned_heads(
    draw: Any, dtype: torch.dtype, heads: int, groups: int, width: int, batch: int, rank: int
) -> None:
    columns = (heads + 2 * groups) * width
    joint, added = draw(2 * 9, columns, dtype=dtype), _added(draw, 2 * 9, columns, rank, dtype)
    angles = draw(batch, 9, width // 2).detach().repeat(1, 1, 2)
    cosines, sines = angles.cos().to(dtype), angles.sin().to(dtype)
    apart = _sum(joint, added).view(2, 9, heads + 2 * groups, width).split([heads, groups, groups], dim=2)
    turned = [attention.turn(apart[0], cosines, sines), attention.turn(apart[1], cosines, sines), apart[2]]
    wanted = [part.flatten(0, 1) for part in turned]
    found = list(kernels.TurnedHeads.apply(joint, cosines, sines, heads, groups, *added))
    assert [part.shape for part in found] == [part.shape for part in wanted]
    _compare(found, wanted, [joint, *added])
    # Gradients that lie otherwise in memory, as attention's do.
    _compare(*([part.transpose(0, 1).contiguous() for part in parts] for parts in (found, wanted)), [joint, *added])


def _kept(rows: int, columns: int, drops: int, seed: int) -> torch.Tensor:
    """What dropout keeps, read off the kernel that widens: added to zeros, kept places are 1."""
    thin, a = torch.zeros(rows, 16, device=DEVICE), torch.zeros(16, columns, device=DEVICE)
    thin[:, 0], a[0] = 1.0, 1.0
    out = torch.zeros(rows, columns, device=DEVICE)
    grid = (-(-rows // kernels.ROWS), -(-columns // kernels.COLUMNS))
    kernels._widen[grid](
        thin, a, out, seed, rows, columns, drops, 1.0, RANK=16, ROWS=kernels.ROWS, COLUMNS=kernels.COLUMNS
    )
    return out


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("share", [0.0, 0.25])
@pytest.mark.parametrize(("rows", "columns", "rank"), [(70, 200, 16), (33, 128, 32)])
def test_lora(draw: Any, dtype: torch.dtype, share: float, rows: int, columns: int, rank: int) -> None:
    """All three kernels drop the same places."""
    x, weight, bias = draw(rows, columns, dtype=dtype), draw(24, columns, dtype=dtype).detach(), draw(24).detach()
    inner, outer = ((0.1 * draw(*shape)).detach().requires_grad_() for shape in ((rank, columns), (24, rank)))
    drops = round(share * kernels.DROP_STEPS)
    kept = _kept(rows, columns, drops, 7)
    assert bool((kept == 1).all()) is (drops == 0)
    dropped = x * kept.to(dtype) / (1 - share)
    wanted = F.linear(x, weight, bias.to(dtype)) + 0.5 * F.linear(F.linear(dropped, inner.to(dtype)), outer.to(dtype))
    base, thin = kernels.LoraParts.apply(x, weight, bias.to(dtype), inner, 0.5, drops, 7)
    found = base.addmm_(thin, outer.to(dtype).t())
    _compare([found], [wanted], [x, inner, outer])
    assert {gradient.dtype for gradient in torch.autograd.grad(found.sum(), [inner, outer])} == {torch.float32}


def test_lora_of_an_input_without_gradient(draw: Any) -> None:
    x, weight, inner = draw(5, 32).detach(), draw(8, 32).detach(), draw(16, 32)
    base, thin = kernels.LoraParts.apply(x, weight, None, inner, 1.0, 0, 0)
    (base.sum() + thin.sum()).backward()
    assert x.grad is None
    assert inner.grad is not None


def test_what_is_dropped() -> None:
    """The share that was asked for, no rows or columns of its own, other places with another seed."""
    rows, columns, share = 512, 256, 0.05
    one, other = (
        (1 - _kept(rows, columns, round(share * kernels.DROP_STEPS), seed)).double().cpu() for seed in (1, 2**31 - 1)
    )
    # Binomial shares: within 5 standard errors as a whole, spread over rows and columns as chance would.
    spread = (share * (1 - share)) ** 0.5
    for dropped in (one, other):
        assert abs(dropped.mean() - share) < 5 * spread / (rows * columns) ** 0.5
        assert dropped.mean(1).std() == pytest.approx(spread / columns**0.5, rel=0.25)
        assert dropped.mean(0).std() == pytest.approx(spread / rows**0.5, rel=0.25)
    together = float((one * other).mean())
    assert together == pytest.approx(share**2, rel=0.5)


def test_none_on_the_cpu_and_in_fp32() -> None:
    assert fused.kernels_for(torch.zeros(1, dtype=torch.bfloat16)) is None
    if CUDA:
        assert fused.kernels_for(torch.zeros(1, device=DEVICE)) is None


def test_they_are_tried_first(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    dtype, own = DTYPES[-1], kernels.SwiGLU.forward
    assert fused._tried.__wrapped__(DEVICE, dtype) is kernels

    class _Wrong(kernels.SwiGLU):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, *given: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = -own(ctx, *given)
            return out

    with caplog.at_level(logging.WARNING):
        monkeypatch.setattr(kernels, "SwiGLU", _Wrong)
        assert fused._tried.__wrapped__(DEVICE, dtype) is None
        assert "disagree" in caplog.text
        monkeypatch.setattr(kernels, "SwiGLU", None)
        assert fused._tried.__wrapped__(DEVICE, dtype) is None
        assert "do not run here" in caplog.text


def test_a_memory_that_is_full_says_nothing_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> bool:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(fused, "_agrees", full)
    with pytest.raises(torch.OutOfMemoryError):
        fused._tried.__wrapped__(DEVICE, DTYPES[-1])


def test_answers_by_kernels_are_of_another_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.answer import generate
    from harness.answer.condition import Decoding

    for style, differ in (("phi3v", True), ("llava", False)):
        vlm = load_vlm(str(tiny_vlm.checkpoint(style)), device="cpu")
        found = []
        for known in (kernels, None):
            monkeypatch.setattr(generate, "kernels_for", lambda x, known=known: known)
            found.append(generate.engine_fingerprint(vlm, Decoding(max_new_tokens=4), None))
        assert (found[0] != found[1]) is differ


@pytest.fixture
def everywhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The kernels also where the layers would not take them: in fp32, on a CPU."""
    for module in (lean_lora, mlp, attention):
        monkeypatch.setattr(module, "kernels_for", lambda x: kernels)
    return


class _Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(24, 40), nn.Linear(40, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(F.silu(self.first(x)))


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_layers_take_them(everywhere: None, share: float) -> None:
    """A lean layer's fused pass is its plain pass; with dropout it is of the same mean and scale."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        config = LoraConfig(r=16, target_modules=["first", "second"], init_lora_weights=False, lora_dropout=share)
        model = get_peft_model(_Two().to(DEVICE, HALF).requires_grad_(False), config)
        lean_lora.make_lean(model)
        x = torch.randn(4, 9, 24).to(DEVICE, HALF)
        with torch.no_grad():
            plain = model.eval()(x).float()
        found = model(x).float()
        assert torch.cosine_similarity(plain.flatten(), found.flatten(), dim=0) > 0.999
        drawn = torch.stack([model.train()(x).float().detach() for _ in range(64 if share else 1)])
        assert torch.cosine_similarity(plain.flatten(), drawn.mean(0).flatten(), dim=0) > 0.98
        assert bool((drawn.std(0) > 0).any() if share else (drawn == found).all())
        torch.manual_seed(4)
        one = model(x)
        torch.manual_seed(4)
        assert torch.equal(one, model(x)), "the draws follow torch's seed"


@pytest.mark.parametrize("attends", ["sdpa", "eager"])
def test_a_decoder_with_them(everywhere: None, monkeypatch: pytest.MonkeyPatch, attends: str) -> None:
    from tests.vlm.phi3v.build import tiny_model

    dtype = torch.bfloat16
    model = tiny_model(attention=attends).to(DEVICE, dtype)
    ids = torch.randint(3, 60, (2, 9), generator=torch.Generator().manual_seed(2)).to(DEVICE)
    sides = []
    for known in (kernels, None):
        for module in (mlp, attention):
            monkeypatch.setattr(module, "kernels_for", lambda x, known=known: known)
        model.zero_grad()
        output = model(input_ids=ids, labels=ids, use_cache=True)
        output.loss.backward()
        gradients = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        sides.append((output.logits.detach().float().flatten(), gradients.float()))
    for one, other in zip(*sides, strict=True):
        assert not torch.equal(one, other), "another way of rounding"
        assert torch.cosine_similarity(one, other, dim=0) > 0.999


def test_an_fp32_model_under_autocast_goes_without_them(everywhere: None) -> None:
    """The input is half precision then, the frozen weight is not, and the backward pass runs outside of autocast."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        config = LoraConfig(r=16, target_modules=["first", "second"], init_lora_weights=False)
        model = get_peft_model(_Two().to(DEVICE).requires_grad_(False), config)
    lean_lora.make_lean(model)
    with torch.autocast(DEVICE.type, torch.bfloat16):
        out = model(torch.ones(3, 24, device=DEVICE, dtype=torch.bfloat16))
    out.float().sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize(("share", "steps"), [(0.0, 0), (0.5, kernels.DROP_STEPS // 2), (1.0, kernels.DROP_STEPS - 1)])
def test_dropout_in_steps(share: float, steps: int) -> None:
    assert kernels.drop_steps(share) == steps


@pytest.mark.parametrize("rank", [8, 24, 256])
def test_ranks_that_they_do_not_take(everywhere: None, rank: int) -> None:
    config = LoraConfig(r=rank, target_modules=["first"], init_lora_weights=False)
    model = get_peft_model(_Two().to(DEVICE, HALF).requires_grad_(False), config)
    lean_lora.make_lean(model)
    x = torch.ones(2, 24, dtype=HALF, device=DEVICE)
    assert lean_lora.lora_parts(model.base_model.model.first, x) is None
    assert model(x).requires_grad


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft 0.21 asks for it
@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("recomputed", [True, False])
def test_an_adapted_decoder_with_them(
    everywhere: None, monkeypatch: pytest.MonkeyPatch, trained: bool, recomputed: bool
) -> None:
    """The parts of LoRA layers go into the kernels behind them; logits and gradients are those of plain layers."""
    from harness.train.passes import recomputing
    from tests.vlm.phi3v.build import tiny_model

    targets = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]
    base = tiny_model().to(DEVICE, HALF).requires_grad_(False)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = get_peft_model(base, LoraConfig(r=16, target_modules=targets, init_lora_weights=False))
    lean_lora.make_lean(model)
    model.train(trained)
    ids = torch.randint(3, 60, (2, 9), generator=torch.Generator().manual_seed(2)).to(DEVICE)
    taken: list[bool] = []
    parts = lean_lora.lora_parts
    sides = []
    for known in (kernels, None):

        def noted(layer: Any, x: torch.Tensor) -> Any:
            found = parts(layer, x)
            taken.append(found is not None)
            return found

        for module in (lean_lora, mlp, attention):
            monkeypatch.setattr(module, "kernels_for", lambda x, known=known: known)
            monkeypatch.setattr(module, "lora_parts", noted)
        model.zero_grad()
        with torch.set_grad_enabled(trained), recomputing(base, recomputed and trained):
            output = model(input_ids=ids, labels=ids, use_cache=False)
            side = [output.logits.detach().float().flatten()]
            if trained:
                output.loss.backward()
                side.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
        sides.append(side)
        assert taken, "asked"
        assert set(taken) == {known is not None}
        taken.clear()
    for one, other in zip(*sides, strict=True):
        assert float(one.abs().max()) > 0
        assert torch.cosine_similarity(one, other, dim=0) > 0.999


def test_a_young_adapter_is_not_lost_to_rounding() -> None:
    """Its product is far below the last place of the sum: added in half precision most of it is gone, in the kernel
    none. B is what one step of a usual learning rate makes of it, here scaled to the dtype's precision."""
    generator = torch.Generator().manual_seed(0)
    rows, columns, width, rank = 128, 64, 256, 16

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(DEVICE)

    x, weight = drawn(rows, columns).to(HALF), (drawn(2 * width, columns) * columns**-0.5).to(HALF)
    thin = (2 * x.float() @ (drawn(rank, columns) * columns**-0.5).t()).to(HALF)
    outer = torch.sign(drawn(2 * width, rank)) * (2e-4 if CUDA else 2e-5)
    exact, rounded = x.float() @ weight.float().t(), F.linear(x, weight)

    def swiglu(both: torch.Tensor) -> torch.Tensor:
        gate, up = both.float().chunk(2, dim=-1)
        return F.silu(gate) * up

    product = thin.float() @ outer.to(HALF).float().t()
    effect = swiglu(exact + product) - swiglu(exact)
    bare = kernels.SwiGLU.apply(rounded).float()
    within = kernels.SwiGLU.apply(rounded, thin, outer).float() - bare
    before = kernels.SwiGLU.apply((rounded.float() + product).to(HALF)).float() - bare

    def share(found: torch.Tensor) -> float:
        return float((found * effect).sum() / effect.square().sum())

    assert share(within) == pytest.approx(1, abs=0.1)
    assert share(before) < 0.7
