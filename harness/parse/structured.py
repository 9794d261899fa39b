"""Answers that are data rather than prose: JSON (also Python's, and cut short), tables in markdown, HTML and CSV.

Enters: plain text with its places. Leaves: statements and findings read from keys and columns, and the stretches that the
prose reader must skip; sentences inside a JSON string are left to the prose reader.
Cost: keys and headers are known by name; data under unknown keys is read as prose, value by value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from harness.records import Finding, Grid, Verdict

from . import lexicon as lx
from .clauses import EASTERN, tokens_of
from .defects import DefectFinder
from .findings import Found
from .locations import Place, places_between
from .normalise import PlainText
from .verdict import Hearing, Statement

MAX_DEPTH = 40


@dataclass(slots=True)
class Node:
    """A JSON value at plain text [start:end]; `text` is a scalar's content, `kind` "object", "array", "string" or "bare"."""

    kind: str
    start: int
    end: int
    text: str = ""
    members: list[tuple[str, int, Node]] = field(default_factory=list)
    closed: bool = True


def _keys(words: str) -> re.Pattern[str]:
    return re.compile(rf"^(?:{words})$")


_VERDICT_KEY = _keys(
    r"(?:(?:final|overall|the|inspection|product|test|total|quality|qc|bottom(?: image)?) )*(?:verdict|result|results|status|decision|judge?ments?|judge|evaluation|outcome|conclusion|classification|class|quality|state|assessment|prediction|inspection|answer|overall|grade|condition|label)(?: (?:result|status))?|"
    r"(?:総合)?判定(?:結果)?|結果|検査結果|判断|合否|評価|状態|结果|结论|检验结果|判定结果|판정|결과|ergebnis|urteil|bewertung|résultat|verdict final|resultado|veredicto|risultato|esito|resultaat|oordeel"
)
_PASS_KEY = _keys(
    r"(?:is )?(?:passed|pass|ok|accepted|acceptable|good|conforming|conform|approved|fine|identical|same|match|matches|合格|良品|bestanden|conforme|aprobado|defect free)"
)
_FAIL_KEY = _keys(
    r"(?:is )?(?:defective|faulty|failed|fail|ng|rejected|reject|nok|anomalous|abnormal|不合格|不良|different|fehlerhaft|défectueux|defectuoso|difettoso)|(?:has |any |contains )?(?:a )?(?:defects?|differences?|anomal(?:y|ies)|faults?|flaws?|issues?)(?: (?:found|detected|present|exists?))?|(?:defect|difference|anomaly) (?:flag)|不良あり|欠陥あり"
)
_COUNT_KEY = _keys(
    r"(?:number of |num |n |total |no of )?(?:defects?|differences?|faults?|flaws?|anomalies|issues?|errors?)(?: (?:count|number|found|total))?|count|不良数|欠陥数"
)
_PLACE_KEY = _keys(
    r"(?:defect |affected |grid |cell )?(?:locations?|positions?|pos|locs?|cells?|coordinates?|coords?|where|places?|at|spots?|coordinate pair|index|id|point|area|site|region)(?: (?:id|code|name))?|defect (?:locations?|positions?|cells?)|"
    r"位置|座標|場所|箇所|個所|セル|欠陥位置|不良位置|坐标|缺陷位置|위치|좌표|ort|stelle|emplacement|ubicación|posición|posizione|posição|plaats|positie"
)
_COLUMN_KEY = _keys(r"columns?|cols?|x|horizontal|列|横|열|spalte|colonne|columna|colonna|coluna|kolom")
_ROW_KEY = _keys(r"rows?|y|vertical|行|縦|행|zeile|reihe|ligne|fila|riga|linha|rij")
_NAME_KEY = _keys(
    r"(?:defect |fault |error |flaw |difference |anomaly )?(?:defects?|names?|types?|kinds?|what|issues?|faults?|errors?|categor(?:y|ies)|flaws?|anomal(?:y|ies)|problems?|differences?|findings?|class|labels?|mode|modes|reason|description|detail|details|cause|content)|"
    r"欠陥(?:名|内容|種類|の種類)?|不良(?:名|内容|種類|項目)?|内容|種類|現象|缺陷(?:名称|类型|种类)?|类型|결함(?:명|유형|종류)?|불량(?:명|유형)?|유형|fehler|fehlerart|défaut|defecto|difetto|defeito|defect"
)
_SKIP_KEY = _keys(
    r"(?:the )?(?:top|upper|reference|golden|master|first)(?: (?:image|photo|product|panel|tray|sample|board|state|value|view|condition))?|expected|examples?|format|schema|template|question|prompt|instructions?|task|"
    r"(?:matching|unchanged|identical|ok|good|passed|normal|checked|inspected|correct|excluded|unaffected)(?: (?:cells|positions|locations|parts))|previous(?: \w+)?|initial(?: \w+)?|first (?:impression|guess|verdict|answer)|confidence|score|probability|grid|columns list|options|choices|vocabulary|基準|見本|上|例"
)
_TEST_KEY = _keys(
    r"(?:the )?(?:bottom|lower|test|tested|second|actual|observed|sample|under test|product under test)(?: (?:image|photo|product|panel|tray|sample|board|state|value|view|condition))?|検査品|下"
)
_TRUE = re.compile(r"^(?:true|yes|y|ja|oui|sí|si|はい|あり|有|是|예|✓|○)$")
_FALSE = re.compile(r"^(?:false|no|n|nein|non|いいえ|なし|無し|無|否|아니오|없음|✗|×)$")
_NONE = re.compile(
    r"^(?:none|null|nil|n/a|na|no|-+|nothing|no (?:defects?|differences?|faults?|issues?)|undefined|undef|なし|無し|無|特になし|无|없음|keine?|aucune?|ninguno|nessuno|ok|0|—|\.|)$"
)
_OK = re.compile(
    r"^(?:(?:the )?(?:ok|okay|pass|passed|passes|same|identical|match|matches|matching|normal|good|fine|correct|no (?:change|difference|defects?|issues?|faults?)|unchanged|equal|accepted|none|intact|present|as expected|✓|○|yes|in place|0|conforming|clean|io|i\.o\.|"
    r"正常|良|良品|合格|一致|同じ|異常なし|問題なし|欠陥なし|なし|変化なし|在ornung|相同|정상|동일|양호|이상 없음|in ordnung|identique|conforme|igual|uguale)|-+|n/a|)$"
)
_BAD = re.compile(
    rf"^(?:(?:is )?(?:{lx.FAIL_WORDS}|different|differs|difference|mismatch|changed|bad|abnormal|✗|×|x|not ok|not passed|no|defect|damaged)|不合格|不良|不良品|異常|異常あり|不一致|相違|不同|불합격|불량|다름)$"
)


