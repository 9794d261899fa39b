"""Sentences, words and clauses: the text cut into the stretches within which a "not" or an "if" has its effect.

Enters: plain text with its places. Leaves: `Sentence`s of `Clause`s; a clause is a line of words with a blank on both ends
(`line`), in which a place reads LOC, a row or column alone reads LINE and a defect's name reads DEF, so that a pattern
can speak about any of them.
Cost: no grammar, only verbs, conjunctions and punctuation; a clause is cut where both sides have a verb of their own.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from .defects import DefectFinder
from .locations import Place
from .normalise import PlainText

EASTERN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
MAX_SENTENCE = 700  # characters; a longer run without a full stop is noise and is cut to keep patterns linear


@dataclass(slots=True, eq=False)
class Token:
    """A word of a sentence: as patterns see it, and where it stands in the plain text."""

    text: str
    start: int
    end: int
    place: Place | None = None
    defect: str | None = None


@dataclass(slots=True, eq=False)
class Clause:
    """A stretch of a sentence with one verb; `line` is " word word ... " and `offsets` says where each word begins."""

    tokens: list[Token]
    lead: str = ""
    line: str = ""
    offsets: list[int] = field(default_factory=list)
    # What the clause is about and how it is meant; filled in by `reading`.
    side: str = ""
    sides: list[tuple[int, str]] = field(default_factory=list)
    unreal: str = ""
    withdrawn: bool = False

    def seal(self) -> Clause:
        """Computes line and offsets from the tokens."""
        at = 1
        self.offsets = []
        for token in self.tokens:
            self.offsets.append(at)
            at += len(token.text) + 1
        self.line = " " + "".join(t.text + " " for t in self.tokens)
        return self

    def token_at(self, position: int) -> int:
        """The index of the word at a position of `line`."""
        return max(0, bisect_right(self.offsets, position) - 1)

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The stretch of plain text behind line[start:end]."""
        first = self.token_at(start if self.line[start : start + 1] != " " else start + 1)
        last = self.token_at(max(start, end - 1 if self.line[end - 1 : end] != " " else end - 2))
        return self.tokens[first].start, self.tokens[last].end


@dataclass(slots=True, eq=False)
class Sentence:
    """A sentence, heading, list item or table line: plain text [start:end]."""

    start: int
    end: int
    paragraph: int
    line: int
    bullet: bool
    heading: bool
    end_mark: str
    eastern: bool
    clauses: list[Clause] = field(default_factory=list)


_BREAK = re.compile(r"(?:[.!?]+|[。!?]|…)[\"')\]]*(?=\s|$|[\u3040-\u9fff•])|[。]|\n+|•|§")
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|approx|fig|no|nos|pos|vs|etc|dr|mr|mrs|ca|cf|resp|incl|excl|max|min|z\.b|bzw|usw|d\.h|ggf|nr|art|rev|dwg|col|loc|ref|st|n\.i\.o|i\.o|p\.ex|ej|sec|coord|spec)|(?<=[\s.(])[a-z])\.$"
)


