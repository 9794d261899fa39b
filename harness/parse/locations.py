"""Where: every way to write a cell, a range of cells or a whole row of the grid.

Enters: plain text (normalised) and the grid. Leaves: `Place`s in order of appearance, each with the cells it names, and
`Line`s (a row or column named alone: "in row U"), which name no cell but limit what a statement speaks about.
Cost: a cell without a helping word ("drawing 7U", "3D printer", "5 C") is told from a coordinate by its neighbours only;
where the two cannot be told apart the coordinate is believed.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

from harness.records import Grid

from .normalise import PlainText


@dataclass(frozen=True, slots=True)
class Place:
    """Cells named at text[start:end]; `cells` is empty where only a row or a column is named (a line)."""

    start: int
    end: int
    cells: tuple[str, ...]


_NUMBERS = {
    word: str(value)
    for value, words in enumerate(
        (
            "one first 1st erste ersten erster première premier primera primer prima primo 一",
            "two second 2nd zweite zweiten zweiter deuxième segunda segundo seconda secondo 二",
            "three third 3rd dritte dritten dritter troisième tercera tercer terza terzo 三",
            "four fourth 4th vierte vierten vierter quatrième cuarta cuarto quarta quarto 四",
            "five fifth 5th fünfte fünften fünfter cinquième quinta quinto 五",
            "six sixth 6th sechste sechsten sechster sixième sexta sexto sesta sesto 六",
            "seven seventh 7th siebte siebten siebter septième séptima séptimo settima settimo 七",
            "eight eighth 8th achte achten achter huitième octava octavo ottava ottavo 八",
            "nine ninth 9th neunte neunten neunter neuvième novena noveno nona nono 九",
            "ten tenth 10th 十",
            "eleven eleventh 11th",
            "twelve twelfth 12th",
        ),
        start=1,
    )
    for word in words.split()
}
_CARDINALS = frozenset(
    [
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "一",
        "二",
        "三",
        "四",
        "五",
        "六",
        "七",
        "八",
        "九",
        "十",
    ]
)
_ROW_NAMES: dict[tuple[str, ...], dict[str, str]] = {
    ("U", "C", "D"): {
        **dict.fromkeys(["upper", "top", "uppermost", "topmost"], "U"),
        **dict.fromkeys(["center", "centre", "central", "middle"], "C"),
        **dict.fromkeys(["lower", "bottom", "down", "lowest"], "D"),
    }
}
_COLUMN = r"(?:columns?|cols?\b\.?|spalten?|colonnes?|columnas?|colonn[ae]|colunas?|kolom(?:men)?|kolumn(?:en)?|столб\w+|колонк\w+|列)"
_ROW = r"(?:rows?|lines?|zeilen?|reihen?|lignes?|rang(?:ée|ées)|filas?|righ?[ae]|file|linhas?|fileiras?|rij(?:en)?|rad(?:en)?|ряд\w*|строк\w*)"
_RANGE_WORDS = r"(?:(?:up |all the way |right )?(?:to|until|till|through|thru)(?: and including)?|up until|bis(?: zu)?|hasta(?: el| la)?|jusqu'(?:à|en)|à|até|fino al?|t/m|tot(?: en met)?|до|から|到|至|에서|부터)"
_RANGE = rf"(?:\s{{0,3}}(?:-{{1,3}}>?|~|\.\.\.?|:)\s{{0,3}}|\s{{1,3}}{_RANGE_WORDS}\s{{1,3}}|\s{{0,2}}(?:から|到|至|에서|부터|まで)\s{{0,2}})"
_AND = r"(?:\s{0,3}(?:,|;|/|&|\+|、|と|や|及び|および|和|과|와)\s{0,3}(?:(?:and|und|et|y|e|en|or|also)\s{1,3})?|\s{1,3}(?:and|und|et|y|e|en|or|plus|as well as|и)\s{1,3})"
_GLUE = r"(?:[\s,;:=/()\"'\-]{0,4}(?:(?:of|in|on|at|from|and|for|within|both|the|that|is|von|der|in|dans|de|la|del|della|da|van)\s{1,2}){0,4})"
_POSITION_NOUN = r"(?:cubes?|positions?|cells?|numbers?|nos?\.|no\.|parts?|pieces?|items?|elements?|components?|places?|spots?|slots?|objects?|ones?|blocks?|holes?|pins?|pills?|screws?|buttons?|keys?|tiles?|cavit(?:y|ies)|squares?|[a-z]{3,14})"
_ALL = r"(?:everything|all(?: of)?|every|each|entire|entirely|whole|complete|completely|full|throughout|todas?|toute?|tutta|ganze|gesamte)"

# What stands directly before or after a coordinate's look-alike.
_BEFORE_NOT_A_CELL = re.compile(
    r"(?:\b(?:drawings?|dwg|figures?|fig|figs|rev|revisions?|version|ver|models?|types?|class|grades?|sizes?|sections?|chapters?|"
    r"paragraphs?|pages?|rooms?|plan|appendix|annex|table|series|serial|batch|lot|part no|part number|no|nr|number|code|art|"
    r"article no|item no|standard|spec|specification|clause|step|phase|level|gate|building|hall|line|lane|flight|seat|bus|"
    r"iphone|canon|eos|cat|category|usb|vitamins?|capacitors?|caps?|diodes?|ics?|resistors?|transistors?|regulators?|inductors?|"
    r"marking|marked|marks?|labell?ed|stamped|engraved|inscription|inscribed|reads|printed|imprint|text|lettering|logo|brand|"
    r"designators?|batteries|battery|rack|server|chapter|zone|area code|process|form|document|template|procedure|norm|"
    r"instruction|work order|order|ticket|machine|camera|station|printer|lens|tool|program|programme|recipe|shelf|bin|"
    r"zeichnung|abschnitt|kapitel|raum|figur|bild|plano|dibujo|dessin|disegno)|図面|図|型番|型式|品番|バージョン|改訂|規格|章|表|部屋|号機)"
    r"\s?[#:.]?\s?$"
)
_AFTER_NOT_A_CELL = re.compile(
    r"\s?-?\s?(?:print(?:er|ers|ed|ing)?\b|-?model(?:s|l?ing|l?ed)?\b|render\w*|views?\b|images?\b|pictures?\b|photos?\b|effects?\b|"
    r"objects?\b|scans?\b|scann\w+|shapes?\b|software|graphics?|animations?|cad\b|puzzles?|glasses|movies?|films?|drawings?|"
    r"barcodes?|bar codes?|codes?\b|matrix|arrays?\b|planes?\b|space\b|rack|servers?|chassis|cartridges?|batter(?:y|ies)|"
    r"discharge|rate\b|certif\w+|mark (?:[ivx]+\b|\d)|cameras?|structures?|geometry|scenes?|appearance|perspective|projection|"
    r"representation|displays?|sensors?|measur\w+|inspection|vision|letters?\b|text|illustration|cells?\b(?! (?:is|are|was|were|has|have|at|in))|"
    r"cubes\b|blocks\b|grid\b|layout|-shaped|-type|shaped\b|reports?\b|\.(?:png|jpe?g|bmp|tiff?|gif|webp|pdf|html?|json|csv|txt|docx?|zip|stl|step|dwg|dxf)\b|プリン|印刷|画像|モデル|データ|スキャン|表示|バーコード|コード|カメラ|立体|図|ゲーム|打印|프린)"
)
_UNIT_AFTER = re.compile(
    r"\s?-?\s?(?:shaped|type|class|sized?|cells?|batter(?:y|ies)|clamps?|clips?|rings?|sub|connectors?|bolts?|profiles?|brackets?|tubes?|beams?|turns?|vitamins?|coins?|channels?|springs?|hooks?|rack|units?|spaces?)\b"
)
_TEMPERATURE = re.compile(
    r"degrees?\b|temperature|celsius|°|heated|cool(?:ed|ing)|stored at|kept at|oven|warm\b|cold\b|ambient|温度"
)
_PLACE_BEFORE = re.compile(
    r"(?:\b(?:at|cells?|positions?|pos\.?|locations?|loc\.?|coordinates?|coord\.?|places?|spots?|slots?|points?|in|on|where|from|to|and|near|parts?|cubes?|"
    r"field|square|grid|an position|bei|en|posición|posizione|posição|positie|stelle|座標|位置|箇所|場所)\s?[:=]?\s?[\"'(\[]?|[:=>(\[,;|•]\s?|^\s*)$"
)
_STRONG_BEFORE = re.compile(
    r"\b(?:at|cells?|positions?|pos\.?|locations?|loc\.?|coordinates?|coord\.?|places?|spots?|slots?|座標|位置|箇所|場所)"
    r"(?: (?:of|is|are))?\s?[:=]?\s?[\"'(\[]?$"
)
_IN_LINE = re.compile(r"\b(?:in|at|from|of) (?:the )?$")
_DRAWN = re.compile(
    r"\b(?:(?:shown|drawn|rendered|displayed|modell?ed|viewed|depicted|designed|created|printed|represented|is|are) (?:in )?|"
    r"(?:a|an|these|those|of|colou?rful|wooden|plastic|small|simple|stylized) )$"
)


# What may stand between the parts of a code, and between several codes after a plural ("diodes D1 and D2").
_CHAIN = {
    False: re.compile(r"[/_.+-]"),
    True: re.compile(r"[/_.+-]|\s?(?:,|&|;)\s?(?:and\s)?|\s(?:to|and|or|through)\s|\s-\s"),
}
_BETWEEN = re.compile(
    r"(?<!short )(?<!bridge )(?<!circuit )(?<!connection )(?<!gap )(?<!distance )(?<!difference )between (?:the )?(?:cells? |positions? )?$"
)


class LocationFinder:
    """Finds places for one grid.

    Args:
        grid: the labels of columns and rows, as printed at the panels.
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self._columns = {c.lower(): c for c in grid.columns}
        self._rows = {r.lower(): r for r in grid.rows}
        self._numeric = all(c.isdigit() for c in grid.columns)
        numbers = {w: n for w, n in _NUMBERS.items() if n in self._columns} if self._numeric else {}
        self._names = numbers
        self._row_names = _ROW_NAMES.get(grid.rows, {})
        both_plain = {*map(len, grid.columns)} == {1} and {*map(len, grid.rows)} == {1}
        self._distinct = not ({*self._columns} & {*self._rows})
        c = "(?:" + "|".join(re.escape(x) for x in sorted(grid.columns, key=len, reverse=True)) + ")"
        r = "(?:" + "|".join(re.escape(x) for x in sorted(grid.rows, key=len, reverse=True)) + ")"
        edge, stop = r"(?<![A-Za-z0-9\u00c0-\u024f])", r"(?![A-Za-z0-9\u00c0-\u024f])"
        word = "|".join(sorted(map(re.escape, numbers), key=len, reverse=True))
        num = rf"(?:{edge}(?:#|no\.?\s|number\s)?(?:{c}{'|' + word if word else ''}){stop})"
        kanji = rf"(?:{c}{'|[一二三四五六七八九]' if self._numeric else ''})"
        rown = rf"(?:{edge}[\"']?{r}[\"']?{stop})"
        rowname = "|".join(self._row_names) or r"(?!)"
        nth = rf"(?:{word})" if word else r"(?!)"
        cols = rf"{_COLUMN}"
        link = rf"(?:{_RANGE}|{_AND})(?:the )?(?:{cols}\s?)?"
        rlink = rf"(?:{_RANGE}|{_AND})(?:the )?(?:{_ROW}\s?)?"
        digit = rf"(?:{edge}(?:#|no\.?\s|number\s)?{c}{stop})"
        digits = rf"{digit}(?:{link}{digit}){{0,10}}"
        spelled = rf"{edge}(?:{word}){stop}(?:{link}{edge}(?:{word}){stop}){{0,4}}" if word else r"(?!)"
        numlist = rf"(?:{digits}|{spelled})"
        rowlist = rf"{rown}(?:{rlink}{rown}){{0,4}}"
        self._item = re.compile(
            rf"(?P<op>{_RANGE})|(?P<label>{edge}(?:{c}|{r}{'|' + word if word else ''}){stop})", re.I
        )
        self._jitem = re.compile(rf"(?P<op>から|[~-]|到|至|에서|부터|\bto\b)|(?P<label>{kanji}|{r})", re.I)
        equals = r"(?:\s?(?:number|no\.|letter|named|labell?ed|is|[:=#]))?[\s\"'(:=]{0,4}"
        ordinals = "|".join([*(re.escape(w) for w in numbers if w not in _CARDINALS), rf"{c}\.(?=\s)"])
        ordinal = rf"(?:{edge}(?:{ordinals}){stop})"
        colphrase = rf"(?:{edge}{cols}{equals}(?P<cA>{numlist})[\"')]?|(?:the )?(?P<cB>{ordinal}(?:{_AND}(?:the )?{ordinal}){{0,3}})\s(?:{cols}))"
        rowphrase = rf"(?:{edge}{_ROW}{equals}(?P<rA>{rowlist})[\"')]?|(?:the )?(?P<rB>{rown})[\s-]{_ROW}{stop}|(?:the )?(?:{nth})\s{_ROW}\s?\(\s?(?P<rC>{rown})\s?\)|(?:the )?(?P<rD>{rowname})\s{_ROW}{stop}(?:\s?\(\s?{rown}\s?\))?)"
        nouned = rf"(?:(?:the )?(?P<cC>{ordinal}(?:{link}{ordinal}){{0,3}})\s{_POSITION_NOUN}|{_POSITION_NOUN}\s(?P<cD>{digits}))"

        gap = r"(?:[\s,:;()-]{0,3}(?:(?:from|only|at|in|on|of|the|for|and|within|is|are|both|namely)\s){0,4})"
        count = rf"(?:(?P<nE>{c}|{'|'.join(sorted(_CARDINALS))})\s)?"
        # Each entry: the pattern, and how its groups are read.
        self._phrases: tuple[tuple[re.Pattern[str], str], ...] = (
            (re.compile(rf"{colphrase}{_GLUE}{rowphrase}(?![\s,]{{1,3}}(?:in\s)?{_COLUMN}\s?\d)", re.I), "pair"),
            (re.compile(rf"{colphrase}[\s,:]{{1,3}}(?:from\s)?(?P<rE1>{rown}{_RANGE}{rown})", re.I), "pair"),
            (re.compile(rf"{rowphrase}{gap}{colphrase}(?:\s?{_RANGE}(?P<c2>{num}))?", re.I), "pair"),
            (
                re.compile(
                    rf"{rowphrase}[\s,:]{{1,3}}(?:the\s)?(?P<eE>first|last|leftmost|rightmost)\s(?P<nE>{'|'.join(sorted(_CARDINALS))})\s{_POSITION_NOUN}",
                    re.I,
                ),
                "edge",
            ),
            (
                re.compile(
                    rf"(?:the\s)?(?P<eE>first|last|leftmost|rightmost)\s{count}{_POSITION_NOUN}\s(?:of|in|from|on)\s(?:the\s)?{rowphrase}",
                    re.I,
                ),
                "edge",
            ),
            (
                re.compile(
                    rf"{edge}(?:positions?|numbers?|nos?\.?|places?|cells?)\s(?P<cG1>{numlist})(?:,\s?|\s)(?:(?:of|in|from|on)\s)?(?:the\s)?{rowphrase}",
                    re.I,
                ),
                "pair",
            ),
            (
                re.compile(
                    rf"coordinates?\s(?:are\s|is\s|of\s)?(?:(?P<cF1>{c})\s?(?:and|,|/|-)\s?(?P<rF1>{r})|(?P<rG1>{r})\s?(?:and|,|/|-)\s?(?P<cG1>{c})){stop}",
                    re.I,
                ),
                "jp",
            ),
            (re.compile(rf"{nouned}\s(?:of|in|from|on)\s(?:the\s)?{rowphrase}", re.I), "pair"),
            (
                re.compile(
                    rf"{rowphrase}[\s,:;-]{{1,3}}(?:from\s)?(?:the\s)?(?:(?:position|number|no\.|place|cell|cube|part)s?\s)?(?P<cE1>{edge}{c}{stop}(?:{link}{edge}{c}{stop}){{0,8}})(?!\s?(?:{cols}|{_POSITION_NOUN}))",
                    re.I,
                ),
                "pair",
            ),
            (
                re.compile(
                    rf"{rowphrase}[\s,:;-]{{1,3}}(?P<cE1>{edge}{c}{stop}(?:{link}{edge}{c}{stop}){{1,8}})(?=\s(?:are|were|have|look)\s)",
                    re.I,
                ),
                "pair",
            ),
            (
                re.compile(
                    rf"{rowphrase}[\s,:;-]{{1,3}}(?:the\s)(?P<cE1>{nth}(?:{_AND}(?:the\s)?{nth}){{0,4}})\s(?:{cols}|{_POSITION_NOUN})",
                    re.I,
                ),
                "pair",
            ),
            (
                re.compile(
                    rf"(?:第\s?)?(?P<cF1>{kanji}(?:\s?(?:列|列目|番|番目|열)?\s?(?:から|[~、,・とや-]|及び|および|到|至|和|에서|부터|,)\s?(?:第\s?)?{kanji}){{0,4}})\s?(?:番目|列目|列|열)(?:まで|까지)?\s?(?:の|、|,|,の|\s|・|で|から)?\s?(?:第\s?)?(?P<rF1>{r}(?:\s?(?:行)?\s?[、,・とや~から]{{1,2}}\s?{r}){{0,3}})\s?(?:行目|行|段|행)",
                    re.I,
                ),
                "jp",
            ),
            (
                re.compile(
                    rf"(?:第\s?)?(?P<rF1>{r}(?:\s?(?:行)?\s?[、,・とや~]\s?{r}){{0,3}})\s?(?:行目|行|段|행)\s?(?:の|、|,|\s|・|で|では|については|は)?\s?(?:左から|第)?\s?(?P<cF1>{kanji}(?:\s?(?:列目|列|番目|番|つ目|열)?\s?(?:から|[~、,・とや-]|及び|および|到|至|和|에서|부터)\s?(?:第\s?)?{kanji}){{0,4}})\s?(?:列目|列|番目|番|つ目|열)(?:まで|까지)?",
                    re.I,
                ),
                "jp",
            ),
            (
                re.compile(
                    rf"(?:横(?:軸|方向|座標)?|列|X)\s?[:=が]?\s?(?P<cF1>{kanji})[、,・\s]{{1,2}}(?:縦(?:軸|方向|座標)?|行|Y)\s?[:=が]?\s?(?P<rF1>{r}){stop}",
                    re.I,
                ),
                "jp",
            ),
            (
                re.compile(
                    rf"(?:縦(?:軸|方向|座標)?|行|Y)\s?[:=が]?\s?(?P<rF1>{r})[、,・\s]{{1,2}}(?:横(?:軸|方向|座標)?|列|X)\s?[:=が]?\s?(?P<cF1>{kanji}){stop}",
                    re.I,
                ),
                "jp",
            ),
            (
                re.compile(
                    rf"{edge}(?:x|horizontal(?: coordinate| position| axis)?|horizontally)\s?[:=]?\s?(?:is )?(?P<cF1>{c}){stop}[\s,;/]{{1,3}}(?:and )?(?:the )?(?:y|vertical(?: coordinate| position| axis)?|vertically)\s?[:=]?\s?(?:is )?(?P<rF1>{r}){stop}",
                    re.I,
                ),
                "jp",
            ),
            (
                re.compile(
                    rf"(?<!to )(?<!-){edge}(?P<cF1>{c})\s?\(?horizontal(?:ly)?\)?[\s,;/]{{1,3}}(?:and )?(?P<rF1>{r})\s?\(?vertical(?:ly)?\)?",
                    re.I,
                ),
                "jp",
            ),
            (
                re.compile(
                    rf"(?:{edge}{_ALL}\s(?:the\s)?(?:{_POSITION_NOUN}\s){{0,2}}(?:(?:of|in|from|on)\s(?:the\s)?)?|全(?:て|部)?の?){rowphrase}|{edge}{_ROW}\s(?P<rE1>{rown})(?=,?\s(?:as a whole|in its entirety|all\s(?!other|the other)|every\s(?!other)|each\s(?!other)|everything\s|(?:is|are)\s(?:entirely|completely|all|wholly|fully|totally)))|(?P<rF1>{r})行の?(?:すべて|全て|全部|全体|全列|全部品|部品すべて|全ての部品)|(?P<rG1>{r})行全(?:体|部|て)",
                    re.I,
                ),
                "row",
            ),
            (
                re.compile(
                    rf"{edge}{_ALL}\s(?:the\s)?(?:{_POSITION_NOUN}\s){{0,2}}(?:(?:of|in|from|on)\s(?:the\s)?)?(?:{colphrase})|{edge}{_COLUMN}\s(?P<cE>{num})(?=,?\s(?:as a whole|in its entirety|all\s(?!other|the other)|every\s(?!other)|each\s(?!other)|everything\s|(?:is|are)\s(?:entirely|completely|all|wholly|fully|totally)))|(?P<cF>{kanji})列目?の?(?:すべて|全て|全部|全体|全行|全部品)",
                    re.I,
                ),
                "column",
            ),
        )
        self._lines = re.compile(
            rf"{rowphrase}|{colphrase}|(?<![A-Za-z]){r}(?:行|段|행)|{kanji}(?:列目?|열)|(?:the )?(?:{nth})\s{_ROW}{stop}",
            re.I,
        )
        self._axes = re.compile(rf"{_COLUMN}|{_ROW}|[行列段横縦열행]|horizontal|coordinate|\bx\s?[:=]", re.I)
        near = r"\s{0,2}[-/_,;|:x、・]?\s{0,2}"
        self._tuple = re.compile(
            rf"[(\[{{<]\s{{0,2}}[\"']?(?:(?P<c>{c}){near}[\"']?{near}[\"']?(?P<r>{r})|(?P<r2>{r}){near}[\"']?{near}[\"']?(?P<c2>{c}))[\"']?\s{{0,2}}[)\]}}>]",
            re.I,
        )
        self._spread = re.compile(
            rf"{edge}(?:(?P<c1>{c}){_RANGE}(?P<c2>{c})(?P<r>{r})|(?P<r3>{r})(?P<c3>{c}){_RANGE}(?P<c4>{c})|(?P<c5>{c})(?P<r5>{r}){_RANGE}(?P<c6>{c})|(?P<many>{c}(?:\s?[,/&]\s?{c}){{1,8}})(?P<r7>{r})){stop}",
            re.I,
        )
        inner = r"(?P<sep>[ \-/_.]?)" if both_plain or self._distinct else r"(?P<sep>[\-/_])"
        inner2 = inner.replace("sep", "sep2")
        self._glued = re.compile(rf"{edge}(?:(?P<c>{c}){inner}(?P<r>{r})|(?P<r2>{r}){inner2}(?P<c2>{c})){stop}", re.I)
        self._between = re.compile(
            rf"^(?:{_RANGE}|\s?(?:から|~|到|至)\s?|,?\s(?:and\s)?(?:ending|ends|finishing|stopping)\s(?:with|at|in|on)\s)(?:the\s)?(?:{_POSITION_NOUN}\s(?:at\s|in\s)?)?(?:position\s|cell\s)?$",
            re.I,
        )

    # ------------------------------------------------------------ public

    def find(self, plain: PlainText) -> list[Place]:
        """All places of a text, in order; ranges are expanded; look-alikes are left out."""
        text = plain.text
        taken = bytearray(len(text) + 1)
        places: list[Place] = []

        def take(start: int, end: int, cells: tuple[str, ...]) -> None:
            if cells and not any(taken[start:end]):
                taken[start:end] = b"\x01" * (end - start)
                places.append(Place(start, end, cells))

        phrases = [
            ((kind in ("row", "column")) * 1, m.start(), -m.end(), index, m, kind)
            for index, (pattern, kind) in enumerate(self._phrases)
            if self._axes.search(text) is not None
            for m in pattern.finditer(text)
        ]
        for _, _, _, _, m, kind in sorted(phrases, key=lambda p: p[:4]):
            take(m.start(), m.end(), self._read_phrase(m, kind))
        for m in self._tuple.finditer(text):
            take(m.start(), m.end(), self._cells([m["c"] or m["c2"]], [m["r"] or m["r2"]]))
        for m in self._spread.finditer(text):
            cells = self._read_spread(m)
            if self._is_cell(text, m.start(), m.end(), "", False):
                take(m.start(), m.end(), cells)
        code: tuple[int, bool] | None = None
        for m in self._glued.finditer(text):
            column, row = m["c"] or m["c2"], m["r"] or m["r2"]
            sep = (m["sep"] if m["c"] else m["sep2"]) or ""
            if taken[m.start()]:
                continue
            # What hangs on a code is a part of the code: "number 5U/3C", "capacitors C1 to C9".
            chained = code is not None and _CHAIN[code[1]].fullmatch(text, code[0], m.start()) is not None
            if chained or not self._is_cell(text, m.start(), m.end(), sep, m["c"] is None):
                named = _BEFORE_NOT_A_CELL.search(text[max(0, m.start() - 40) : m.start()].lower())
                if chained and code is not None:
                    code = (m.end(), code[1])
                elif named is not None:
                    code = (m.end(), named.group().rstrip(" #:.").endswith("s"))
                continue
            code = None
            if row.islower() and (sep == " " or column.isalpha()):
                continue
            take(m.start(), m.end(), self._cells([column], [row]))
        places.sort(key=lambda p: p.start)
        places = self._join_ranges(text, places)
        covered = bytearray(len(text) + 1)
        for place in places:
            covered[place.start : place.end] = b"\x01" * (place.end - place.start)
        places += self._find_lines(text, covered)
        places.sort(key=lambda p: p.start)
        return places

    # ------------------------------------------------------------ reading

    def _find_lines(self, text: str, covered: bytearray) -> list[Place]:
        """Rows and columns named alone; in "row C is full, but the one in column 7 is tilted" the second makes a cell."""
        out: list[Place] = []
        seen: dict[str, tuple[int, list[str]]] = {}
        for m in self._lines.finditer(text):
            if covered[m.start()] or covered[m.end() - 1]:
                continue
            groups = [(k[0], v) for k, v in m.groupdict().items() if v]
            columns = self._expand(" , ".join(v for k, v in groups if k == "c"), self._columns, self._item)
            rows = self._expand(" , ".join(v for k, v in groups if k == "r"), self._rows, self._item)
            cells: tuple[str, ...] = ()
            if len(columns) + len(rows) == 1:
                end, labels = seen.get("row" if columns else "column", (-1, []))
                between = text[end : m.start()]
                inside = _IN_LINE.search(text[max(0, m.start() - 8) : m.start()].lower()) is not None
                if labels and inside and len(between) < 160 and not re.search(r"[.!?:;\n]", between):
                    cells = self._cells(columns or labels, rows or labels)
                seen["column" if columns else "row"] = (m.end(), columns or rows)
            out.append(Place(m.start(), m.end(), cells))
        return out

    def _cells(self, columns: list[str], rows: list[str]) -> tuple[str, ...]:
        out = []
        for row in rows:
            for column in columns:
                c = self._columns.get(self._names.get(column.lower(), column.lower()))
                r = self._rows.get(row.lower())
                if c is None or r is None:
                    return ()
                out.append(c + r)
        return tuple(dict.fromkeys(out))

    def _expand(self, listed: str, of: dict[str, str], items: re.Pattern[str]) -> list[str]:
        """Reads "2, 3 to 5 and 7" as labels in order; `of` maps lower-case labels to labels."""
        order = list(of.values())
        labels: list[str] = []
        pending = False
        for m in items.finditer(listed):
            if m["label"] is None:
                pending = bool(labels)
                continue
            raw = m["label"].lower()
            name = of.get(self._names.get(raw, raw))
            if name is None:
                continue
            if pending:
                first, last = order.index(labels[-1]), order.index(name)
                step = 1 if last >= first else -1
                labels.extend(order[i] for i in range(first + step, last + step, step))
            else:
                labels.append(name)
            pending = False
        return labels

    def _read_phrase(self, m: re.Match[str], kind: str) -> tuple[str, ...]:
        items = self._jitem if kind == "jp" else self._item
        groups = m.groupdict()
        column_text = " , ".join(v for k, v in groups.items() if v and k[0] == "c" and k != "c2")
        row_text = " , ".join(v for k, v in groups.items() if v and k[0] == "r")
        columns = self._expand(column_text, self._columns, items)
        if groups.get("c2") and columns:
            columns = self._expand(f"{column_text} to {groups['c2']}", self._columns, self._item)
        rows = self._expand(row_text, self._rows, items)
        for name, row in self._row_names.items():
            if not rows and re.search(rf"\b{name}\b", row_text, re.I):
                rows = [row]
        if kind == "edge":
            word = (m["nE"] or "1").lower()
            n = int(self._names.get(word, word))
            labels = list(self._columns.values())
            return self._cells(labels[:n] if m["eE"].lower() in ("first", "leftmost") else labels[-n:], rows)
        if kind == "row":
            return self._cells(list(self._columns.values()), rows)
        if kind == "column":
            return self._cells(columns, list(self._rows.values()))
        if len(columns) == len(self._columns) and len(rows) == len(self._rows):
            return ()  # the whole grid restated ("columns 1-9 and rows U, C, D") is the question's, not a finding
        return self._cells(columns, rows)

    def _read_spread(self, m: re.Match[str]) -> tuple[str, ...]:
        if m["c1"]:
            return self._cells(self._expand(f"{m['c1']} to {m['c2']}", self._columns, self._item), [m["r"]])
        if m["r3"]:
            return self._cells(self._expand(f"{m['c3']} to {m['c4']}", self._columns, self._item), [m["r3"]])
        if m["c5"]:
            return self._cells(self._expand(f"{m['c5']} to {m['c6']}", self._columns, self._item), [m["r5"]])
        return self._cells(self._expand(m["many"], self._columns, self._item), [m["r7"]])

    def _join_ranges(self, text: str, places: list[Place]) -> list[Place]:
        """Two single cells with only a range word between them become all cells from the first to the last."""
        out: list[Place] = []
        for place in places:
            if out and len(out[-1].cells) >= 1 and len(place.cells) == 1:
                between = text[out[-1].end : place.start]
                if between.lower() == " and " and _BETWEEN.search(
                    text[max(0, out[-1].start - 40) : out[-1].start].lower()
                ):
                    between = " to "
                if 0 < len(between) < 40 and place.end - out[-1].start < 200 and self._between.match(between):
                    cells = self._span(out[-1].cells[-1], place.cells[0])
                    out[-1] = Place(out[-1].start, place.end, tuple(dict.fromkeys(out[-1].cells + cells)))
                    continue
            out.append(place)
        return out

    def _span(self, first: str, last: str) -> tuple[str, ...]:
        cells = {c + r: (i, j) for j, r in enumerate(self.grid.rows) for i, c in enumerate(self.grid.columns)}
        (i, j), (k, n) = cells[first], cells[last]
        columns = self.grid.columns[min(i, k) : max(i, k) + 1]
        rows = self.grid.rows[min(j, n) : max(j, n) + 1]
        return tuple(c + r for r in rows for c in columns)

    # ------------------------------------------------------------ look-alikes

    def _is_cell(self, text: str, start: int, end: int, sep: str, row_first: bool) -> bool:
        before, after = text[max(0, start - 40) : start].lower(), text[end : end + 40].lower()
        if not self._edges_ok(text, start, end):
            return False
        if sep == " ":
            if _UNIT_AFTER.match(after) or not _PLACE_BEFORE.search(before):
                return False
            near = text[max(0, start - 60) : end + 30].lower()
            return _TEMPERATURE.search(near) is None
        if sep == "." and row_first is False:
            return False
        if _STRONG_BEFORE.search(before):
            return re.match(r"\s?-?(?:printer|printing)", after) is None
        if _BEFORE_NOT_A_CELL.search(before) or _AFTER_NOT_A_CELL.match(after):
            return False
        if text[start:end].lower() in ("1d", "2d", "3d", "4d") and not re.match(
            r"\s?[(:=]|\s(?:is|are|was|has)\b", after
        ):
            return _DRAWN.search(before) is None
        return True

    def _edges_ok(self, text: str, start: int, end: int) -> bool:
        """A hyphen, dot or underscore must not tie the cell to a code ("X-3C-77", "1.5C", "5C-3")."""
        left = re.search(r"([A-Za-z0-9]*)([-_./+°])$", text[max(0, start - 12) : start])
        if left is not None:
            word = left[1]
            if left[2] == "." and word.isdigit():
                return False
            if left[2] in "-_" and (word == "" and (start < 2 or text[start - 2] not in " \n") is False):
                return False
            if (
                left[2] in "-_/"
                and word
                and not (word.isalpha() and (len(word) > 2 or word.lower() in ("ng", "ok", "at")))
                and not self._is_label(word)
            ):
                return False
        right = re.match(r"([-_/+°])([A-Za-z0-9]*)", text[end : end + 14])
        if right is not None and right[2]:
            word = right[2]
            if word.isdigit() and word not in self._columns:
                return False
            if re.match(r"(?:shaped|type|class|size|clamp|sub|cell|batter|ring|print|model)", word.lower()):
                return False
            if len(word) < 3 and word.lower() not in ("ng", "ok") and not self._is_label(word):
                return False
        return True

    def _is_label(self, word: str) -> bool:
        low = word.lower()
        return (
            low in self._columns
            or low in self._rows
            or any(low in (c + r, r + c) for c in self._columns for r in self._rows)
        )


def places_between(places: Sequence[Place], start: int, end: int) -> list[Place]:
    """The places that lie wholly within [start:end]; `places` are in order."""
    first = bisect_left(places, start, key=lambda p: p.start)
    out: list[Place] = []
    for place in islice(places, first, None):
        if place.end > end:
            break
        out.append(place)
    return out


@lru_cache(maxsize=64)
def finder_for(grid: Grid) -> LocationFinder:
    """The finder of a grid, compiled once."""
    return LocationFinder(grid)


def canonical_location(text: str, grid: Grid) -> str | None:
    """A cell in any writing ("U5", "row U, column 5", full-width) as column then row; None if it is not one cell."""
    from .normalise import normalise

    places = [p for p in finder_for(grid).find(normalise(text, ())) if p.cells]
    if len(places) == 1 and len(places[0].cells) == 1:
        return places[0].cells[0]
    return None
