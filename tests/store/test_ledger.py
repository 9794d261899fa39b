"""The ledger file: transactions, locks between processes, migrations, versions."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import duckdb
import pytest

from harness.errors import LedgerError
from harness.store import Ledger, read, schema, write
from harness.store.rows import ModelRow
from harness.store.tables import TABLES

NOW = datetime(2026, 1, 1)


def _model(name: str) -> ModelRow:
    return ModelRow(name, "base", "org/model", None, None, None, NOW)


def test_a_new_ledger_has_the_storage_version_and_every_table(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "new" / "runs")
    assert not ledger.exists()
    with ledger.writing() as connection:
        write.insert(connection, [_model("m")])
    with ledger.reading() as connection:
        tags = connection.execute("SELECT tags FROM duckdb_databases() WHERE database_name = 'harness'").fetchone()
        tables = {row[0] for row in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    assert tags is not None
    assert tags[0]["storage_version"].startswith("v1.5.0")
    assert tables == {*TABLES, "migrations"}


def test_an_exception_leaves_nothing_behind(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)

    def stop_half_way() -> None:
        with ledger.writing() as connection:
            write.insert(connection, [_model("m")])
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        stop_half_way()
    assert read.rows(ledger, ModelRow) == []


def test_reading_nothing_tells_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="there is no ledger") as error, Ledger(tmp_path).reading():
        pass
    assert "harness cycle" in error.value.hint


HOLD = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
connection.close()
"""


def _hold(path: Path) -> subprocess.Popen[str]:
    """A process that holds the ledger's file until its input is closed."""
    command = [sys.executable, "-c", HOLD, str(path)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    return child


def test_a_lock_is_waited_for_and_told(tmp_path: Path) -> None:
    told: list[str] = []

    def tell(line: str) -> None:
        told.append(line)
        child.stdin.close()  # only now can the lock be had

    ledger = Ledger(tmp_path, tell=tell)
    with ledger.writing():
        pass
    child = _hold(ledger.path)
    assert child.stdin is not None
    with child, ledger.writing() as connection:
        write.insert(connection, [_model("m")])
    assert len(told) == 1
    assert "waiting for the ledger" in told[0]
    assert child.returncode == 0
    assert [row.model_id for row in read.rows(ledger, ModelRow)] == ["m"]


def test_a_lock_that_stays_is_an_error(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, patience=0.2, tell=lambda _: None)
    with ledger.writing():
        pass
    child = _hold(ledger.path)
    try:
        with pytest.raises(LedgerError, match="stayed locked"), ledger.reading():
            pass
    finally:
        child.kill()
        child.communicate()


def test_a_file_that_is_no_ledger_is_told(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.path.write_bytes(b"this is no database" * 1000)
    with pytest.raises(LedgerError, match="cannot be opened as a ledger"), ledger.reading():
        pass
    assert ledger.path.read_bytes().startswith(b"this is no database")


def test_a_newer_ledger_is_refused_untouched(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    with ledger.writing():
        pass
    with duckdb.connect(str(ledger.path)) as connection:
        connection.execute("INSERT INTO migrations VALUES (999, now())")
    for opening in (ledger.reading, ledger.writing):
        with pytest.raises(LedgerError, match="schema version 999"), opening():
            pass


def test_an_older_ledger_is_migrated_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(tmp_path)
    with ledger.writing() as connection:
        write.insert(connection, [_model("m")])
    later = (
        *schema.MIGRATIONS,
        schema.Migration(schema.SCHEMA_VERSION + 1, ("ALTER TABLE models ADD COLUMN note VARCHAR",)),
        schema.Migration(schema.SCHEMA_VERSION + 2, ("UPDATE models SET note = 'moved'",)),
    )
    monkeypatch.setattr(schema, "MIGRATIONS", later)
    monkeypatch.setattr(schema, "SCHEMA_VERSION", later[-1].version)
    with ledger.reading() as connection:  # a reader that finds an older file has it migrated first
        assert connection.execute("SELECT model_id, note FROM models").fetchall() == [("m", "moved")]
        applied = connection.execute("SELECT list(version ORDER BY version) FROM migrations").fetchone()
        assert applied == ([migration.version for migration in later],)


def test_a_ledger_of_the_first_version_gets_every_later_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(tmp_path)
    with monkeypatch.context() as first:
        first.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:1])
        first.setattr(schema, "SCHEMA_VERSION", 1)
        with ledger.writing() as connection:
            write.insert(connection, [_model("m")])
    assert read.rows(ledger, ModelRow) == [_model("m")]
    with ledger.reading() as connection:
        found = connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
    assert {row[0] for row in found} == {*TABLES, "migrations"}


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(tmp_path)
    with ledger.writing() as connection:
        write.insert(connection, [_model("m")])
    before = schema.SCHEMA_VERSION
    broken = schema.Migration(before + 1, ("ALTER TABLE models ADD COLUMN note VARCHAR", "SELECT * FROM no_such_table"))
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, broken))
    monkeypatch.setattr(schema, "SCHEMA_VERSION", before + 1)
    with pytest.raises(duckdb.Error), ledger.writing():
        pass
    with duckdb.connect(str(ledger.path), read_only=True) as connection:
        assert schema.schema_version(connection) == before
        assert "note" not in [row[0] for row in connection.execute("DESCRIBE models").fetchall()]


