"""How long the light commands take to start: wall and CPU seconds of a fresh process, and its import time.

    python benchmarks/cli_cpu.py [--repeat 5]

Goals on 2 quiet cores: --help <= 0.25 s, sql <= 0.5 s, report of one cycle <= 2 s. The least of the repeats is what the
command needs; a busy machine makes the rest. CPU seconds (user + system) hardly depend on the neighbours.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.record import ROOT, record
from tests.ledger_builder import build_ledger

#: command -> (its words, goal in seconds of wall time)
COMMANDS: dict[str, tuple[list[str], float | None]] = {
    "--help": (["--help"], 0.25),
    "cycle --help": (["cycle", "--help"], None),
    "runs": (["runs"], None),
    "show": (["show", "c0002"], None),
    "compare": (["compare", "c0001", "c0002"], None),
    "gate": (["gate", "c0002"], None),
    "sql": (["sql", "SELECT count(*) FROM answers"], 0.5),
    "schema": (["schema"], None),
    "parse": (["parse", "5U is missing. NG"], None),
    "report (one cycle)": (["report", "c0002", "--reports", "{out}"], 2.0),
    "rescore (one cycle)": (["rescore", "c0002"], None),
}


def main() -> None:
    """Measure every command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as place:
        runs, out = Path(place) / "runs", Path(place) / "reports"
        build_ledger(runs)
        for name, (words, goal) in COMMANDS.items():
            argv = [word.replace("{out}", str(out)) for word in words]
            if "--help" not in words:
                argv += ["--runs", str(runs)]
            walls, cpus = zip(*(_timed(["-m", "harness", *argv]) for _ in range(arguments.repeat)), strict=True)
            met = "" if goal is None else "yes" if min(walls) <= goal else f"no: {min(walls) / goal:.1f} x"
            rows.append([name, f"{min(walls):.2f}", f"{sorted(walls)[len(walls) // 2]:.2f}", f"{min(cpus):.2f}",
                         _imported(argv), goal or "", met])  # fmt: skip
    columns = ["command", "wall s, least", "wall s, median", "CPU s, least", "import s", "goal, wall s", "met"]
    note = f"{arguments.repeat} fresh processes each; import time by -X importtime, under its own overhead."
    record("Start-up of the commands", columns, rows, packages=["typer", "duckdb", "jinja2"], note=note)


def _timed(argv: list[str]) -> tuple[float, float]:
    before, start = os.times(), time.perf_counter()
    done = subprocess.run([sys.executable, *argv], cwd=ROOT, capture_output=True)
    wall, after = time.perf_counter() - start, os.times()
    assert done.returncode in (0, 3, 4), done.stderr.decode()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, cpu


def _imported(argv: list[str]) -> str:
    """Seconds that the process spent in imports, its own and those of the commands that import late."""
    done = subprocess.run([sys.executable, "-X", "importtime", "-m", "harness", *argv], cwd=ROOT, capture_output=True)
    own = re.findall(rb"import time:\s+(\d+) \|", done.stderr)
    return f"{sum(map(int, own)) / 1e6:.2f}"


if __name__ == "__main__":
    main()
