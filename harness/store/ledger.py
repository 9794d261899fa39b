"""Opening and closing the ledger: one process at a time writes, nobody holds it open over work.

Enters: a runs folder. Leaves: short-lived DuckDB connections.
DuckDB locks the whole file: an open writer blocks every other process, an open reader blocks writers. So each method
opens, does one thing and closes (a few milliseconds), and a lock held elsewhere is waited for with backoff, aloud.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from harness.errors import LedgerError
from harness.store import schema

#: DuckDB's storage format of new ledgers: readable by 1.5 and every later version.
STORAGE_VERSION = "v1.5.0"
FILE_NAME = "harness.duckdb"


class Ledger:
    """The ledger of a runs folder.

    Args:
        runs: folder that holds the ledger; made on first writing.
        patience: seconds to wait for another process's lock before giving up.
        tell: called with one line when a lock is waited for.
    """

    def __init__(self, runs: Path | str, *, patience: float = 60.0, tell: Callable[[str], None] | None = None) -> None:
        self.runs = Path(runs)
        self.path = self.runs / FILE_NAME
        self.patience = patience
        self._tell = tell or (lambda line: print(line, file=sys.stderr))
        self._thread = threading.local()  # a connection serves the thread that opened it

    @property
    def _held(self) -> duckdb.DuckDBPyConnection | None:
        """The connection of the block that this thread is in."""
        held: duckdb.DuckDBPyConnection | None = getattr(self._thread, "held", None)
        return held

    def exists(self) -> bool:
        """Whether anything was ever written."""
        return self.path.is_file()

    @contextmanager
    def writing(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """One transaction: committed at the end of the block, rolled back whole on any exception.

        Raises:
            LedgerError: the file stays locked, is no ledger, or was written by a newer version.
        """
        assert self._held is None, "a block that reads does not write"
        self.runs.mkdir(parents=True, exist_ok=True)
        connection = self._connect(read_only=False)
        try:
            self._refuse_newer(connection)
            schema.migrate(connection)
            connection.execute("BEGIN")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
        finally:
            connection.close()

    @contextmanager
    def reading(self, *, sandboxed: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
        """A read-only connection; fetch what is needed and leave the block.

        Blocks within a block share its connection: opening the file takes 20 ms, which a page of fifty questions asks
        once. Other processes wait meanwhile if they want to write.

        Args:
            sandboxed: see nothing but the ledger (no files, no network, no extensions, settings locked): for SQL
                that a user typed.

        Raises:
            LedgerError: there is no ledger yet, it stays locked, or it needs another version.
        """
        if self._held is not None and not sandboxed:
            with self._held.cursor() as cursor:
                yield cursor
            return
        if not self.exists():
            raise LedgerError(
                f"there is no ledger at {self.path}",
                hint="run a cycle first: harness cycle --data SRC (or name the folder with --runs DIR)",
            )
        connection = self._connect(read_only=True, sandboxed=sandboxed)
        try:
            if self._refuse_newer(connection) < schema.SCHEMA_VERSION:
                connection.close()
                with self.writing():
                    pass  # opening for writing migrates
                connection = self._connect(read_only=True, sandboxed=sandboxed)
            self._thread.held = None if sandboxed else connection
            yield connection
        finally:
            self._thread.held = None
            connection.close()

    def _connect(self, *, read_only: bool, sandboxed: bool = False) -> duckdb.DuckDBPyConnection:
        deadline = time.monotonic() + self.patience
        delay, told = 0.02, False
        while True:
            try:
                return self._open(read_only=read_only, sandboxed=sandboxed)
            except duckdb.IOException as error:
                if "lock" not in str(error).lower():
                    raise LedgerError(
                        f"{self.path} cannot be opened as a ledger: {_first_line(error)}",
                        hint="restore the file from a backup, or name another folder with --runs DIR",
                    ) from error
                if time.monotonic() > deadline:
                    raise LedgerError(
                        f"{self.path} stayed locked by another process for {self.patience:.0f} s",
                        hint="close the program that holds it open (a notebook, a DuckDB shell) and try again",
                    ) from error
                if not told:
                    self._tell(f"waiting for the ledger: another process holds {self.path}")
                    told = True
                time.sleep(delay * (0.5 + random.random()))
                delay = min(2 * delay, 1.0)

    def _open(self, *, read_only: bool, sandboxed: bool) -> duckdb.DuckDBPyConnection:
        if not read_only and not self.exists():
            # The storage version can only be chosen where a file is attached for the first time.
            with duckdb.connect(":memory:") as maker:
                target = str(self.path).replace("'", "''")
                maker.execute(f"ATTACH '{target}' AS ledger (STORAGE_VERSION '{STORAGE_VERSION}')")
        config: dict[str, str | bool | int | float | list[str]] = {}
        if sandboxed:
            config = {
                "enable_external_access": False,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "lock_configuration": True,
            }
        return duckdb.connect(str(self.path), read_only=read_only, config=config)

    def _refuse_newer(self, connection: duckdb.DuckDBPyConnection) -> int:
        found = schema.schema_version(connection)
        if found > schema.SCHEMA_VERSION:
            raise LedgerError(
                f"{self.path} has schema version {found}; this harness knows {schema.SCHEMA_VERSION}",
                hint="upgrade harness to the version that wrote this ledger",
            )
        return found


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
