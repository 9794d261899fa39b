"""Which layers an adapter sits on: all that is meant, nothing by accident."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model
from torch import nn

from harness.errors import ConfigError
from harness.train.lora import TrainableShare, lora_targets, trainable_share
from harness.vlm.adapters import attach_adapter
from harness.vlm.load import Vlm

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
MLP = ["gate_proj", "up_proj", "down_proj"]
_SEED = ["mlp.gate_up_proj", "mlp.down_proj"]


def _in_layers(prefix: str, layers: int, attention: list[str], mlp: list[str]) -> set[str]:
    names = {f"{prefix}.{n}.self_attn.{name}" for n in range(layers) for name in attention}
    return names | {f"{prefix}.{n}.mlp.{name}" for n in range(layers) for name in mlp}


def test_name_sets_on_idefics3(idefics3: Vlm) -> None:
    decoder = _in_layers("model.text_model.layers", 2, ATTENTION, MLP)
    vision = _in_layers(
        "model.vision_model.encoder.layers", 2, ["q_proj", "k_proj", "v_proj", "out_proj"], ["fc1", "fc2"]
    )
    assert set(lora_targets(idefics3.base, "decoder")) == decoder
    assert set(lora_targets(idefics3.base, "decoder+vision")) == decoder | vision
    assert set(lora_targets(idefics3.base, "seed")) == _in_layers("model.text_model.layers", 2, [], MLP)


def test_name_sets_on_llava(llava: Vlm) -> None:
    decoder = _in_layers("model.language_model.layers", 2, ATTENTION, MLP)
    found = lora_targets(llava.base, "decoder+vision")
    assert set(lora_targets(llava.base, "decoder")) == decoder
    assert decoder < set(found)
    assert all("vision" in name for name in set(found) - decoder)
    assert len(set(found) - decoder) == 2 * 6
    assert not any("projector" in name or "lm_head" in name for name in found)


class _PhiLike(nn.Module):
    """A model whose decoder module holds the vision tower as well, with Phi-3's fused layers."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Module()
        layer = nn.Module()
        layer.self_attn = nn.Module()
        layer.self_attn.qkv_proj, layer.self_attn.o_proj = nn.Linear(4, 12), nn.Linear(4, 4)
        layer.mlp = nn.Module()
        layer.mlp.gate_up_proj, layer.mlp.down_proj = nn.Linear(4, 16), nn.Linear(8, 4)
        self.model.layers = nn.ModuleList([layer])
        self.model.vision_tower = nn.Module()
        self.model.vision_tower.mlp = nn.Module()
        self.model.vision_tower.mlp.down_proj = nn.Linear(4, 4)
        self.model.img_projection = nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 4))
        self.lm_head = nn.Linear(4, 9)

    def get_decoder(self) -> nn.Module:
        return self.model

    def get_encoder(self, modality: str) -> Any:
        assert modality == "image"
        return self.model.vision_tower

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head


def test_a_decoder_that_holds_the_tower() -> None:
    model = _PhiLike()
    layer = "model.layers.0"
    mlp = [f"{layer}.mlp.gate_up_proj", f"{layer}.mlp.down_proj"]
    assert lora_targets(model, "decoder") == [f"{layer}.self_attn.qkv_proj", f"{layer}.self_attn.o_proj", *mlp]
    assert lora_targets(model, "seed") == mlp
    assert lora_targets(model, "decoder+vision")[4:] == ["model.vision_tower.mlp.down_proj"]
    assert lora_targets(model, ["mlp.down_proj"]) == [mlp[1], "model.vision_tower.mlp.down_proj"]


def _module_at(root: nn.Module, name: str, leaf: nn.Module) -> None:
    *parents, last = name.split(".")
    for part in parents:
        if part not in dict(root.named_children()):
            root.add_module(part, nn.Module())
        root = root.get_submodule(part)
    root.add_module(last, leaf)


class _Phi3VisionSkeleton(nn.Module):
    """Phi-3-vision's linear layers by their published names and sizes, without data; the rest as one parameter."""

    def __init__(self) -> None:
        super().__init__()
        with torch.device("meta"):
            for n in range(32):
                for name, into, out in [
                    ("self_attn.qkv_proj", 3072, 9216),
                    ("self_attn.o_proj", 3072, 3072),
                    ("mlp.gate_up_proj", 3072, 16384),
                    ("mlp.down_proj", 8192, 3072),
                ]:
                    _module_at(self, f"model.layers.{n}.{name}", nn.Linear(into, out, bias=False))
            vision = "model.vision_embed_tokens"
            for n in range(24):
                layer = f"{vision}.img_processor.vision_model.encoder.layers.{n}"
                for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
                    _module_at(self, f"{layer}.self_attn.{name}", nn.Linear(1024, 1024))
                _module_at(self, f"{layer}.mlp.fc1", nn.Linear(1024, 4096))
                _module_at(self, f"{layer}.mlp.fc2", nn.Linear(4096, 1024))
            _module_at(self, f"{vision}.img_projection.0", nn.Linear(4096, 3072))
            _module_at(self, f"{vision}.img_projection.2", nn.Linear(3072, 3072))
            self.lm_head = nn.Linear(3072, 32064, bias=False)
            known = sum(p.numel() for p in self.parameters())
            # Embeddings, norms, separators: 4,146,621,440 parameters in all.
            self.others = nn.Parameter(torch.empty(4_146_621_440 - known))

    def get_decoder(self) -> nn.Module:
        return self.get_submodule("model")

    def get_encoder(self, modality: str) -> nn.Module:
        # As transformers' rule answers for this layout: no name that it knows.
        return self

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head


