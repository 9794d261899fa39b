"""How each clause is meant: about which of the two products, and whether it asserts anything.

Enters: sentences cut into clauses. Leaves: the same clauses with `side` ("ref", "test", "both" or "" for unsaid, which
means the product under test), `unreal` (why the clause asserts nothing: "question", "echo", "if", "maybe", "example", "generic") and
`withdrawn` (a first impression that the text itself takes back).
Cost: a sentence is judged by its own words and by what the sentence before left open; no wider memory.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from . import lexicon as lx
from .clauses import Clause, Sentence

_PRONOUN_START = re.compile(
    r"^ (?:(?:and|but|so|yet|also|then|thus|however|although|though|because|since|hence|therefore|, ) )*"
    r"(?:it|they|its|their|itself|he|es|sie|il|elle|lo|is|are|was|were|has|have|had|does|can|could|will|must|should|shows|passed|passes|fails|not|all of them|each of them|none of them|both of them) "
)
_RELATIVE_START = re.compile(r"^ (?:which|who|that|whose|where|the latter) ")
_COPULA_BEFORE = re.compile(
    r" (?:is|are|was|were|be|been|being|as|becomes|remains|represents|constitutes|call|consider|considered|called|declare|deem|deemed|regard as|name|'s|of|ist|est|es|é|è) (?:(?:clearly|indeed|thus|therefore|also|still|not|definitely|certainly|really|actually|judged|considered|one of|the|a|an|one|to be|no|of|kind of|already|it|this|that|them|the product|the lower product|the bottom product|the sample) )*$"
)
_CONTRAST = frozenset(
    {
        "but",
        "however",
        "yet",
        "though",
        "although",
        "mais",
        "aber",
        "sondern",
        "pero",
        "ma",
        "maar",
        "men",
        "whereas",
        "while",
        "-",
    }
)


def read(sentences: Sequence[Sentence]) -> None:
    """Fills in side, unreal and withdrawn of every western clause, in reading order."""
    section, opened_by_heading, section_paragraph = "", False, 0
    before = ""
    conditional = False
    for sentence in sentences:
        if sentence.eastern or not sentence.clauses:
            before = ""
            continue
        first = sentence.clauses[0]
        for clause in sentence.clauses:
            placed = any(" LOC " in c.line for c in sentence.clauses[: sentence.clauses.index(clause)])
            clause.sides = _sides(clause, placed)
        label = _labels_a_section(sentence)
        if sentence.heading or label:
            section, opened_by_heading = label or _own(first), sentence.heading
            section_paragraph = sentence.paragraph
        elif not (opened_by_heading or sentence.bullet) and sentence.paragraph > section_paragraph:
            section = ""
        current = before if _PRONOUN_START.match(first.line) else section
        for index, clause in enumerate(sentence.clauses):
            current = _inherited(clause, index, sentence.clauses, current)
            clause.side = current
            current = _subject_side(clause) or _last_side(clause) or current
        spoken = [n for c in sentence.clauses for _, n in c.sides if n != "cref"]
        before = "test" if "test" in spoken else current if current != "both" else ""
        conditional = _meaning(sentence, conditional)


def refers_back(clause: Clause) -> bool:
    """Whether the clause has no subject of its own ("it is tilted", "which is tilted", "and tilted")."""
    return (
        _PRONOUN_START.match(clause.line) is not None
        or _RELATIVE_START.match(clause.line) is not None
        or re.match(
            r"^ (?:(?:and|but|so|thus|hence|that is|in other words|i \. e|,) )*(?:it|they|that|this|there|DEF|i|we) ",
            clause.line,
        )
        is not None
        or re.match(r"^ (?:the|a|an) (?:\w+ ){1,2}there (?:is|are|was|has|looks|shows) ", clause.line) is not None
    )


def side_at(clause: Clause, position: int) -> str:
    """The product that a word at a position of the clause's line is said of."""
    side = clause.side
    for start, name in clause.sides:
        if start < position and name != "cref":
            side = name
    for start, name in clause.sides:
        # "passed in the top image, defective in the bottom image": the side may follow.
        if (
            name in ("ref", "test")
            and position <= start
            and re.match(r"^[^\s]+ (?:(?:in|on|for|at) (?:the )?)?$", clause.line[position + 1 : start + 1])
        ):
            side = name
    return side


def _sides(clause: Clause, placed: bool) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    for m in lx.REFERENCE.finditer(clause.line):
        words = m.group().split()
        if words[0] in (
            "passed",
            "accepted",
            "good",
            "approved",
            "released",
            "faultless",
            "flawless",
            "perfect",
            "nondefective",
        ) and (_COPULA_BEFORE.search(clause.line[: m.start() + 1])):
            continue
        if (
            words[-1] == "one"
            and not {"upper", "top", "reference"} & set(words)
            and re.search(r" (?:LOC|DEF|LINE|UNK) ", clause.line)
        ):
            continue
        comparing = lx.COMPARING.search(clause.line[: m.start() + 1]) is not None or (
            words[0] in ("to", "with", "than", "as", "from")
            and lx.COMPARING.search(f"{clause.line[: m.start()]} {words[0]} ") is not None
        )
        found.append((m.start(), "cref" if comparing else "ref"))
    for m in lx.TESTED.finditer(clause.line):
        if (
            m.group().split()[-1] == "one"
            and not {"lower", "bottom"} & set(m.group().split())
            and not found  # "green in the first image and yellow in the second one"
            and re.search(r" (?:LOC|DEF|LINE|UNK) ", clause.line)
        ):
            continue
        if not (lx.COMPARING.search(clause.line[: m.start() + 1]) and found):
            found.append((m.start(), "test"))
    # After "2D and 3D have changed places", "both" are the cells, not the products.
    found.extend(
        (m.start(), "both")
        for m in lx.BOTH.finditer(clause.line)
        if not (
            placed
            and (len(m.group().split()) == 2 or " of them " in m.group())
            and re.search(rf" {lx.IMAGE}$", m.group()) is None
        )
    )
    found.sort()
    names = [n for _, n in found]
    joined = any(
        {a[1], b[1]} == {"ref", "test"}
        and re.match(
            r"^(?: [^\s,]+){1,4} (?:and|or|&|/) (?:(?:in|on|for|at|of) )?(?:the )?$", clause.line[a[0] : b[0] + 1]
        )
        for a, b in itertools.pairwise(found)
    )
    if "both" in names or joined:
        return [(s, "both" if n != "cref" else n) for s, n in found]
    return found


