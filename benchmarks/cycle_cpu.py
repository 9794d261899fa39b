"""The tiny demo by stage: what `make demo` runs, in a fresh process each time, on the CPU.

    python benchmarks/cycle_cpu.py [--variant NAME ...] [--model tiny] [--n 400] [--tests 200] [--grow 50,100,200,400]

Variants tell what a thing is worth: `whole` (as shipped), `pixels` (no feature cache: every picture goes through the
tower each time, model.features_gib=0), `again` (the series once more over the ledger that the variant before left: base
answers and features are known). Seconds by stage come from the ledger; wall and CPU seconds from outside, start-up
included. On a busy machine CPU seconds are the ones to compare.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.record import ROOT, record
from harness.stages import STAGES
from harness.store import Ledger, read

VARIANTS = {"whole": [], "pixels": ["--set", "model.features_gib=0"], "again": []}


def main() -> None:
    """Run the variants, one after another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", nargs="+", choices=sorted(VARIANTS), default=["pixels", "whole", "again"])
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--n", type=int, default=400)
    parser.add_argument("--tests", type=int, default=200)
    parser.add_argument("--grow", default="50,100,200,400")
    arguments = parser.parse_args()
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory() as place:
        for variant in arguments.variant:
            runs = Path(place) / "runs"
            if variant != "again":
                shutil.rmtree(runs, ignore_errors=True)
            known = {row.cycle_id for row in read.cycles(Ledger(runs))}
            words = f"""-m harness cycle --model {arguments.model} --data demo:cubes?n={arguments.n}&seed=1
                --test-data demo:cubes?n={arguments.tests}&seed=2 --grow {arguments.grow} --recipe tiny
                --runs {runs} --reports {Path(place) / "reports"}""".split()
            wall, cpu = timed([*words, *VARIANTS[variant]])
            rows += [[variant, *cells] for cells in by_cycle(Ledger(runs), known)]
            rows.append([variant, "all, with start-up", *[""] * len(STAGES), f"{wall:.0f} (CPU {cpu:.0f})", ""])
            print(rows[-1], file=sys.stderr, flush=True)
    columns = ["variant", "cycle", *(f"{stage} s" for stage in STAGES), "all s", "peak RSS, GiB"]
    threads = os.environ.get("OMP_NUM_THREADS", "unset")
    record("The tiny demo by stage", columns, rows, packages=["torch", "transformers", "peft", "duckdb"],
           note=f"OMP_NUM_THREADS {threads}; model `{arguments.model}`.")  # fmt: skip


def by_cycle(ledger: Ledger, known: set[str]) -> list[list[str]]:
    """A row a new cycle: its training records, the seconds of each stage and of all, and the peak resident memory."""
    rows = []
    for cycle in read.cycles(ledger):
        if cycle.cycle_id in known:
            continue
        stages = {row.stage: row for row in read.stages(ledger, cycle.cycle_id)}
        rows.append(
            [
                f"{cycle.cycle_id}: {cycle.train_records} records",
                *(f"{stages[stage].seconds:.1f}" for stage in STAGES),
                f"{sum(row.seconds for row in stages.values()):.1f}",
                f"{max(row.peak_rss_gib for row in stages.values()):.2f}",
            ]
        )
    return rows


def timed(argv: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of a process, its children included."""
    before, start = os.times(), time.perf_counter()
    done = subprocess.run([sys.executable, *argv], cwd=ROOT, capture_output=True, text=True)
    wall, after = time.perf_counter() - start, os.times()
    assert done.returncode == 0, done.stderr
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, cpu


if __name__ == "__main__":
    main()
