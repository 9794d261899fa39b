"""Pictures without answers: a plain folder of picture files, or any SRC, whose answers are then not looked at.

Enters: SRC as typed. Leaves: PoolPictures, each a file on disk with its fingerprint, and Drops for what is no usable
picture. Files of a folder are read where they lie; pictures inside other sources are written to a folder that the
caller provides. Cost: about 4 ms a picture for decoding; memory holds one picture at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.dataset.fingerprint import fingerprint_picture
from harness.dataset.ingest import Drop
from harness.dataset.sources import open_source
from harness.errors import DataError

#: file endings that are taken for pictures
ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif"})
#: a folder that holds one of these beside pictures is a data set that `datasets` loads
_DATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet", "dataset_dict.json", "state.json", "*.parquet")


@dataclass(frozen=True, slots=True)
class PoolPicture:
    """An unlabelled picture. `name` is its file as typed, or the row of its source; `question` None where unsaid."""

    name: str
    path: Path
    image_id: str
    phash: str
    question: str | None


def unlabelled_pictures(
    src: str, work: Path, *, columns: Mapping[str, str] | None = None
) -> tuple[list[PoolPicture], list[Drop]]:
    """The pictures of a source, in order, and what had to be left out.

    Args:
        src: a folder of picture files (searched through), or a SRC as of `harness cycle --data`.
        work: an existing folder for pictures that are no files yet.
        columns: our column name -> the source's.

    Raises:
        DataError: no such source, or one without a single picture.
    """
    folder = Path(src).expanduser()
    drops: list[Drop] = []
    if folder.is_dir() and not any(next(folder.rglob(pattern), None) for pattern in _DATA):
        found = _from_files(folder, drops)
    else:
        found = _from_source(src, work, columns, drops)
    if not found:
        why = f"; {len(drops)} left out, the first: {drops[0].where}: {drops[0].reason}" if drops else ""
        raise DataError(f"{src} holds no usable picture{why}", hint=f"name a folder with {', '.join(sorted(ENDINGS))}")
    return found, drops


def _from_files(folder: Path, drops: list[Drop]) -> list[PoolPicture]:
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file()):
        facts = fingerprint_picture(path.read_bytes())
        if facts.problem is not None:
            drops.append(Drop(str(path), "pictures", facts.problem))
        else:
            found.append(PoolPicture(str(path), path, facts.image_id, facts.phash, None))
    return found


def _from_source(src: str, work: Path, columns: Mapping[str, str] | None, drops: list[Drop]) -> list[PoolPicture]:
    found = []
    for record in open_source(src, columns, labelled=False).records():
        if record.image is None:
            drops.append(Drop(record.where, "missing", "no picture"))
            continue
        facts = fingerprint_picture(record.image)
        if facts.problem is not None:
            drops.append(Drop(record.where, "pictures", facts.problem))
            continue
        path = work / f"{facts.image_id}.{facts.extension}"
        path.write_bytes(record.image)
        found.append(PoolPicture(record.where, path, facts.image_id, facts.phash, record.question or None))
    return found