def _own(clause: Clause) -> str:
    return next((n for _, n in clause.sides if n != "cref"), "")


def _subject_side(clause: Clause) -> str:
    """The side that "it" goes on with: "the lower product lacks the quality of the upper one; it ..." """
    start, name = clause.sides[0] if clause.sides else (99, "")
    return name if start <= 5 and name in ("ref", "test") else ""


def _last_side(clause: Clause) -> str:
    return next((n for _, n in reversed(clause.sides) if n != "cref"), "")


def _labels_a_section(sentence: Sentence) -> str:
    """ "Top image:" at the end of a line opens a section about the reference."""
    last = sentence.clauses[-1]
    if len(sentence.clauses) == 1 and last.line.endswith((" : ", " :")) and len(last.tokens) <= 8:
        return _own(last)
    return ""


def _inherited(clause: Clause, index: int, clauses: Sequence[Clause], current: str) -> str:
    if index == 0:
        return current
    previous = clauses[index - 1]
    if _RELATIVE_START.match(clause.line):
        return (previous.sides[-1][1].replace("cref", "ref") if previous.sides else "") or current
    if _PRONOUN_START.match(clause.line) or previous.line.endswith(" : ") or not _has_subject(clause):
        return current
    return ""


def _has_subject(clause: Clause) -> bool:
    return (
        re.match(
            r"^ (?:(?:and|but|so|yet|while|whereas|although|though|because|since|hence|therefore|thus|,) )*(?:the|this|that|these|those|there|every|each|all|no|a|an|any|i|we|das|die|der|le|la|el|il|lo|LOC|one|one's|my|our|nothing|none|everything) ",
            clause.line,
        )
        is not None
    )


def _meaning(sentence: Sentence, conditional_before: bool) -> bool:
    """Marks clauses that assert nothing. Returns whether the sentence was conditional ("otherwise" may follow)."""
    clauses = sentence.clauses
    whole = "".join(c.line for c in clauses)
    for previous, clause in itertools.pairwise(clauses):
        # "whether it is passed, or defective": the second half is as open as the first
        if clause.line.startswith(" or ") and re.search(r" whether ", previous.line):
            clause.unreal = "maybe"
    if "?" in sentence.end_mark:
        for clause in clauses:
            clause.unreal = "question"
        return False
    if lx.INSTRUCTION.search(clauses[0].line) or lx.INSTRUCTION.search(whole):
        for clause in clauses:
            clause.unreal = "echo"
            if clause.lead == ":" and clause is not clauses[0]:
                clause.unreal = "echo"
        return re.search(r" if ", whole) is not None
    conditional = False
    if clauses[0].line.startswith(" should ") or re.match(r"^ (?:were|had) (?:the|a|there|it|this) ", clauses[0].line):
        conditional = True
        for clause in clauses:
            clause.unreal = "if"
    for index, clause in enumerate(clauses):
        line = clause.line
        if lx.GENERIC.search(line) and not re.search(r" (?:LOC|LINE) ", line):
            clause.unreal = clause.unreal or "generic"
        if lx.OPEN_IF.search(line) and not lx.SHOWING_IF.search(line):
            conditional = True
            for k in _reach(clauses, index):
                clauses[k].unreal = clauses[k].unreal or "if"
        elif " otherwise " in line and (conditional or conditional_before):
            clause.unreal = "if"
        if re.search(r" (?:evenif|asif) ", line):
            clause.unreal = clause.unreal or "if"
        elif (
            (lx.MAYBE.search(line) or lx.MAY.search(line) or lx.EITHER_OR.search(line))
            and not lx.PERMITTED.search(line)
        ) or (lx.WOULD.search(line) and not lx.I_WOULD.search(line)):
            clause.unreal = clause.unreal or "maybe"
        if index and line.startswith(" should "):
            conditional = True
            for later in clauses[index:]:
                later.unreal = later.unreal or "if"
        if lx.EXAMPLE.search(line):
            for later in clauses[index:]:
                later.unreal = later.unreal or "example"
    withdrawing = False
    for clause in clauses:
        if (
            (withdrawing and clause.line.split()[0] in _CONTRAST)
            or clause.lead == "-"
            or lx.RETRACTS.search(clause.line)
            or re.match(r"^ (?:when|until) (?:i|we) (?:noticed|saw|found|spotted|discovered|looked) ", clause.line)
        ):
            withdrawing = False
        if lx.FIRST_THOUGHT.search(clause.line):
            withdrawing = True
        clause.withdrawn = withdrawing
    return conditional


def _reach(clauses: Sequence[Clause], index: int) -> list[int]:
    """The clauses that an "if" makes conditional: its neighbours up to a "but"."""
    reached = [index]
    for step in (-1, 1):
        k = index + step
        while 0 <= k < len(clauses):
            lead_word = clauses[max(k, k - step) if step < 0 else k].line.split()[0]
            if lead_word in ("but", "however", "yet", "although", "aber", "mais", "pero", "ma", "maar", "men"):
                break
            reached.append(k)
            k += step
    return reached
