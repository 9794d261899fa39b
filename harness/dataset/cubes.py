"""The demo data: trays of 9 x 3 cubes, drawn; the top panel passed, the bottom panel under test.

Enters: how many records, and a seed. Leaves: SourceRecords as a source gives them (JPEG bytes, the seed's question, an
answer in words, truth columns, a group a tray, a severity), or a folder that `datasets` loads. The same seed gives the
same bytes. Half of the trays are passed; the others have one (70 %), two (20 %) or three (10 %) defects.
The picture is a sheet of 420 x 308 pixels (sheet.py), the tray is drawn in tray.py. Cost: about 20 ms a record.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path

import numpy as np

from harness.dataset.folder import write_dataset
from harness.dataset.sheet import Layout, draw_sheet
from harness.dataset.tray import COLORS, DEFECTS, Color, Flaw, Tray, photograph
from harness.records import SourceRecord

QUESTION = (
    "Referenced image has two images inside. Compare the two images and find the differences. The two images have "
    "coordinate letters 1 to 9 horizontally and U, C, D vertically to find position. You should compare the condition "
    "of the cubes at each position one by one. The top image is one of passed product. You should evaluate whether the "
    "product in the bottom image is passed or defective. If you find differences in the bottom image, explain its "
    "location and defect name."
)
SOURCE = "demo:cubes"
LAYOUT = Layout()
#: records that are drawn at once
AHEAD = 32


def generate(n: int, seed: int = 0) -> Iterator[SourceRecord]:
    """Draw n records; record i of a seed is the same whatever n is.

    In threads, because Pillow and NumPy let go of the interpreter while they work; a few records ahead of the reader.
    """
    workers = os.cpu_count() or 1
    if workers == 1 or n < AHEAD:
        yield from (draw_record(number, seed) for number in range(n))
        return
    with ThreadPoolExecutor(workers) as threads:
        for start in range(0, n, AHEAD):
            yield from threads.map(draw_record, range(start, min(start + AHEAD, n)), repeat(seed))


def draw_record(number: int, seed: int) -> SourceRecord:
    """Draw one record.

    Its severity is that of its plainest flaw, because that one decides whether the product can be called defective.
    """
    rng = np.random.default_rng([seed, number])
    tray, flaws = _draw_lot(rng)
    # Two generators, so that what the second shot varies does not depend on what the first one drew.
    shots = rng.spawn(2)
    sheet = draw_sheet(photograph(tray, (), LAYOUT, shots[0]), photograph(tray, flaws, LAYOUT, shots[1]), LAYOUT)
    data = io.BytesIO()
    sheet.save(data, "JPEG", quality=int(rng.integers(80, 96)))
    return SourceRecord(
        where=f"{SOURCE} seed {seed} row {number}",
        image=data.getvalue(),
        question=QUESTION,
        answer=answer_of(flaws),
        verdict="defective" if flaws else "passed",
        locations=tuple(flaw.location for flaw in flaws),
        defects=tuple(flaw.defect for flaw in flaws),
        group=f"tray-{seed}-{number}",
        severity=max(flaw.severity for flaw in flaws) if flaws else None,
        source=SOURCE,
        split="train",
    )


def answer_of(flaws: Sequence[Flaw]) -> str:
    """The reference answer in words, in the house style of the records."""
    if not flaws:
        return "The product in the bottom image is passed. No difference is found."
    parts = "; ".join(f"Location: {flaw.location}, Defect: {flaw.defect}" for flaw in flaws)
    return f"The product in the bottom image is defective. {parts}."


def write_folder(out: Path, *, n: int, seed: int = 0) -> None:
    """Write n records as a data set that datasets.load_dataset loads.

    Raises:
        DataError: the folder exists.
    """
    about = (
        "Drawn trays of 9 x 3 cubes in two stacked panels, for trying out visual inspection without a camera; made\n"
        f"by `harness data demo --n {n} --seed {seed}`. Light, exposure, camera and noise differ between the panels\n"
        f"and are no defects; these are: {', '.join(DEFECTS)}. The severity is that of the plainest defect of a record."
    )
    write_dataset(out, list(generate(n, seed)), title=SOURCE, about=about)


def _draw_lot(rng: np.random.Generator) -> tuple[Tray, tuple[Flaw, ...]]:
    """A tray and what is wrong with it."""
    red, green, blue = (int(c) for c in rng.integers(112, 180, 3))
    tray = Tray(_colors(rng), (red, green, blue), int(rng.integers(1, 9)))
    if rng.random() < 0.5:
        return tray, ()
    count = int(rng.choice([1, 2, 3], p=[0.7, 0.2, 0.1]))
    places = sorted(int(place) for place in rng.choice(len(LAYOUT.grid.cells), count, replace=False))
    flaws = []
    for place in places:
        defect = DEFECTS[int(rng.integers(len(DEFECTS)))]
        # The square root: slight flaws are rarer than plain ones, as on a line that is looked after.
        severity, turn = round(float(np.sqrt(rng.random())), 3), float(rng.random())
        flaws.append(Flaw(LAYOUT.grid.cells[place], defect, 1.0 if defect == "missing" else severity, turn))
    return tray, tuple(flaws)


def _colors(rng: np.random.Generator) -> tuple[Color, ...]:
    """A colour a cell: the whole tray alike, by rows, by columns, or mixed."""
    palette = rng.permutation(len(COLORS))
    columns, rows = len(LAYOUT.grid.columns), len(LAYOUT.grid.rows)
    mixed = rng.integers(0, 4, rows * columns)
    layout = int(rng.integers(0, 4))
    return tuple(
        COLORS[int(palette[(0, row, column % 3, int(mixed[row * columns + column]))[layout]])]
        for row in range(rows)
        for column in range(columns)
    )
