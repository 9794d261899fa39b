"""Lists of photo pairs, checked: what `harness data stack` reads.

Enters, one of:
    a CSV     columns passed, test (photos; paths count from the CSV's folder), verdict (passed / defective), locations
              and defects (as many of each, separated by ";"); optional group (the physical part), severity (0 to 1)
    a folder  DIR/passed/NAME.jpg and DIR/test/NAME.jpg (it passed) or DIR/test/NAME__5U-missing__3C-stain.jpg (it did
              not); one passed photo alone serves all; the part NAME is the group
Leaves: the pairs that can be used, and for every other row its line and the reason. Nothing of a photo is read here.
Cost: a row is judged by its first fault.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from harness.errors import DataError
from harness.records import Finding, Grid, Verdict

PHOTOS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
_NEEDED = ("passed", "test", "verdict", "locations", "defects")


@dataclass(frozen=True, slots=True)
class Pair:
    """A passed photo, a test photo and the truth. `line` is the CSV's (the header is line 1), or counts the photos."""

    line: int
    passed: Path
    test: Path
    verdict: Verdict
    findings: tuple[Finding, ...]
    group: str
    severity: float | None = None


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be used, and why."""

    line: int
    reason: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}"


def read_pairs(source: Path, grid: Grid) -> tuple[list[Pair], list[BadRow]]:
    """Read a list of pairs.

    Raises:
        DataError: the source is absent, lacks columns or photos, or is no text.
    """
    if source.is_dir():
        return _read_folder(source, grid)
    try:
        with source.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            names = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = names
            if missing := [name for name in _NEEDED if name not in names]:
                raise DataError(
                    f"{source} lacks the columns {', '.join(missing)} (it has {', '.join(names) or 'none'})",
                    hint=f"the first line names them: {','.join(_NEEDED)}",
                )
            rows = [(reader.line_num, row) for row in reader]
    except FileNotFoundError as error:
        raise DataError(f"no list of pairs at {source}", hint="a CSV or a folder of photos") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{source} cannot be read as CSV: {error}", hint="save it as CSV in UTF-8") from error
    pairs: list[Pair] = []
    bad: list[BadRow] = []
    seen: dict[tuple[str, str], int] = {}
    for line, row in rows:
        cells = {name: (row.get(name) or "").strip() for name in names}
        try:
            if None in row:
                raise _Fault("more cells than columns: put quotes around cells that hold a comma")
            if (first := seen.setdefault((cells["passed"], cells["test"]), line)) != line:
                raise _Fault(f"the same photos as line {first}")
            pairs.append(_pair(line, cells, source.parent, grid))
        except _Fault as fault:
            bad.append(BadRow(line, str(fault)))
    if not rows:
        raise DataError(f"{source} holds no pairs", hint="one line a pair, under the line of column names")
    return pairs, bad


class _Fault(Exception):
    """Why a row cannot be used."""


def _pair(line: int, cells: dict[str, str], folder: Path, grid: Grid) -> Pair:
    for name in ("passed", "test"):
        if not cells[name]:
            raise _Fault(f"no {name} photo")
        if not (folder / cells[name]).is_file():
            raise _Fault(f"no photo {cells[name]}")
    locations, defects = _listed(cells["locations"]), _listed(cells["defects"])
    severity = cells.get("severity", "")
    return Pair(
        line,
        folder / cells["passed"],
        folder / cells["test"],
        *_truth(cells["verdict"], locations, defects, grid),
        # Without a word about it, every test photo shows a part of its own.
        group=cells.get("group") or cells["test"],
        severity=_severity(severity) if severity else None,
    )


def _listed(cell: str) -> list[str]:
    return [part.strip() for part in cell.split(";") if part.strip()]


def _truth(verdict: str, locations: list[str], defects: list[str], grid: Grid) -> tuple[Verdict, tuple[Finding, ...]]:
    known: dict[str, Verdict] = {"passed": "passed", "defective": "defective", "良品": "passed", "不良品": "defective"}
    if (decided := known.get(verdict.lower())) is None:
        raise _Fault(f"verdict {verdict!r} is neither passed nor defective")
    if decided == "passed":
        if locations or defects:
            raise _Fault(f"passed, but with {', '.join(locations + defects)}")
        return decided, ()
    if not locations:
        raise _Fault("defective, but without a location")
    if len(locations) != len(defects):
        raise _Fault(f"{len(locations)} locations and {len(defects)} defects: name as many of each")
    cells = {cell.upper(): cell for cell in grid.cells}
    for location in locations:
        if location.upper() not in cells:
            raise _Fault(f"no cell {location!r} in the grid {grid.cells[0]} .. {grid.cells[-1]}")
    if len({(cells[one.upper()], defect) for one, defect in zip(locations, defects, strict=True)}) < len(locations):
        raise _Fault("the same finding twice")
    order = sorted(range(len(locations)), key=lambda i: grid.cells.index(cells[locations[i].upper()]))
    return decided, tuple(Finding(cells[locations[i].upper()], defects[i]) for i in order)


def _severity(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise _Fault(f"severity {text!r} is no number") from None
    if not 0 <= value <= 1:
        raise _Fault(f"severity {text} is not between 0 and 1")
    return value


def _read_folder(folder: Path, grid: Grid) -> tuple[list[Pair], list[BadRow]]:
    """Pairs by file names; the test photos in the order of their names are lines 1, 2, ..."""
    photos = {
        side: sorted(p for p in (folder / side).glob("*") if p.suffix.lower() in PHOTOS) for side in ("passed", "test")
    }
    for side, found in photos.items():
        if not found:
            raise DataError(f"{folder / side} holds no photos", hint="DIR/passed/NAME.jpg and DIR/test/NAME.jpg")
    by_name = {path.stem: path for path in photos["passed"]}
    pairs: list[Pair] = []
    bad: list[BadRow] = []
    for line, path in enumerate(photos["test"], start=1):
        name, *told = path.stem.split("__")
        try:
            passed = by_name.get(name) or (photos["passed"][0] if len(by_name) == 1 else None)
            if passed is None:
                raise _Fault(f"{path.name}: no passed photo of the name {name}")
            halves = [one.partition("-") for one in told]
            locations, defects = [half[0].strip() for half in halves], [half[2].strip() for half in halves]
            if not all(defects):
                raise _Fault(
                    f"{path.name}: a finding is written LOCATION-DEFECT, as in {name}__5U-missing{path.suffix}"
                )
            truth = _truth("defective" if told else "passed", locations, defects, grid)
            pairs.append(Pair(line, passed, path, *truth, group=name))
        except _Fault as fault:
            bad.append(BadRow(line, str(fault)))
    return pairs, bad
