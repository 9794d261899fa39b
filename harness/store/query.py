"""SQL that a user typed: read-only, one statement's rows, nothing in sight but the ledger.

Enters: a query. Leaves: columns and rows, or a QueryError in one line. The connection opens the file read-only, with
external access disabled and the configuration locked, so that a query can neither write nor read a file.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import duckdb

from harness.errors import QueryError
from harness.store.ledger import Ledger
from harness.store.tables import TABLES
from harness.store.views import VIEWS

Format = Literal["table", "csv", "json", "parquet"]


@dataclass(frozen=True, slots=True)
class Answer:
    """The rows of a query."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def as_dicts(self) -> list[dict[str, Any]]:
        """A dictionary a row."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


def ask(ledger: Ledger, query: str) -> Answer:
    """Run a user's query.

    Raises:
        QueryError: the SQL is wrong, writes, or reaches outside the ledger.
        LedgerError: there is no ledger.
    """
    with ledger.reading(sandboxed=True) as connection:
        try:
            cursor = connection.execute(query)
            columns = tuple(column[0] for column in cursor.description or ())
            return Answer(columns, tuple(cursor.fetchall()))
        except duckdb.Error as error:
            raise QueryError(_what(error), hint=_hint(error)) from error


def _what(error: duckdb.Error) -> str:
    text = str(error).strip()
    if isinstance(error, duckdb.PermissionException):
        return f"this query reaches outside the ledger: {text.splitlines()[0]}"
    if "read-only" in text:
        return f"this query writes: {text.splitlines()[0]}"
    return text.splitlines()[0]


def _hint(error: duckdb.Error) -> str:
    text = str(error)
    if isinstance(error, duckdb.PermissionException) or "read-only" in text or "configuration" in text:
        return "harness sql is read-only and sees the ledger's tables and views alone: harness schema lists them"
    if isinstance(error, duckdb.CatalogException):
        word = text.split("Table with name ")[-1].split(" ")[0].strip("!\"'")
        near = get_close_matches(word, [*TABLES, *VIEWS], n=1)
        if near:
            return f"did you mean {near[0]}? harness schema lists the tables and views"
    return "harness schema lists the tables and views with their columns"


def write_answer(answer: Answer, form: Format, out: Path | None) -> str:
    """The rows as text (csv, json), or as a file.

    Args:
        form: parquet needs `out`.
        out: the file to write; None returns the text.

    Raises:
        QueryError: parquet without a file.
    """
    if form == "parquet":
        if out is None:
            raise QueryError("parquet is a binary format", hint="name a file: --out answers.parquet")
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(answer.as_dicts(), schema=None), out)
        return ""
    text = _csv(answer) if form == "csv" else json.dumps(answer.as_dicts(), ensure_ascii=False, default=str, indent=1)
    if out is None:
        return text
    out.write_text(text + ("" if text.endswith("\n") else "\n"), encoding="utf-8")
    return ""


def _csv(answer: Answer) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(answer.columns)
    for row in answer.rows:
        writer.writerow([json.dumps(v, ensure_ascii=False) if isinstance(v, list | dict) else v for v in row])
    return buffer.getvalue()
