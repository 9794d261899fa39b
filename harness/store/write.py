"""Writing rows: delete by key, insert in bulk, inside the transaction that the caller opened.

Enters: row dataclasses (rows.py). Leaves: rows in the ledger. Rows travel as one Arrow table per call, so that 800
answers cost milliseconds; nothing is written outside Ledger.writing().
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import duckdb

from harness.store.literals import bound
from harness.store.rows import TABLE_OF
from harness.store.tables import TABLES


def insert(connection: duckdb.DuckDBPyConnection, rows: Sequence[Any]) -> None:
    """Append rows of one dataclass of rows.py to its table."""
    if not rows:
        return
    import pyarrow as pa

    table = TABLE_OF[type(rows[0])]
    # By column: 800 answers take 2 ms so, and 30 ms by way of a dictionary a row.
    batch = pa.table({field.name: [getattr(row, field.name) for row in rows] for field in dataclasses.fields(rows[0])})
    connection.register("incoming", batch)
    columns = ", ".join(TABLES[table])
    connection.execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM incoming")
    connection.unregister("incoming")


def delete(connection: duckdb.DuckDBPyConnection, table: str, **key: object) -> None:
    """Delete the rows of a table whose columns equal the key."""
    if table not in TABLES or not key or any(column not in TABLES[table] for column in key):
        raise ValueError(f"no such table or key: {table} {sorted(key)}")
    where = " AND ".join(f"{column} = ?" for column in key)
    connection.execute(bound(f"DELETE FROM {table} WHERE {where}", list(key.values())))


def replace(connection: duckdb.DuckDBPyConnection, table: str, rows: Sequence[Any], **key: object) -> None:
    """Delete the rows under the key, then insert the new ones: what a stage does with its own rows."""
    if any(TABLE_OF[type(row)] != table for row in rows):
        raise ValueError(f"rows of another table than {table}")
    delete(connection, table, **key)
    insert(connection, rows)


def upsert(connection: duckdb.DuckDBPyConnection, rows: Sequence[Any], key: Iterable[str]) -> None:
    """Insert rows, first deleting those that agree with them in the key columns."""
    if rows:
        delete_matching(connection, TABLE_OF[type(rows[0])], rows, key)
        insert(connection, rows)


def delete_matching(connection: duckdb.DuckDBPyConnection, table: str, rows: Sequence[Any], key: Iterable[str]) -> None:
    """Delete from a table what agrees with any of the rows (of any dataclass) in the key columns."""
    if not rows:
        return
    import pyarrow as pa

    names = list(key)
    if table not in TABLES or any(name not in TABLES[table] for name in names):
        raise ValueError(f"no such table or key: {table} {names}")
    keys = pa.table({name: [getattr(row, name) for row in rows] for name in names})
    connection.register("incoming_keys", keys)
    match = " AND ".join(f"{table}.{name} IS NOT DISTINCT FROM k.{name}" for name in names)
    # Rows come a model at a time: said as a constant, DuckDB passes over the blocks of all other models unread.
    for name in names:
        values = {getattr(row, name) for row in rows}
        if len(values) == 1 and isinstance(value := values.pop(), str | int):
            match += bound(f" AND {table}.{name} = ?", [value])
    connection.execute(f"DELETE FROM {table} USING incoming_keys k WHERE {match}")
    connection.unregister("incoming_keys")
