"""What the tiny model learns as data grows: a fresh ledger a seed, base against fine-tuned on the same test records.

    python benchmarks/learning_cpu.py                          the demo, seeds 1 to 3, 300 test records
    python benchmarks/learning_cpu.py --data DIR --test-data DIR --grow 1000 --seeds 42

`{seed}` in a source is the seed. A row is a seed and size; the last column is the one-sided p of the trend over the
sizes (score/trend.py). The figures are the ledger's own, read by SQL.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.record import ROOT, record
from harness.stages.compare import trends
from harness.store import Ledger
from harness.store.query import ask

SHOWN = (
    "parsed_rate",
    "auroc",
    "balanced_accuracy",
    "verdict_accuracy",
    "location_accuracy",
    "location_f1",
    "miss_rate",
)
FIGURES = """
SELECT c.cycle_id, c.train_records, m.model_role, m.metric, m.value, m.ci_low, m.ci_high, m.n, p.p_value
FROM cycles c JOIN metrics m USING (cycle_id)
LEFT JOIN comparisons p ON p.cycle_id = c.cycle_id AND p.baseline = 'base' AND p.metric = 'verdict_accuracy'
WHERE m.split = 'test' AND m.condition_id = 'n0' AND m.slice = 'all' ORDER BY 1
"""


def main() -> None:
    """Run a series a seed and record the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="demo:cubes?n=400&seed={seed}")
    parser.add_argument("--test-data", default="demo:cubes?n=300&seed=10{seed}")
    parser.add_argument("--grow", default="50,100,200,400")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--title", default="What the tiny model learns from demo:cubes")
    arguments = parser.parse_args()
    rows: list[list[str]] = []
    for seed in arguments.seeds:
        with tempfile.TemporaryDirectory() as place:
            runs = Path(place) / "runs"
            argv = ["-m", "harness", "cycle", "--model", "tiny", "--data", arguments.data.format(seed=seed)]
            argv += ["--test-data", arguments.test_data.format(seed=seed), "--grow", arguments.grow]
            argv += ["--seed", str(seed), "--runs", str(runs), "--reports", str(Path(place) / "reports")]
            start = time.perf_counter()
            done = subprocess.run([sys.executable, *argv], cwd=ROOT, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            rows += figures_of(Ledger(runs), seed, time.perf_counter() - start)
            print(rows[-1], file=sys.stderr, flush=True)
    columns = ["seed", "records", "model", *SHOWN, "p (McNemar, verdict)", "seconds of the series"]
    note = "In brackets 95 % intervals, as the ledger holds them. Lines `trend`: one-sided p over the sizes."
    record(arguments.title, columns, rows, packages=["torch", "transformers", "peft"], note=note)


def figures_of(ledger: Ledger, seed: int, seconds: float) -> list[list[str]]:
    """The base model once, then a row a size, then the trends."""
    found: dict[tuple[str, int, str], dict[str, str]] = {}
    tested: dict[str, str] = {}
    for cycle_id, size, role, metric, value, low, high, _, p_value in ask(ledger, FIGURES).rows:
        shown = "not defined" if value is None else f"{value:.3f}"
        if low is not None and high is not None:
            shown += f" [{low:.3f}, {high:.3f}]"
        found.setdefault((cycle_id, size, role), {})[metric] = shown
        tested[cycle_id] = "" if p_value is None else f"{p_value:.2g}"
    first = min(found)[0]
    rows = []
    for (cycle_id, size, role), figures in sorted(found.items()):
        if role == "base" and cycle_id != first:
            continue
        cells = [figures.get(metric, "") for metric in SHOWN]
        p_value = tested[cycle_id] if role == "finetuned" else ""
        rows.append([str(seed), str(size) if role == "finetuned" else "0", role, *cells, p_value, ""])
    for trend in trends(ledger, sorted({cycle_id for cycle_id, _, _ in found})):
        cells = [f"p = {trend.p_value:.2g}" if metric == trend.metric else "" for metric in SHOWN]
        rows.append([str(seed), "trend", "finetuned", *cells, "", ""])
    rows[-1][-1] = f"{seconds:.0f}"
    return rows


if __name__ == "__main__":
    main()
