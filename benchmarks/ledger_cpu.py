"""The ledger with a million answers in it, against pandas with Parquet and against SQLite.

    python benchmarks/ledger_cpu.py [--cycles 1000] [--repeat 5]

Every cycle has 400 test and 100 validation records and two models: 1,000 answers, each with its score; the records are
the same 500 throughout. Ours is the ledger as harness writes it (answers, scores, memberships, truths, metrics). The
other two hold one flat table of answers with their scores: pandas in one Parquet file a cycle, which is how one appends
to Parquet, SQLite in WAL mode with an index on (cycle, role). What is measured:

    append       800 further answers, committed, on disk (the others: with their scores in the same rows)
    one cycle    the test answers of both roles of one cycle, all columns
    trend        verdict accuracy on test by cycle and role, from the answers
    report       ours alone: the HTML page of one cycle and the index page of all

Goal: append of 800 answers <= 50 ms. The least of the repeats counts; each append has new answers.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.record import record
from harness.records import Grid
from harness.report import render_reports
from harness.store import Ledger, read, write
from harness.store.ledger import FILE_NAME
from harness.store.rows import AnswerRow, ScoreRow
from tests.ledger_builder import build_ledger

TEST, VALIDATION = 400, 100
ROLES = ("base", "finetuned")
NOW = datetime(2026, 1, 2, 3, 4, 5)
TEXT = "The product in the bottom image is defective. Location: 3C, Defect: missing; Location: 5U, Defect: stain."


def main() -> None:
    """Fill three stores and measure them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        rows = [
            *ours(folder / "ours", arguments.cycles, arguments.repeat),
            *parquet(folder / "parquet", arguments.cycles, arguments.repeat),
            *sqlite(folder / "answers.sqlite", arguments.cycles, arguments.repeat),
        ]
    answers = arguments.cycles * 2 * (TEST + VALIDATION)
    record(
        f"The ledger with {answers:,} answers", ["store", "what", "ms, least", "ms, median", "goal"], rows,
        packages=["duckdb", "pandas", "pyarrow"],
        note=f"SQLite {sqlite3.sqlite_version}; {arguments.repeat} repeats. The others' tables are flat, ours is "
        "normalised: a row of one cycle is put together of six tables.",
    )  # fmt: skip


def timed(repeat: int, work: Callable[[int], object]) -> tuple[str, str]:
    """(least, median) in ms."""
    seconds = []
    for turn in range(repeat):
        start = time.perf_counter()
        work(turn)
        seconds.append(time.perf_counter() - start)
    return f"{1000 * min(seconds):,.0f}", f"{1000 * sorted(seconds)[repeat // 2]:,.0f}"


def flat(number: int) -> pd.DataFrame:
    """The answers of a cycle with their scores, as a flat table."""
    dice = np.random.default_rng(number)
    size = 2 * (TEST + VALIDATION)
    right = dice.random(size) < 0.5 + 0.4 * np.repeat([0, 1], TEST + VALIDATION)
    return pd.DataFrame(
        {
            "cycle_id": f"c{number:04d}",
            "model_role": np.repeat(ROLES, TEST + VALIDATION),
            "split": np.tile(["test"] * TEST + ["validation"] * VALIDATION, 2),
            "sample_id": np.tile([f"{i:024x}" for i in range(TEST + VALIDATION)], 2),
            "text": TEXT,
            "p_defective": dice.random(size),
            "prompt_tokens": 300,
            "new_tokens": dice.integers(10, 40, size),
            "seconds": dice.random(size),
            "answered_at": NOW,
            "verdict": np.where(dice.random(size) < 0.5, "passed", "defective"),
            "outcome": np.where(right, "true_pass", "escape"),
            "verdict_correct": right,
            "exact": right & (dice.random(size) < 0.7),
            "rouge_l": dice.random(size),
            "sentence_bleu": 100 * dice.random(size),
            "sentence_chrf": 100 * dice.random(size),
        }
    )


