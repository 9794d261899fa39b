"""What a text mentions: cells and names, clause by clause, and how each is meant.

Enters: clauses that know how they are meant. Leaves: Items, in reading order, with what each counts for: a mention counts
where its clause asserts it of the product under test. findings.py pairs them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from . import lexicon as lx
from .clauses import Clause, Sentence
from .reading import refers_back, side_at
from .verdict import PAST, _negations


@dataclass(slots=True, eq=False)
class Item:
    """A cell list or a name as mentioned.

    `status`: "on" asserted, "neutral" merely mentioned, "ref" said of the reference (may still be what "but the lower
    one has none" is about), "off" not asserted. `unclear`: an everyday word that may be no name after all.
    `flawed`: the clause itself says that the cells differ. `refers`: the clause has no subject of its own
    ("it is ..."). `brief`: the clause is hardly more than the name, as behind a label. `prose`: the cells are told about
    in a clause that neither calls them bad nor names a flaw, so that better evidence elsewhere outweighs them.
    """

    kind: Literal["cells", "name"]
    start: int
    end: int
    sentence: int
    clause: int
    status: str
    cells: tuple[str, ...] = ()
    name: str | None = None
    unclear: bool = False
    flawed: bool = False
    refers: bool = False
    brief: bool = False
    prose: bool = False
    names: list[Item] = field(default_factory=list)
    claimed: bool = False


@dataclass(slots=True)
class Mentions:
    """Everything mentioned, in reading order, and the cells that a later clause calls fine."""

    text: str
    items: list[Item] = field(default_factory=list)
    cleared: list[tuple[int, frozenset[str]]] = field(default_factory=list)
    bounds: dict[int, tuple[int, int]] = field(default_factory=dict)


_FINE = re.compile(rf" ({lx.FINE})(?= )")
_SAME_WORD = re.compile(rf" (?:{lx.SAME})(?= )")
_DIFFERS = re.compile(rf" ({lx.DIFFERS})(?= )")
_SHOULD = re.compile(
    r" (?:should|supposed to|expected to|ought to|must|needs to|normally|would have to|was to) (?:\w+ )?$"
)
_NOT_THIS = re.compile(
    r" (?:(?:not|insteadof|nor|neither|without)(?: (?:at|in|on|the|a|one|part|cube|of|for|cell|position))*|no) $"
)
_REPLACES = re.compile(
    r" (?:i mean|i meant|we mean|make that|correction|or rather|rather|scratch that|strike that|my mistake|take that back|take it back|sorry|wait , no|no wait|no , wait|misread|misspoke|mistyped|typo|wrong letter|wrong number|to be precise|that is wrong|that was wrong|corrected) "
)
# "8U is stained - no, rather because it is chipped": the new name takes the place of the last one.
_RENAMES = re.compile(
    r"^[ ,:-]*(?:(?:oh|ah|well|hmm|but|and|or) (?:, )?)?(?:no , (?!no )|no wait|wait|sorry|i mean |i meant |make that|correction|rather |scratch that|strike that|my mistake)"
)
# Cells that only say where another one lies.
_BESIDE = re.compile(
    r" (?:(?:in line|level|flush) with|next to|beside|adjacent to|(?:left|right) of|opposite|between|neighbou?r of|unlike|like|than) (?:(?:LOC|and|the|that|those|one|ones|its|in|at|on|of|hole|cube|part|cell|\w+s?) ){0,4}$"
)
_AGAINST = re.compile(
    r"^ (?:(?:and|but) )?(?:of|among|amongst|out of) (?:(?!LOC)\w+ ){0,5}$| (?:comparedto|unlike) (?:(?!LOC)\w+ ){0,4}$"
)
_HAS_THE_SAME = re.compile(r" (?:has|have|had|shows?) the same (?:one |ones )?(?:$|, )")
_DENIES = re.compile(r"^ (?:(?!LOC|LINE)\S+ ){0,6}(?:it|this|that) (?:is|was) not (?:an? |the )?DEF ")
_IN_BOTH = re.compile(
    r" in the (?:lower|bottom|second|upper|top|first) \w+ (?:just )?(?:as|and|like) in the (?:lower|bottom|second|upper|top|first) | (?:in|on) (?:both|each of the two|either|neither)(?: of the)?(?: two)? (?:images?|photos?|pictures?|panels?|products?|views?)(?= )"
)
_ALSO = re.compile(r" (?:too|also|as well|additionally|another|likewise) ")
_LOOKED = re.compile(
    r" (?:compared|compare|comparing|looked|look|looking|checked|check|checking|examined|examining|inspected|inspecting|went|go|goes|runs|ranges|extends|zoom|zoomed|stands for|stand for|means|denotes|refers to|designates|represents|see|count|counted|start|starting|verified|sharper|close-up) "
)
_VERB = re.compile(
    r" (?:is|are|was|were|has|have|had|shows?|contains?|appears?|looks?|seems?|holds?|carries|features?|displays?|sits|emits?|remains?|does|do) "
)
_MERE = re.compile(
    r" (?:only|just|merely|simply|nothing but|really|actually|probably)? ?(?:a |an |the |due to (?:the |a )?|caused by (?:the |a )?|from the )(?:\w+ )?(?:shadow|reflection|glare|artefact|artifact|highlight|lighting|light|compression|illusion|camera|fingerprint on the lens|exposure|watermark|jpeg) "
)
_CONTRAST_START = re.compile(
    r"^ (?:but|while|whereas|however|though|although|yet|aber|mais|pero|ma|maar|men|während|tandis|mientras|mentre) "
)
# "There is no cube at 5D": what should be there is not.
_LACKS = re.compile(
    rf" (?:(?:there (?:is|are|was|were)|has|have|had|with|contains?|holds?) (?:no|not a|not any)|(?:does|do|did) not (?:have|hold|contain|carry) an?) (?!{lx.FLAW_NOUN}|DEF|UNK|longer|other|sign|signs|trace|traces|change|changes|need|reason|doubt|visible|more|such|LOC)[^\W\d]+ "
)
_ELLIPSIS = re.compile(
    r" (?:show|shows|has|have) none (?:, |: )?$| (?:is|are|does|do|has|have|was|were) not (?:so )?(?:, |: )?$"
)


def add_mentions(sentences: Sequence[Sentence], out: Mentions) -> None:
    """Adds the items of western sentences with their status."""
    serial = 0
    previous_cells: list[Item] = []
    previous_names: list[Item] = []
    since_names = ""
    renamed: list[Item] = []  # cells of which a flaw was denied: "3D isn't stained. It's rotated."
    for number, sentence in enumerate(sentences):
        out.bounds[number] = (sentence.start, sentence.end)
        if sentence.eastern:
            continue
        before: Clause | None = None
        sofar = " "
        for clause in sentence.clauses:
            serial += 1
            index = sentence.clauses.index(clause)
            following = sentence.clauses[index + 1] if index + 1 < len(sentence.clauses) else None
            items = _items(clause, following, number, serial, sofar, out)
            if _ELLIPSIS.search(clause.line) and not any(i.kind == "name" for i in items):
                # "5U shows a stain, 6U shows none": the clause denies what the one before says
                differed = any(i.kind == "name" and i.status == "on" and i.clause == serial - 1 for i in out.items)
                for item in items:
                    if item.status != "off" or not differed:
                        item.status, item.flawed = ("off", False) if differed else ("on", True)
            if (
                before is not None
                and re.match(r"^ (?:and )?(?:so|as|likewise|also) (?:is|are|does|do|has|have) ", clause.line)
                and not any(i.kind == "name" for i in items)
                and any(i.kind == "cells" and i.status == "off" and i.clause == serial - 1 for i in out.items)
            ):
                for item in items:
                    item.status, item.flawed = "off", False  # "1U is fine, so is 2U"
            _except(clause, before, items, out.items, number)
            _contrast(clause, before, items, out.items, serial)
            sofar += clause.line
            if _replace(sofar, clause.line, items, previous_cells):
                sofar = " "
            doubted = index == 0 and number > 0 and "?" in sentences[number - 1].end_mark
            if not any(i.kind == "cells" for i in items) and _takes_back(clause, doubted):
                for item in previous_cells:
                    item.status = "off"
            cells = [i for i in items if i.kind == "cells"]
            names = [i for i in items if i.kind == "name"]
            since_names += clause.line
            if names and not cells and _RENAMES.match(since_names) and not _ALSO.search(since_names):
                for item in previous_names:
                    item.status = "off" if any(n.status == "on" for n in names) else item.status
            denied = (
                {n.name for n in names if n.status == "off"}
                if _DENIES.match(clause.line) and not clause.unreal
                else set()
            )
            taken_back: list[Item] = []
            for item in previous_names:
                if item.name in denied and item.status == "on":  # "Sorry, it isn't a stain, it's a chip"
                    item.status = "off"
                    taken_back = [c for c in previous_cells if c.sentence == item.sentence and c.status == "on"]
            for item in taken_back:
                item.status = "off"
            if names:
                previous_names, since_names = names, ""
            if names and not cells and refers_back(clause) and any(n.status == "on" for n in names):
                for item in renamed:
                    item.status, item.flawed = "on", True
            if taken_back:
                renamed = taken_back
            elif cells or any(n.status != "off" for n in names):
                denies = bool(names) and all(n.status == "off" for n in names) and not _fine(clause)
                denies = denies and not (clause.unreal or clause.withdrawn or clause.side in ("ref", "both"))
                renamed = [c for c in cells if c.status == "off"] if denies else []
            out.items.extend(items)
            previous_cells = cells or previous_cells
            before = clause


def _items(clause: Clause, following: Clause | None, number: int, serial: int, sofar: str, out: Mentions) -> list[Item]:
    line = clause.line
    items: list[Item] = []
    dead = clause.unreal != "" or clause.withdrawn or PAST.search(clause.line) is not None
    asserted = False
    refers = refers_back(clause)
    for token, at in zip(clause.tokens, clause.offsets, strict=True):
        if token.text in ("DEF", "UNK"):
            negated = _negations(line, at - 1, at + len(token.text))
            alive = not dead and negated is not None and negated % 2 == 0 and not _not_meant(line, at, following)
            alive = alive and not _IN_BOTH.search(line[at:])
            status = "on" if alive and side_at(clause, at - 1) not in ("ref", "both") else "off"
            if clause.unreal == "question":
                status = "asked"
            asserted = asserted or status == "on"
            items.append(
                Item(
                    "name",
                    token.start,
                    token.end,
                    number,
                    serial,
                    status,
                    name=token.defect,
                    refers=refers,
                    brief=len(clause.tokens) <= 4,
                )
            )
    general = "off" if dead else _predicate(clause, bool(items), asserted)
    if (
        general == "off"
        and _HAS_THE_SAME.search(line)
        and any(i.kind == "name" and i.status == "on" and i.sentence >= number - 1 for i in out.items)
    ):
        general = "on"  # "2D has a stain. 3D has the same."
    valued = not items and following is not None and following.lead in (":", "-", "(") and _bare(clause.line)
    if (
        valued
        and following is not None
        and not re.search(r" (?:DEF|UNK|LOC) ", following.line)
        and (_fine(following) or (any(n == "both" for _, n in following.sides) and not _speaks_ill(following)))
        and general == "on"
    ):
        general = "off"
    marked = {} if items or dead else _states(line)
    cells: set[str] = set()
    denied: set[str] = set()
    for token, at in zip(clause.tokens, clause.offsets, strict=True):
        if token.place is None or not token.place.cells:
            continue
        status = marked.get(at, general)
        status = "idle" if dead and clause.unreal in ("if", "maybe", "question") else status
        if status != "off" and side_at(clause, at - 1) == "ref" and not asserted:
            status = "ref"
        if _NOT_THIS.search(line[:at]) and not re.search(r" but ", line[:at]):
            status = "off"
            if not dead and not clause.line.startswith(" insteadof"):
                denied |= set(token.place.cells)
        beside = _BESIDE.search(line[:at]) and (" LOC " in line[: at - 1] or " LOC " in sofar)
        if beside or (_AGAINST.search(line[:at]) and " LOC " in line[at + 3 :]):
            status = "off"
        if re.match(r" LOC , no , (?:\w+ ){0,4}LOC ", line[at - 1 :]):
            status = "off"
        if status == "off" and not dead and clause.side != "ref":
            cells |= set(token.place.cells)
        flawed = status == "on" and (asserted or _speaks_ill(clause))
        items.append(
            Item(
                "cells",
                token.start,
                token.end,
                number,
                serial,
                status,
                cells=token.place.cells,
                flawed=flawed,
                prose=len(clause.tokens) > 4 and not _ALSO.search(line),
            )
        )
    if cells and (_fine(clause) or valued) and not asserted:
        out.cleared.append((clause.tokens[0].start, frozenset(cells)))
    if denied:
        out.cleared.append((clause.tokens[0].start, frozenset(denied)))
    items.sort(key=lambda i: i.start)
    return items


_STATE = re.compile(rf" (LOC|✓|✗|{lx.PASS_WORDS}|{lx.FAIL_WORDS})(?= )")


def _states(line: str) -> dict[int, str]:
    """Cells between words of judgement ("NG 2U NG 3U OK 4U", "1U ok 2U ng"): each by its own word."""
    found = [(m.start(1), m[1]) for m in _STATE.finditer(line)]
    states = [w for _, w in found if w != "LOC"]
    if len(states) < 1 + (states[:1] not in (["✓"], ["✗"])) or len(states) == len(found) or _VERB.search(line):
        return {}
    step = -1 if found[0][1] != "LOC" else 1
    out: dict[int, str] = {}
    for index, (at, word) in enumerate(found):
        if word == "LOC":
            k = index
            while 0 <= k < len(found) and found[k][1] == "LOC":
                k += step
            if 0 <= k < len(found):
                out[at] = "on" if re.fullmatch(f"✗|{lx.FAIL_WORDS}", found[k][1]) else "off"
    return out


def _bare(line: str) -> bool:
    return all(
        w
        in ("LOC", "LINE", ",", "and", "&", ":", "=", "position", "cell", "at", "in", "the", "on", "no", ".", "number")
        for w in line.split()
    )


def _not_meant(line: str, at: int, following: Clause | None) -> bool:
    """A name in the camera's or the table's description, or only looked for."""
    head, tail = line[:at], line[at + 3 :]
    if re.match(
        r" (?:of|in|by) the (?:camera|photo|photos|picture|pictures|image|images|view|viewpoint|shot|light|lamp|table|lens|photographer)(?! \w+ (?:is|was) DEF)",
        tail,
    ) and re.match(r" of", tail):
        return True
    if re.search(
        r"(?<! in the lower)(?<! in the bottom)(?<! in the second)(?<! in the upper)(?<! in the top)(?<! in this)(?<! in the)(?<! of the lower) (?:camera|photo|photos|picture|pictures|photograph|viewpoint|shot|light source|lens|tripod|lamp)(?: (?:is|was|has been|were|are|seems|slightly|a|bit|little|itself))+ $",
        head,
    ):
        return True
    if re.match(r" (?:tests?|checks?|inspections?|detection|resistance|prevention|removers?) ", tail):
        return True
    if re.match(r" (?:my|our) (?:attention|gaze|focus)", tail):
        return True
    if following is not None and re.search(
        r" there (?:is|are) (?:one|two|three|four|five|six|several|some|\d|a|an) ", following.line
    ):
        return False
    if re.match(
        r" (?:and|but|,) (?:i |we )?(?:found|discovered|noticed|saw|there is|detected) (?!none|no |nothing|not )", tail
    ):
        return False
    return (
        re.search(
            r" (?:look(?:ed|ing)? for|search(?:ed|ing)? for|check(?:ed|ing)? for|watch(?:ed|ing)? for|ask(?:ed)? (?:about|for)|prone to|resistant to|because of possible|test(?:ed|ing)? for|type of|kinds? of|against|most common complaint|definition of|called|risk of|prevent(?:s|ed|ing)?|avoid(?:s|ed|ing)?) (?:(?:\w+ ){0,2}|(?:\w+ ){0,3}(?:that|which) (?:is|are|was|were) )$",
            head,
        )
        is not None
        and re.search(
            r" (?:so - called|called|(?:is|are|was|be) called (?:an?|the)|(?<!the )(?:an?|some) (?:kind|type|sort) of) $",
            head,
        )
        is None
    )


_AS_PREDICATE = frozenset(
    [
        "right",
        "fine",
        "good",
        "clean",
        "straight",
        "present",
        "regular",
        "sound",
        "complete",
        "similar",
        "normal",
        "perfect",
        "proper",
        "correct",
        "unchanged",
        "pass",
        "passes",
        "match",
    ]
)
_AFTER_PREDICATE = re.compile(
    r"^(?: $| (?:,|\.|:|LOC|LINE|and|or|but|as|too|there|like|in|at|on|to|also|again|here|for|with|compared|comparedto|order|condition|place|places|position|positions|colou?r|size|shape|way|angle|orientation|one|ones|enough|everywhere|now|so|than|from|by|of|throughout|both|there|is|are|the|it|they|when|while|because|since|part|product|cube|state) )"
)


def _fine_words(line: str) -> list[re.Match[str]]:
    """The words that call something fine, without "to the right", "a fine line" or "there is"."""
    return [m for m in _FINE.finditer(line) if _is_predicate(line, m)]


def _is_predicate(line: str, m: re.Match[str]) -> bool:
    head, tail = line[: m.start() + 1], line[m.end(1) :]
    if m[1] == "there":
        return (
            re.search(r" (?:is|are|was) $", head) is not None
            and re.match(r" (?:,|$|too|as|and|but|now|also)", tail) is not None
        )
    if m[1] == "same" and re.match(rf" (?:\w+ )?(?:{lx.FLAW_NOUN}|DEF|UNK) ", tail):
        return False
    if m[1] not in _AS_PREDICATE:
        return True
    if m[1] == "right" and re.search(r" (?:to|on|at|from|towards|of) (?:the |its )?$", head):
        return re.match(r" (?:place|position|colou?r|angle|spot|way)", tail) is not None
    return _AFTER_PREDICATE.match(tail) is not None


def _fine(clause: Clause) -> bool:
    for m in _fine_words(clause.line):
        if _SHOULD.search(clause.line[: m.start() + 1]):
            continue
        negated = _negations(clause.line, m.start(1) - 1, m.end(1))
        if negated is not None and negated % 2 == 0:
            return True
    return False


def _predicate(clause: Clause, has_names: bool, asserted: bool) -> str:
    """What a clause says of its cells: "on" they differ, "off" they do not, "neutral" neither."""
    line = clause.line
    if asserted:
        same = _SAME_WORD.search(line)
        if (
            same is not None
            and (_negations(line, same.start(), same.end()) or 0) % 2 == 0
            and (any(n in ("cref", "ref", "both") for _, n in clause.sides))
        ):
            return "off"
        return "on"
    fine = unfine = False
    for m in _fine_words(line):
        if _SHOULD.search(line[: m.start() + 1]):
            continue
        negated = _negations(line, m.start(1) - 1, m.end(1))
        if negated is None:
            return "off"
        fine, unfine = fine or negated % 2 == 0, unfine or negated % 2 == 1
    if unfine:
        return "on"
    differs = False
    for m in _DIFFERS.finditer(line):
        negated = _negations(line, m.start(1) - 1, m.end(1))
        if negated is None:
            return "off"
        if negated % 2:
            fine = True
        else:
            differs = True
    if _IN_BOTH.search(line):
        return "off"  # "a bit darker in both images"
    if _LACKS.search(line):
        return "on"
    if differs and not (fine and _SAME_WORD.search(line)):
        return "on"
    if fine:
        return "off"
    if has_names:
        return "off"
    if clause.side == "both" or any(n == "both" for _, n in clause.sides):
        return "off"
    if _LOOKED.search(line) or _VERB.search(line):
        return "neutral"
    return "on"


def _speaks_ill(clause: Clause) -> bool:
    line = clause.line
    return (
        _LACKS.search(line) is not None
        or any((_negations(line, m.start(1) - 1, m.end(1)) or 0) % 2 == 0 for m in _DIFFERS.finditer(line))
        or any((_negations(line, m.start(1) - 1, m.end(1)) or 0) % 2 == 1 for m in _fine_words(line))
    )


def _except(clause: Clause, before: Clause | None, items: list[Item], earlier: list[Item], number: int) -> None:
    """Cells after "except" are what the rest of the sentence is not."""
    m = re.search(
        r" except (?:(?:the|for|at|in|of|one|ones|cubes?|parts?|cells?|position|positions|those|that) )*(?:(?!LOC|DEF|UNK)\w+ ){0,3}LOC ",
        clause.line,
    )
    if m is None or clause.unreal or clause.withdrawn:
        return
    names_on = any(i.kind == "name" and i.status == "on" for i in earlier if i.sentence == number)
    cells = [i for i in items if i.kind == "cells"]
    if names_on and any(i.kind == "cells" and i.status == "on" for i in earlier if i.sentence == number):
        left_out = {c for i in cells for c in i.cells}
        for item in earlier:
            if item.sentence == number and item.kind == "cells":
                item.cells = tuple(c for c in item.cells if c not in left_out)
        for item in cells:
            item.status = "off"
        return
    for item in cells:
        item.status, item.flawed = "on", True
    for item in earlier:
        if item.sentence == number and item.kind == "cells" and item.status == "neutral":
            item.status = "off"  # "from 1C to 9C every hook carries a key, except 4C"


def _contrast(clause: Clause, before: Clause | None, items: list[Item], earlier: list[Item], serial: int) -> None:
    """ "The top has a cube at 4C; the bottom has none": the cell of the reference's clause is where the two differ."""
    if before is None or clause.unreal or clause.withdrawn or any(i.kind == "cells" for i in items):
        return
    soft = [
        i
        for i in earlier
        if i.kind == "cells"
        and i.status in ("ref", "neutral", "off")
        and i.clause == serial - 1
        and not before.unreal
        and not before.withdrawn
    ]
    if re.match(r"^ (?:but|sondern|sino|instead|rather|it is|they are|it has|it was) ", clause.line) and any(
        i.kind == "name" and i.status == "on" for i in items
    ):
        for item in earlier:
            if item.kind == "cells" and item.clause == serial - 1 and item.status == "off" and not _fine(before):
                item.status, item.flawed = "on", True
    if not soft or (clause.side == "ref" and not any(n == "test" for _, n in clause.sides)):
        return
    speaks_of_test = clause.side == "test" or any(n == "test" for _, n in clause.sides)
    contrast = (
        _CONTRAST_START.match(clause.line) is not None or clause.lead == "-" or clause.lead == "," or before.sides
    )
    if not (contrast and (speaks_of_test or before.side == "ref" or any(n == "ref" for _, n in before.sides))):
        return
    if not (speaks_of_test or any(i.status == "on" for i in items)):
        return
    if _fine(clause) or any(_SAME_WORD.finditer(clause.line)) or _ALSO.search(clause.line):
        return
    for item in soft:
        item.status, item.flawed = "on", True


def _replace(sofar: str, line: str, items: list[Item], previous: list[Item]) -> bool:
    """ "The tile at 6U, sorry, I mean 6C": the new cells take the place of the last ones."""
    cells = [i for i in items if i.kind == "cells" and i.status in ("on", "neutral")]
    corrects = (
        _REPLACES.search(sofar) is not None
        or re.match(r"^ +no [,:] +(?:it|that|this|i|at|in) ", sofar) is not None
        or re.match(r"^ no , (?:it|that|this|LOC) ", line) is not None
    )
    if not cells or not corrects or _ALSO.search(sofar) or not previous:
        return False
    for item in previous:
        item.status = "replaced"
    for item in cells:
        item.status = "on"
    return True


def _takes_back(clause: Clause, doubted: bool) -> bool:
    """Whether the clause takes the last cells back; `doubted`: it follows a question ("... or is it? It is there.")."""
    if clause.unreal:
        return False
    line = clause.line
    pronoun = (
        re.match(
            r"^ (?:(?:but|and|however|actually|in fact|yet|so|no|wait|hmm|,|:) )*(?:\w+ \w+ , )?(?:it|this|that|they|these|those) ",
            line,
        )
        is not None
    )
    if _MERE.search(line) and pronoun:
        return True
    return (
        pronoun
        and (doubted or lx.RETRACTS.search(line) is not None)
        and _fine(clause)
        and not re.search(r" (?:others?|rest|remaining|else) ", line)
    )
