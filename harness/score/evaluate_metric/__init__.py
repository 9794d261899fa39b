"""The scorer as an `evaluate` metric: `evaluate.load(PATH)`.

Enters: nothing. Leaves: the path. Importing this is light; evaluate_metric.py is loaded by `evaluate` alone.
"""

from pathlib import Path

#: what `evaluate.load` takes
PATH = str(Path(__file__).resolve().parent)

__all__ = ["PATH"]