@dataclass(slots=True)
class Structured:
    """What structured parts gave: findings, and the stretches that are not prose."""

    found: list[Found]
    masked: list[tuple[int, int]]


def read_structured(
    plain: PlainText, places: Sequence[Place], grid: Grid, defects: DefectFinder, hearing: Hearing
) -> Structured:
    """Reads JSON values and tables; statements go to `hearing`."""
    reader = _Reader(plain, places, grid, defects, hearing)
    for node in _documents(plain.text):
        reader.document(node)
    blocked = [(a, b) for a, b in reader.masked] + [(p[0], p[1]) for p in reader.prose]
    for table in _tables(plain.text, blocked):
        reader.table(table)
    reader.masked.sort()
    return Structured(reader.found, reader.masked)


class _Reader:
    def __init__(
        self, plain: PlainText, places: Sequence[Place], grid: Grid, defects: DefectFinder, hearing: Hearing
    ) -> None:
        self.plain, self.places, self.grid, self.defects, self.hearing = plain, places, grid, defects, hearing
        self.found: list[Found] = []
        self.masked: list[tuple[int, int]] = []
        self.prose: list[tuple[int, int]] = []
        self._columns = {c.lower(): c for c in grid.columns}
        self._rows = {r.lower(): r for r in grid.rows}

    # ------------------------------------------------------------ scalars

    def cells_in(self, start: int, end: int) -> list[tuple[str, int, int]]:
        return [(c, p.start, p.end) for p in self._inside(start, end) for c in p.cells]

    def _inside(self, start: int, end: int) -> list[Place]:
        return places_between(self.places, start, end)

    def names_in(self, start: int, end: int) -> list[tuple[str | None, int, int]]:
        """Names of defects (None: a defect outside the vocabulary) in a value; a whole value may be an everyday word."""
        text = self.plain.low[start:end]
        if EASTERN.search(text):
            return [(m.name, start + m.first, start + m.last) for m in self.defects.east(text)]
        inside = self._inside(start, end)
        tokens = tokens_of(self.plain, start, end, inside, self.defects)
        return [(t.defect, t.start, t.end) for t in tokens if t.text in ("DEF", "UNK")]

    def state(self, verdict: Verdict, rank: int, start: int, end: int, weak: bool = False) -> None:
        self.hearing.statements.append(Statement(verdict, rank, start, max(end, start + 1), weak))

    def find(self, cell: tuple[str, int, int] | None, name: tuple[str | None, int, int] | None) -> None:
        if cell is None and (name is None or name[0] is None):
            return
        spans: list[tuple[Literal["location", "defect"], int, int]] = []
        if cell is not None:
            spans.append(("location", cell[1], cell[2]))
        if name is not None and name[0] is not None:
            spans.append(("defect", name[1], name[2]))
        self.found.append(Found(Finding(cell[0] if cell else None, name[0] if name else None), tuple(spans)))

    # ------------------------------------------------------------ JSON

    def document(self, root: Node) -> None:
        before = len(self.prose)
        self._value("", root, 0, local=False)
        at = root.start
        for start, end in sorted(self.prose[before:]):
            self.masked.append((at, start))
            at = end
        self.masked.append((at, root.end))

    def _value(self, key: str, node: Node, depth: int, local: bool) -> None:
        if depth > MAX_DEPTH:
            return
        if node.kind == "object":
            self._object(key, node, depth, local)
        elif node.kind == "array":
            for _, _, child in node.members:
                self._value(key, child, depth + 1, True)
        elif node.kind == "string" and node.end > node.start:
            self.prose.append((node.start, node.end))

    def _object(self, parent: str, node: Node, depth: int, local: bool) -> None:
        cells: list[tuple[str, int, int]] = []
        names: list[tuple[str | None, int, int]] = []
        columns: list[Node] = []
        rows: list[Node] = []
        fine = bad = False
        none_named: tuple[int, int] | None = None
        later: list[Callable[[], None]] = []
        has_place = any(_PLACE_KEY.match(k) or _COLUMN_KEY.match(k) for k, _, _ in node.members)
        for key, at, value in node.members:
            text = value.text.strip().lower()
            scalar = value.kind in ("string", "bare")
            own_cells = self._cell_key(key)
            if _SKIP_KEY.match(key):
                continue
            if own_cells:
                later.append(self._cell_entry(own_cells, at, value, depth))
            elif _COLUMN_KEY.match(key) and (scalar or value.kind == "array"):
                columns += self._scalars(value)
            elif _ROW_KEY.match(key) and (scalar or value.kind == "array"):
                rows += self._scalars(value)
            elif (
                _PLACE_KEY.match(key)
                and not self._keyed_by_cell(value)
                and (self.cells_in(value.start, value.end + 1) or scalar or self._is_pair(value))
            ):
                cells += self.cells_in(value.start - 1, value.end + 1) or self._pair(value)
            elif (
                scalar
                and (_PASS_KEY.match(key) or _FAIL_KEY.match(key))
                and (_TRUE.match(text) or _FALSE.match(text))
                and not (_NAME_KEY.match(key) and text == "no")
            ):
                positive = (_PASS_KEY.match(key) is not None) == (_TRUE.match(text) is not None)
                if local and has_place:
                    fine, bad = fine or positive, bad or not positive
                else:
                    self.state("passed" if positive else "defective", 3, at, value.end)
            elif scalar and _COUNT_KEY.match(key) and re.fullmatch(r"\d+", text):
                self.state("passed" if int(text) == 0 else "defective", 2, at, value.end, weak=int(text) > 0)
            elif _VERDICT_KEY.match(key) and scalar:
                if local and has_place:
                    fine, bad = fine or _OK.match(text) is not None, bad or _BAD.match(text) is not None
                    names += self.names_in(value.start, value.end) if not _OK.match(text) else []
                elif text in ("✓", "○", "go"):
                    self.state("passed", 3, at, value.end)
                elif text in ("✗", "×"):
                    self.state("defective", 3, at, value.end)
                elif value.kind == "string":
                    self._verdict_text(value, names)
                elif text not in ("null", "none"):
                    self.prose.append((value.start, value.end))
            elif _NAME_KEY.match(key) and (
                scalar or (value.kind == "array" and all(m[2].kind in ("string", "bare") for m in value.members))
            ):
                for part in self._scalars(value):
                    word = part.text.strip().lower()
                    if _NONE.match(word):
                        none_named = (at, part.end)
                    elif self.cells_in(part.start, part.end) or len(word.split()) > 5:
                        self.prose.append((part.start, part.end))
                    else:
                        found = self.names_in(part.start, part.end)
                        names += found or [(None, part.start, part.end)]
                if value.kind == "array" and not value.members and value.closed:
                    none_named = (at, value.end)
            elif (
                (known := self.names_in(at, at + len(key)))
                and known[0][0] is not None
                and key not in ("open", "short", "copper")
            ) or (known and self.cells_in(value.start - 1, value.end + 1)):
                for cell in self.cells_in(value.start - 1, value.end + 1):
                    self.find(cell, known[0])
            elif (
                value.kind == "array"
                and not value.members
                and value.closed
                and (_COUNT_KEY.match(key) or key in ("findings", "finding"))
            ):
                none_named = (at, value.end)
            elif scalar and _TEST_KEY.match(key):
                if value.kind == "string" and has_place:
                    if _OK.match(text):
                        fine = True
                    names += self.names_in(value.start, value.end)
                elif value.kind == "string":
                    self.prose.append((value.start, value.end))
            else:
                later.append(lambda k=key, v=value: self._value(k, v, depth + 1, v.kind == "array"))  # type: ignore[misc]
        cells += self._crossed(columns, rows)
        self._entry(cells, names, fine, bad, none_named)
        for run in later:
            run()

    def _verdict_text(self, value: Node, names: list[tuple[str | None, int, int]]) -> None:
        self.prose.append((value.start, value.end))

    def _entry(
        self,
        cells: list[tuple[str, int, int]],
        names: list[tuple[str | None, int, int]],
        fine: bool,
        bad: bool,
        none_named: tuple[int, int] | None,
    ) -> None:
        """One record: its cells with its names, unless it says that the cell is fine."""
        if cells and (
            (fine and not bad and not any(n[0] for n in names)) or (none_named is not None and not names and not bad)
        ):
            return
        if none_named is not None and not cells and not names:
            self.state("passed", 2, *none_named)
        if len(cells) == len(names) > 1:
            for cell, name in zip(cells, names, strict=True):
                self.find(cell, name)
        elif cells and names and (len(names) == 1 or len(cells) == 1):
            known = [n for n in names if n[0] is not None] or names[:1]
            for cell in cells:
                for name in known:
                    self.find(cell, name)
        else:
            for cell in cells:
                self.find(cell, None)
            for name in names:
                self.find(None, name)

    def _cell_key(self, key: str) -> tuple[str, ...]:
        from .locations import finder_for

        if len(key) > 24:
            return ()
        inside = finder_for(self.grid).find(PlainText.of(key.upper()))
        return inside[0].cells if len(inside) == 1 and inside[0].end - inside[0].start >= len(key) - 5 else ()

    def _keyed_by_cell(self, value: Node) -> bool:
        return value.kind == "object" and any(self._cell_key(k) for k, _, _ in value.members)

    def _cell_entry(self, cells: tuple[str, ...], at: int, value: Node, depth: int) -> Callable[[], None]:
        def run() -> None:
            placed = [(c, at, at + 2) for c in cells]
            text = value.text.strip().lower()
            if value.kind in ("string", "bare"):
                if _OK.match(text) or _NONE.match(text) or _FALSE.match(text):
                    return
                names = self.names_in(value.start, value.end)
                if (
                    not names
                    and len(text.split()) > 3
                    and not _DIFFERS.search(f" {text} ")
                    and _FINE.search(f" {text} ")
                ):
                    return
                for cell in placed:
                    for name in names or [(None, value.start, value.end)]:
                        self.find(cell, name)
                return
            flags = [
                (m[0], m[2].text.strip().lower())
                for m in value.members
                if _PASS_KEY.match(m[0]) or _FAIL_KEY.match(m[0])
            ]
            fine = [
                (_PASS_KEY.match(k) is not None) == (_TRUE.match(t) is not None)
                for k, t in flags
                if _TRUE.match(t) or _FALSE.match(t)
            ]
            if fine and all(fine):
                return
            scalars = [s for s in self._scalars(value, deep=True) if not _NONE.match(s.text.strip().lower())]
            names = [n for s in scalars for n in self.names_in(s.start, s.end)]
            if not names and (not scalars or all(_OK.match(s.text.strip().lower()) for s in scalars)):
                return
            for cell in placed:
                for name in names or [(None, value.start, value.end)]:
                    self.find(cell, name)

        return run

    def _scalars(self, value: Node, deep: bool = False) -> list[Node]:
        if value.kind in ("string", "bare"):
            return [value]
        out: list[Node] = []
        stack = [m[2] for m in reversed(value.members) if not _SKIP_KEY.match(m[0])]
        while stack:
            node = stack.pop()
            if node.kind in ("string", "bare"):
                out.append(node)
            elif deep or node.kind == "array":
                stack.extend(m[2] for m in reversed(node.members))
        return out

    def _crossed(self, columns: Sequence[Node], rows: Sequence[Node]) -> list[tuple[str, int, int]]:
        out = []
        for row in rows:
            for column in columns:
                c, r = self._columns.get(column.text.strip().lower()), self._rows.get(row.text.strip().lower())
                if c is not None and r is not None:
                    out.append((c + r, min(column.start, row.start), max(column.end, row.end)))
        return out

    def _is_pair(self, value: Node) -> bool:
        return value.kind == "object" and any(_COLUMN_KEY.match(k) for k, _, _ in value.members)

    def _pair(self, value: Node) -> list[tuple[str, int, int]]:
        columns = [m[2] for m in value.members if _COLUMN_KEY.match(m[0])]
        rows = [m[2] for m in value.members if _ROW_KEY.match(m[0])]
        return self._crossed(columns, rows)

    # ------------------------------------------------------------ tables

    def table(self, rows: list[list[tuple[int, int]]]) -> None:
        low = self.plain.low
        header = [low[a:b].strip(" \"'") for a, b in rows[0]]
        if self._grid_table(rows, header):
            return
        kinds = [_header_kind(h) for h in header]
        titled = sum(k != "" for k in kinds) >= 2 and not self.cells_in(rows[0][0][0], rows[0][-1][1])
        body = rows[1:] if titled else rows
        with_cells = [bool(self._row_cells(r, kinds if titled else [])) for r in body]
        if not any(with_cells) or (not titled and sum(with_cells) < 2):
            if titled and "verdict" in kinds and len(body) >= 1:
                self.masked.append((rows[0][0][0], rows[0][-1][1]))
            return
        if titled:
            self.masked.append((rows[0][0][0], rows[0][-1][1]))
        for row, placed in zip(body, with_cells, strict=True):
            if placed:
                self._row(row, kinds if titled else [], len(body) == 1)
                self.masked.append((row[0][0], row[-1][1]))

    def _grid_table(self, rows: Sequence[Sequence[tuple[int, int]]], header: Sequence[str]) -> bool:
        """A table that is the grid itself: column labels on top, row labels at the left, a state in each field."""
        top = [self._columns.get(h.removeprefix("column ").removeprefix("col ")) for h in header[1:]]
        if len(top) < 2 or None in top:
            return False
        for row in rows[1:]:
            label = self.plain.low[slice(*row[0])].strip(" \"'").removeprefix("row ")
            side = self._rows.get(label)
            if side is None:
                continue
            for column, (a, b) in zip(top, row[1:], strict=False):
                text = self.plain.low[a:b].strip(" \"'.")
                names = self.names_in(a, b)
                if names or (_BAD.match(text) and text not in ("no", "x")):
                    for name in names or [(None, a, b)]:
                        self.find((f"{column}{side}", a, b), name)
        self.masked.append((rows[0][0][0], rows[-1][-1][1]))
        return True

    def _row_cells(self, row: Sequence[tuple[int, int]], kinds: Sequence[str]) -> list[tuple[str, int, int]]:
        cells: list[tuple[str, int, int]] = []
        columns, rows = [], []
        for index, (a, b) in enumerate(row):
            kind = kinds[index] if index < len(kinds) else ""
            node = Node("bare", a, b, self.plain.text[a:b].strip(" \"'"))
            if kind == "column":
                columns.append(node)
            elif kind == "row":
                rows.append(node)
            elif kind == "place" or not kinds:
                inside = self.cells_in(a, b)
                if inside and (kinds or self._only_a_place(a, b)):
                    cells += inside
        return cells + self._crossed(columns, rows)

    def _only_a_place(self, start: int, end: int) -> bool:
        """Whether a field holds a cell and hardly anything else, so that its row is about that cell."""
        rest = self.plain.low[start:end]
        for place in reversed(self._inside(start, end)):
            rest = rest[: place.start - start] + " " + rest[place.end - start :]
        return all(
            w in ("cell", "position", "pos", "location", "loc", "at", "no", "and") for w in re.findall(r"\w+", rest)
        )

    def _row(self, row: Sequence[tuple[int, int]], kinds: Sequence[str], only: bool) -> None:
        cells = self._row_cells(row, kinds)
        names: list[tuple[str | None, int, int]] = []
        fine = bad = False
        none_named: tuple[int, int] | None = None
        for index, (a, b) in enumerate(row):
            kind = kinds[index] if index < len(kinds) else ""
            text = self.plain.low[a:b].strip(" \"'.\t")
            if (
                kind == "test"
                and "skip" in kinds
                and text
                and text == self.plain.low[slice(*row[kinds.index("skip")])].strip(" \"'.\t")
            ):
                fine = True
                continue
            if kind in ("place", "column", "row", "skip") or (kind == "" and self.cells_in(a, b)):
                continue
            found = [
                n
                for n in self.names_in(a, b)
                if not re.search(r"\b(?:no|not|without)\b[^,]*$", self.plain.low[a : n[1]])
            ]
            if kind == "verdict" or (kind == "" and (_OK.match(text) or _BAD.match(text)) and text):
                fine, bad = (
                    fine or (_OK.match(text) is not None and text not in ("", "-")),
                    bad or _BAD.match(text) is not None,
                )
                names += found if not _OK.match(text) else []
                if kind == "verdict" and kinds and (only or bad):
                    if lx_fail(text):
                        self.state("defective", 3 if only else 2, a, b)
                    elif only and lx_pass(text):
                        self.state("passed", 3, a, b)
            elif kind == "name":
                if _NONE.match(text) or _OK.match(text):
                    none_named = (a, b)
                else:
                    names += found or [(None, a, b)]
            elif kind == "test" and _OK.match(text):
                fine = True
            else:
                names += found
                if (
                    not found
                    and kind in ("", "test", "note")
                    and text
                    and _FINE.search(f" {text} ")
                    and not _DIFFERS.search(f" {text} ")
                    and not re.search(r"\bnot?\b", text)
                ):
                    fine = True
        self._entry(cells, names, fine, bad, none_named)
        if bad and not any(s.rank == 3 for s in self.hearing.statements):
            self.state("defective", 2, row[0][0], row[-1][1], weak=True)


