"""What every benchmark shares: a table for people, appended to RESULTS.md with date, device, versions and commit.

Enters: a title, how it was measured, rows. Leaves: the table on stdout and at the top of RESULTS.md.
"""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

RESULTS = Path(__file__).with_name("RESULTS.md")
ROOT = RESULTS.parent.parent
_INTRODUCTION = "What was measured, each with its date, device and command. Newest first.\n"


def record(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    packages: Sequence[str],
    note: str = "",
    keep: bool = True,
) -> None:
    """Print the table and put it into RESULTS.md.

    Args:
        packages: distributions whose versions matter here.
        note: a sentence or two that a reader needs to judge the figures.
        keep: False prints alone: a trial's figures mean nothing.
    """
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in packages)
    where = f"{accelerator()}{processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end"
    command = shlex.join(["python", *map(shown, sys.argv)])
    lines = [
        f"## {title}",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, {where}, Python {platform.python_version()}, {versions}, commit {commit()}:",
        f"`{command}`",
        "",
        *([note, ""] if note else []),
        f"| {' | '.join(columns)} |",
        f"| {' | '.join('---' for _ in columns)} |",
        *(f"| {' | '.join(str(cell) for cell in row)} |" for row in rows),
        "",
    ]
    text = "\n".join(lines)
    print(text, flush=True)
    if not keep:
        return
    before, _, after = RESULTS.read_text("utf-8").partition(_INTRODUCTION)
    RESULTS.write_text(f"{before}{_INTRODUCTION}\n{text}{after}", "utf-8")


def shown(word: str) -> str:
    """A word of the command line, in which a path does not say whose machine it was: from the repository on, or its
    last name."""
    path = Path(word)
    if not path.is_absolute():
        return word
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else f".../{path.name}"


def accelerator() -> str:
    """The GPU's own name and a comma, where one was used; torch is asked only where the benchmark has loaded it."""
    torch = sys.modules.get("torch")
    return f"{torch.cuda.get_device_name()}, " if torch is not None and torch.cuda.is_available() else ""


def processor() -> str:
    """The CPU's own name."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def commit() -> str:
    """The commit that was measured; "+" where files differ from it; "unknown" in a copy without its history."""
    if not (ROOT / ".git").exists():
        return "unknown"

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "harness")
    return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")
