"""How long answers take to read: records a second of common answers, and seconds of 1 MB of anything.

    python benchmarks/parse_cpu.py

Goal: 1 MB of any text under 1 s. Processor seconds, the least of three.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.record import record
from harness.parse import parse_answer
from harness.records import Grid, Vocabulary

MEGABYTE = 1_000_000
GRID = Grid(columns=tuple("123456789"), rows=("U", "C", "D"))
VOCABULARY = Vocabulary({"missing": ("absent",), "stained": (), "rotated": ()})
COMMON = (
    "This product has passed inspection.",
    "5U is missing and 3C is stained. This product has been determined to be defective.",
    "The image shows two panels of cubes. There is no visible difference between the two panels, so it passes.",
    '{"verdict": "defective", "defects": [{"location": "4D", "type": "rotated"}]}',
    "5Uが欠けています。この製品は不良と判定されました。",
)
HOSTILE = (
    "not ",
    "5 U C D ",
    "<",
    "{",
    "欠け",
    "a",
    " ",
    "3C is missing. ",
    "😀",
    '"defect": [',
    "|a|b|\n",
    "(",
    "1-9",
)


def main() -> None:
    """Measure both."""
    rows: list[list[object]] = []
    for text in COMMON:
        seconds = _least(lambda text=text: [parse_answer(text, VOCABULARY, GRID) for _ in range(200)]) / 200
        rows.append([repr(text[:40]), len(text.encode()), f"{1000 * seconds:.2f} ms", ""])
    for piece in HOSTILE:
        text = piece * (MEGABYTE // len(piece.encode()))
        read = _least(lambda text=text: parse_answer(text, VOCABULARY, GRID))
        rows.append([f"{piece!r} repeated", MEGABYTE, f"{read:.2f} s", "yes" if read < 1 else "no"])
    columns = ["text", "bytes", "parse_answer", "parsed under 1 s"]
    record("Reading answers", columns, rows, packages=["numpy"])


def _least(work: Callable[[], object]) -> float:
    taken = []
    for _ in range(3):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return min(taken)


if __name__ == "__main__":
    main()