_FINE = re.compile(rf" (?:{lx.FINE}) ")
_DIFFERS = re.compile(rf" (?:{lx.DIFFERS}) ")


def lx_fail(text: str) -> bool:
    """Whether a table field is a word of rejection."""
    return re.fullmatch(lx.FAIL_WORDS, text) is not None or text in (
        "不合格",
        "不良",
        "不良品",
        "불합격",
        "불량",
        "not passed",
        "not ok",
    )


def lx_pass(text: str) -> bool:
    """Whether a table field is a word of acceptance."""
    return re.fullmatch(lx.PASS_WORDS, text) is not None or text in ("合格", "良品", "합격", "양품", "good")


def _header_kind(header: str) -> str:
    key = _key(header)
    for pattern, kind in (
        (_SKIP_KEY, "skip"),
        (_TEST_KEY, "test"),
        (_PLACE_KEY, "place"),
        (_COLUMN_KEY, "column"),
        (_ROW_KEY, "row"),
        (_VERDICT_KEY, "verdict"),
        (_PASS_KEY, "verdict"),
        (_NAME_KEY, "name"),
    ):
        if pattern.match(key):
            return kind
    if re.fullmatch(
        r"(?:notes?|comments?|remarks?|observations?|explanation|備考|コメント|no|nr|#|number|item|番号|severity|match|difference\??|ok / ng|ok/ng|pass/fail)\W?",
        key,
    ):
        return "verdict" if key in ("match", "ok / ng", "ok/ng", "pass/fail") else "note"
    return ""