def sentences(plain: PlainText, places: Sequence[Place], masked: Sequence[tuple[int, int]]) -> list[Sentence]:
    """Cuts text into sentences; masked stretches (read by other means) end a sentence and are left out."""
    inside = bytearray(len(plain.text) + 1)
    for place in places:
        inside[place.start + 1 : place.end] = b"\x01" * max(0, place.end - place.start - 1)
    out: list[Sentence] = []
    paragraph = line = 0
    begin = 0
    bullet = heading = False
    stops = sorted(
        [(m.start(), m.end(), m.group()) for m in _BREAK.finditer(plain.low)] + [(a, b, "\0") for a, b in masked]
    )
    stops.append((len(plain.text), len(plain.text), ""))

    def close(stop: int, mark: str) -> None:
        nonlocal bullet, heading
        start = begin
        while start < stop:
            cut = min(stop, start + MAX_SENTENCE)
            if cut < stop:
                space = plain.text.rfind(" ", start + MAX_SENTENCE // 2, cut)
                cut = space if space > 0 else cut
                free = next((k for k in range(cut, max(start + 1, cut - 200), -1) if not inside[k]), cut)
                cut = free
            piece = plain.text[start:cut]
            if piece.strip():
                eastern = EASTERN.search(piece) is not None
                out.append(Sentence(start, cut, paragraph, line, bullet, heading, mark if cut == stop else "", eastern))
            start = cut
        bullet = False

    for start, end, mark in stops:
        if start < begin or inside[start]:
            continue
        if mark[:1] == "." and len(mark.strip("\"')]")) == 1 and _not_a_stop(plain.low, begin, start):
            continue
        if mark[:1] == "\n" and _soft(plain.text, begin, start, end):
            continue
        close(start, mark)
        begin = end
        if mark[:1] == "\n":
            line += 1
            heading = False
            paragraph += len(mark) > 1
        elif mark == "•":
            bullet = True
        elif mark == "§":
            heading = True
            paragraph += 1
        elif mark == "\0":
            paragraph += 1
            line += 1
    return out


def _not_a_stop(low: str, begin: int, at: int) -> bool:
    before = low[max(begin, at - 12) : at + 1]
    return (
        _ABBREVIATION.search(before) is not None
        and low[at + 1 : at + 2] != "\n"
        and not re.search(r"\b[ucd]\.$", before)
    )


def _soft(text: str, begin: int, start: int, end: int) -> bool:
    """A line break inside running prose: a long line that ends without a mark and goes on in lower case."""
    if end - start > 1 or start - begin < 50:
        return False
    following = text[end : end + 1]
    return (
        text[start - 1] not in ".!?:;|" and (following.islower() or following == "(") and "|" not in text[begin:start]
    )


# ---------------------------------------------------------------- words

_WORDS = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*|\d+(?:[.,]\d+)*|-+>|=+>|>{2,}|<{2,}|\.{3,}|-{2,}|[✓✗]|[^\s_]|_(?=\s|$)")
_NOT_FORMS = {
    "can't": "can not",
    "cannot": "can not",
    "cant": "can not",
    "won't": "will not",
    "shan't": "shall not",
    "ain't": "is not",
}
_BARE = {
    w + "nt": f"{w} not"
    for w in ("is", "does", "did", "was", "has", "have", "do", "would", "should", "could", "are", "were")
}
_ENDINGS = {"m": "am", "re": "are", "ve": "have", "ll": "will", "d": "would"}
_S_IS = frozenset(
    [
        "it",
        "that",
        "there",
        "here",
        "what",
        "he",
        "she",
        "where",
        "everything",
        "nothing",
        "something",
        "who",
        "this",
        "which",
        "one",
    ]
)

_IDIOMS_TEXT = """
no longer=not|anything but=not|far from=not|by no means=not|in no way=not|nowhere near=not|not in any way=not|less than=not
no doubt=|no hesitation=|without hesitation=|not hesitate=|not hesitating=|no qualms=|no scruples=|no reservation=|no reservations=|without reservation=|without reservations=|no trouble in=|no difficulty in=|no problem in=|no problem with calling=calling|no objection to=|no objections to=|no objection to the=no objection regarding the|no objections to the=no objection regarding the|no objection to this=no objection regarding this|nothing against=|no choice but=|no option but=|no alternative but=|not help but=|not but=|no other choice but=|no two ways about it=|nothing prevents=|not stop me from=|no denying that=|no denying=|no getting around the fact that=|without doubt=|without any doubt=|without a doubt=|beyond doubt=|beyond any doubt=|no question of=not|no question=|without question=
but also=and|but even=and|not only=|not just=|not merely=|no wonder=|no matter=whatever|no less=|no sooner=|nothing but=|nothing other than=|none other than=
failed to see=not see|fail to see=not see|failed to find=not find|fail to find=not find|failed to detect=not find|fails to find=not find
fail to detect=not find|fail to spot=not find|failed to spot=not find|fail to notice=not find|failed to notice=not find|fail to discover=not find
if it were not for=except|if it was not for=except|if not for=except|were it not for=except|had it not been for=except|if it had not been for=except|all but=all except|apart from=except|aside from=except|other than=except|with the exception of=except|except for=except|except at=except
except in=except|except that=except|but for=except|save for=except|besides=except|bar=bar|excepting=except|excluding=except|ausser=except|außer=except
with one exception=except|with two exceptions=except|with the following exceptions=except|with these exceptions=except|abgesehen von=except|hormis=except|sauf=except|salvo=except|excepto=except|tranne=except
rather than=insteadof|instead of=insteadof|as opposed to=insteadof|in place of=insteadof|in lieu of=insteadof|statt=insteadof|anstatt=insteadof
as well as=and|in addition to=and|together with=and|along with=and
in order to=to|in order=inorder|in ordnung=inorder|in orde=inorder|en orden=inorder|en ordre=inorder|in ordine=inorder|i ordning=inorder|i orden=inorder|em ordem=inorder|w porządku=inorder|в порядке=inorder
n . i . o=nok|n . i . o .=nok|nicht i . o .=nok|nicht i . o=nok|i . o .=inorder|i . o=inorder|n . o . k .=nok|n . g .=ng|o . k .=ok|no go=nogo|no - go=nogo|not go=nogo|nogo=nogo|not - ok=nok|not ok=nok|n - i - o=nok|n / i / o=nok
non - conforming=nonconforming|non conforming=nonconforming|non - conformant=nonconforming|non - compliant=nonconforming|non compliant=nonconforming|non - conformity=nonconformity|non - conformities=nonconformities
non - defective=nondefective|non defective=nondefective|defect - free=faultless|defect free=faultless|fault - free=faultless|error - free=faultless|flaw - free=faultless|blemish - free=faultless|free - of - defects=faultless|free of defect=faultless
as it should be=asitshould|as they should be=asitshould|as it should=asitshould|as they should=asitshould|as should be=asitshould|as expected=asitshould|as required=asitshould|as specified=asitshould|as intended=asitshould|as it ought to be=asitshould|as they ought to be=asitshould|as it must be=asitshould
that they should=asitshould|that it should=asitshould|where it belongs=asitshould|where they belong=asitshould|where it should be=asitshould|where they should be=asitshould|how it should be=asitshould|how they should be=asitshould|what it should be=asitshould|to be expected=asitshould|as on the reference=same as the reference
in its place=inplace|in their places=inplace|in their place=inplace|in place=inplace|in the right place=inplace|in the correct place=inplace|at its place=inplace|at their places=inplace|in its proper place=inplace|in the right position=inplace|in the correct position=inplace|in position=inplace|in their positions=inplace|in its position=inplace
all right=allright|alright=allright|by the way=|of course=|at least=atleast|as far as=|so far=|so that=sothat|as if=asif|as though=asif|even if=evenif|even though=although|even when=evenif|if so=ifso|if any=ifany|what if=if|only if=if|if and only if=if|in case=if|in the case that=if|in the event=if|provided that=if|provided=provided|on condition=if|on the condition=if|suppose=if|supposing=if|assuming=if|if i am not mistaken=|if my eyes=|if you ask me=
in short=brief|for short=brief|short of=lacking|on the spur of the moment=brief|in the open=outside|open question=question|an open question=question|open source=opensource|open air=outside|wide open eyes=eyes
both products=bothproducts|first of all=firstly|at first glance=atfirst|at first sight=atfirst|on first sight=atfirst|at first=atfirst|on first impression=atfirst|at a first glance=atfirst
in front of=before|on top of=upon|with respect to=regarding|in comparison with=comparedto|in comparison to=comparedto|compared with=comparedto|compared to=comparedto|comparing=comparing|relative to=comparedto|by comparison with=comparedto|in contrast to=unlike|in contrast with=unlike|contrary to=unlike|as compared to=comparedto|as compared with=comparedto|when compared to=comparedto|when compared with=comparedto|verglichen mit=comparedto|im vergleich zu=comparedto|im vergleich zum=comparedto|im gegensatz zu=unlike|im gegensatz zum=unlike|par rapport à=comparedto|comparado con=comparedto|en comparación con=comparedto|rispetto a=comparedto|rispetto al=comparedto
"""
_IDIOMS: dict[str, list[tuple[tuple[str, ...], tuple[str, ...]]]] = {}
for _entry in re.split(r"[|\n]", _IDIOMS_TEXT.strip()):
    _left, _, _right = _entry.partition("=")
    _IDIOMS.setdefault(_left.split()[0], []).append((tuple(_left.split()), tuple(_right.split())))
for _list in _IDIOMS.values():
    _list.sort(key=lambda e: -len(e[0]))


def tokens_of(plain: PlainText, start: int, end: int, places: Sequence[Place], defects: DefectFinder) -> list[Token]:
    """The words of plain text [start:end], contractions written out, idioms made one word, names of defects marked."""
    raw: list[Token] = []
    at = start
    for place in places:
        _split(plain, at, place.start, raw)
        raw.append(Token("LOC" if place.cells else "LINE", place.start, place.end, place))
        at = place.end
    _split(plain, at, end, raw)
    words = _idioms(raw)
    found = defects.west([t.text for t in words])
    out: list[Token] = []
    done = 0
    for mention in found:
        out.extend(words[done : mention.first])
        covered = words[mention.first : mention.last]
        name = mention.name
        out.append(Token("DEF" if name is not None else "UNK", covered[0].start, covered[-1].end, None, name))
        done = mention.last
    out.extend(words[done:])
    named: Token | None = None
    for index, token in enumerate(out):
        following = out[index + 1].text if index + 1 < len(out) else ""
        if token.text == "another" and named is not None and following in ("", "one", ",", "and", ";", ".", "at", "in"):
            out[index] = Token("DEF", token.start, token.end, None, named.defect)  # "8C has a short, 9C another"
        named = token if token.text == "DEF" else named
    return out


def _split(plain: PlainText, start: int, end: int, into: list[Token]) -> None:
    for m in _WORDS.finditer(plain.low, start, end):
        word, a, b = m.group(), m.start(), m.end()
        if "'" in word:
            head, _, tail = word.rpartition("'")
            if word in _NOT_FORMS:
                into.extend(Token(w, a, b) for w in _NOT_FORMS[word].split())
            elif tail == "t" and head.endswith("n"):
                into.extend((Token(head[:-1], a, b), Token("not", a, b)))
            elif tail in _ENDINGS:
                into.extend((Token(head, a, b), Token(_ENDINGS[tail], a, b)))
            elif tail == "s":
                into.append(Token(head, a, b))
                into.append(Token("is" if head in _S_IS else "'s", a, b))
            elif head in ("n", "d", "l", "c", "s", "qu", "j", "m", "t", "dell", "all", "nell", "un", "quell"):
                into.extend((Token(head, a, b), Token(tail, a, b)))  # French and Italian elision
            else:
                into.append(Token(word.replace("'", ""), a, b))
        elif word in "\"'":
            continue  # a quoted word is the same word
        elif word in _NOT_FORMS or word in _BARE:
            into.extend(Token(w, a, b) for w in (_NOT_FORMS.get(word) or _BARE[word]).split())
        else:
            into.append(Token(word, a, b))


def _idioms(raw: list[Token]) -> list[Token]:
    out: list[Token] = []
    i = 0
    while i < len(raw):
        for pattern, replacement in _IDIOMS.get(raw[i].text, ()):
            placed = (
                replacement == ("inplace",) and i + len(pattern) < len(raw) and raw[i + len(pattern)].place is not None
            )
            if not placed and len(pattern) <= len(raw) - i and all(raw[i + k].text == w for k, w in enumerate(pattern)):
                first, last = raw[i].start, raw[i + len(pattern) - 1].end
                out.extend(Token(w, first, last) for w in replacement)
                i += len(pattern)
                break
        else:
            out.append(raw[i])
            i += 1
    return out


# ---------------------------------------------------------------- clauses

_VERBS = frozenset(
    [
        "is",
        "are",
        "was",
        "were",
        "am",
        "has",
        "have",
        "had",
        "do",
        "does",
        "did",
        "can",
        "could",
        "will",
        "would",
        "shall",
        "should",
        "may",
        "might",
        "must",
        "be",
        "looks",
        "look",
        "looked",
        "appears",
        "appear",
        "appeared",
        "seems",
        "seem",
        "seemed",
        "shows",
        "show",
        "showed",
        "differs",
        "differ",
        "differed",
        "matches",
        "match",
        "matched",
        "contains",
        "contain",
        "lacks",
        "lack",
        "passes",
        "fails",
        "failed",
        "sits",
        "stands",
        "stand",
        "lies",
        "agrees",
        "agree",
        "corresponds",
        "see",
        "sees",
        "saw",
        "find",
        "finds",
        "found",
        "notice",
        "noticed",
        "observe",
        "observed",
        "think",
        "believe",
        "consider",
        "judge",
        "conclude",
        "declare",
        "call",
        "reject",
        "accept",
        "pass",
        "detect",
        "detected",
        "spot",
        "spotted",
        "saw",
        "discover",
        "discovered",
        "say",
        "emits",
        "emit",
        "remains",
        "remain",
        "exhibits",
        "exhibit",
        "deviates",
        "deviate",
        "meets",
        "meet",
        "belongs",
        "belong",
        "attracts",
        "lean",
        "tend",
        "ist",
        "sind",
        "war",
        "waren",
        "hat",
        "haben",
        "wird",
        "werden",
        "wurde",
        "wurden",
        "fehlt",
        "fehlen",
        "weist",
        "zeigt",
        "kann",
        "können",
        "entspricht",
        "est",
        "sont",
        "était",
        "ont",
        "été",
        "manque",
        "manquent",
        "peut",
        "présente",
        "es",
        "son",
        "está",
        "están",
        "fue",
        "fueron",
        "hay",
        "falta",
        "faltan",
        "tiene",
        "puede",
        "presenta",
        "è",
        "sono",
        "ha",
        "hanno",
        "manca",
        "mancano",
        "può",
        "é",
        "são",
        "foi",
        "foram",
        "tem",
        "há",
        "zijn",
        "heeft",
        "hebben",
        "werd",
        "kan",
        "ontbreekt",
        "är",
        "har",
        "finns",
        "var",
        "er",
    ]
)
_ALWAYS = frozenset(
    [
        "but",
        "while",
        "whereas",
        "although",
        "though",
        "however",
        "yet",
        "because",
        "if",
        "unless",
        "which",
        "where",
        "whose",
        "except",
        "evenif",
        "weil",
        "aber",
        "sondern",
        "jedoch",
        "während",
        "wenn",
        "obwohl",
        "mais",
        "tandis",
        "pero",
        "sino",
        "mientras",
        "aunque",
        "ma",
        "mentre",
        "però",
        "mas",
        "enquanto",
        "maar",
        "terwijl",
        "omdat",
        "men",
        "när",
        "otherwise",
        "asif",
        "sothat",
        "instead",
    ]
)
_WITH_VERB = frozenset(
    [
        "and",
        "so",
        "since",
        "as",
        "therefore",
        "hence",
        "thus",
        "when",
        "or",
        "und",
        "et",
        "y",
        "e",
        "en",
        "och",
        "denn",
        "da",
        "consequently",
        "then",
        "also",
    ]
)
_NEGATED_NOUN = frozenset(
    [
        "no",
        "nothing",
        "none",
        "nowhere",
        "single",
        "any",
        "without",
        "kein",
        "keine",
        "keinen",
        "keiner",
        "aucun",
        "aucune",
        "ningún",
        "ninguna",
        "nessun",
        "nessuna",
    ]
)
_HARD = frozenset({";", "->", "=>", "—", "--", "|", "...", ">>", ">>>", "<<", "<<<", "•", "_"})


def clauses_of(tokens: Sequence[Token]) -> list[Clause]:
    """Cuts the words of a sentence into clauses. A clause's `lead` says what came before it: "" , "," , ":" or a mark."""
    segments: list[tuple[str, list[Token]]] = [("", [])]
    for index, token in enumerate(tokens):
        text = token.text
        following = tokens[index + 1].text if index + 1 < len(tokens) else ""
        previous = tokens[index - 1] if index else None
        dash = (
            text == "-"
            and previous is not None
            and index + 1 < len(tokens)
            and (
                previous.end < token.start or tokens[index + 1].start > token.end or "LOC" in (previous.text, following)
            )
        )
        if text in _HARD or dash or text.startswith(("->", "=>", "==", ">>", "<<", "..")):
            segments.append(("-", []))
        elif text in ("(", ")", "[", "]", "{", "}"):
            segments.append((text, []))
        elif text in (":", "="):
            segments[-1][1].append(token)
            segments.append((":", []))
        elif text == ",":
            segments.append((",", []))
        elif text in _ALWAYS or text in _WITH_VERB:
            if segments[-1][1] or not segments[-1][0]:
                segments.append(("w", []))
            segments[-1][1].append(token)
        else:
            segments[-1][1].append(token)
    clauses: list[Clause] = []
    current: list[tuple[str, list[Token]]] = []
    lead = ""
    for mark, words in segments:
        if not words:
            if mark in _CUTS and current:
                clauses.append(_clause(current, lead))
                current, lead = [], mark
            elif not current and mark != "w":
                lead = mark
            continue
        if not current:
            lead = lead if mark == "w" and lead not in ("", "w") else mark
            current = [(mark, words)]
            continue
        first = words[0].text
        # "no cell in which the two differ" is one negated thought
        if first in ("which", "where", "whose") and any(t.text in _NEGATED_NOUN for t in current[-1][1][-5:]):
            current.append(("w", words))
            continue
        cut = mark in _CUTS or (mark == "," and words[-1].text in (":", "=") and first not in ("DEF", "UNK"))
        cut = cut or first in _ALWAYS
        begin = mark
        if not cut and _has_verb(words) and any(_has_verb(w) for _, w in current):
            cut = True
            begun = _subject_start(current, words)
            if begun:
                clauses.append(_clause(current[:begun], lead))
                lead = current[begun][0]
                current = [*current[begun:], (mark, words)]
                continue
        if cut:
            clauses.append(_clause(current, lead))
            current, lead = [(mark, words)], begin
        else:
            current.append((mark, words))
    if current:
        clauses.append(_clause(current, lead))
    return [c.seal() for c in clauses]


def _subject_start(current: Sequence[tuple[str, list[Token]]], words: Sequence[Token]) -> int:
    """Where in `current` the subject of a new clause begins whose verb is in `words`; 0 where it begins with `words`."""
    if words[0].text != "and" or len(current) < 2 or _has_verb(current[-1][1]):
        return 0
    # "..., and those at 6D and 7D are dirty": the first "and" already begins the new clause
    starts = [t.text for t in current[-1][1][:2]]
    if starts[0] == "and" and starts[1:] and starts[1] in _DETERMINERS:
        return len(current) - 1
    if not _PLURAL & {w.text for w in words}:
        return 0
    # "..., the cubes at 5D, 6D and 7D are fine": so does the comma before the first of several subjects
    begun = 0
    for k in range(len(current) - 1, 0, -1):
        mark, segment = current[k]
        if mark != "," or _has_verb(segment):
            break
        if segment[0].text in _DETERMINERS and (segment[0].text != "LOC" or (words[1:2] and words[1].text == "LOC")):
            begun = k
    return begun


_DETERMINERS = frozenset({"the", "those", "one", "ones", "a", "an", "LOC", "both", "these", "cubes", "parts"})
_PLURAL = frozenset({"are", "were", "have", "look", "show", "match", "agree", "differ", "seem", "appear"})
_CUTS = ("-", "(", ")", "[", "]", "{", "}", ":")


def _clause(segments: Sequence[tuple[str, list[Token]]], lead: str) -> Clause:
    tokens: list[Token] = []
    for mark, words in segments:
        if mark == "," and tokens:
            tokens.append(Token(",", words[0].start, words[0].start))
        tokens.extend(words)
    return Clause(tokens, lead)


def _has_verb(words: Sequence[Token]) -> bool:
    # After "I" comes a verb, whichever it is ("no, I made an error, the cube ...").
    return any(w.text in _VERBS for w in words) or (len(words) > 1 and words[0].text in ("i", "we"))
