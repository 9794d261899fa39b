"""The engine: an answer's text to a `ParsedAnswer`.

Enters: any text. Leaves: verdict, findings and the stretches of the text that decided them; "no answer" is a value.
The order of work: normalise -> locations -> structured parts -> sentences, clauses, how they are meant -> statements
-> verdict -> findings -> evidence.
Cost: rules, not a model: the same text is always read the same way and every reading can be explained, but a phrasing
that no rule foresees gives "no decision", never a guess.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from harness.records import Evidence, Finding, Grid, ParsedAnswer, Vocabulary

from .clauses import clauses_of, sentences, tokens_of
from .defects import DefectFinder, words_of
from .eastern import add_eastern
from .findings import Found, pair
from .locations import finder_for, places_between
from .mentions import Mentions, add_mentions
from .normalise import PlainText, normalise
from .reading import read
from .structured import read_structured
from .verdict import decide, hear
from .vocabulary import generic_vocabulary

PARSER_VERSION = 2

_STEMS = (
    "passed",
    "passes",
    "pass ",
    "defective",
    "fail",
    "reject",
    "accept",
    "faulty",
    " ng",
    "ok",
    "scrap",
    "conform",
    "no difference",
    "no defect",
    "no fault",
    "fault",
    "flaw",
    "differ",
    "identical",
    "nothing",
    "verdict",
    "final",
    "correction",
    "wait",
    "wrong",
    "mistake",
    "cannot",
    "can't",
    "unable",
    "合格",
    "良品",
    "不良",
    "欠陥",
    "異常",
    "違い",
    "判定",
    "訂正",
    "问题",
    "缺陷",
    "합격",
    "불량",
    "bestanden",
    "fehler",
    "in ordnung",
    "conforme",
    "défect",
    "defectuos",
    "difettos",
    "aprobado",
    "approvato",
    "aprovado",
    "goedgekeurd",
    "afgekeurd",
)


class AnswerParser:
    """Reads answers for one vocabulary and grid; compile once, use for any number of texts.

    Args:
        vocabulary: canonical defect names and aliases.
        grid: the coordinates at the panels.
    """

    def __init__(self, vocabulary: Vocabulary, grid: Grid) -> None:
        self.vocabulary = vocabulary
        self.grid = grid
        self._defects = DefectFinder(vocabulary, generic_vocabulary())
        names = [n for name, aliases in vocabulary.defects.items() for n in (name, *aliases)]
        self._stems = (*_STEMS, *words_of(names))

    def parse(self, text: str) -> ParsedAnswer:
        """What a text says. Never raises on a text; linear in its length."""
        plain = normalise(text, self._stems)
        blank = not any(c.isalnum() for c in plain.text)
        if blank and not any(c in "✓✗○×" for c in plain.text):
            return ParsedAnswer(None, "empty", (), (), PARSER_VERSION)
        places = finder_for(self.grid).find(plain)
        hearing = hear([])
        structured = read_structured(plain, places, self.grid, self._defects, hearing)
        parts = sentences(plain, places, structured.masked)
        for part in parts:
            if part.eastern:
                continue
            inside = places_between(places, part.start, part.end)
            part.clauses = clauses_of(tokens_of(plain, part.start, part.end, inside, self._defects))
        read(parts)
        western = hear(parts)
        hearing.statements += western.statements
        hearing.retractions += western.retractions
        hearing.undecided, hearing.refused = western.undecided, western.refused
        hearing.echoed, hearing.hedged = western.echoed, western.hedged
        mentions = Mentions(plain.low)
        add_mentions(parts, mentions)
        add_eastern(parts, plain, places, self._defects, hearing, mentions)
        found = _merge(structured.found, pair(mentions))
        located = any(f.finding.location is not None and f.flawed for f in found)
        decision = decide(hearing, any(f.flawed for f in found), located, blank)
        if decision.verdict != "defective":
            found = []
        spans = [("verdict", s.start, s.end) for s in decision.deciders] + [s for f in found for s in f.spans]
        return ParsedAnswer(
            decision.verdict,
            decision.reason,
            tuple(f.finding for f in found),
            _evidence(text, plain, spans),
            PARSER_VERSION,
        )


def _merge(first: list[Found], second: list[Found]) -> list[Found]:
    """Findings of both readers in reading order, each once, without the ones that a fuller finding covers."""
    out: dict[Finding, Found] = {}
    for found in sorted([*first, *second], key=lambda f: f.spans[0][1] if f.spans else 0):
        out.setdefault(found.finding, found)
    named = {f.location for f in out if f.defect is not None}
    located = {f.defect for f in out if f.location is not None}
    return [
        found
        for finding, found in out.items()
        if not (finding.defect is None and finding.location in named)
        and not (finding.location is None and finding.defect in located)
    ]


def _evidence(text: str, plain: PlainText, spans: list[tuple[Any, int, int]]) -> tuple[Evidence, ...]:
    out: dict[Evidence, None] = {}
    for kind, start, end in spans:
        a, b = plain.span(start, min(end, len(plain.text)))
        out[Evidence(kind, a, b, text[a:b])] = None
    return tuple(out)


@lru_cache(maxsize=32)
def _parser(key: tuple[tuple[str, tuple[str, ...]], ...], grid: Grid) -> AnswerParser:
    return AnswerParser(Vocabulary(dict(key)), grid)


def parser_for(vocabulary: Vocabulary, grid: Grid) -> AnswerParser:
    """The compiled parser of a vocabulary and grid, from a cache."""
    return _parser(tuple((name, tuple(aliases)) for name, aliases in vocabulary.defects.items()), grid)


def parse_answer(text: str, vocabulary: Vocabulary, grid: Grid = Grid()) -> ParsedAnswer:  # noqa: B008
    """Reads an answer.

    Args:
        text: what a model said, or a reference answer; any length, any language.
        vocabulary: canonical defect names and their aliases.
        grid: the labels of columns and rows.

    Returns:
        Verdict (None with a reason where no decision can be read), findings (empty unless defective), and the
        stretches of `text` that decided them.
    """
    return parser_for(vocabulary, grid).parse(text)


def parse_to_json(text: str, vocabulary: Vocabulary, grid: Grid = Grid()) -> dict[str, Any]:  # noqa: B008
    """`parse_answer` as plain data: {"verdict", "reason", "findings": [{"location", "defect"}], "evidence": [...]}."""
    parsed = parse_answer(text, vocabulary, grid)
    return {
        "verdict": parsed.verdict,
        "reason": parsed.reason,
        "findings": [{"location": f.location, "defect": f.defect} for f in parsed.findings],
        "evidence": [{"kind": e.kind, "start": e.start, "end": e.end, "text": e.text} for e in parsed.evidence],
    }
