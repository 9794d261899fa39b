"""What a checkpoint or an adapter is, as a hash of its content: the key under which answers are stored and reused.

Enters: a folder. Leaves: a sha256 hex digest that neither the folder's place nor its name enters.
Cost: every byte is read, about 1 s a GB from the page cache, the shards beside each other; the 4B model's 8.3 GB are
about to be read anyway.
No torch here: the ledger's commands may name a model without loading it.
"""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from harness.errors import ModelError

#: What transformers loads a model, its processor and its tokenizer from. Cards, pictures and training leftovers are not
#: content: they change nothing that the model says.
_CONTENT = (
    "*.safetensors",
    "pytorch_model*.bin",
    "*.json",
    "*.jinja",
    "*.model",
    "merges.txt",
    "vocab.txt",
    "additional_chat_templates/*.jinja",
)
_NO_CONTENT = ("trainer_state.json", "all_results.json", "train_results.json", "eval_results.json")

#: Adapter settings that say where the adapter came from or what it is for, not what it computes.
_PLACE = ("auto_mapping", "base_model_name_or_path", "inference_mode", "peft_version", "revision", "task_type")


def folder_hash(folder: Path) -> str:
    """Content identity of a checkpoint folder: configuration, weights, tokenizer, processor and chat template.

    Raises:
        ModelError: the folder has no config.json.
    """
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"{folder} holds no checkpoint: it has no config.json",
            hint="name a folder that save_pretrained wrote, a Hub id, or tiny",
        )
    files = {path for pattern in _CONTENT for path in folder.glob(pattern) if path.is_file()}
    content = [path for path in sorted(files) if path.name not in _NO_CONTENT]
    digest = hashlib.sha256(b"harness checkpoint 1\n")
    with ThreadPoolExecutor() as threads:
        for path, hashed in zip(content, threads.map(file_hash, content), strict=True):
            digest.update(f"{path.relative_to(folder).as_posix()} {hashed}\n".encode())
    return digest.hexdigest()


def hub_hash(model_id: str, commit: str) -> str:
    """Content identity of a Hub checkpoint: a commit names its content, so nothing need be read."""
    return hashlib.sha256(f"harness hub checkpoint 1\n{model_id}@{commit}\n".encode()).hexdigest()


def adapter_hash(folder: Path) -> str:
    """Content identity of an adapter: its weights, and those settings that change what it computes.

    Two trainings that end in the same numbers give the same hash, wherever they ran: the base's path, the peft version
    and the order in which peft lists the target modules do not enter.

    Raises:
        ModelError: the folder holds no adapter.
    """
    config_path, weights_path = folder / "adapter_config.json", folder / "adapter_model.safetensors"
    if not (config_path.is_file() and weights_path.is_file()):
        missing = " and ".join(p.name for p in (config_path, weights_path) if not p.is_file())
        raise ModelError(f"{folder} holds no adapter: no {missing}", hint="train one: harness cycle --data SRC")
    try:
        config: dict[str, Any] = json.loads(config_path.read_text("utf-8"))
    except json.JSONDecodeError as error:
        raise ModelError(f"{config_path} is not JSON: {error}", hint="train the adapter again") from error
    settings = {
        key: sorted(value) if key in ("target_modules", "exclude_modules") and isinstance(value, list) else value
        for key, value in config.items()
        if key not in _PLACE
    }
    digest = hashlib.sha256(b"harness adapter 1\n")
    digest.update(json.dumps(settings, sort_keys=True, ensure_ascii=True).encode() + b"\n")
    digest.update(file_hash(weights_path).encode() + b"\n")
    return digest.hexdigest()


def file_hash(path: Path) -> str:
    """sha256 of a file's bytes, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