def _key(text: str) -> str:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    return re.sub(r"[\s_\-]+", " ", spaced).strip(" \"'?:*#").lower()


def _tables(text: str, blocked: Sequence[tuple[int, int]]) -> Iterator[list[list[tuple[int, int]]]]:
    """Blocks of lines with a common separator: pipes, tabs, or commas; each row as the bounds of its fields."""
    block: list[list[tuple[int, int]]] = []
    separator = ""
    at = 0
    taken = sorted(blocked)
    for line in text.splitlines(keepends=True):
        start, at = at, at + len(line)
        body = line.rstrip("\n")
        inside = any(a < at and start < b for a, b in taken) if taken else False
        found = next((s for s in ("|", "\t", ",", ";") if s in body), "")
        if (
            inside
            or not body.strip()
            or body.strip() == "|"
            or len(body) > 400
            or not found
            or (found in ",;" and (len(body.split(found)) > 8 or not _like_csv(body, found)))
        ):
            if body.strip() == "|" and block:
                continue
            if not body.strip() and separator == "|" and not line.strip(" \n"):
                continue
            if len(block) >= 2:
                yield block
            block, separator = [], ""
            continue
        if found != separator and block:
            if len(block) >= 2:
                yield block
            block = []
        separator = found
        block.append(_fields(body, start, found))
    if len(block) >= 2:
        yield block