# Figures of peft on the published model's names and sizes (275 linear layers), r = 16.
@pytest.mark.parametrize(
    ("targets", "layers", "parameters", "of_base"),
    [
        ("seed", 64, 15_728_640, 0.003793),
        ("decoder", 128, 25_165_824, 0.006069),
        ("decoder+vision", 272, 32_243_712, 0.007776),
        (["mlp.gate_up_proj"], 32, 9_961_472, None),
        (["mlp.down_proj"], 32, 5_767_168, None),
        (["self_attn.q_proj", "self_attn.qkv_proj", "self_attn.out_proj", *_SEED], 144, 23_592_960, 0.005690),
    ],
)
def test_phi_3_vision(targets: Any, layers: int, parameters: int, of_base: float | None) -> None:
    model = _Phi3VisionSkeleton()
    assert sum(isinstance(module, nn.Linear) for module in model.modules()) == 275
    found = lora_targets(model, targets)
    assert len(found) == layers
    adapted = get_peft_model(model, LoraConfig(r=16, target_modules=found))  # type: ignore[arg-type]
    share = trainable_share(adapted)
    assert share.trainable == parameters
    assert share.total == 4_146_621_440 + parameters
    if of_base is not None:
        assert round(share.share_of_base, 6) == of_base


def test_the_seeds_list_as_published_is_refused() -> None:
    published = [f"self_attn.{name}.weight" for name in ("q_proj", "qkv_proj", "out_proj")]
    with pytest.raises(
        ConfigError, match=r"self_attn\.q_proj\.weight, self_attn\.qkv_proj\.weight, .* \(similar: self_attn"
    ):
        lora_targets(_Phi3VisionSkeleton(), [*published, *_SEED])


def test_a_model_without_a_tower(idefics3: Vlm) -> None:
    config = transformers.LlamaConfig(
        vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    model = transformers.LlamaForCausalLM(config)
    assert set(lora_targets(model, "decoder")) == _in_layers("model.layers", 1, ATTENTION, MLP)
    with pytest.raises(ConfigError, match="shows no vision tower"):
        lora_targets(model, "decoder+vision")


def test_names_are_matched_from_their_end(idefics3: Vlm) -> None:
    assert lora_targets(idefics3.base, "layers.1.mlp.up_proj") == ["model.text_model.layers.1.mlp.up_proj"]
    found = lora_targets(idefics3.base, ["out_proj", "layers.0.mlp.up_proj"])
    assert found == [
        "model.vision_model.encoder.layers.0.self_attn.out_proj",
        "model.vision_model.encoder.layers.1.self_attn.out_proj",
        "model.text_model.layers.0.mlp.up_proj",
    ]
    assert lora_targets(idefics3.base, ["lm_head"]) == ["lm_head"]


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (
            ["o_proj", "self_attn.q_proj.weight"],
            r"no linear layer: self_attn\.q_proj\.weight \(similar: self_attn\.q_proj",
        ),
        ("qproj", r"no linear layer: qproj \(similar: .*q_proj"),
        (["roj"], "no linear layer: roj"),
        (["up_pro"], "no linear layer: up_pro"),
        (["input_layernorm"], "no linear layer: input_layernorm"),
        (["zzz"], r"no linear layer: zzz \(there are: .*fc1"),
        ([], "none given"),
        ("decoder+visoin", "no linear layer"),
    ],
)
def test_names_that_match_nothing_are_told_with_similar_ones(idefics3: Vlm, targets: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        lora_targets(idefics3.base, targets)


def test_the_trainable_share_is_what_peft_counts(vlm: Vlm) -> None:
    base = sum(p.numel() for p in vlm.base.parameters())
    targets = lora_targets(vlm.base, "decoder")
    # r (in + out) for each layer.
    linears = dict(vlm.base.named_modules())
    by_hand = sum(8 * (linears[name].in_features + linears[name].out_features) for name in targets)
    attach_adapter(vlm, LoraConfig(r=8, target_modules=targets, task_type="CAUSAL_LM"))
    trainable, total = vlm.model.get_nb_trainable_parameters()
    share = trainable_share(vlm.model)
    assert share == TrainableShare(trainable, total, trainable / total)
    assert share.trainable == by_hand
    assert share.total == base + by_hand
    assert share.share_of_base == pytest.approx(by_hand / base)


def test_tied_weights_count_once() -> None:
    embedding, head = nn.Embedding(10, 4), nn.Linear(4, 10, bias=False)
    head.weight = embedding.weight
    share = trainable_share(nn.ModuleList([embedding, head]))
    assert (share.trainable, share.total) == (40, 40)
    embedding.weight.requires_grad_(False)
    assert trainable_share(nn.ModuleList([embedding, head, nn.Linear(2, 2)])) == TrainableShare(6, 46, 6 / 46)
    assert torch.is_tensor(head.weight)
