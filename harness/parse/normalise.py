"""The first step of reading: an answer as given becomes plain text that remembers where it came from.

Enters: any string a model can emit (full-width, zero-width, HTML, markdown, LaTeX, look-alike letters, 1 MB of noise).
Leaves: a `PlainText`: the words without their dress, and for every character the stretch of the answer it stands for,
so that evidence is always shown in the answer's own words.
Cost: an answer longer than `READ_WHOLE` characters (a model's answer has about 2,000) is not read whole but through
windows: its head, its tail and the surroundings of words that can decide, the first and the last `MAX_HITS` of each.
A text outside the windows therefore repeats words that were read, or has none that could decide or name a defect.
"""

from __future__ import annotations

import html
import re
import unicodedata
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

READ_WHOLE = 12_000
WINDOW = 800
MAX_HITS = 3
MAX_CHUNKS = 15


class PlainText:
    """Text whose characters know the stretch of the answer they came from.

    Args:
        text: the text as it now reads.
        starts: for each character, where its source begins in the answer.
        ends: for each character, where its source ends in the answer.
    """

    __slots__ = ("ends", "low", "starts", "text")

    def __init__(self, text: str, starts: array[int], ends: array[int]) -> None:
        self.text = text
        self.starts = starts
        self.ends = ends
        low = text.lower()
        # Some capitals grow when lowered (U+0130); offsets must stay aligned, so these keep their capital.
        self.low = low if len(low) == len(text) else "".join(c.lower() if len(c.lower()) == 1 else c for c in text)

    @classmethod
    def of(cls, text: str, offset: int = 0) -> PlainText:
        """The text as given, each character standing for itself."""
        end = offset + len(text)
        return cls(text, array("q", range(offset, end)), array("q", range(offset + 1, end + 1)))

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The stretch of the answer behind text[start:end]."""
        return self.starts[start], max(self.ends[start:end])

    def sub(self, pattern: re.Pattern[str], replace: Callable[[re.Match[str]], str]) -> PlainText:
        """Replaces matches; every new character stands for the whole match it replaces."""
        return self.splice((m.start(), m.end(), replace(m)) for m in pattern.finditer(self.text))

    def splice(self, edits: Iterable[tuple[int, int, str]]) -> PlainText:
        """Applies (start, end, replacement) edits that are sorted and do not overlap."""
        parts: list[str] = []
        starts, ends = array("q"), array("q")
        done = 0
        for start, end, new in edits:
            if start == end and not new:
                continue
            parts.append(self.text[done:start])
            starts.extend(self.starts[done:start])
            ends.extend(self.ends[done:start])
            if new:
                first = self.starts[start] if start < len(self.starts) else (self.ends[-1] if self.ends else 0)
                last = self.ends[end - 1] if end > start else first
                parts.append(new)
                starts.extend([first] * len(new))
                ends.extend([last] * len(new))
            done = end
        if not parts and done == 0:
            return self
        parts.append(self.text[done:])
        starts.extend(self.starts[done:])
        ends.extend(self.ends[done:])
        return PlainText("".join(parts), starts, ends)


def normalise(text: str, stems: Sequence[str]) -> PlainText:
    """Strips an answer of its dress.

    Args:
        text: the answer as given; not changed.
        stems: lower-case beginnings of the words that can decide; a long text is read around them.

    Returns:
        The plain text: NFKC, no invisible characters, no tags, no emphasis; list bullets become "• ", table cells are
        separated by "|", a field in XML reads "name: value", struck-through words are gone.
    """
    plain = _concat([_characters(PlainText.of(text[a:b], a)) for a, b in windows(text, stems)])
    plain = _drop_blocks(plain)
    plain = plain.sub(_TAG, _tag)
    plain = plain.sub(_ENTITY, _entity)
    for pattern, replacement in _MARKDOWN:
        plain = plain.sub(pattern, replacement)
    return plain


def windows(text: str, stems: Sequence[str]) -> list[tuple[int, int]]:
    """The stretches of a text that are read: all of it up to READ_WHOLE characters, else head, tail and surroundings.

    Linear: each stem is looked up by `str.find` from the front and from the back, a bounded number of times, on a copy
    without invisible characters. The rarest stems choose first, so one decision in a sea of cells is never lost.
    """
    if len(text) <= READ_WHOLE:
        return [(0, len(text))]
    stripped = [_strip(text[i : i + WINDOW + 64]) for i in range(0, len(text), WINDOW)]
    # Chunk by chunk, so that a position in the stripped copy leads back to its chunk without a map of characters.
    joined = "\n".join(stripped)
    begins = [0]
    for piece in stripped:
        begins.append(begins[-1] + len(piece) + 1)
    last = len(stripped) - 1
    keep = {0, 1, last - 1, last}
    found = [_chunks_of(_hits(joined, stem), begins) & set(range(last + 1)) for stem in stems]
    for chunks in sorted(found, key=len):
        if len(keep | chunks) <= MAX_CHUNKS:
            keep |= chunks
    out: list[tuple[int, int]] = []
    for index in sorted(keep):
        start, end = index * WINDOW, min(len(text), (index + 1) * WINDOW)
        if out and out[-1][1] == start:
            out[-1] = (out[-1][0], end)
        else:
            out.append((start, end))
    return [_whole_sentences(text, start, end) for start, end in out]


_STOP = re.compile(r"[.!?\n\u3002\uff01\uff1f](?=[\s\u3040-\u9fff])")


def _whole_sentences(text: str, start: int, end: int) -> tuple[int, int]:
    """Moves a window's edges inward to the ends of sentences: half a sentence may say the opposite of the whole."""
    if start > 0:
        stop = _STOP.search(text, start, min(end, start + 500))
        start = stop.end() if stop is not None else start
    if end < len(text):
        stops = [m.end() for m in _STOP.finditer(text, max(start, end - 500), end)]
        end = stops[-1] if stops else end
    return start, end