def ours(runs: Path, cycles: int, repeat: int) -> list[list[str]]:
    """The ledger."""
    ledger = build_ledger(runs)
    start = time.perf_counter()
    fill(ledger, cycles)
    filled = time.perf_counter() - start
    template_answer = read.cycle_answers(ledger, "c0002", "finetuned")[0]
    template_score = read.scores(ledger, "c0002", "finetuned", split="test")[0]
    fresh = [new_role(template_answer, template_score, turn) for turn in range(repeat)]

    def append(turn: int) -> None:
        answers, _ = fresh[turn]
        key = ("model_id", "sample_id", "condition_id", "repeat", "engine_id")
        with ledger.writing() as connection:
            write.upsert(connection, answers, key)

    def append_scores(turn: int) -> None:
        _, scores = fresh[turn]
        key = ("product", "model_id", "sample_id", "condition_id", "repeat", "engine_id", "parser_version")
        with ledger.writing() as connection:
            write.upsert(connection, scores, (*key, "truth_version"))

    middle = f"x{cycles // 2:04d}"
    query = "SELECT * FROM v_answers WHERE cycle_id = ? AND split = 'test' AND condition_id = 'n0'"
    trend = (
        "SELECT cycle_id, model_role, avg(verdict_correct::INT) AS accuracy FROM v_answers "
        "WHERE split = 'test' AND condition_id = 'n0' GROUP BY ALL ORDER BY ALL"
    )
    assert len(read.table(ledger, query, [middle])) == 2 * TEST
    assert len(read.table(ledger, trend)) == 2 * cycles + 4
    size = (runs / FILE_NAME).stat().st_size / 2**20
    name = "ledger (DuckDB)"
    return [
        [name, f"fill, {size:,.0f} MiB", f"{1000 * filled:,.0f}", "", ""],
        [name, "append 800 answers", *timed(repeat, append), "50"],
        [name, "append their 800 scores", *timed(repeat, append_scores), ""],
        [name, "one cycle", *timed(repeat, lambda _: read.table(ledger, query, [middle])), ""],
        [name, "trend, from the answers", *timed(repeat, lambda _: read.table(ledger, trend)), ""],
        [name, "trend, from v_accuracy", *timed(repeat, lambda _: read.table(ledger, "SELECT * FROM v_accuracy")), ""],
        [name, "report of one cycle", *timed(repeat, lambda _: render_reports(ledger, ["c0002"], runs / "pages")), ""],
    ]  # fmt: skip


def fill(ledger: Ledger, cycles: int) -> None:
    """Copy cycle c0002 of the small ledger: cycle, roles and metrics by number, answers by number and record."""
    size = TEST + VALIDATION
    cells = pa.table({"i": pa.array(range(size)), "cell": [Grid().cells[i % 27] for i in range(size)]})
    with ledger.writing() as connection:
        connection.register("cell", cells)
        connection.execute(
            f"CREATE TEMP TABLE n AS SELECT range AS n, format('x{{:04d}}', range) AS id FROM range({cycles})"
        )
        connection.execute("CREATE TEMP TABLE one AS SELECT i, format('{:024x}', i) AS sample, cell FROM cell")
        statements = (
            "INSERT INTO cycles SELECT c.* REPLACE (n.id AS cycle_id) FROM cycles c, n WHERE cycle_id = 'c0002'",
            "INSERT INTO samples SELECT s.* REPLACE (one.sample AS sample_id, one.sample AS image_id) FROM one, "
            "(SELECT * FROM samples LIMIT 1) s",
            "INSERT INTO truths SELECT t.* REPLACE (one.sample AS sample_id, "
            "CASE WHEN i % 2 = 0 THEN 'passed' ELSE 'defective' END AS verdict, "
            "CASE WHEN i % 2 = 0 THEN [] ELSE [{'location': cell, 'defect': 'missing'}] END AS findings) "
            "FROM one, (SELECT * FROM truths LIMIT 1) t",
            f"INSERT INTO memberships SELECT n.id, one.sample, CASE WHEN i < {TEST} THEN 'test' ELSE 'validation' END, "
            "1, NULL FROM n, one",
            "INSERT INTO roles SELECT r.* REPLACE (n.id AS cycle_id, n.id || model_role AS model_id) FROM roles r, n "
            "WHERE cycle_id = 'c0002'",
            "INSERT INTO metrics SELECT m.* REPLACE (n.id AS cycle_id) FROM metrics m, n WHERE cycle_id = 'c0002' "
            "AND slice = 'all'",
            "INSERT INTO stages SELECT s.* REPLACE (n.id AS cycle_id) FROM stages s, n WHERE cycle_id = 'c0002'",
            "INSERT INTO gates SELECT g.* REPLACE (n.id AS cycle_id) FROM gates g, n WHERE cycle_id = 'c0002'",
            "INSERT INTO answers SELECT a.* REPLACE (n.id || role AS model_id, one.sample AS sample_id, "
            f"'{TEXT}' AS text, random() AS p_defective, (10 + 30 * random())::BIGINT AS new_tokens) "
            "FROM n, (VALUES ('base'), ('finetuned')) r(role), one, "
            "(SELECT * FROM answers WHERE model_id = 'c0002' LIMIT 1) a",
            "INSERT INTO scores SELECT s.* REPLACE (n.id || role AS model_id, one.sample AS sample_id, "
            "random() < 0.7 AS verdict_correct, random() < 0.5 AS exact, random() AS rouge_l) "
            "FROM n, (VALUES ('base'), ('finetuned')) r(role), one, "
            "(SELECT * FROM scores WHERE model_id = 'c0002' LIMIT 1) s",
            "INSERT INTO findings SELECT f.* REPLACE (n.id || role AS model_id, one.sample AS sample_id, "
            "cell AS location) FROM n, (VALUES ('base'), ('finetuned')) r(role), one, "
            "(SELECT * FROM findings LIMIT 1) f WHERE i % 2 = 1",
        )
        for statement in statements:
            connection.execute(statement)
        connection.unregister("cell")


