"""What the commands print: data as tables or JSON on stdout, everything else a line on stderr.

Enters: rows. Leaves: text that fits the terminal, or where stdout is none a line a row, untruncated.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.stages.compare import TrendOverSizes


def say(line: str) -> None:
    """A line to people, on stderr."""
    print(line, file=sys.stderr, flush=True)


def print_rows(rows: Sequence[dict[str, Any]], as_json: bool) -> None:
    """Rows of the same columns."""
    if as_json:
        print(json.dumps(list(rows), ensure_ascii=False, default=str, indent=1))
    elif rows:
        print_table(tuple(rows[0]), [tuple(row.values()) for row in rows])


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table: fitted to the terminal, or a line a row, untruncated, where stdout is none."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else 100_000)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=False)
    for index, name in enumerate(columns):
        numeric = all(isinstance(row[index], int | float | None) for row in rows)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    console.print(table)


def print_trends(trends: Sequence[TrendOverSizes]) -> None:
    """A figure a row, a size a column, and the p value of the trend."""
    rows = [
        {
            "over sizes": trend.metric,
            **{str(size): f"{value:.1%}" for size, value in zip(trend.sizes, trend.values, strict=True)},
            "n": trend.n,
            "p (trend)": f"{trend.p_value:.2g}",
        }
        for trend in trends
    ]
    print_rows(rows, as_json=False)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(_cell(item) for item in value)
    return str(value)
