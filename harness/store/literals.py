"""Values into our own queries as SQL literals.

Enters: a query with ? for values. Leaves: the query with the values in their places, quoted.
DuckDB (1.5) imports pandas, numpy and pyarrow as soon as a query has parameters: half a second, more than a light
command takes. Only for queries that are written here in store; a user's query has no values of ours.
"""

from __future__ import annotations

from collections.abc import Sequence


def bound(query: str, values: Sequence[object]) -> str:
    """The query with each ? replaced by the next value.

    Args:
        query: SQL in which ? stands for values and for nothing else.
        values: strings, whole numbers, truth values or None.

    Raises:
        ValueError: as many ? as values there are not, or a string that SQL cannot hold.
        TypeError: a value of another type.
    """
    parts = query.split("?")
    if len(parts) != len(values) + 1:
        raise ValueError(f"{len(values)} values for {len(parts) - 1} places in {query!r}")
    return parts[0] + "".join(_literal(value) + part for value, part in zip(values, parts[1:], strict=True))


def _literal(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError(f"a text with a NUL character is no key of the ledger: {value!r}")
        # Standard strings: a quote is doubled, and no other character is special.
        return "'" + value.replace("'", "''") + "'"
    raise TypeError(f"a {type(value).__name__} is no key of the ledger: {value!r}")
