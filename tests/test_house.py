"""The house rules that a reader relies on: who imports whom, what stays light, and the README's tree."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "harness"

ROOMS = (
    "errors", "records", "config", "parse", "score", "dataset", "audit", "vlm", "answer", "train", "store", "report",
    "stages", "cycle", "doctor", "console", "cli",
)  # fmt: skip
HEAVY = ("torch", "transformers", "peft", "datasets", "evaluate")


def _room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imported_rooms(path: Path) -> set[str]:
    """Rooms that a file imports anywhere in it, also inside functions, also for typing only."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "harness" and len(parts) > 1 and parts[1] in ROOMS:
                rooms.add(parts[1])
    return rooms


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports_go_one_way(path: Path) -> None:
    room = _room(path)
    if room in ("__init__", "__main__"):
        return
    assert room in ROOMS, f"{room} has no place in the order of the rooms"
    later = {other for other in _imported_rooms(path) if ROOMS.index(other) > ROOMS.index(room)}
    assert not later, f"{room} imports from later rooms: {sorted(later)}"


def _loaded_by(code: str) -> set[str]:
    """The heavy packages that a fresh interpreter has loaded after running some code."""
    report = f"import sys, json\n{code}\nprint(json.dumps([m for m in {HEAVY!r} if m in sys.modules]), file=sys.stderr)"
    child = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(json.loads(child.stderr.strip().splitlines()[-1]))


@pytest.mark.parametrize("room", ["parse", "score", "store", "report", "cli", "config", "records"])
def test_light_rooms_load_nothing_heavy(room: str) -> None:
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in ([PACKAGE / f"{room}.py"] if (PACKAGE / f"{room}.py").is_file() else (PACKAGE / room).rglob("*.py"))
        if "evaluate_metric" not in path.name
    ]
    assert _loaded_by("\n".join(f"import {module}" for module in modules)) == set()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"], ["init", "--out", "{tmp}/harness.toml"], ["runs"], ["show", "c0001"], ["compare", "c0001", "c0002"],
        ["gate", "c0001"], ["promote", "c0001", "--force", "--note", "a test"], ["sql", "SELECT 1"], ["schema"],
        ["report", "--reports", "{tmp}/reports"], ["parse", "5U is missing. NG"], ["rescore"],
        ["threshold", "c0001"], ["curve"],
    ],
    ids=lambda a: a[0],
)  # fmt: skip
def test_light_commands_load_nothing_heavy(arguments: list[str], ledger_folder: Path, tmp_path: Path) -> None:
    argv = [argument.replace("{tmp}", str(tmp_path)) for argument in arguments]
    if argv[0] != "--help":
        argv += ["--runs", str(ledger_folder)]
    code = (
        f"from harness.cli import main\ntry:\n    main({argv!r})\n"
        "except SystemExit as stop:\n    assert stop.code in (0, 3, 4), stop.code"
    )
    assert _loaded_by(code) == set()


def test_readme_tree_is_the_disk() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    block = re.search(r"```text tree\n(.*?)```", readme, re.DOTALL)
    assert block, "README.md has a block ```text tree"
    named: set[str] = set()
    folders: list[str] = []
    for line in block[1].splitlines():
        match = re.match(r"^( *)(\S+)", line)
        assert match, line
        depth = len(match[1]) // 2
        folders[depth:] = [match[2]]
        path = "".join(folders[:depth]) + match[2]
        named.add(path.rstrip("/"))
        assert (ROOT / path).exists(), f"README's tree names {path}, which is not there"
    tracked = {
        path.relative_to(ROOT).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix == ".py" and "__pycache__" not in path.parts and path.name != "__init__.py"
    }
    missing = {p for p in tracked if p not in named and not any(p.startswith(f"{n}/") for n in _closed(named))}
    assert not missing, f"README's tree lacks {sorted(missing)}"


def _closed(named: set[str]) -> set[str]:
    """Folders that the tree names without naming anything inside."""
    return {name for name in named if not any(other.startswith(f"{name}/") for other in named)}