def new_role(answer: AnswerRow, score: ScoreRow, turn: int) -> tuple[list[AnswerRow], list[ScoreRow]]:
    """800 answers of a new model, and their scores."""
    own: dict[str, Any] = {"model_id": f"new-{turn}"}
    samples = [f"{i:024x}" for i in range(800)]
    answers = [replace(answer, **own, sample_id=sample, text=f"{TEXT} {sample}") for sample in samples]
    return answers, [replace(score, **own, sample_id=sample) for sample in samples]


def parquet(folder: Path, cycles: int, repeat: int) -> list[list[str]]:
    """pandas with one Parquet file a cycle."""
    folder.mkdir()
    start = time.perf_counter()
    for number in range(cycles):
        flat(number).to_parquet(folder / f"c{number:04d}.parquet")
    filled = time.perf_counter() - start
    further = flat(cycles).head(800)

    def append(turn: int) -> None:
        further.to_parquet(folder / f"new-{turn}.parquet")

    def one(_: int) -> None:
        table = pd.read_parquet(folder, filters=[("cycle_id", "=", f"c{cycles // 2:04d}"), ("split", "=", "test")])
        assert len(table) == 2 * TEST

    def named(_: int) -> None:
        table = pd.read_parquet(folder / f"c{cycles // 2:04d}.parquet")
        assert len(table[table.split == "test"]) == 2 * TEST

    def trend(_: int) -> None:
        columns = ["cycle_id", "model_role", "split", "verdict_correct"]
        table = pd.read_parquet(folder, columns=columns)
        found = table[table.split == "test"].groupby(["cycle_id", "model_role"]).verdict_correct.mean()
        assert len(found) >= 2 * cycles

    size = sum(path.stat().st_size for path in folder.iterdir()) / 2**20
    name = "pandas + Parquet"
    return [
        [name, f"fill, {size:,.0f} MiB", f"{1000 * filled:,.0f}", "", ""],
        [name, "append 800 answers with scores", *timed(repeat, append), ""],
        [name, "one cycle, its file found by filter", *timed(repeat, one), ""],
        [name, "one cycle, its file named", *timed(repeat, named), ""],
        [name, "trend, from the answers", *timed(repeat, trend), ""],
    ]


def sqlite(path: Path, cycles: int, repeat: int) -> list[list[str]]:
    """SQLite with an index on (cycle, role)."""
    start = time.perf_counter()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    for number in range(cycles):
        flat(number).to_sql("answers", connection, if_exists="append", index=False)
    connection.execute("CREATE INDEX of_cycle ON answers (cycle_id, model_role)")
    connection.commit()
    connection.close()
    filled = time.perf_counter() - start
    rows = [
        tuple(row.values()) for row in flat(cycles).head(800).assign(answered_at=NOW.isoformat()).to_dict("records")
    ]
    marks = ", ".join("?" for _ in rows[0])

    def asked(query: str, values: tuple[object, ...] = ()) -> list[dict[str, Any]]:
        reader = sqlite3.connect(path)
        cursor = reader.execute(query, values)
        names = [column[0] for column in cursor.description]
        found = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        reader.close()
        return found

    def append(_: int) -> None:
        writer = sqlite3.connect(path)
        writer.executemany(f"INSERT INTO answers VALUES ({marks})", rows)
        writer.commit()
        writer.close()

    one = "SELECT * FROM answers WHERE cycle_id = ? AND split = 'test'"
    trend = "SELECT cycle_id, model_role, avg(verdict_correct) FROM answers WHERE split = 'test' GROUP BY 1, 2"
    assert len(asked(one, (f"c{cycles // 2:04d}",))) == 2 * TEST
    size = path.stat().st_size / 2**20
    name = "SQLite"
    return [
        [name, f"fill, {size:,.0f} MiB", f"{1000 * filled:,.0f}", "", ""],
        [name, "append 800 answers with scores", *timed(repeat, append), ""],
        [name, "one cycle", *timed(repeat, lambda _: asked(one, (f"c{cycles // 2:04d}",))), ""],
        [name, "trend, from the answers", *timed(repeat, lambda _: asked(trend)), ""],
    ]


if __name__ == "__main__":
    main()
