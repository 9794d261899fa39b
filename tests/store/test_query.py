"""SQL as a user types it: rows out, and no way to write or to look outside."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from harness.errors import QueryError
from harness.store import Ledger
from harness.store.query import ask, write_answer


@pytest.fixture
def empty(tmp_path: Path) -> Ledger:
    ledger = Ledger(tmp_path)
    with ledger.writing():
        pass
    return ledger


@pytest.mark.parametrize(
    "query",
    [
        "INSERT INTO models (model_id, kind, base, created_at) VALUES ('x', 'base', 'b', now())",
        "DELETE FROM answers", "DROP TABLE answers", "UPDATE models SET kind = 'x'", "CREATE TABLE t (a INTEGER)",
        "ALTER TABLE models ADD COLUMN x INTEGER",
    ],
)  # fmt: skip
def test_writing_is_refused(empty: Ledger, query: str) -> None:
    before = empty.path.read_bytes()
    with pytest.raises(QueryError, match="this query writes"):
        ask(empty, query)
    assert empty.path.read_bytes() == before


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_csv('{file}')", "SELECT * FROM read_text('{file}')", "SELECT * FROM '{file}'",
        "SELECT * FROM glob('{folder}/*')", "COPY (SELECT 1) TO '{folder}/out.csv'", "ATTACH '{folder}/other.db'",
        "EXPORT DATABASE '{folder}/dump'", "INSTALL httpfs", "LOAD httpfs", "SET enable_external_access = true",
        "SET lock_configuration = false", "SELECT * FROM read_parquet('http://127.0.0.1:1/x.parquet')",
        "CREATE SECRET s (TYPE s3)", "SELECT getenv('HOME')",
    ],
)  # fmt: skip
def test_nothing_but_the_ledger_is_in_sight(empty: Ledger, tmp_path: Path, query: str) -> None:
    folder = tmp_path / "outside"
    folder.mkdir()
    secret = folder / "secret.csv"
    secret.write_text("a\nsecret\n")
    with pytest.raises(QueryError):
        ask(empty, query.format(file=secret, folder=folder))
    assert [path.name for path in folder.iterdir()] == ["secret.csv"]


def test_a_wrong_table_is_met_with_the_right_one(empty: Ledger) -> None:
    with pytest.raises(QueryError) as error:
        ask(empty, "SELECT * FROM v_acuracy")
    assert "v_accuracy" in error.value.hint


def test_wrong_sql_is_one_line(empty: Ledger) -> None:
    with pytest.raises(QueryError) as error:
        ask(empty, "SELEKT 1")
    assert "\n" not in error.value.message


def test_formats_agree(empty: Ledger, tmp_path: Path) -> None:
    answer = ask(empty, "SELECT 1 AS a, 'x,\"y\"' AS b, ['5U', '3C'] AS c, NULL AS d UNION ALL SELECT 2, 'ü', [], 1.5")
    rows = sorted(json.loads(write_answer(answer, "json", None)), key=lambda row: row["a"])
    assert rows[0] == {"a": 1, "b": 'x,"y"', "c": ["5U", "3C"], "d": None}
    table = sorted(csv.DictReader(write_answer(answer, "csv", None).splitlines()), key=lambda row: row["a"])
    assert table[0]["b"] == 'x,"y"'
    assert json.loads(table[0]["c"]) == ["5U", "3C"]
    file = tmp_path / "rows.parquet"
    assert write_answer(answer, "parquet", file) == ""
    assert sorted(pq.read_table(file).to_pylist(), key=lambda row: row["a"])[1]["b"] == "ü"
    with pytest.raises(QueryError, match="binary"):
        write_answer(answer, "parquet", None)
    assert write_answer(answer, "csv", tmp_path / "rows.csv") == ""
    assert (tmp_path / "rows.csv").read_text("utf-8").startswith("a,b,c,d\n")
