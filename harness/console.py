"""What the commands print: data as tables or JSON on stdout, everything else a line on stderr.

Enters: rows. Leaves: text that fits the width: the terminal's, or COLUMNS; where stdout is no terminal and COLUMNS is
not set, a line a row. Lines break between words (also after a `/`, a hyphen in a name, a `_` of a heading, an East
Asian character), never in a word or number. A table that is too wide leaves out the columns that it can spare, and
says so; one that is still too wide becomes a list of names and values a row.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len

if TYPE_CHECKING:
    from harness.stages.compare import TrendOverSizes

GAP = "  "
#: where a text may be broken
_EAST = "\u3000-\u30ff\u3400-\u9fff\uff00-\uffef"
_IN_TEXT = re.compile(rf"(?<=\s)(?=[^\s%])|(?<=/)|(?<=[^\W\d]{{2}}-)(?=\w)|(?<=[{_EAST}])|(?=[{_EAST}])")
_IN_HEADING = re.compile(r"(?<=\s)(?=\S)|(?<=_)")
#: what moves the cursor of a terminal, but for the line feed
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")
#: a longer text is a sentence, which needs SENTENCE columns to be read
LABEL, SENTENCE = 40, 30


def say(line: str) -> None:
    """A line to people, on stderr."""
    print(line, file=sys.stderr, flush=True)


def print_rows(rows: Sequence[dict[str, Any]], as_json: bool, *, spare: Sequence[str] = ()) -> None:
    """Rows of the same columns; those of `spare` are left out, in this order, while the table is too wide."""
    if as_json:
        print(json.dumps(list(rows), ensure_ascii=False, default=str, indent=1))
    elif rows:
        print_table(tuple(rows[0]), [tuple(row.values()) for row in rows], spare=spare)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, spare: Sequence[str] = ()) -> None:
    """A table that fits the width, or a list of names and values a row where none does."""
    width = _width()
    every = [_column(name, [row[place] for row in rows]) for place, name in enumerate(columns)]
    shown, left_out = list(every), list[str]()
    for name in spare:
        if _least_width(shown) <= width:
            break
        shown = [column for column in shown if column.name != name]
        left_out.append(name)
    if _least_width(shown) <= width:
        lines = _grid(shown, width)
    else:
        lines, left_out = _list(every, width), []
    for line in lines:
        print(line.rstrip())
    if left_out:
        say(f"not shown in {width} columns: {', '.join(left_out)}")


def print_card(card: dict[str, Any]) -> None:
    """One row, as a list of names and values."""
    for line in _list([_column(name, [value]) for name, value in card.items()], _width()):
        print(line.rstrip())


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


@dataclass(frozen=True, slots=True)
class _Column:
    """A column as text. `least` is the width below which a word would be cut, `natural` that of its longest cell."""

    name: str
    cells: list[str]
    numeric: bool
    least: int
    natural: int


def _column(name: str, values: Sequence[Any]) -> _Column:
    cells = [_cell(value) for value in values]
    numeric = all(isinstance(value, int | float | None) for value in values)
    heading = max(map(_cells, _pieces(name, _IN_HEADING)))
    natural = max([_cells(name), *(_cells(line) for cell in cells for line in cell.split("\n"))])
    if numeric:
        least = max([heading, *map(_cells, cells)])
    else:
        least = max([heading, *(_cells(piece) for cell in cells for piece in _pieces(cell, _IN_TEXT))])
        least = max(least, SENTENCE) if natural > LABEL and any(" " in cell for cell in cells) else least
    return _Column(name, cells, numeric, least, max(least, natural))


def _width() -> int:
    """Columns to print in."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS"):
        return shutil.get_terminal_size().columns
    return sys.maxsize


def _least_width(columns: Sequence[_Column]) -> int:
    return sum(column.least for column in columns) + len(GAP) * (len(columns) - 1)


def _grid(columns: Sequence[_Column], width: int) -> Iterator[str]:
    """Headings, a rule, and the rows."""
    widths = _shared_out(columns, width - len(GAP) * (len(columns) - 1))
    headings = [_wrapped(c.name, w, _IN_HEADING) for c, w in zip(columns, widths, strict=True)]
    deepest = max(map(len, headings))
    yield from _row(columns, [[""] * (deepest - len(lines)) + lines for lines in headings], widths)
    yield GAP.join("-" * w for w in widths)
    for place in range(len(columns[0].cells)):
        cells = [_wrapped(c.cells[place], w, _IN_TEXT) for c, w in zip(columns, widths, strict=True)]
        yield from _row(columns, cells, widths)


def _shared_out(columns: Sequence[_Column], width: int) -> list[int]:
    """A width for each column: its natural one, the widest narrowed first where they do not fit together."""
    widths = [column.natural for column in columns]
    while (over := sum(widths) - width) > 0:
        spare = [w - column.least for w, column in zip(widths, columns, strict=True)]
        widest = max((w for w, left in zip(widths, spare, strict=True) if left > 0))
        chosen = next(i for i, w in enumerate(widths) if w == widest and spare[i] > 0)
        below = max(
            (w for w, left in zip(widths, spare, strict=True) if left > 0 and w < widest), default=widest - over
        )
        widths[chosen] -= max(1, min(over, spare[chosen], widest - below))
    return widths


def _row(columns: Sequence[_Column], cells: Sequence[Sequence[str]], widths: Sequence[int]) -> Iterator[str]:
    for depth in range(max(map(len, cells))):
        parts = []
        for column, lines, width in zip(columns, cells, widths, strict=True):
            text = lines[depth] if depth < len(lines) else ""
            space = " " * (width - _cells(text))
            parts.append(space + text if column.numeric else text + space)
        yield GAP.join(parts)


def _list(columns: Sequence[_Column], width: int) -> Iterator[str]:
    """Names and values, a blank line between rows."""
    names = max(_cells(column.name) for column in columns)
    for place in range(len(columns[0].cells)):
        if place:
            yield ""
        for column in columns:
            lines = _wrapped(column.cells[place], max(1, width - names - len(GAP)), _IN_TEXT)
            for depth, line in enumerate(lines):
                yield f"{'' if depth else column.name:{names}}{GAP}{line}"


def _wrapped(text: str, width: int, breaks: re.Pattern[str]) -> list[str]:
    """The text in lines of at most this width, or of one piece where that is longer."""
    lines = []
    for paragraph in text.split("\n"):
        line = ""
        for piece in _pieces(paragraph, breaks):
            if line and cell_len(line + piece.rstrip()) > width:
                lines.append(line.rstrip())
                line = ""
            line += piece
        lines.append(line.rstrip())
    return lines


def _pieces(text: str, breaks: re.Pattern[str]) -> list[str]:
    return breaks.split(text)


def _cells(text: str) -> int:
    """The columns that a text takes: two for a wide character; blanks at its end take none."""
    return cell_len(text.rstrip())


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
    return _CONTROL.sub(" ", str(value))
