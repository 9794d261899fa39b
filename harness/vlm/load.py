"""A checkpoint becomes a Vlm: model, processor, and what the other rooms must know about both.

Enters: a Hub id, a folder, or "tiny". Leaves: one Vlm, or a ModelError that says what is wrong with the checkpoint.
Any AutoModelForImageTextToText checkpoint loads; remote code never runs (Phi-3-vision is native in phi3v/).
Costs: dtype follows the device (bf16 where it has it, else fp32), not the checkpoint; the whole model lives on one
device; a folder is read once more for its hash.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import logging
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import ModelError
from harness.vlm.adapters import TRAINED, attach_adapter, check_adapter, detach_adapters, load_adapter, use_adapter
from harness.vlm.attention import choose_attention
from harness.vlm.identity import folder_hash, hub_hash

if TYPE_CHECKING:
    import torch

    from harness.vlm.features import FeatureCache

__all__ = [
    "TRAINED",
    "Vlm",
    "attach_adapter",
    "check_adapter",
    "default_model",
    "detach_adapters",
    "load_adapter",
    "load_vlm",
    "use_adapter",
]

logger = logging.getLogger(__name__)

TINY = "tiny"
PHI3V = "microsoft/Phi-3-vision-128k-instruct"
DTYPES = ("bf16", "fp16", "fp32")

_HUB_ID = re.compile(r"([A-Za-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]*")


@dataclass(slots=True, eq=False)
class Vlm:
    """A loaded vision-language model.

    `model` is the transformers model, or the peft model around it once an adapter was attached; `base` is the former in
    both cases. `model_ref` is the id as asked, `revision` the commit on the Hub (None for a folder), `base_hash` the
    content identity of the base. `stop_token_ids` end an answer; `pad_token_id` fills batches and never enters a loss.
    `features` keeps what the frozen tower makes of pictures; None lets every picture be computed each time.
    """

    model: Any
    processor: Any
    model_ref: str
    revision: str | None
    base_hash: str
    device: torch.device
    dtype: torch.dtype
    attention: str
    attention_reason: str
    stop_token_ids: tuple[int, ...]
    pad_token_id: int
    features: FeatureCache | None = None
    #: off once a decoding step could not be recorded as a CUDA graph
    records_steps: bool = True

    @property
    def base(self) -> Any:
        """The transformers model itself; adapters live inside its layers, so it answers with the active one."""
        get_base = getattr(self.model, "get_base_model", None)
        return get_base() if get_base is not None else self.model

    def describe(self) -> str:
        """One line for people: what was loaded, and how it runs."""
        commit = f" at {self.revision[:8]}" if self.revision else ""
        dtype = str(self.dtype).removeprefix("torch.")
        parameters = sum(p.numel() for name, p in self.base.named_parameters() if "lora_" not in name)
        return (
            f"model {self.model_ref}{commit}: {type(self.base).__name__}, {parameters:,} parameters, {dtype} on "
            f"{self.device}, attention {self.attention} ({self.attention_reason})"
        )


def default_model() -> str:
    """Phi-3-vision where a CUDA device is, the embedded tiny model where none is."""
    import torch

    return PHI3V if torch.cuda.is_available() else TINY


def load_vlm(
    model: str, *, revision: str | None = None, dtype: str = "auto", attention: str = "auto", device: str = "auto"
) -> Vlm:
    """Load a checkpoint, its processor and its stop tokens.

    Args:
        model: an existing folder, "tiny", or a Hub id.
        revision: branch, tag or commit on the Hub.
        dtype: "bf16", "fp16", "fp32"; "auto" is bf16 on a device that computes in it, else fp32.
        attention: see attention.py.
        device: "auto" is this process's CUDA device, else the CPU; or a torch device such as "cuda:1".

    Raises:
        ModelError: no such checkpoint, a text-only one, one that needs remote code, one with weights missing, one
            without processor or chat template, or one that does not fit the device.
    """
    import torch
    import transformers
    from safetensors import SafetensorError

    from harness.vlm import phi3v

    phi3v.register()
    source = _source(model)
    target = _device(device)
    dtype_name = _dtype_name(dtype, target)
    torch_dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[dtype_name]
    with _quiet():
        commit = None if isinstance(source, Path) else _resolve_commit(source, revision)
        at = {} if commit is None else {"revision": commit}
        config = _load_config(source, model, at)
        model_class = _model_class(config, model)
        choice = choose_attention(attention, device_type=target.type, dtype=dtype_name, model_class=model_class)
        processor = _load_processor(source, model, at)
        try:
            auto: Any = transformers.AutoModelForImageTextToText
            network, info = auto.from_pretrained(
                source,
                dtype=torch_dtype,
                attn_implementation=choice.name,
                trust_remote_code=False,
                output_loading_info=True,
                **at,
            )
            _check_weights(info, model)
            network.to(target)
            if target.index is not None:  # Triton launches where torch stands, not where its tensors are
                torch.cuda.set_device(target)
        except torch.OutOfMemoryError as error:
            raise ModelError(
                f"{model} does not fit {target} in {dtype_name}: {_first_line(error)}",
                hint="free the device (nvidia-smi lists who holds it), or take a smaller model: --model tiny",
            ) from error
        except (OSError, ValueError, RuntimeError, KeyError, ImportError, SafetensorError) as error:
            # What from_pretrained raises depends on what is wrong with the files; to the user it is one thing.
            raise _unusable(model, "weights", error) from error
    network.eval()
    network.requires_grad_(False)
    return Vlm(
        model=network,
        processor=processor,
        model_ref=model,
        revision=commit,
        base_hash=folder_hash(source) if isinstance(source, Path) else hub_hash(source, str(commit)),
        device=target,
        dtype=torch_dtype,
        attention=choice.name,
        attention_reason=choice.reason,
        stop_token_ids=_stop_token_ids(network, processor, model),
        pad_token_id=int(processor.tokenizer.pad_token_id),
    )


def _source(model: str) -> Path | str:
    """Where the checkpoint lies: a folder, or a Hub id."""
    if model == TINY:
        if importlib.util.find_spec("harness.vlm.tiny") is None:
            raise ModelError("this build carries no embedded model", hint="name a folder or a Hub id: --model ID|DIR")
        checkpoint: Path = importlib.import_module("harness.vlm.tiny").checkpoint()
        return checkpoint
    folder = Path(model).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            found = ", ".join(sorted(p.name for p in folder.iterdir())[:5]) or "nothing"
            raise ModelError(
                f"{model} holds no checkpoint: it has no config.json (found {found})",
                hint="name a folder that save_pretrained wrote, a Hub id, or tiny",
            )
        return folder
    if folder.exists() or not _HUB_ID.fullmatch(model):
        raise ModelError(
            f"no model at {model}: {'a file, not a folder' if folder.exists() else 'no such folder'}",
            hint="name a folder with config.json, a Hub id such as owner/name, or tiny",
        )
    return model


def _device(asked: str) -> torch.device:
    import torch

    if asked == "auto":
        if not torch.cuda.is_available():
            return torch.device("cpu")
        # `accelerate launch` starts one process a device and numbers them in LOCAL_RANK.
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    try:
        device = torch.device(asked)
    except RuntimeError as error:
        raise ModelError(f"no device {asked!r}: {_first_line(error)}", hint="cpu, cuda, or cuda:1") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ModelError(f"no device {asked!r}: torch sees no CUDA device", hint="check with harness doctor")
    return device


def _dtype_name(asked: str, device: torch.device) -> str:
    import torch

    if asked == "auto":
        return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
    if asked not in DTYPES:
        raise ModelError(f"no dtype {asked!r}", hint=f"one of: auto, {', '.join(DTYPES)}")
    return asked


def _resolve_commit(hub_id: str, revision: str | None) -> str:
    """The commit that a branch or tag stands for: online as it is now, offline as it was last fetched."""
    import huggingface_hub

    where = f"{hub_id}@{revision}" if revision else hub_id
    try:
        config = huggingface_hub.hf_hub_download(hub_id, "config.json", revision=revision)
    except huggingface_hub.errors.RemoteEntryNotFoundError as error:
        raise ModelError(
            f"{where} holds no checkpoint: it has no config.json",
            hint="take a repository of transformers weights; an adapter alone needs its base",
        ) from error
    except (OSError, ValueError) as error:
        raise ModelError(
            f"no model {where}: neither a folder here nor to be had from the Hub ({_first_line(error)})",
            hint="check the name, the network, HF_HUB_OFFLINE, and for gated models: hf auth login",
        ) from error
    # The cache keeps a file at .../snapshots/<commit>/<name>.
    return Path(config).parent.name


def _load_config(source: Path | str, model: str, at: dict[str, str]) -> Any:
    import transformers

    try:
        return transformers.AutoConfig.from_pretrained(source, trust_remote_code=False, **at)
    except (OSError, ValueError, KeyError, TypeError) as error:
        if "trust_remote_code" in str(error):
            raise ModelError(
                f"{model} needs code of its own, which is never run here",
                hint="take a checkpoint of an architecture that transformers carries, or Phi-3-vision, native here",
            ) from error
        raise _unusable(model, "config.json", error) from error


def _model_class(config: Any, model: str) -> Any:
    """The class that AutoModelForImageTextToText will build."""
    import transformers

    mapping = transformers.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    if type(config) not in mapping:
        raise ModelError(
            f"{model} is no vision-language model: its model_type is {config.model_type!r}",
            hint="take an image-text-to-text checkpoint, such as microsoft/Phi-3-vision-128k-instruct",
        )
    found = mapping[type(config)]
    return found[0] if isinstance(found, tuple) else found


def _load_processor(source: Path | str, model: str, at: dict[str, str]) -> Any:
    import transformers

    try:
        auto: Any = transformers.AutoProcessor
        processor = auto.from_pretrained(source, trust_remote_code=False, **at)
    except (OSError, ValueError, ImportError, KeyError, TypeError) as error:
        raise _unusable(model, "processor", error) from error
    missing = [part for part in ("image_processor", "tokenizer") if getattr(processor, part, None) is None]
    if missing:
        raise ModelError(
            f"{model} has no {' and no '.join(missing)}, so it cannot be shown a picture and asked about it",
            hint="save the processor beside the weights: processor.save_pretrained(DIR)",
        )
    if not (getattr(processor, "chat_template", None) or getattr(processor.tokenizer, "chat_template", None)):
        raise ModelError(
            f"{model} has no chat template, so its prompt format is unknown",
            hint="take the instruction-tuned variant, or save its chat_template.jinja beside the weights",
        )
    if processor.tokenizer.pad_token_id is None:
        # Padding is masked everywhere, so any token serves; a new one would need a new embedding row.
        if processor.tokenizer.eos_token_id is None:
            raise ModelError(
                f"{model} has neither a pad nor an end-of-text token, so batches cannot be padded",
                hint="add pad_token to its tokenizer_config.json",
            )
        processor.tokenizer.pad_token = processor.tokenizer.eos_token
    return processor


def _check_weights(info: dict[str, Any], model: str) -> None:
    """A weight absent from the checkpoint would be drawn at random, and the model would babble."""
    wrong = sorted(info["missing_keys"]) + sorted(str(item) for item in info["mismatched_keys"])
    if wrong:
        raise ModelError(
            f"{model} lacks {len(wrong)} weights of its architecture: {', '.join(wrong[:5])}",
            hint="the checkpoint is incomplete or of another architecture: download or save it again",
        )
    if extra := sorted(info["unexpected_keys"]):
        logger.warning("%s: %d weights are not used: %s", model, len(extra), ", ".join(extra[:5]))


def _stop_token_ids(network: Any, processor: Any, model: str) -> tuple[int, ...]:
    """The tokens that end an answer: the generation config's, else the tokenizer's end of text."""
    stop = network.generation_config.eos_token_id
    if stop is None:
        stop = processor.tokenizer.eos_token_id
    if stop is None:
        raise ModelError(
            f"{model} names no token that ends an answer", hint="set eos_token_id in its generation_config.json"
        )
    return tuple(stop) if isinstance(stop, (list, tuple)) else (int(stop),)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Progress bars on a terminal only; transformers' load report and the Hub's retries give way to our errors."""
    from huggingface_hub.utils import logging as hub_logging
    from transformers import utils

    hf_logging: Any = utils.logging
    verbosity, bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hub_verbosity = hub_logging.get_verbosity()
    hf_logging.set_verbosity_error()
    hub_logging.set_verbosity_error()
    if not sys.stderr.isatty():
        hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        hf_logging.set_verbosity(verbosity)
        hub_logging.set_verbosity(hub_verbosity)
        if bars:
            hf_logging.enable_progress_bar()


def _unusable(model: str, part: str, error: Exception) -> ModelError:
    if isinstance(error, json.JSONDecodeError):
        reason = f"not JSON: {error}"
    else:
        reason = f"{type(error).__name__}: {_first_line(error)}"
    return ModelError(
        f"{model}: the {part} cannot be used ({reason})",
        hint="download or save the checkpoint again; harness doctor shows the versions installed",
    )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
