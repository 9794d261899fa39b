"""Records -> a folder that `datasets.load_dataset` loads: one parquet shard a split, and a data card.

Enters: SourceRecords, a card's title and text. Leaves: FOLDER/data/SPLIT-00000-of-00001.parquet with the columns image,
question, answer, verdict, locations, defects, group, severity, source (pictures as encoded bytes, under the Image
feature), FOLDER/README.md, and any further files that the caller draws. Whole or not at all: everything is written to a
folder beside it, which is renamed at the end. Equal records give equal bytes. Cost: all pictures are in memory once.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import DataError
from harness.records import SourceRecord

_TEXT = {"dtype": "string", "_type": "Value"}
_LIST = {"feature": _TEXT, "_type": "List"}
_FEATURES: dict[str, dict[str, Any]] = {
    "image": {"_type": "Image"},
    "question": _TEXT,
    "answer": _TEXT,
    "verdict": _TEXT,
    "locations": _LIST,
    "defects": _LIST,
    "group": _TEXT,
    "severity": {"dtype": "float64", "_type": "Value"},
    "source": _TEXT,
}


def write_dataset(
    out: Path,
    records: Sequence[SourceRecord],
    *,
    title: str,
    about: str,
    split: str = "train",
    files: Mapping[str, bytes] | None = None,
) -> None:
    """Write records as a data set.

    Args:
        out: the folder to make; must not exist.
        title, about: of the data card; counts are added.
        files: further files beside the card, by name.

    Raises:
        DataError: the folder exists, or there are no records.
    """
    import pyarrow.parquet as pq

    if out.exists():
        raise DataError(f"{out} exists already", hint="name a new folder: --out DIR")
    if not records:
        raise DataError("there are no records to write", hint="give at least one pair, or --n 1")
    part = out.with_name(out.name + ".part")
    if part.exists():
        shutil.rmtree(part)
    try:
        (part / "data").mkdir(parents=True)
        name = f"{split}-00000-of-00001.parquet"
        pq.write_table(_table(records), part / "data" / name, compression="none", row_group_size=100)
        (part / "README.md").write_text(_card(records, title, about, split), encoding="utf-8")
        for file, content in (files or {}).items():
            (part / file).write_bytes(content)
        part.rename(out)
    finally:
        if part.exists():
            shutil.rmtree(part)


def _table(records: Sequence[SourceRecord]) -> Any:
    """The records as an arrow table that carries the features' names for `datasets`."""
    import pyarrow as pa

    texts = pa.list_(pa.string())
    columns = {
        "image": pa.array(
            [{"bytes": record.image, "path": None} for record in records],
            pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
        ),
        "question": pa.array([record.question for record in records], pa.string()),
        "answer": pa.array([record.answer for record in records], pa.string()),
        "verdict": pa.array([record.verdict for record in records], pa.string()),
        "locations": pa.array([None if r.locations is None else list(r.locations) for r in records], texts),
        "defects": pa.array([None if r.defects is None else list(r.defects) for r in records], texts),
        "group": pa.array([record.group for record in records], pa.string()),
        "severity": pa.array([record.severity for record in records], pa.float64()),
        "source": pa.array([record.source for record in records], pa.string()),
    }
    return pa.table(columns).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": _FEATURES}})})


def _card(records: Sequence[SourceRecord], title: str, about: str, split: str) -> str:
    verdicts = Counter(record.verdict for record in records)
    defects = Counter(defect for record in records for defect in record.defects or ())
    found = Counter(len(record.locations or ()) for record in records)
    lines = [
        "---",
        f"pretty_name: {json.dumps(title, ensure_ascii=False)}",
        "task_categories:",
        "- visual-question-answering",
        "configs:",
        "- config_name: default",
        "  data_files:",
        f"  - split: {split}",
        f"    path: data/{split}-*",
        "---",
        f"# {title}",
        "",
        about.strip(),
        "",
        "## Columns",
        "`image` (two stacked panels: top = a passed product, bottom = the product under test), `question`, `answer`,",
        "`verdict` (passed / defective), `locations` (cells such as 5U) and `defects`, in the same order, `group` (one",
        "id a physical part), `severity` (1 plain .. 0 hardly visible; empty where unknown or passed), `source`.",
        "",
        "## Counts",
        f"- records: {len(records)}; "
        + ", ".join(f"{name}: {count}" for name, count in sorted(verdicts.items(), key=str)),
        "- records by number of defects: " + ", ".join(f"{count}: {found[count]}" for count in sorted(found)),
        "- defects: " + (", ".join(f"{name}: {count}" for name, count in sorted(defects.items())) or "none"),
        "",
    ]
    return "\n".join(lines)