def _like_csv(body: str, separator: str) -> bool:
    return (
        all(len(part.split()) <= 4 for part in body.split(separator))
        and not re.search(r"[.!?]\s", body)
        and not body.startswith(("•", "§"))
    )


def _fields(body: str, start: int, separator: str) -> list[tuple[int, int]]:
    out: list[tuple[int, int]] = []
    begin = 0
    stripped = body.rstrip()
    if separator == "|":
        begin = len(body) - len(body.lstrip(" \t•"))
        begin += body[begin : begin + 1] == "|"
        stripped = stripped[:-1] if stripped.endswith("|") and len(stripped) > begin else stripped
    for i, char in enumerate(stripped):
        if char == separator and i >= begin:
            out.append((start + begin, start + i))
            begin = i + 1
    out.append((start + begin, start + max(begin, len(stripped))))
    return out


# ---------------------------------------------------------------- a tolerant reader of JSON

_JSON_TOKEN = re.compile(
    r"\"(?:[^\"\\\n]|\\.){0,4000}+\"|'(?:[^'\\\n]|\\.|(?<=\w)'(?=\w)){0,4000}+'(?=\s*[,:\]}\n]|$)|[{}\[\],:]|[^\s{}\[\],:\"']+|[\"'][^\"'\n]*$|[\"']|\s+",
    re.M,
)
_OPENS = re.compile(
    r"\{\s*(?:[\"'}]|[A-Za-z_]\w{0,30}\s*:)|\[\s*(?:\{|\[\s*[\[{\"\d]|\"[^\"\n]{0,200}\"\s*[,\]]|'[^'\n]{0,200}'\s*[,\]])"
)


