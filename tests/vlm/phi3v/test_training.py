"""Training: gradients reach what is trained, with checkpointing as without; Trainer and LoRA see an ordinary model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor

from harness.train.lora import lora_targets
from harness.vlm.phi3v.modeling import Phi3VForConditionalGeneration
from tests.vlm.phi3v.build import pictures, prompt, tiny_model, tiny_processor

# peft and these tests use the names from before transformers 5.24, which both versions know.
pytestmark = pytest.mark.filterwarnings("ignore:`(is_)?gradient_checkpointing.* is deprecated:FutureWarning")

LAST_LAYER = "vision_model.encoder.layers.2."


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Tensor]]:
    """Single rows with labels on their last four tokens."""
    processor = tiny_processor()
    made = []
    for number, picture in enumerate(pictures(4)):
        row = dict(processor(text=prompt("Is it passed?" * (1 + number % 2)), images=picture))
        row["labels"] = torch.full_like(row["input_ids"], -100)
        row["labels"][:, -4:] = row["input_ids"][:, -4:]
        made.append(row)
    return made


def _adapted(name_set: str, **settings: Any) -> Any:
    base = tiny_model()
    torch.manual_seed(1)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=lora_targets(base, name_set), **settings)
    model = get_peft_model(base, config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:  # they begin at 0, which would hide A's gradients
                torch.nn.init.normal_(parameter, std=0.05)
    return model


def _gradients(model: Any, row: dict[str, Tensor]) -> dict[str, Tensor | None]:
    model.train()
    model.zero_grad()
    model(**row).loss.backward()
    return {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("name_set", ["decoder", "decoder+vision", "seed"])
def test_gradients_with_checkpointing_equal_those_without(rows: list[dict[str, Tensor]], name_set: str) -> None:
    plain = _gradients(_adapted(name_set), rows[0])
    model = _adapted(name_set)
    model.gradient_checkpointing_enable()
    layer = model.get_base_model().model.layers[0]
    calls: list[int] = []
    layer.self_attn.register_forward_hook(lambda *_: calls.append(1))
    checkpointed = _gradients(model, rows[0])
    assert len(calls) == 2  # once forward, once again for the gradients
    assert set(plain) == set(checkpointed)
    for name, wanted in plain.items():
        found = checkpointed[name]
        if LAST_LAYER in name:  # never run: its output is not used
            assert wanted is None
            assert found is None
        else:
            assert wanted is not None
            assert found is not None
            assert wanted.abs().max() > 0, name
            assert (wanted - found).abs().max() <= 1e-6 * wanted.abs().max() + 1e-9, name


def test_every_part_can_be_trained(rows: list[dict[str, Tensor]]) -> None:
    model = tiny_model()
    model.gradient_checkpointing_enable()
    never = (LAST_LAYER, "post_layernorm")
    for name, gradient in _gradients(model, rows[0]).items():
        if any(part in name for part in never):
            assert gradient is None, name
        else:
            assert gradient is not None, name
            # A key's bias shifts all of a query's scores alike, and the softmax takes that out again.
            assert gradient.abs().max() > 0 or name.endswith("k_proj.bias"), name


def test_reentrant_checkpointing_is_refused() -> None:
    with pytest.raises(ValueError, match="reentrant checkpointing gives adapters of the vision tower no gradient"):
        tiny_model().gradient_checkpointing_enable({"use_reentrant": True})


def test_a_frozen_tower_keeps_no_activations(rows: list[dict[str, Tensor]]) -> None:
    model = _adapted("decoder")
    # What peft and Trainer do for checkpointing; a tower that hooks into it would be trained for nothing.
    model.enable_input_require_grads()
    row = rows[0]
    features = model.get_base_model().get_image_features(row["pixel_values"], row["image_sizes"])
    assert not any(one.requires_grad for one in features)


class _Rows(torch.utils.data.Dataset):  # type: ignore[type-arg]
    def __init__(self, rows: list[dict[str, Tensor]]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> dict[str, Tensor]:
        return self.rows[place]


def _train(folder: Path, rows: list[dict[str, Tensor]], checkpointing: bool) -> dict[str, Tensor]:
    from transformers import Trainer, TrainingArguments

    model = _adapted("decoder+vision")
    arguments = TrainingArguments(
        output_dir=str(folder), per_device_train_batch_size=1, gradient_accumulation_steps=2, max_steps=3,
        learning_rate=1e-3, lr_scheduler_type="constant", gradient_checkpointing=checkpointing, save_strategy="no",
        report_to="none", use_cpu=True, seed=3, remove_unused_columns=True, disable_tqdm=True, logging_steps=1,
    )  # fmt: skip
    trainer = Trainer(model=model, args=arguments, train_dataset=_Rows(rows), data_collator=lambda batch: batch[0])
    assert trainer.model_accepts_loss_kwargs  # so that accumulated losses are divided by all of their tokens
    result = trainer.train()
    assert result.training_loss > 0
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


def test_trainer_with_lora_and_checkpointing(tmp_path: Path, rows: list[dict[str, Tensor]]) -> None:
    fresh = {name: p.detach() for name, p in _adapted("decoder+vision").named_parameters() if p.requires_grad}
    plain, checkpointed = (_train(tmp_path, rows, checkpointing) for checkpointing in (False, True))
    assert set(plain) == set(checkpointed)
    for name, wanted in plain.items():
        assert (wanted - checkpointed[name]).abs().max() < 1e-5, name
        moved = float((wanted - fresh[name]).abs().max())
        assert (moved == 0) == (LAST_LAYER in name), name


def test_a_saved_adapter_answers_the_same(tmp_path: Path, rows: list[dict[str, Tensor]]) -> None:
    from peft import PeftModel

    model = _adapted("decoder+vision").eval()
    model.save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(tiny_model(), tmp_path).eval()
    row = {key: value for key, value in rows[0].items() if key != "labels"}
    with torch.no_grad():
        base = tiny_model()(**row).logits
        adapted, loaded = model(**row).logits, again(**row).logits
    assert torch.equal(adapted, loaded)
    assert (adapted - base).abs().max() > 1e-2
    made = again.generate(**row, max_new_tokens=3, do_sample=False)
    merged = again.merge_and_unload()
    assert type(merged) is Phi3VForConditionalGeneration
    with torch.no_grad():
        assert (merged(**row).logits - adapted).abs().max() < 1e-4
    assert torch.equal(merged.generate(**row, max_new_tokens=3, do_sample=False), made)