def _strip(piece: str) -> str:
    return unicodedata.normalize("NFKC", piece.translate(_INVISIBLE_TABLE)).lower()


def _hits(joined: str, stem: str) -> list[int]:
    """The first and the last few places of a stem, at most one for each window's length."""
    hits: list[int] = []
    at = joined.find(stem)
    while at >= 0 and len(hits) < MAX_HITS:
        hits.append(at)
        at = joined.find(stem, at + WINDOW)
    if at < 0:
        return hits
    at = joined.rfind(stem)
    for _ in range(MAX_HITS):
        hits.append(at)
        at = joined.rfind(stem, 0, max(0, at - WINDOW))
        if at < 0:
            break
    return hits


def _chunks_of(hits: Sequence[int], begins: Sequence[int]) -> set[int]:
    kept: set[int] = set()
    for hit in hits:
        index = bisect_right(begins, hit) - 1
        kept.add(index)
        # A sentence may begin in the chunk before or end in the one after.
        near_start, near_end = hit - begins[index] < 300, begins[index + 1] - hit < 400
        kept.update([index - 1] * near_start + [index + 1] * near_end)
    return kept


def _concat(pieces: Sequence[PlainText]) -> PlainText:
    if len(pieces) == 1:
        return pieces[0]
    text: list[str] = []
    starts, ends = array("q"), array("q")
    for piece in pieces:
        if not piece.text:
            continue
        if text:
            text.append("\n\n")
            starts.extend([ends[-1]] * 2)
            ends.extend([ends[-1]] * 2)
        text.append(piece.text)
        starts.extend(piece.starts)
        ends.extend(piece.ends)
    return PlainText("".join(text), starts, ends)


# ---------------------------------------------------------------- characters

_INVISIBLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0"
    "\ufff9-\ufffb\U000e0000-\U000e0fff\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f"
)
_INVISIBLE_TABLE = {
    code: None for code in range(0x3165) if re.match(f"[{_INVISIBLE}]", chr(code)) is not None
} | dict.fromkeys([0xFEFF, 0xFFA0, *range(0xFE00, 0xFE10)])
_MARKS = "\u0300-\u036f\u1ab0-\u1aff\u20d0-\u20ff"
_CLUSTER = re.compile(
    rf"[{_INVISIBLE}]+|[^\x00-\x7f][{_MARKS}\u3099\u309a\uff9e\uff9f]{{0,8}}|[ -~][{_MARKS}]{{1,8}}|[\r\x0b\x0c]"
)
_SPECIAL = {
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u00b4\u02bc", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb\u300c\u300d\u300e\u300f\u301d\u301e\u301f", '"'),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d", "-"),
    **dict.fromkeys("\u2014\u2015\u2e3a", " — "),
    **dict.fromkeys("\u301c\uff5e\u223c\u02dc", "~"),
    **dict.fromkeys("\u2192\u21d2\u279c\u2794\u27f6\u27a1\u25ba\u25b6\u2794\u27f9", " -> "),
    **dict.fromkeys("\u2713\u2714\u2705\u2b55\U0001f197", " ✓ "),
    **dict.fromkeys("\u2717\u2718\u274c\u274e\u2716", " ✗ "),
    **dict.fromkeys("\u2022\u25e6\u25aa\u25cf\u25a0\u2023\u2043\u25c6\u25c7\u25b8", "•"),
    **dict.fromkeys("\u3007\u25ef", "○"),
    "\u3010": " ",
    "\u3011": ": ",
    "\u2028": "\n",
    "\u2029": "\n",
    "\u0085": "\n",
    "\x0b": "\n",
    "\x0c": "\n",
    "\r": "\n",
}
# Letters of other alphabets that look Latin, mapped only inside a word that is otherwise Latin ("p\u0430ssed").
_LOOKALIKE = str.maketrans("аеорсухіѕјԁАВЕКМНОРСТХІЅЈαορνΑΒΕΗΚΜΝΟΡΤΧ", "aeopcyxisjdABEKMHOPCTXISJaopvABEHKMNOPTX")
_MIXED = re.compile(
    r"(?<![^\W_])(?:[A-Za-z0-9]{1,30}[\u0370-\u04ff\u0500-\u052f]|[\u0370-\u04ff\u0500-\u052f]{1,30}[A-Za-z])[A-Za-z0-9\u0370-\u04ff\u0500-\u052f]{0,40}"
)
_SPACED = re.compile(r"(?<![^\W_])[A-Za-z](?: [A-Za-z]){3,12}(?![^\W_])")
_SPELLED = frozenset({"passed", "defective", "pass", "fail", "failed", "rejected"})


