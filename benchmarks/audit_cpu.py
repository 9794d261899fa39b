"""The data audit on the CPU: seconds and memory for 10,000 pictures, copies found by kind, distinct records kept.

    python benchmarks/audit_cpu.py

Draws the demo's records into a folder that it removes again, audits them by the command line in a process of its own,
and prints two tables, which it appends to benchmarks/RESULTS.md. Drawing 10,000 records takes about 4 minutes of two
cores and is not counted. `--pictures 500` tries it out; `--note` says what else the machine was doing.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.record import ROOT, record
from harness.audit import Picture, find_lookalikes
from harness.dataset.cubes import draw_record
from harness.dataset.fingerprint import fingerprint_picture
from harness.dataset.folder import write_dataset
from harness.records import SourceRecord

PACKAGES = ("pillow", "numpy", "scipy", "imagehash")
#: distinct records among which no pair may be called nearly equal, and records that are copied
DISTINCT, COPIED = 600, 60


def encoded(picture: Image.Image, quality: int = 85) -> bytes:
    """As a JPEG."""
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=quality)
    return data.getvalue()


def resized(picture: Image.Image, scale: float) -> Image.Image:
    """Smaller or larger."""
    size = round(picture.width * scale), round(picture.height * scale)
    return picture.resize(size, Image.Resampling.BICUBIC)


def shifted(picture: Image.Image, right: int, down: int) -> Image.Image:
    """Moved, the edge going on beyond itself."""
    pixels = np.pad(np.asarray(picture), ((8, 8), (8, 8), (0, 0)), mode="edge")
    height, width = picture.height, picture.width
    return Image.fromarray(pixels[8 - down : 8 - down + height, 8 - right : 8 - right + width])


def brighter(picture: Image.Image, gain: float) -> Image.Image:
    """Every value times the gain, clipped."""
    return ImageEnhance.Brightness(picture).enhance(gain)


COPIES: dict[str, Callable[[Image.Image], bytes]] = {
    "JPEG, quality 80": lambda p: encoded(p, 80),
    "JPEG, quality 60": lambda p: encoded(p, 60),
    "shifted by 1 pixel": lambda p: encoded(shifted(p, 1, 0)),
    "shifted by 3 pixels": lambda p: encoded(shifted(p, 3, -3)),
    "shifted by 5 and 4 pixels": lambda p: encoded(shifted(p, -5, 4)),
    "cropped by 3 %": lambda p: encoded(p.crop((6, 4, p.width - 6, p.height - 4))),
    "scaled to 98 %": lambda p: encoded(resized(p, 0.98)),
    "scaled to 75 %": lambda p: encoded(resized(p, 0.75)),
    "scaled to 50 %": lambda p: encoded(resized(p, 0.5)),
    "scaled to 200 %": lambda p: encoded(resized(p, 2.0)),
    "3 % brighter": lambda p: encoded(brighter(p, 1.03)),
    "8 % brighter": lambda p: encoded(brighter(p, 1.08)),
    "7 % darker": lambda p: encoded(brighter(p, 0.93)),
    "half size, shifted, 5 % brighter": lambda p: encoded(brighter(shifted(resized(p, 0.5), 1, -1), 1.05)),
}


def drawn(place: tuple[int, int]) -> SourceRecord:
    """Record `number` of a seed."""
    return draw_record(*place)


def store(folder: Path, name: str, data: bytes) -> Picture:
    """A picture in a file, with its perceptual hash."""
    path = folder / name
    path.write_bytes(data)
    return Picture(fingerprint_picture(data).phash, path)


def search(folder: Path) -> tuple[list[tuple[str, str]], str]:
    """Copies found by kind, and in a sentence how many distinct records were wrongly called nearly equal."""
    with ProcessPoolExecutor() as processes:
        records = list(processes.map(drawn, [(number, 7) for number in range(DISTINCT)], chunksize=20))
    pictures = {f"{number}": store(folder, f"{number}.jpg", r.image or b"") for number, r in enumerate(records)}
    wrong = find_lookalikes(pictures, set(list(pictures)[: DISTINCT // 5]))
    lines = []
    tests = {name: pictures[name] for name in list(pictures)[:COPIED]}
    for kind, copy in COPIES.items():
        copies = {}
        for name, original in tests.items():
            with Image.open(original.path) as opened:
                copies[f"copy of {name}"] = store(folder, f"copy-{name}.jpg", copy(opened.convert("RGB")))
        near = find_lookalikes({**tests, **copies}, set(tests))
        found = sum(pair.other == f"copy of {pair.one}" for pair in near)
        lines.append((kind, f"{found} of {len(copies)}"))
    pairs = DISTINCT * (DISTINCT - 1) // 2
    kept = f"Distinct trays wrongly called nearly equal: {len(wrong)} of {pairs:,} pairs of {DISTINCT} records."
    return lines, kept


def write_records(place: Path, count: int) -> list[Path]:
    """Two data sets of the demo's records, the one a quarter of the other; one file a quarter."""
    quarter, whole = place / "quarter", place / "whole"
    with ProcessPoolExecutor() as processes:
        for part in range(4):
            places = [(number, 1) for number in range(part * count // 4, (part + 1) * count // 4)]
            made = place / f"part-{part}"
            write_dataset(made, list(processes.map(drawn, places, chunksize=20)), title="demo:cubes", about="drawn")
            for folder in (quarter, whole) if part == 0 else (whole,):
                (folder / "data").mkdir(parents=True, exist_ok=True)
                (folder / "data" / f"train-{part}.parquet").hardlink_to(made / "data" / "train-00000-of-00001.parquet")
    return [quarter, whole]


def timed_audit(folder: Path) -> tuple[float, float, float, dict[str, int]]:
    """Seconds, processor seconds, peak memory of the largest process in GiB, findings by severity of `harness audit`.

    Only the audit's own processes count: those that drew the records ended before.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    clock = time.monotonic()
    child = subprocess.run(
        [sys.executable, "-m", "harness", "audit", "--data", str(folder), "--json"],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    seconds = time.monotonic() - clock
    if child.returncode not in (0, 3):
        raise SystemExit(child.stderr)
    severities = [finding["severity"] for finding in json.loads(child.stdout)]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    worked = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return (
        seconds,
        worked,
        after.ru_maxrss / 2**20,
        {name: severities.count(name) for name in ("error", "warning", "info")},
    )


def main() -> None:
    """Draw, audit, print, append."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--note", default="", help="what else the machine was doing")
    arguments = parser.parse_args()
    rows: list[list[object]] = []
    with tempfile.TemporaryDirectory(prefix="harness-audit-benchmark-") as place:
        folders = write_records(Path(place), arguments.pictures)
        for folder, count in zip(folders, (arguments.pictures // 4, arguments.pictures), strict=True):
            seconds, worked, peak, found = timed_audit(folder)
            counts = " / ".join(map(str, found.values()))
            rows.append([f"{count:,}", f"{seconds:.0f}", f"{worked:.0f}", f"{peak:.2f}", counts])
            print(rows[-1], flush=True)
        pictures = Path(place) / "pictures"
        pictures.mkdir()
        copies, kept = search(pictures)
    columns = ["pictures", "seconds", "processor seconds", "peak GiB of a process", "errors / warnings / notes"]
    record("Copies of drawn trays found by the audit", ["kind", "found"], copies, packages=PACKAGES, note=kept)
    record("The data audit", columns, rows, packages=PACKAGES, note=arguments.note)


if __name__ == "__main__":
    main()
