"""Records packed into one row: the loss and gradients of padded rows, and none sees another."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig

from harness.records import Sample
from harness.train.collate import InspectionCollator
from harness.train.lora import lora_targets
from harness.vlm.adapters import attach_adapter
from harness.vlm.load import Vlm, load_vlm
from harness.vlm.packing import BLOCKS, VARLEN, pack_rows, packed_attention, running, takes_packed
from tests import tiny_vlm


@pytest.fixture(params=["sdpa", "eager"])
def phi3v(request: pytest.FixtureRequest) -> Vlm:
    return load_vlm(str(tiny_vlm.checkpoint("phi3v")), device="cpu", attention=request.param)


def _adapted(vlm: Vlm) -> Vlm:
    """With an adapter that changes what the model says, so that every weight of it gets a gradient."""
    attach_adapter(vlm, LoraConfig(r=4, target_modules=lora_targets(vlm.base, "decoder"), task_type="CAUSAL_LM"))
    torch.manual_seed(1)
    for name, parameter in vlm.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return vlm


def _collator(vlm: Vlm, attention: str | None = None, *, answers_alone: bool = False) -> InspectionCollator:
    collator = InspectionCollator(vlm.processor, stop_token_ids=vlm.stop_token_ids, pad_token_id=vlm.pad_token_id)
    collator.attention = attention
    collator.answers_alone = answers_alone
    return collator


def _step(vlm: Vlm, batch: dict[str, Any], attention: str | None = None) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of a pass."""
    vlm.model.zero_grad()
    with running(vlm.base, attention or vlm.base.config._attn_implementation):
        loss = vlm.model(**batch, use_cache=False).loss
        loss.backward()
    gradients = {
        name: parameter.grad.clone() for name, parameter in vlm.model.named_parameters() if parameter.grad is not None
    }
    return float(loss.detach()), gradients


@pytest.mark.parametrize("answers_alone", [False, True])
def test_packed_equals_padded(phi3v: Vlm, samples: list[Sample], answers_alone: bool) -> None:
    vlm = _adapted(phi3v)
    attention = packed_attention(vlm)
    assert attention == BLOCKS, "varlen needs a CUDA device"
    padded = _collator(vlm)(samples)
    packed = _collator(vlm, attention, answers_alone=answers_alone)(samples)
    lengths = padded["attention_mask"].sum(1)
    assert len(set(lengths.tolist())) > 1, "rows of one length would need no padding"
    assert packed["input_ids"].shape == (1, int(lengths.sum()))
    assert "attention_mask" not in packed
    wanted_loss, wanted = _step(vlm, padded)
    loss, found = _step(vlm, packed, attention)
    assert loss == pytest.approx(wanted_loss, rel=1e-5)
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        assert float(gradient.abs().max()) > 0, name
        torch.testing.assert_close(found[name], gradient, rtol=2e-3, atol=1e-6)


def test_packed_equals_padded_in_bf16(samples: list[Sample]) -> None:
    vlm = _adapted(load_vlm(str(tiny_vlm.checkpoint("phi3v")), device="cpu", dtype="bf16"))
    attention = packed_attention(vlm)
    batches = [_collator(vlm)(samples), _collator(vlm, attention)(samples)]
    for batch in batches:
        batch["pixel_values"] = batch["pixel_values"].to(torch.bfloat16)
    wanted_loss, wanted = _step(vlm, batches[0])
    loss, found = _step(vlm, batches[1], attention)
    assert loss == pytest.approx(wanted_loss, rel=1e-2)
    whole = [torch.cat([gradient.flatten() for gradient in one.values()]) for one in (wanted, found)]
    assert torch.cosine_similarity(*whole, dim=0) > 0.999


@pytest.mark.parametrize("answers_alone", [False, True])
def test_rows_without_a_mask(phi3v: Vlm, samples: list[Sample], answers_alone: bool) -> None:
    """What an evaluation sees: the loss of padded rows, and of logits before the padding."""
    attention = packed_attention(phi3v)
    padded = _collator(phi3v)(samples)
    collator = _collator(phi3v, attention, answers_alone=answers_alone)
    collator.packs = False
    bare = collator(samples)
    assert "attention_mask" not in bare
    assert bare["input_ids"].shape == padded["input_ids"].shape
    assert not padded["attention_mask"].all()
    with torch.no_grad():
        wanted = phi3v.base(**padded, use_cache=False)
        with running(phi3v.base, attention):
            found = phi3v.base(**bare, use_cache=False)
    assert float(found.loss) == pytest.approx(float(wanted.loss), rel=1e-5)
    if not answers_alone:
        tokens = padded["attention_mask"].bool()
        torch.testing.assert_close(found.logits[tokens], wanted.logits[tokens], rtol=1e-3, atol=1e-3)


def test_no_record_sees_another(phi3v: Vlm, samples: list[Sample]) -> None:
    attention = packed_attention(phi3v)
    batch = _collator(phi3v, attention)(samples[:3])
    start, end = batch["cu_seq_lens_q"].tolist()[1:3]
    with torch.no_grad(), running(phi3v.base, attention):
        before = phi3v.base(**batch).logits
        batch["input_ids"][0, end - 2] = 5
        after = phi3v.base(**batch).logits
    changed = (before != after).any(-1)[0]
    assert changed[start:end].any()
    assert not changed[:start].any()
    assert not changed[end:].any()


def test_a_record_begins_without_a_target(phi3v: Vlm, samples: list[Sample]) -> None:
    batch = _collator(phi3v)(samples[:3])
    batch["labels"][:, 0] = batch["input_ids"][:, 0]
    packed = pack_rows(batch)
    borders = packed["cu_seq_lens_q"].tolist()
    assert [int(packed["labels"][0, start]) for start in borders[:-1]] == [-100] * 3
    assert [int(packed["position_ids"][0, start]) for start in borders[:-1]] == [0] * 3
    assert packed["max_length_q"] == max(end - start for start, end in itertools.pairwise(borders))


def test_the_attention_is_put_back(phi3v: Vlm) -> None:
    before = phi3v.base.config._attn_implementation
    with pytest.raises(RuntimeError, match="within"), running(phi3v.base, packed_attention(phi3v)):
        raise RuntimeError("within")
    assert phi3v.base.config._attn_implementation == before


def test_other_families_are_padded() -> None:
    assert not takes_packed(load_vlm(str(tiny_vlm.checkpoint("llava")), device="cpu"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_varlen_equals_padded_in_bf16(samples: list[Sample], tmp_path: Path) -> None:
    """As many heads of keys as of queries, as Phi-3-vision has."""
    folder = tiny_vlm.build_phi3v(tmp_path / "model", num_key_value_heads=4)
    vlm = _adapted(load_vlm(str(folder), device="cuda", dtype="bf16", attention="sdpa"))
    attention = packed_attention(vlm)
    assert attention == VARLEN
    from harness.vlm.batch import to_device

    padded, packed = (
        to_device(_collator(vlm, name)(samples), device=vlm.device, dtype=vlm.dtype) for name in (None, attention)
    )
    wanted_loss, wanted = _step(vlm, padded)
    loss, found = _step(vlm, packed, attention)
    assert loss == pytest.approx(wanted_loss, rel=1e-2)
    whole = [torch.cat([gradient.flatten() for gradient in one.values()]) for one in (wanted, found)]
    assert torch.cosine_similarity(*whole, dim=0) > 0.999
