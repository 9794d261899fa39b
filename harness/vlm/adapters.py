"""LoRA adapters on the one resident model: the base is the adapter switched off.

Enters: a Vlm. Leaves: the same Vlm, whose layers hold adapters that are switched by name.
Cost: an adapter that is switched off costs nothing; one that is on adds two thin products to each adapted layer.
Adapter weights stay in fp32 whatever the base's dtype; half-precision layers round them to compute (lean_lora.py).
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import ModelError
from harness.records import Sample
from harness.vlm.batch import prompt_batch, to_device
from harness.vlm.features import picture_features
from harness.vlm.lean_lora import make_lean

if TYPE_CHECKING:
    from peft import LoraConfig

    from harness.vlm.load import Vlm

#: The adapter under training. peft saves an adapter of this name at the top of a folder, others in sub-folders.
TRAINED = "default"
#: How many places at the end of a prompt the adapter's check looks at.
LAST_TOKENS = 32


def attach_adapter(vlm: Vlm, config: LoraConfig) -> None:
    """Put a fresh adapter named TRAINED on the model; every earlier adapter is taken off.

    The caller seeds torch before: peft draws the A matrices from the global generator. B starts at 0, so a fresh
    adapter changes nothing.

    Raises:
        ModelError: peft finds a target that it cannot adapt.
    """
    from peft import get_peft_model

    detach_adapters(vlm)
    try:
        with _peft_speaks_old_names():
            vlm.model = get_peft_model(vlm.base, config, adapter_name=TRAINED)
    except ValueError as error:
        raise ModelError(
            f"the adapter does not fit {vlm.model_ref}: {error}", hint="--set lora.targets=decoder"
        ) from error
    make_lean(vlm.model)
    vlm.model.eval()


def detach_adapters(vlm: Vlm) -> None:
    """Take every adapter off; the model is then the base, as loaded."""
    if _names(vlm):
        vlm.model = vlm.model.unload()
        vlm.model.requires_grad_(False)


def load_adapter(vlm: Vlm, folder: Path, name: str = TRAINED) -> None:
    """Load a saved adapter beside those that are there; an adapter of the same name is replaced.

    Which adapter is on afterwards is left to `use_adapter`.

    Raises:
        ModelError: the folder holds no adapter, or one for another model. The other adapters are then as they were.
    """
    from peft import PeftConfig, get_peft_model
    from safetensors import SafetensorError

    if not (folder / "adapter_config.json").is_file() or not (folder / "adapter_model.safetensors").is_file():
        raise ModelError(f"{folder} holds no adapter", hint="train one: harness cycle --data SRC")
    others = [known for known in _names(vlm) if known != name]
    _drop(vlm, name)
    try:
        config = PeftConfig.from_pretrained(str(folder))
        config.inference_mode = True
        config.base_model_name_or_path = vlm.base.name_or_path
        if others:
            vlm.model.add_adapter(name, config)
        else:
            with _peft_speaks_old_names():
                vlm.model = get_peft_model(vlm.base, config, adapter_name=name)
        result = vlm.model.load_adapter(str(folder), name, torch_device=str(vlm.device))
        if wrong := [*result.missing_keys, *result.unexpected_keys]:
            raise ValueError(f"{len(wrong)} weights do not match: {', '.join(sorted(wrong)[:3])}")
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        _drop(vlm, name)
        raise ModelError(
            f"the adapter {folder} does not fit {vlm.model_ref}: {str(error).strip().splitlines()[0]}",
            hint="an adapter fits the base model that it was trained on; its adapter_config.json names it",
        ) from error
    make_lean(vlm.model)
    vlm.model.eval()


@contextlib.contextmanager
def use_adapter(vlm: Vlm, name: str | None) -> Iterator[None]:
    """Within the block the named adapter answers, or with None the base.

    Raises:
        ModelError: no adapter of that name is loaded.
    """
    names = _names(vlm)
    if name is not None and name not in names:
        raise ModelError(
            f"no adapter {name!r} is loaded (loaded: {', '.join(names) or 'none'})",
            hint="load_adapter(vlm, folder, name)",
        )
    if name is None:
        with vlm.model.disable_adapter() if names else contextlib.nullcontext():
            yield
        return
    before = vlm.model.active_adapter
    vlm.model.set_adapter(name)
    try:
        yield
    finally:
        vlm.model.set_adapter(before)


def check_adapter(vlm: Vlm, sample: Sample, name: str = TRAINED) -> float:
    """Prove that the adapter is loaded and changes what the model says.

    Args:
        sample: a real record; its prompt is shown to the model with the adapter off and on.

    Returns:
        The largest absolute change of a logit at the prompt's last tokens.

    Raises:
        ModelError: no such adapter, or with it the logits are the base's, or not finite.
    """
    import torch

    with use_adapter(vlm, name):
        features = picture_features(vlm, [sample])
    prompt = prompt_batch(vlm.processor, [sample], features=features)
    inputs = to_device(prompt, device=vlm.device, dtype=vlm.dtype)
    # More than one place, because a young adapter's change may drown in bf16's rounding at any single one.
    last = slice(-LAST_TOKENS, None)
    was_training = vlm.model.training
    vlm.model.eval()
    try:
        with torch.no_grad():
            with use_adapter(vlm, None):
                base = vlm.base(**inputs, use_cache=False).logits[:, last].float()
            with use_adapter(vlm, name):
                adapted = vlm.base(**inputs, use_cache=False).logits[:, last].float()
    finally:
        vlm.model.train(was_training)
    change = float((adapted - base).abs().max())
    if not torch.isfinite(adapted).all():
        raise ModelError(
            f"with the adapter {name!r} the logits are not finite", hint="train with a lower learning rate"
        )
    if change == 0.0:
        untrained = all(not bool(weight.any()) for weight in _b_matrices(vlm, name))
        reason = "its B matrices are 0: it was never trained" if untrained else "it does not reach the logits"
        raise ModelError(f"the adapter {name!r} changes nothing: {reason}", hint="train it: harness cycle --data SRC")
    return change


def _names(vlm: Vlm) -> list[str]:
    return list(vlm.model.peft_config) if vlm.model is not vlm.base else []


def _drop(vlm: Vlm, name: str) -> None:
    names = _names(vlm)
    if names == [name]:
        detach_adapters(vlm)
    elif name in names:
        vlm.model.delete_adapter(name)


def _b_matrices(vlm: Vlm, name: str) -> list[Any]:
    layers = [module.lora_B for module in vlm.base.modules() if hasattr(module, "lora_B")]
    return [layer[name].weight for layer in layers if name in layer]


@contextlib.contextmanager
def _peft_speaks_old_names() -> Iterator[None]:
    """peft 0.21 asks transformers 5.24 for a property by its old name; nothing a user could do about the warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
        yield
