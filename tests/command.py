"""Running the command line in this process, as a user would in a shell."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass

from harness.cli import main


@dataclass(frozen=True)
class Ran:
    """What a command left: its exit code, and what it wrote."""

    code: int
    out: str
    err: str


def run(*words: object) -> Ran:
    """Run `harness WORDS`; a traceback of ours passes through and fails the test."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(word) for word in words])
        except SystemExit as stop:
            code = int(stop.code or 0)
    return Ran(code, out.getvalue(), err.getvalue())
