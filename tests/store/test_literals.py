"""Values as literals: what DuckDB reads is what was given, and nothing else comes in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.store.literals import bound

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    st.sampled_from(["'; DROP TABLE answers; --", "''", "\\'", "?", "$1", "a\nb", "欠品", "\\x00"]),
)


@given(st.lists(VALUES, min_size=1, max_size=4))
def test_duckdb_reads_what_was_given(values: list[object]) -> None:
    query = bound(f"SELECT {', '.join('?' for _ in values)}", values)
    with duckdb.connect(":memory:") as connection:
        assert list(connection.execute(query).fetchone() or ()) == values


def test_a_querys_own_strings_stay() -> None:
    query = bound("SELECT '?', ?, 'it''s ?', ?", ["?", ["a", "'b"]])
    with duckdb.connect(":memory:") as connection:
        assert connection.execute(query).fetchone() == ("?", "?", "it's ?", ["a", "'b"])


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="1 values for 2 places"):
        bound("SELECT ?, ?", [1])
    with pytest.raises(ValueError, match="NUL"):
        bound("SELECT ?", ["a\0b"])
    with pytest.raises(TypeError, match="a float is no key"):
        bound("SELECT ?", [0.5])


def test_reading_a_cycle_loads_no_pandas(ledger_folder: Path) -> None:
    code = (
        "import sys; from harness.store import Ledger, read; "
        f"read.cycle(Ledger({str(ledger_folder)!r}), 'c0001'); "
        "print([m for m in ('pandas', 'numpy', 'pyarrow') if m in sys.modules])"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.strip() == "[]"