def test_wrong_tables_and_keys_are_our_bug(tmp_path: Path) -> None:
    with Ledger(tmp_path).writing() as connection:
        with pytest.raises(ValueError, match="no such table"):
            write.delete(connection, "models", colour="red")
        with pytest.raises(ValueError, match="no such table"):
            write.delete(connection, "robots", model_id="m")
        with pytest.raises(ValueError, match="another table"):
            write.replace(connection, "answers", [_model("m")], model_id="m")
        with pytest.raises(ValueError, match="no such table"):
            write.delete_matching(connection, "models", [_model("m")], ["colour"])


def test_blocks_within_a_block_share_its_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(tmp_path)
    with ledger.writing() as connection:
        write.insert(connection, [_model("m")])
    opened: list[bool] = []
    connect = ledger._connect
    monkeypatch.setattr(ledger, "_connect", lambda **how: (opened.append(how["read_only"]), connect(**how))[1])
    with ledger.reading() as outer:
        outer.execute("SELECT * FROM range(3)")
        assert [row.model_id for row in read.rows(ledger, ModelRow)] == ["m"]
        assert outer.fetchall() == [(0,), (1,), (2,)], "what the outer block asked is not disturbed"
        with pytest.raises(AssertionError, match="does not write"), ledger.writing():
            pass
    assert opened == [True]
    with ledger.writing() as connection:
        write.insert(connection, [_model("n")])
    assert len(read.rows(ledger, ModelRow)) == 2


def test_a_ledger_without_evidence_gets_its_column(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    with ledger.writing():
        pass
    with duckdb.connect(str(ledger.path)) as connection:
        for view in schema.VIEWS:
            connection.execute(f"DROP VIEW {view}")
        connection.execute("ALTER TABLE scores DROP COLUMN evidence")
        connection.execute("DELETE FROM migrations WHERE version >= 5")
    with ledger.reading() as connection:
        assert connection.execute("SELECT count(evidence) FROM scores").fetchone() == (0,)
        assert connection.execute("SELECT count(evidence) FROM v_answers").fetchone() == (0,)


def test_threads_do_not_share_a_connection(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    with ledger.writing() as connection:
        write.insert(connection, [_model(f"m{number}") for number in range(50)])

    def count(_: int) -> int:
        with ledger.reading() as outer:
            outer.execute("SELECT * FROM range(3)")
            found = len(read.rows(ledger, ModelRow))
            assert len(outer.fetchall()) == 3
            return found

    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(count, range(40))) == {50}
