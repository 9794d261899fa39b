"""Tables in a narrow place: every line fits, and no word or number is cut."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from rich.cells import cell_len

from harness.console import print_table
from tests.command import run

COMMANDS = (["runs"], ["show", "c0002"], ["gate", "c0002"], ["compare", "c0001", "c0002"])


def _pieces(word: str) -> set[str]:
    """A word and what may be left of it where a line ends: whole parts of a name."""
    parts = word.replace("_", "_ ").replace("/", "/ ").split()
    return {"".join(parts[i:j]) for i in range(len(parts)) for j in range(i + 1, len(parts) + 1)}


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_commands_fit_and_cut_nothing(
    words: list[str], width: int, ledger_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    whole = run(*words, "--runs", ledger_folder).out.split()
    monkeypatch.setenv("COLUMNS", str(width))
    told = run(*words, "--runs", ledger_folder)
    assert max(map(cell_len, told.out.splitlines())) <= width
    pieces = {piece for word in whole for piece in _pieces(word)}
    assert {word for word in told.out.split() if word.strip("-")} <= pieces
    assert "gate" in told.out or words[0] == "compare"


def test_runs_shows_what_matters_at_80(ledger_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    told = run("runs", "--runs", ledger_folder)
    assert told.out.splitlines()[-1].split() == [
        "c0002", "done", "100", "0", "0.9583", "0.9167", "0.9583", "inconclusive",
    ]  # fmt: skip
    assert "not shown in 80 columns: created_at, split_id" in told.err


def test_a_terminal_has_its_own_width(ledger_folder: Path) -> None:
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    words = [sys.executable, "-m", "harness", "runs", "--runs", str(ledger_folder)]
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    subprocess.run(words, stdout=theirs, stderr=subprocess.DEVNULL, env=environment, check=True)
    os.close(theirs)
    lines = os.read(ours, 10_000).decode().splitlines()
    os.close(ours)
    assert 40 < max(map(len, lines)) <= 80
    assert "inconclusive" in lines[-1]


def test_a_table_that_cannot_fit_becomes_a_list(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "24")
    print_table(("sample_id", "answer", "p"), [("0123456789abcdef", "検査品は不良品です。3Cが欠品。\x1b[2J", -1.5e-7)])
    assert capsys.readouterr().out.splitlines() == [
        "sample_id  0123456789abcdef",
        "answer     検査品は不良",
        "           品です。3Cが",
        "           欠品。 [2J",
        "p          -1.5e-07",
    ]


def test_a_row_is_a_line_where_nobody_named_a_width(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    print_table(("id", "text"), [("a", "word " * 100), ("b", "microsoft/Phi-3-vision-128k-instruct")])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[2].split() == ["a", *["word"] * 100]


def test_names_break_at_hyphens_and_slashes_only(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "24")
    print_table(("model", "value"), [("microsoft/Phi-3-vision-128k-instruct", -0.000123)])
    assert [line.split() for line in capsys.readouterr().out.splitlines()[2:]] == [
        ["microsoft/", "-0.000123"], ["Phi-3-vision-"], ["128k-instruct"],
    ]  # fmt: skip
