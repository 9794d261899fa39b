"""Rows and tables agree, and any value survives the way into the ledger and back."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.store import Ledger, read, write
from harness.store.rows import TABLE_OF, AnswerRow, TruthRow
from harness.store.tables import TABLES

TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)).map(lambda time: time.replace(fold=0))
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)


@pytest.mark.parametrize("kind", list(TABLE_OF), ids=lambda kind: kind.__name__)
def test_fields_are_columns(kind: type) -> None:
    assert [field.name for field in dataclasses.fields(kind)] == list(TABLES[TABLE_OF[kind]])


def test_every_table_has_a_row_class() -> None:
    assert set(TABLE_OF.values()) == set(TABLES)


ANSWERS = st.builds(
    AnswerRow,
    model_id=TEXT, sample_id=TEXT, condition_id=st.just("n0"), repeat=st.integers(0, 9), engine_id=TEXT, text=TEXT,
    p_defective=st.none() | st.floats(0, 1), prompt_tokens=st.integers(0, 2**31 - 1),
    new_tokens=st.integers(0, 2**31 - 1), finish_reason=st.sampled_from(["stop", "length"]),
    seconds=st.floats(0, 1e6), answered_at=TIMES,
)  # fmt: skip
TRUTHS = st.builds(
    TruthRow,
    product=TEXT, sample_id=TEXT, truth_version=st.integers(1, 99), verdict=st.sampled_from(["passed", "defective"]),
    findings=st.lists(st.fixed_dictionaries({"location": st.none() | TEXT, "defect": st.none() | TEXT}), max_size=4),
    reference=TEXT, origin=TEXT, added_at=TIMES,
)  # fmt: skip


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    return Ledger(tmp_path_factory.mktemp("ledger"))


def _comparable(rows: Sequence[object]) -> list[str]:
    return sorted(json.dumps(dataclasses.asdict(row), sort_keys=True, default=str) for row in rows)  # type: ignore[call-overload]


@settings(max_examples=25, deadline=None)
@given(answers=st.lists(ANSWERS, min_size=1, max_size=4), truths=st.lists(TRUTHS, min_size=1, max_size=4))
def test_round_trip(ledger: Ledger, answers: list[AnswerRow], truths: list[TruthRow]) -> None:
    with ledger.writing() as connection:
        write.replace(connection, "answers", answers, condition_id="n0")
        connection.execute("DELETE FROM truths")
        write.insert(connection, truths)
    for kind, rows in ((AnswerRow, answers), (TruthRow, truths)):
        assert _comparable(read.rows(ledger, kind)) == _comparable(rows)


def test_upsert_replaces_by_key_alone(tmp_path_factory: pytest.TempPathFactory) -> None:
    ledger = Ledger(tmp_path_factory.mktemp("ledger"))
    row = AnswerRow("m", "s", "n0", 0, "e", "first", None, 1, 1, "stop", 0.1, datetime(2026, 1, 1))
    key = ("model_id", "sample_id", "condition_id", "repeat", "engine_id")
    others = [dataclasses.replace(row, **{name: 1 if name == "repeat" else "x"}) for name in key]
    with ledger.writing() as connection:
        write.upsert(connection, [row, *others], key)
        write.upsert(connection, [dataclasses.replace(row, text="second")], key)
        write.upsert(connection, [], key)
    assert sorted(r.text for r in read.rows(ledger, AnswerRow)) == ["first"] * 5 + ["second"]
