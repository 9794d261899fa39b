"""`import harness.score` stays light: a command that scores nothing must not pay for the libraries that score."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
LIBRARIES = ("numpy", "scipy", "statsmodels", "sklearn", "pandas", "sacrebleu", "rouge_score", "nltk", "torch")
CODE = f"""
import json, sys, time
start = time.perf_counter()
import harness.score
seconds = time.perf_counter() - start
print(json.dumps([seconds, [name for name in {LIBRARIES!r} if name in sys.modules]]))
"""


def _child(cache: Path) -> tuple[float, list[str]]:
    settings = {k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", "COVERAGE_PROCESS_START")}
    settings["PYTHONPYCACHEPREFIX"] = str(cache)
    child = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=True, cwd=ROOT, env=settings
    )
    seconds, loaded = json.loads(child.stdout)
    return float(seconds), list(loaded)


def test_import_is_light(tmp_path: Path) -> None:
    _child(tmp_path)  # writes the bytecode, as an installation has it
    runs = [_child(tmp_path) for _ in range(5)]
    assert runs[0][1] == []
    assert min(seconds for seconds, _ in runs) < 0.05
