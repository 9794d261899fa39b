"""`import harness.score` stays light: a command that scores nothing must not pay for the libraries that score.

How long it takes is measured in benchmarks/cli_cpu.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
LIBRARIES = ("numpy", "scipy", "statsmodels", "sklearn", "pandas", "sacrebleu", "rouge_score", "nltk", "torch")
CODE = f"""
import json, sys
import harness.score
print(json.dumps([name for name in {LIBRARIES!r} if name in sys.modules]))
"""


def test_import_is_light() -> None:
    child = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True, cwd=ROOT)
    assert json.loads(child.stdout) == []
