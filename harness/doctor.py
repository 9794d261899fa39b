"""What this machine and installation can do, and whether the ledger is sound.

Enters: the installation, the device, the ledger. Leaves: one Check a line, each with what to do about it.
"""

from __future__ import annotations

import importlib.util
import platform
import shutil
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from harness.config import load_config
from harness.errors import HarnessError
from harness.store import Ledger, read

PACKAGES = (
    "torch", "transformers", "peft", "accelerate", "datasets", "evaluate", "duckdb", "pandas", "plotly", "rouge-score",
    "sacrebleu", "statsmodels", "scikit-learn",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at."""

    name: str
    status: Literal["ok", "note", "broken"]
    found: str
    advice: str = ""


def examine(ledger: Ledger, config: Path | None) -> list[Check]:
    """Look at everything that a cycle needs."""
    checks = [Check("python", "ok", f"{platform.python_version()} on {platform.platform()}")]
    checks += [_package(name) for name in PACKAGES]
    checks += _device()
    checks += [_settings(config), _disk(ledger.runs), _ledger(ledger)]
    return checks


def _package(name: str) -> Check:
    try:
        return Check(name, "ok", metadata.version(name))
    except metadata.PackageNotFoundError:
        return Check(name, "broken", "not installed", "install the package again: pip install -c constraints.txt .")


def _device() -> list[Check]:
    if importlib.util.find_spec("torch") is None:
        return []
    import torch

    flash = importlib.util.find_spec("flash_attn") is not None
    if not torch.cuda.is_available():
        return [
            Check("device", "note", f"CPU, {torch.get_num_threads()} threads", "the tiny model is the default here")
        ]
    free, total = torch.cuda.mem_get_info()
    found = f"{torch.cuda.get_device_name()}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
    enough = total > 39 * 2**30
    return [
        Check("device", "ok" if enough else "note", found, "" if enough else "the 4B model is meant for 40 GB and up"),
        Check("bf16", "ok" if torch.cuda.is_bf16_supported() else "note", str(torch.cuda.is_bf16_supported())),
        Check("flash-attn", "ok" if flash else "note", "installed" if flash else "absent; sdpa is used"),
        _kernels(torch.zeros(1, dtype=torch.bfloat16, device="cuda")),
    ]


def _kernels(x: Any) -> Check:
    from harness.vlm.fused import kernels_for

    if kernels_for(x) is not None:
        return Check("kernels", "ok", "run here")
    return Check(
        "kernels", "note", "do not run here, see the line above", "training and answering are slower without them"
    )


def _settings(config: Path | None) -> Check:
    try:
        loaded = load_config(config)
    except HarnessError as error:
        return Check("settings", "broken", error.message, error.hint)
    return Check("settings", "ok", f"product {loaded.product}, recipe {loaded.recipe}")


def _disk(runs: Path) -> Check:
    place = runs if runs.exists() else Path()
    free = shutil.disk_usage(place).free / 2**30
    status: Literal["ok", "note"] = "ok" if free > 20 else "note"
    return Check("disk", status, f"{free:.0f} GiB free", "" if free > 20 else "a 4B model's cycle writes several GiB")


def _ledger(ledger: Ledger) -> Check:
    if not ledger.exists():
        return Check("ledger", "note", f"none at {ledger.path}", "harness cycle --data SRC makes one")
    try:
        cycles = read.cycles(ledger)
    except HarnessError as error:
        return Check("ledger", "broken", error.message, error.hint)
    missing = [c.cycle_id for c in cycles if not (ledger.runs / c.cycle_id).is_dir()]
    if missing:
        return Check("ledger", "broken", f"folders missing: {', '.join(missing)}", "restore them from a backup")
    unfinished = [c.cycle_id for c in cycles if c.status != "done"]
    advice = f"harness cycle --resume {unfinished[0]}" if unfinished else ""
    return Check(
        "ledger", "note" if unfinished else "ok", f"{len(cycles)} cycles, unfinished: {len(unfinished)}", advice
    )
