"""A source's columns -> the fields of a SourceRecord, whatever the source calls and wraps them.

Enters: rows of a data set and a column map. Leaves: SourceRecords. Lists may come as lists, JSON texts, or texts with
commas or semicolons (csv); pictures as bytes, as {"bytes", "path"}, or as a path beside the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import ConfigError, MissingColumns
from harness.records import SourceRecord

#: characters: what is longer is no path, but a picture written as text
LONGEST_PATH = 1024
#: what others call these columns, for the hint
ALSO_CALLED = {
    "image": ("photo", "picture", "img", "image_path", "file_name", "images", "pixel"),
    "question": ("prompt", "instruction", "query", "problem"),
    "answer": ("caption", "text", "response", "output", "label", "solution", "ground_truth"),
}


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """The source's name for each of our columns."""

    image: str = "image"
    question: str = "question"
    answer: str = "answer"
    verdict: str = "verdict"
    locations: str = "locations"
    defects: str = "defects"
    group: str = "group"
    severity: str = "severity"
    source: str = "source"

    @classmethod
    def of(cls, names: Mapping[str, str]) -> ColumnMap:
        """From data.columns.

        Raises:
            ConfigError: a name that is none of our columns.
        """
        unknown = sorted(set(names) - set(cls.__slots__))
        if unknown:
            raise ConfigError(
                f"data.columns maps unknown columns: {', '.join(unknown)}",
                hint=f"our columns are {', '.join(cls.__slots__)}; as in --set data.columns.image=photo",
            )
        return cls(**names)

    def mapped(self) -> dict[str, str]:
        """Our names that were mapped to others."""
        return {name: getattr(self, name) for name in self.__slots__ if getattr(self, name) != name}


@dataclass(frozen=True, slots=True)
class SourceColumns:
    """The columns of one split and, where `datasets` knows them, their types."""

    names: tuple[str, ...]
    features: dict[str, Any]

    @classmethod
    def of(cls, data: Any) -> SourceColumns:
        """Of a (streamed) data set; one row is read where no types are declared."""
        if data.features is not None:
            return cls(tuple(data.features), dict(data.features))
        first: Mapping[str, Any] = next(iter(data), {})
        return cls(tuple(first), {})


def check_columns(
    name: str, seen: Iterable[str], columns: ColumnMap, default_question: str | None, *, labelled: bool = True
) -> None:
    """Make sure that what is needed is there: pictures alone where no label is asked for.

    Raises:
        MissingColumns: it names the columns seen and how to map them.
    """
    found = list(seen)
    needed = ["image"] + (["answer"] if labelled else [])
    needed += ["question"] if labelled and default_question is None else []
    missing = [ours for ours in needed if getattr(columns, ours) not in found]
    missing += [ours for ours, theirs in columns.mapped().items() if theirs not in found and ours not in missing]
    if not missing:
        return
    wanted = ", ".join(repr(getattr(columns, ours)) for ours in missing)
    raise MissingColumns(
        f"{name} has no column {wanted}; columns seen: {', '.join(found) or 'none'}",
        hint=_how_to_map(missing, found),
    )


def _how_to_map(missing: list[str], found: list[str]) -> str:
    flags = []
    for ours in missing:
        near = [theirs for theirs in found if theirs.lower() in ALSO_CALLED.get(ours, ())]
        flags.append(f"--set data.columns.{ours}={near[0] if near else 'NAME'}")
    if missing == ["question"]:
        return f"{flags[0]}, or give one question for all: --set 'data.question=...'"
    return f"map them: {' '.join(flags)}"


def to_record(
    row: Mapping[str, Any], where: str, columns: ColumnMap, seen: SourceColumns, *, split: str, folder: Path | None
) -> SourceRecord:
    """One row as a SourceRecord; what is absent is None. `where` gets the picture's file added, where it has one."""

    def value(ours: str) -> Any:
        theirs = getattr(columns, ours)
        found = row.get(theirs)
        names = getattr(seen.features.get(theirs), "names", None)  # a ClassLabel's
        return names[found] if names is not None and isinstance(found, int) and found >= 0 else found

    picture = value("image")
    file = _file_name(picture, folder)
    return SourceRecord(
        where=f"{where} ({file})" if file else where,
        image=_picture(picture, folder),
        question=_text(value("question")),
        answer=_text(value("answer")),
        verdict=_text(value("verdict")),
        locations=_names(value("locations")),
        defects=_names(value("defects")),
        group=_text(value("group")),
        severity=_number(value("severity")),
        source=_text(value("source")) or "",
        split=split,
    )


def _picture(value: Any, folder: Path | None) -> bytes | None:
    """The encoded bytes. A text is a path beside a local source; a Hub's texts are never taken for paths here."""
    if isinstance(value, Mapping):
        if value.get("bytes") is not None:
            return bytes(value["bytes"])
        return _file(Path(value["path"]), folder) if value.get("path") else None
    if isinstance(value, bytes):
        return value
    return _file(Path(value), folder) if isinstance(value, str) and value and folder is not None else None


def _file_name(value: Any, folder: Path | None) -> str:
    """The picture's file as people know it: below the source's folder, else its name; "" for mere bytes."""
    path = value.get("path") if isinstance(value, Mapping) else value
    if not isinstance(path, str) or not path or len(path) > LONGEST_PATH:
        return ""
    if folder is not None and Path(path).is_absolute() and Path(path).is_relative_to(folder.resolve()):
        return Path(path).relative_to(folder.resolve()).as_posix()
    return path if folder is not None and isinstance(value, str) else Path(path).name


def _file(path: Path, folder: Path | None) -> bytes | None:
    found = path if folder is None else folder / path  # an absolute path stays itself
    try:
        return found.read_bytes() if found.is_file() else None
    except OSError:  # no file's name, a picture written as text perhaps; or not ours to read
        return None


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return str(value)


def _number(value: Any) -> float | None:
    try:
        return None if value is None or value == "" else float(value)
    except (TypeError, ValueError):
        return None


def _names(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    if isinstance(value, str):
        text = value.strip()
        if text.startswith("["):
            try:
                value = json.loads(text)
            except ValueError:
                value = text.strip("[]").replace("'", "").replace('"', "").split(",")
        else:
            value = text.replace(";", ",").split(",")
    return tuple(str(item).strip() for item in value if item is not None and str(item).strip())