@lru_cache(maxsize=8192)
def _cluster(chunk: str) -> str:
    base = chunk[0]
    if base in _SPECIAL:
        return _SPECIAL[base]
    if re.match(f"[{_INVISIBLE}]", base):
        return ""
    flat = unicodedata.normalize("NFKC", chunk)
    if "\u2460" <= base <= "\u2473" or "\u2776" <= base <= "\u277f" or "\u2474" <= base <= "\u249b":
        # A circled or bracketed number counts points; glued to the next cell it would become another cell.
        return f" ({flat.strip('().')}) "
    if flat[:1].isascii() or "\u00c0" <= flat[:1] <= "\u024f":
        flat = re.sub(f"[{_MARKS}]", "", flat)
    return flat.replace("\u2044", "/")


def _characters(plain: PlainText) -> PlainText:
    if not plain.text.isascii() or _CLUSTER.search(plain.text) is not None:
        plain = plain.sub(_CLUSTER, lambda m: _cluster(m.group()))
        plain = plain.sub(_MIXED, lambda m: m.group().translate(_LOOKALIKE))
    return plain.sub(_SPACED, _respell)


def _respell(match: re.Match[str]) -> str:
    word = match.group().replace(" ", "")
    return word if word.lower() in _SPELLED else match.group()


# ---------------------------------------------------------------- HTML and XML

_TAG = re.compile(
    r"""<(?P<special>\|[^<>|\n]{0,60}\|>)|<(?P<close>/?)(?P<name>[A-Za-z][\w:.-]{0,60})"""
    r"""(?P<rest>(?:[^<>"'\n]|"[^"<\n]{0,800}"|'[^'<\n]{0,800}')*+)>|<[!?][^<>\n]{0,400}>"""
)
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]{2,8});")
_INLINE = frozenset(
    [
        "a",
        "abbr",
        "acronym",
        "b",
        "bdi",
        "bdo",
        "big",
        "cite",
        "code",
        "em",
        "font",
        "i",
        "img",
        "input",
        "ins",
        "kbd",
        "label",
        "mark",
        "q",
        "samp",
        "small",
        "span",
        "strong",
        "sub",
        "sup",
        "tt",
        "u",
        "var",
        "wbr",
        "s",
        "image",
        "img_start",
        "img_end",
        "bos",
        "eos",
    ]
)
_BLOCK = frozenset(
    [
        "address",
        "article",
        "aside",
        "blockquote",
        "body",
        "br",
        "button",
        "caption",
        "center",
        "col",
        "colgroup",
        "dd",
        "details",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "head",
        "header",
        "hr",
        "html",
        "legend",
        "li",
        "link",
        "main",
        "meta",
        "nav",
        "ol",
        "option",
        "p",
        "pre",
        "section",
        "select",
        "summary",
        "table",
        "tbody",
        "tfoot",
        "thead",
        "title",
        "tr",
        "ul",
        "textarea",
        "output",
    ]
)
_DROPPED = ("script", "style", "del", "strike")


def _drop_blocks(plain: PlainText) -> PlainText:
    """Removes comments, scripts, struck-through text, and a model's loud thinking where an answer follows it."""
    low = plain.low
    edits: list[tuple[int, int, str]] = []
    if "<" in low:
        for name in _DROPPED:
            edits += [(a, b, " ") for a, b in _blocks(low, f"<{name}", f"</{name}>")]
        edits += [(a, b, "") for a, b in _blocks(low, "<!--", "-->")]
        for name in ("think", "thinking", "reasoning", "scratchpad"):
            for a, b in _blocks(low, f"<{name}>", f"</{name}>"):
                if low[b:].strip():
                    edits.append((a, b, "\n"))
    edits.sort()
    kept: list[tuple[int, int, str]] = []
    for edit in edits:
        if not kept or edit[0] >= kept[-1][1]:
            kept.append(edit)
    return plain.splice(kept)