def _documents(text: str) -> Iterator[Node]:
    at = 0
    while True:
        m = _OPENS.search(text, at)
        if m is None:
            return
        node, at = _parse(text, m.start())
        if node.members:
            yield node


def _parse(text: str, start: int) -> tuple[Node, int]:
    """Reads one value from an opening bracket; what is missing at the end is taken as closed there."""
    root = Node("array", start, start)
    stack = [root]
    key: tuple[str, int] | None = None
    pending: Node | None = None
    at = start
    end = start
    for m in _JSON_TOKEN.finditer(text, start):
        if m.start() != at:
            break
        at = m.end()
        token = m.group()
        if token.isspace():
            continue
        end = at
        if token in "{[":
            node = Node("object" if token == "{" else "array", m.start(), at, closed=False)
            _flush(stack[-1], key, pending)
            pending = None
            stack[-1].members.append((key[0] if key else "", key[1] if key else m.start(), node))
            key = None
            stack.append(node)
        elif token in "}]":
            _flush(stack[-1], key, pending)
            pending = None
            key = None
            stack[-1].end, stack[-1].closed = at, True
            stack.pop()
            if len(stack) == 1:
                break
        elif token == ",":
            _flush(stack[-1], key, pending)
            pending = None
            key = None
        elif token == ":":
            if pending is not None and key is None:
                key = (_key(pending.text), pending.start)
                pending = None
        else:
            quoted = token[0] in "\"'"
            inner = (m.start() + quoted, at - (quoted and len(token) > 1 and token[-1] == token[0]))
            if pending is not None and not quoted and pending.kind == "bare":
                pending = Node("bare", pending.start, at, text[pending.start : at])
            else:
                pending = Node("string" if quoted else "bare", inner[0], inner[1], text[inner[0] : inner[1]])
    if len(stack) > 1:
        _flush(stack[-1], key, pending)
        pending = None
    for node in stack:
        node.end = max(node.end, end)
    child = root.members[0][2] if root.members else root
    return child, max(end, start + 1)


def _flush(parent: Node, key: tuple[str, int] | None, pending: Node | None) -> None:
    """Give the value read last, if there is one, to its parent."""
    if pending is not None:
        parent.members.append((key[0] if key else "", key[1] if key else pending.start, pending))
