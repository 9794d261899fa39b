"""A cycle under way: what every stage needs at hand, and where it leaves things.

    runs/c0001/cycle.json               what was asked for (written first)
    runs/c0001/<stage>/...              journals, checkpoints, the adapter
    runs/c0001/<stage>/manifest.json    what the stage left (written last, by renaming)

Enters: a request and a configuration. Leaves: nothing by itself. The base model stays resident over the stages and
over the sizes of a --grow series; it is loaded when a stage first asks for it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.config import CycleConfig
from harness.dataset.pool import Pool
from harness.errors import LedgerError
from harness.store import Ledger

if TYPE_CHECKING:
    from harness.vlm.load import Vlm


@dataclass(frozen=True, slots=True)
class CycleRequest:
    """What a cycle was asked to do, beside its configuration.

    `grow` holds the sizes of the series and `position` this cycle's place in it; `grow_id` is the first cycle's id.
    """

    data: tuple[str, ...]
    test_data: tuple[str, ...] = ()
    new_split: bool = False
    grow: tuple[int, ...] = ()
    position: int = 0
    grow_id: str | None = None

    @property
    def size(self) -> int | None:
        """The training cap of this place in the series; None where nothing grows."""
        return self.grow[self.position] if self.grow else None


@dataclass(slots=True)
class Bench:
    """The one resident model. `load` is called at the first use."""

    load: Callable[[], Vlm]
    _vlm: Vlm | None = field(default=None, repr=False)

    @property
    def vlm(self) -> Vlm:
        """The model, loaded now if it was not."""
        if self._vlm is None:
            self._vlm = self.load()
        return self._vlm

    def peak_memory_gib(self) -> float | None:
        """Peak memory allocated on the device since the last call, in GiB; None on the CPU or before loading."""
        if self._vlm is None or self._vlm.device.type != "cuda":
            return None
        import torch

        peak = torch.cuda.max_memory_allocated() / 2**30
        torch.cuda.reset_peak_memory_stats()
        return float(peak)


@dataclass(frozen=True, slots=True)
class CycleRun:
    """A cycle under way. `say` prints one line to people."""

    cycle_id: str
    config: CycleConfig
    request: CycleRequest
    runs: Path
    reports: Path
    ledger: Ledger
    pool: Pool
    bench: Bench
    say: Callable[[str], None]

    @property
    def folder(self) -> Path:
        """The cycle's folder."""
        return self.runs / self.cycle_id

    def stage_folder(self, stage: str) -> Path:
        """The stage's folder, made if it was not there."""
        folder = self.folder / stage
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def manifest(self, stage: str) -> dict[str, Any] | None:
        """What a finished stage left; None while it is unfinished."""
        return read_manifest(self.folder, stage)

    def left_by(self, stage: str) -> dict[str, Any]:
        """What an earlier stage of this cycle left; a later stage cannot run without it."""
        manifest = self.manifest(stage)
        assert manifest is not None, f"{self.cycle_id}: {stage} is not finished"
        return manifest


def read_manifest(folder: Path, stage: str) -> dict[str, Any] | None:
    """The manifest of a stage in a cycle's folder; None where the stage is unfinished."""
    path = folder / stage / "manifest.json"
    if not path.is_file():
        return None
    manifest: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return manifest


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    with part.open("w", encoding="utf-8") as file:
        json.dump(content, file, ensure_ascii=False, indent=1)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def write_cycle_file(folder: Path, request: CycleRequest, config: CycleConfig) -> None:
    """Record what was asked for, before anything is done."""
    write_json(folder / "cycle.json", {"request": asdict(request), "config": config.model_dump(mode="json")})


def read_cycle_file(folder: Path) -> tuple[CycleRequest, CycleConfig]:
    """What the cycle was asked for.

    Raises:
        LedgerError: the folder holds no cycle.
    """
    path = folder / "cycle.json"
    if not path.is_file():
        raise LedgerError(f"no cycle to resume at {folder}", hint="list the cycles: harness runs")
    stored = json.loads(path.read_text("utf-8"))
    request = CycleRequest(**stored["request"])
    request = replace(request, data=tuple(request.data), test_data=tuple(request.test_data), grow=tuple(request.grow))
    return request, CycleConfig.model_validate(stored["config"])
