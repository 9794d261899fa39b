"""Values into our own queries as SQL literals.

Enters: a query with ? for values. Leaves: the query with the values in their places, quoted.
DuckDB (1.5) imports pandas, numpy and pyarrow as soon as a query has parameters: half a second, more than a light
command takes. Only for queries that are written here in store; a user's query has no values of ours.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

#: a string of the query's own, or the place of a value
_PLACE = re.compile(r"'(?:[^']|'')*'|\?")


def bound(query: str, values: Sequence[object]) -> str:
    """The query with each ? replaced by the next value.

    Args:
        query: SQL in which ? outside its own strings stands for a value.
        values: strings, whole numbers, truth values, None, or lists of these.

    Raises:
        ValueError: as many ? as values there are not, or a string that SQL cannot hold.
        TypeError: a value of another type.
    """
    places = sum(found[0] == "?" for found in _PLACE.finditer(query))
    if places != len(values):
        raise ValueError(f"{len(values)} values for {places} places in {query!r}")
    given = iter(values)
    return _PLACE.sub(lambda found: _literal(next(given)) if found[0] == "?" else found[0], query)


def _literal(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_literal, value))}]"
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError(f"a text with a NUL character is no key of the ledger: {value!r}")
        # Standard strings: a quote is doubled, and no other character is special.
        return "'" + value.replace("'", "''") + "'"
    raise TypeError(f"a {type(value).__name__} is no key of the ledger: {value!r}")