def _blocks(low: str, opening: str, closing: str) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    at = low.find(opening)
    while at >= 0:
        end = low.find(closing, at)
        if end < 0:
            break
        if opening.endswith((">", "-")) or low[at + len(opening)] in " >\n\t/":
            found.append((at, end + len(closing)))
        else:
            end = at + 1
        at = low.find(opening, end)
    return found


def _tag(match: re.Match[str]) -> str:
    if match["special"]:
        return "\n"
    if match["name"] is None:
        return ""
    name = match["name"].lower()
    if name in _INLINE:
        return ""
    if name in ("td", "th"):
        return "" if match["close"] else "| "
    if name == "tr":
        return " |\n" if match["close"] else "\n"
    if name == "li":
        return "\n" if match["close"] else "\n• "
    if name in _BLOCK:
        return "\n"
    # A tag that HTML does not know is a field: its name is the key of what it holds.
    return "\n" if match["close"] or match["rest"].endswith("/") else f"\n{name.replace('_', ' ')}: "


def _entity(match: re.Match[str]) -> str:
    plain = html.unescape(match.group())
    return unicodedata.normalize("NFKC", plain) if len(plain) <= 2 else match.group()


# ---------------------------------------------------------------- markdown and LaTeX

_KEEP_NOTHING: Callable[[re.Match[str]], str] = lambda _: ""  # noqa: E731
_MARKDOWN: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r"\\u([0-9a-fA-F]{4})"), lambda m: unicodedata.normalize("NFKC", chr(int(m[1], 16)))),
    (re.compile(r'\\n(?=[\s"\'\\A-Z*#-]|$)'), lambda _: "\n"),
    (re.compile(r"\\(?=[\"'*_#|`~\[\](){}.!-])"), _KEEP_NOTHING),
    (re.compile(r"\\(?:boxed|text\w{0,4}|math\w{0,4}|operatorname|large|quad)\b\s?\{?"), _KEEP_NOTHING),
    (re.compile(r"(?m)^[ \t]{0,40}(?:>[ \t]{0,4}){1,10}(?=[^>\n])"), _KEEP_NOTHING),
    (re.compile(r"(?m)^[ \t]{0,20}[\u30fb\uff65]"), lambda _: "• "),
    (re.compile(r"[\u30fb\uff65]"), lambda _: ","),
    (re.compile(r"([^\w\s])\1{3,}"), lambda m: m[1] * 3),
    (re.compile(r" {4,}"), lambda _: "   "),
    (
        re.compile(r"(?:\[[ _]{1,3}\](?=[ \t]*[A-Za-z\u3040-\u9fff])|\u2610)[ \t]*[^\n\[\u2610\u2611\u2612]{0,80}"),
        _KEEP_NOTHING,
    ),
    (re.compile(r"\[ {0,2}[xX✓✗*] {0,2}\](?=[ \t]*\w)|[\u2611\u2612\U0001f5f9]"), _KEEP_NOTHING),
    (re.compile(r"~~(?=\S)[^~\n]{1,400}~~"), lambda _: " "),
    (re.compile(r"!\[[^\[\]\n]{0,200}\]\([^()\n]{0,400}\)"), _KEEP_NOTHING),
    (re.compile(r"\[([^\[\]\n]{1,200})\]\((?:https?:|#|/|\./)[^()\n]{0,400}\)"), lambda m: m[1]),
    (re.compile(r"(?m)^[ \t>]{0,40}#{1,6}[ \t]{1,20}(.{0,400}?)[ \t#]{0,20}$"), lambda m: f"§ {m[1]}"),
    (
        re.compile(r"(?m)^([ \t]{0,40})(?:[*+•-]|-{1,2}|\(?\d{1,2}[.)]|[a-z][.)])(?:[ \t]{1,20})(?=\S)"),
        lambda m: f"{m[1]}• ",
    ),
    (re.compile(r"(?m)^[ \t|:+=-]{3,400}$"), lambda m: "|" if "|" in m.group() else ""),
    (re.compile(r"(?m)^[ \t]{0,20}```[\w+-]{0,20}[ \t]{0,20}$"), _KEEP_NOTHING),
    (re.compile(r"[*`$]+"), _KEEP_NOTHING),
    (re.compile(r"(?<=[^\s])[ \u3000]{2,}"), lambda _: " "),
    (re.compile(r"(?<![^\W_])_{1,3}(?=[^\W_])|(?<=[^\W_])_{1,3}(?![\w])"), _KEEP_NOTHING),
)
