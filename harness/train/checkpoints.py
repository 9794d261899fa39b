"""Which checkpoints are whole, and which run they belong to.

    FOLDER/run.json                      what the run was started with; a resume must be the same run
    FOLDER/checkpoints/checkpoint-40/    as transformers.Trainer writes them, and last whole.json: every file's sha256

Enters: a training folder. Leaves: the checkpoint to go on from. A kill while a checkpoint is written leaves it without
whole.json or with a file that does not match; it is then passed over. No torch here.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.errors import ConfigError
from harness.records import Sample
from harness.train.recipe import TrainRecipe
from harness.vlm.identity import file_hash

CHECKPOINTS = "checkpoints"
WHOLE = "whole.json"
RUN = "run.json"


def seal(checkpoint: Path) -> None:
    """Declare a checkpoint whole, once all its files are written."""
    _write_json(checkpoint / WHOLE, {path.name: file_hash(path) for path in _files(checkpoint)})


def is_whole(checkpoint: Path) -> bool:
    """Whether every file is there as it was when the checkpoint was sealed."""
    seal_file = checkpoint / WHOLE
    if not seal_file.is_file():
        return False
    try:
        sealed: dict[str, str] = json.loads(seal_file.read_text("utf-8"))
    except json.JSONDecodeError:
        return False
    return sealed == {path.name: file_hash(path) for path in _files(checkpoint)}


def last_whole(folder: Path) -> Path | None:
    """The whole checkpoint with the most steps whose best checkpoint, where it names one, is whole too."""
    for checkpoint in sorted((folder / CHECKPOINTS).glob("checkpoint-*"), key=step_of, reverse=True):
        if is_whole(checkpoint):
            state = json.loads((checkpoint / "trainer_state.json").read_text("utf-8"))
            best = state.get("best_model_checkpoint")
            if best is None or Path(best) == checkpoint.absolute() or is_whole(Path(best)):
                return checkpoint
    return None


def step_of(checkpoint: Path) -> int:
    """Optimizer steps done at a checkpoint, from its name; -1 where it is no checkpoint's name."""
    number = checkpoint.name.removeprefix("checkpoint-")
    return int(number) if number.isdigit() else -1


def run_identity(
    recipe: TrainRecipe, *, seed: int, base_hash: str, train: Sequence[Sample], validation: Sequence[Sample]
) -> dict[str, Any]:
    """What makes two runs the same: settings, seed, base, and the records in their order with their answers."""
    # What changes nothing in the adapter may differ between a run and its resume.
    immaterial = ("tracker", "workers", "log_every", "packing", "gradient_checkpointing")
    settings = {key: value for key, value in asdict(recipe).items() if key not in immaterial}
    settings["lora_targets"] = (
        recipe.lora_targets if isinstance(recipe.lora_targets, str) else list(recipe.lora_targets)
    )
    return settings | {
        "seed": seed,
        "base": base_hash,
        "train": _records_hash(train),
        "validation": _records_hash(validation),
    }


def open_run(folder: Path, identity: Mapping[str, Any], *, resume: bool) -> Path | None:
    """Prepare the folder for a run: leave it as it is to resume, or clear away an earlier run.

    Returns:
        The checkpoint to go on from; None to begin at step 0.

    Raises:
        ConfigError: the checkpoints in the folder are those of another run.
    """
    known = folder / RUN
    if resume and known.is_file():
        before: dict[str, Any] = json.loads(known.read_text("utf-8"))
        changed = [
            f"{key} {before.get(key)!r} -> {value!r}" for key, value in identity.items() if before.get(key) != value
        ]
        if changed:
            raise ConfigError(
                f"the run in {folder} was started with other settings: {'; '.join(changed)}",
                hint="resume with the same settings and data, or start a new cycle",
            )
        return last_whole(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / CHECKPOINTS).exists():
        shutil.rmtree(folder / CHECKPOINTS)
    _write_json(known, dict(identity))
    return None


def _files(checkpoint: Path) -> list[Path]:
    return sorted(path for path in checkpoint.iterdir() if path.is_file() and path.name != WHOLE)


def _records_hash(samples: Sequence[Sample]) -> str:
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(json.dumps([sample.sample_id, sample.question, sample.reference]).encode() + b"\n")
    return digest.hexdigest()


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Whole or not at all: written beside and renamed."""
    part = path.with_suffix(".part")
    with part.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
