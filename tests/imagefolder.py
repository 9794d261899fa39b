"""Records as an imagefolder with metadata.jsonl: pictures and lines that a test can edit."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harness.records import SourceRecord


def write_imagefolder(folder: Path, records: Iterable[SourceRecord]) -> Path:
    """Write records; returns the metadata file."""
    folder.mkdir(parents=True)
    lines: list[dict[str, Any]] = []
    for number, record in enumerate(records):
        assert record.image is not None
        extension = "png" if record.image.startswith(b"\x89PNG") else "jpg"
        name = f"{number:04d}.{extension}"
        (folder / name).write_bytes(record.image)
        lines.append(
            {
                "file_name": name,
                "question": record.question,
                "answer": record.answer,
                "verdict": record.verdict,
                "locations": list(record.locations or ()),
                "defects": list(record.defects or ()),
                "group": record.group,
                "severity": record.severity,
            }
        )
    return write_metadata(folder, lines)


def write_metadata(folder: Path, lines: Iterable[dict[str, Any]]) -> Path:
    """Write the lines of metadata.jsonl."""
    path = folder / "metadata.jsonl"
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    return path


def read_metadata(folder: Path) -> list[dict[str, Any]]:
    """The lines of metadata.jsonl."""
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text("utf-8").splitlines()]
