"""SRC -> records: a folder or file that `datasets` can load, a Hub data set, or the demo.

Enters: SRC as typed. Leaves: a Source, whose records stream in order with their encoded picture bytes untouched (a
broken picture is one bad row, not a crash). Local sources are streamed from where they lie, nothing is copied; a Hub
data set goes through `datasets`' cache, at the commit that its revision names now.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from harness.dataset.columns import ColumnMap, SourceColumns, check_columns, to_record
from harness.errors import DataError
from harness.records import SourceRecord

_HUB_ID = re.compile(r"^(?P<name>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^:]+))?(?::(?P<split>[\w.-]+))?$")
_READERS = {".parquet": "parquet", ".jsonl": "json", ".csv": "csv"}


@dataclass(frozen=True, slots=True)
class Source:
    """Where records come from.

    `revision` is the resolved commit of a Hub data set, None elsewhere; `columns` are those seen.
    """

    name: str
    kind: str
    revision: str | None
    splits: tuple[str, ...]
    columns: tuple[str, ...]
    _read: Callable[[], Iterator[SourceRecord]]

    def records(self) -> Iterator[SourceRecord]:
        """The records, split by split, in order; each call starts anew."""
        return self._read()


def open_source(
    src: str,
    columns: Mapping[str, str] | None = None,
    *,
    default_question: str | None = None,
    labelled: bool = True,
) -> Source:
    """Open a SRC.

    Args:
        src: an existing path (also with :split), "owner/name" (also @revision, :split), or "demo:cubes?n=300&seed=1".
        columns: our column name -> the source's.
        default_question: asked where the source has no question column.
        labelled: whether questions and answers must be there; else pictures alone will do.

    Raises:
        DataError: nothing of that name, nothing that can be read, or a column that is not there.
    """
    mapping = ColumnMap.of(columns or {})
    if src.startswith("demo:"):
        return _demo(src)
    path, split = _existing(src)
    if path is not None:
        return _from_datasets(src, "folder" if path.is_dir() else "file", None, split, mapping, default_question,
                              lambda: _load_path(path), path if path.is_dir() else path.parent, labelled)  # fmt: skip
    hub = _HUB_ID.match(src)
    if hub is None or src.startswith((".", "/", "~")) or Path(src).suffix in _READERS:
        near = get_close_matches(src, [str(p) for p in _siblings(Path(src))], n=1)
        raise DataError(
            f"no such file or folder: {src}",
            hint=f"did you mean {near[0]}?" if near else "SRC is a path, a Hub data set owner/name, or demo:cubes",
        )
    revision = _resolve(hub["name"], hub["revision"])
    return _from_datasets(src, "hub", revision, hub["split"], mapping, default_question,
                          lambda: _load_hub(hub["name"], revision), None, labelled)  # fmt: skip


def _existing(src: str) -> tuple[Path | None, str | None]:
    path = Path(src).expanduser()
    if path.exists():
        return path, None
    head, colon, split = src.rpartition(":")
    path = Path(head).expanduser()
    return (path, split) if colon and head and path.exists() else (None, None)


def _siblings(path: Path) -> list[Path]:
    return list(path.parent.iterdir()) if path.parent.is_dir() else []


def _demo(src: str) -> Source:
    from harness.dataset.cubes import generate

    name, _, query = src.removeprefix("demo:").partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    unknown = sorted(set(options) - {"n", "seed"})
    if name != "cubes" or unknown:
        what = f"demo data {name!r}" if name != "cubes" else f"option {', '.join(unknown)}"
        raise DataError(f"unknown {what} in {src}", hint="the demo is demo:cubes?n=300&seed=1")
    try:
        n, seed = int(options.get("n", "300")), int(options.get("seed", "0"))
    except ValueError as error:
        raise DataError(f"n and seed are whole numbers, got {src}", hint="demo:cubes?n=300&seed=1") from error
    if n < 1:
        raise DataError(f"n must be at least 1, got {n}", hint="demo:cubes?n=300&seed=1")
    columns = ("image", "question", "answer", "verdict", "locations", "defects", "group", "severity")
    return Source(src, "demo", None, ("train",), columns, lambda: generate(n, seed))


def _from_datasets(
    name: str,
    kind: str,
    revision: str | None,
    split: str | None,
    mapping: ColumnMap,
    default_question: str | None,
    load: Callable[[], dict[str, Any]],
    folder: Path | None,
    labelled: bool,
) -> Source:
    """A Source over what `datasets` loaded: split name -> (iterable) data set."""
    with _reading(name):
        parts = load()
        if split is not None:
            if split not in parts:
                known = ", ".join(parts)
                raise DataError(f"{name} has no split {split!r}; it has {known}", hint=f"name one of: {known}")
            parts = {split: parts[split]}
        seen = {part: SourceColumns.of(data) for part, data in parts.items()}
    for part, found in seen.items():
        where = f"{name} ({part})" if len(seen) > 1 else name
        check_columns(where, found.names, mapping, default_question, labelled=labelled)

    def read() -> Iterator[SourceRecord]:
        for part, data in parts.items():
            with _reading(name):
                rows = iter(_undecoded(data, mapping, seen[part]))
            number = 0
            while True:
                with _reading(name):
                    row = next(rows, None)
                if row is None:
                    break
                yield to_record(row, f"{name}[{part}] row {number}", mapping, seen[part], split=part, folder=folder)
                number += 1

    first = next(iter(seen.values()))
    return Source(name, kind, revision, tuple(parts), first.names, read)


def _undecoded(data: Any, mapping: ColumnMap, columns: SourceColumns) -> Any:
    """The data set with its pictures as encoded bytes."""
    import datasets

    if isinstance(columns.features.get(mapping.image), datasets.Image):
        return data.cast_column(mapping.image, datasets.Image(decode=False))
    return data


def _load_path(path: Path) -> dict[str, Any]:
    import datasets

    if path.is_file():
        reader = _READERS.get(path.suffix)
        if reader is None:
            raise DataError(
                f"{path} is no data file: {path.suffix or 'no ending'}",
                hint=f"a file is {', '.join(_READERS)}; a folder is one that datasets.load_dataset loads",
            )
        return dict(datasets.load_dataset(reader, data_files=str(path), streaming=True))
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        loaded = datasets.load_from_disk(str(path))
        return dict(loaded) if isinstance(loaded, datasets.DatasetDict) else {"train": loaded}
    return dict(datasets.load_dataset(str(path), streaming=True))


def _load_hub(name: str, revision: str) -> dict[str, Any]:
    import datasets

    return dict(datasets.load_dataset(name, revision=revision))


def _resolve(name: str, revision: str | None) -> str:
    """The commit that a Hub data set's revision names now."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    from huggingface_hub.utils import get_session

    # The Hub's library has changed its HTTP client over time, and lets the client's own errors through.
    client = import_module(type(get_session()).__module__.partition(".")[0])
    try:
        sha = HfApi().dataset_info(name, revision=revision).sha
    except RevisionNotFoundError as error:
        raise DataError(f"{name} has no revision {revision!r}", hint="leave out @revision for the newest") from error
    except GatedRepoError as error:
        raise DataError(
            f"{name} is gated", hint="ask for access on its Hub page, then log in: hf auth login"
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise DataError(
            f"no data: {name} is neither a path here nor a data set on the Hub (or it is private)",
            hint="check the name; log in for a private one: hf auth login",
        ) from error
    except (OfflineModeIsEnabled, HfHubHTTPError, client.HTTPError, OSError) as error:
        raise DataError(
            f"{name} is no path here, and the Hub at {constants.ENDPOINT} does not answer ({type(error).__name__})",
            hint="check the network and HF_ENDPOINT, or name a local folder",
        ) from error
    assert sha is not None, "a data set on the Hub has a commit"
    return str(sha)


@contextlib.contextmanager
def _reading(name: str) -> Iterator[None]:
    """Turn what `datasets` and its readers raise on bad data into one line; keep its bars off the terminal."""
    import datasets
    import pyarrow as pa

    shown = datasets.utils.logging.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        yield
    except DataError:
        raise
    except datasets.exceptions.DatasetGenerationError as error:
        raise _unreadable(name, error.__cause__ or error) from error
    except (datasets.exceptions.DatasetsError, pa.ArrowException, ValueError, OSError, KeyError, TypeError) as error:
        raise _unreadable(name, error) from error
    finally:
        if shown:
            datasets.enable_progress_bars()


def _unreadable(name: str, error: BaseException) -> DataError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return DataError(
        f"{name} cannot be read: {lines[0]}",
        hint="it must load with datasets.load_dataset: parquet, csv, jsonl, or an imagefolder with metadata",
    )
