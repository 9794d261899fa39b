"""From mentions to findings: which name belongs to which cell.

Enters: mentions (mentions.py). Leaves: `Finding`s with the stretches of plain text they rest on.
Names and cells are paired sentence by sentence at the lowest cost (a name binds to the cells it stands next to, "stain
at 4D", "4D is stained", "4D (stain)"), and what is left over is paired with its neighbours ("Where: 6C. What: chip.").
Cost: pairing is by distance and connecting words, so two names and two cells in free word order may be exchanged.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.records import Finding

from .mentions import Item, Mentions


@dataclass(frozen=True, slots=True)
class Found:
    """A finding and the stretches (kind, start, end) of plain text that say it.

    `flawed`: the text says that something is wrong there; a mere "3C" is no flaw and proves no defect.
    """

    finding: Finding
    spans: tuple[tuple[Literal["location", "defect"], int, int], ...]
    flawed: bool = True


_TOO = re.compile(r"\W*(?:is|are|was|were|has|have|does|do)?\W*(?:too|as well|also|likewise)\W*(?:[.;]|$|\n)")
_IT = re.compile(r"\W*(?:it|they|these|those|the same (?:part|cube|cell))(?:'s)?\b")
_NO_ANSWER = re.compile(r"\W*(?:no|none|not|nothing|neither)\b")
_SAME_APPLIES = re.compile(
    r" (?:the same (?:goes|applies|holds|is true|problem|defect|fault|flaw|thing|is the case|can be said|happened)|so (?:is|are|was|were|does|do|did|has|have|had)|likewise|ditto|also affects?|(?:done|did|does) the same|(?:has|have|had|shows?) the same(?: one| ones)?(?! \w)|too|as (?:is|are|was|were|do|does|did|has|have|had)) "
)
_ORDINALS = (
    re.compile(r" (?:first|former|1st|one|erste|premier|primero)(?: one)? (?!of )"),
    re.compile(r" (?:second|2nd|other|zweite|deuxième|segundo)(?: one)? (?!of )"),
    re.compile(r" (?:third|3rd|dritte|troisième|tercero)(?: one)? "),
    re.compile(r" (?:fourth|4th|vierte)(?: one)? "),
)
_LATTER = re.compile(r" (?:latter|last)(?: one)? ")
_ZIP = re.compile(
    r"respectively|in that order|in this order|それぞれ|順に|jeweils|respectivement|respectivamente|rispettivamente|分别"
)


def pair(mentions: Mentions) -> list[Found]:
    """Pairs names with cells and gives the findings in reading order."""
    live = [i for i in mentions.items if i.status in ("on", "neutral", "replaced")]
    waiting_cells: list[Item] = []
    waiting_names: list[Item] = []
    last_names: list[Item] = []
    last_cells: list[Item] = []
    by_sentence: dict[int, list[Item]] = {}
    for item in sorted(live, key=lambda i: (i.sentence, i.start)):
        by_sentence.setdefault(item.sentence, []).append(item)
    last = -9
    last_only_cells = False
    # Cells of an open question or condition assert nothing, but "it is dirty" may be about them.
    idle: dict[int, list[Item]] = {}
    asked: dict[int, list[Item]] = {}
    for item in mentions.items:
        if item.status == "idle" and item.kind == "cells":
            idle.setdefault(item.sentence, []).append(item)
        if item.status == "asked" and item.kind == "name":
            asked.setdefault(item.sentence, []).append(item)
    for number, items in by_sentence.items():
        begin, stop = mentions.bounds[number]
        text = mentions.text[begin:stop]
        cells = [i for i in items if i.kind == "cells"]
        names = [i for i in items if i.kind == "name"]
        near = number - last <= 4
        if cells and names:
            _pair_sentence(items, text, mentions)
        elif names and near:
            if len(last_cells) > 1 and _by_ordinal(names, last_cells, text, begin):
                pass
            elif ready := _ready(waiting_cells, names):
                _join(ready, names, text)
            elif (
                number - last == 1
                and last_cells
                and (
                    (all(n.refers for n in names) and _IT.match(text.lower()))
                    or (
                        not any(n.name for c in last_cells for n in c.names)
                        and (
                            all(n.refers for n in names) or (len(last_cells) == 1 and any(c.names for c in last_cells))
                        )
                    )
                )
            ):
                _join(last_cells, names, text)  # "It leans. It's a rotation": the better name comes second
        if cells and not names and number - 1 in asked and not _NO_ANSWER.match(text.lower()):
            for cell in cells:
                cell.names.extend(asked[number - 1])  # "Is a ring tilted? Yes, the one at 5U"
                cell.status = "on"
        if names and not cells and number - 1 in idle and all(n.refers and not n.claimed for n in names):
            for item in idle[number - 1]:
                item.status = "on"
            live.extend(idle[number - 1])
            _join(idle[number - 1], names, text)
        elif cells and not names and near and (sure := [n for n in waiting_names if n.name is not None or n.brief]):
            _join(cells, sure, text)
        elif cells and not names and near and _SAME_APPLIES.search(" " + text.lower() + " ") and last_names:
            for cell in cells:
                cell.names.extend(last_names)
        if cells and names and near and waiting_names and any(not c.claimed and not c.names for c in cells):
            _join([c for c in cells if not c.names], [n for n in waiting_names if not n.claimed], text)
        if names:
            rest = [n for n in names if not n.claimed]
            waiting_names = rest
            last_names = names
        elif cells:
            waiting_names = [n for n in waiting_names if not n.claimed]
        if cells:
            listed = not names and number - last == 1 and last_only_cells
            waiting_cells = [*(waiting_cells if listed else []), *(c for c in cells if not c.names)]
            last_cells = cells
        elif names:
            waiting_cells = [c for c in waiting_cells if not c.names]
        last_only_cells = bool(cells) and not names
        last = number
    _inherit_replaced(live)
    return _collect(mentions, live)


def _ready(waiting: list[Item], names: list[Item]) -> list[Item]:
    """The waiting cells that a name of a later sentence may be about: the ones called bad, else the last ones told about."""
    ready = [c for c in waiting if c.status == "on" or len(c.cells) < 4 or names[0].refers]
    flawed = [c for c in ready if c.flawed]
    if flawed or not any(c.prose for c in ready):
        return flawed or ready
    return [c for c in ready if c.sentence == ready[-1].sentence]


def _by_ordinal(names: list[Item], cells: list[Item], text: str, begin: int) -> bool:
    """ "The first is missing, the second is rotated" after a list of cells; `text` begins at `begin` of the plain text."""
    flat = [(item, c) for item in cells for c in item.cells]
    if len(flat) != len(cells):
        return False
    done = False
    cursor = begin
    for name in names:
        words = " " + re.sub(r"\W+", " ", text[cursor - begin : name.start - begin].lower()) + " "
        cursor = name.end
        index = next((k for k, pattern in enumerate(_ORDINALS) if pattern.search(words) and k < len(cells)), None)
        if index is None and _LATTER.search(words):
            index = len(cells) - 1
        if index is not None:
            cells[index].names.append(name)
            name.claimed = done = True
    return done


def _join(cells: list[Item], names: list[Item], text: str) -> None:
    """Pairs leftover cells with leftover names: one with all, or one by one where the numbers are equal."""
    if not names or not cells:
        return
    flat = sum(len(c.cells) for c in cells)
    if len(names) == len(cells) > 1:
        for cell, name in zip(cells, names, strict=True):
            cell.names.append(name)
            name.claimed = True
    elif len(names) == 1 or len(cells) == 1 or flat == 1:
        for cell in cells:
            cell.names.extend(names)
        for name in names:
            name.claimed = True


def _pair_sentence(items: list[Item], text: str, mentions: Mentions) -> None:
    """Pairs within a sentence at the lowest total cost (dynamic programming over the runs of cells between names)."""
    cells = [i for i in items if i.kind == "cells"]
    names = [i for i in items if i.kind == "name"]
    base = mentions.text
    groups: list[list[Item]] = []  # names joined by "and" or commas share their cells
    for item in items:
        if item.kind == "name":
            if (
                groups
                and groups[-1][-1] is _previous(items, item)
                and _listed(base[groups[-1][-1].end : item.start])
                and item.clause == groups[-1][-1].clause
            ):
                groups[-1].append(item)
            else:
                groups.append([item])
    if len(groups) == 1 and len(cells) == len(names) > 1 and (_ZIP.search(text.lower()) or _two_labels(base, items)):
        _join(cells, names, text)
        return
    runs: list[list[Item]] = []
    cursor = 0
    for group in groups:
        run = [c for c in cells[cursor:] if c.start < group[0].start]
        runs.append(run)
        cursor += len(run)
    runs.append(cells[cursor:])
    best: dict[bool, tuple[float, list[tuple[int, int]]]] = {False: (0.0, [])}
    # runs[k] lies between groups[k-1] and groups[k]: its first t cells go left, its last u cells go right.
    for k, run in enumerate(runs):
        following: dict[bool, tuple[float, list[tuple[int, int]]]] = {}
        n = len(run)
        for had, (cost, picks) in best.items():
            for t in range(0, n + 1 if k else 1):
                for u in range(0, n - t + 1 if k < len(groups) else 1):
                    price = cost + 1.6 * (n - t - u)
                    if t:
                        price += _cost(base, groups[k - 1][-1], run[:t], forward=True) + (1.5 if had else 0.0)
                    elif k and not had:
                        price += 3.0 if any(n.name is not None for n in groups[k - 1]) else 0.5
                    if u:
                        price += _cost(base, groups[k][0], run[n - u :], forward=False)
                    key = u > 0
                    if key not in following or price < following[key][0]:
                        following[key] = (price, [*picks, (t, u)])
        best = following
    _, picks = min(best.values(), key=lambda b: b[0])
    for k, (t, u) in enumerate(picks):
        run = runs[k]
        for cell in run[:t]:
            _bind(cell, groups[k - 1])
        for cell in run[len(run) - u :] if u else []:
            _bind(cell, groups[k])
    inherited = False
    for cell in cells:
        # "1U is missing; ditto 1C and 1D"
        index = next(k for k, i in enumerate(items) if i is cell)
        after_cell = bool(index) and items[index - 1].kind == "cells"
        if inherited and after_cell and not cell.names and _listed(base[items[index - 1].end : cell.start]):
            cell.names = list(items[index - 1].names)
            continue
        inherited = False
        after = base[cell.end : items[index + 1].start if index + 1 < len(items) else cell.end + 24].lower()
        if (
            not cell.names
            and index
            and _TOO.match(after)
            and items[index - 1].kind == "name"
            and items[index - 1].status == "on"
        ):
            cell.names = [items[index - 1]]  # "3U is chipped and the part at 4U is, too"
            continue
        if (
            not cell.names
            and index
            and _SAME_APPLIES.search(" " + re.sub(r"\W+", " ", base[items[index - 1].end : cell.start].lower()) + " ")
        ):
            inherited = True
            earlier = [i for i in items[:index] if i.kind == "name" and i.claimed]
            cell.names = list(
                next((c.names for c in reversed(cells) if c.start < cell.start and c.names), earlier[-1:])
            )
    for group, before in zip(groups[1:], groups, strict=False):
        # "5C is tilted, that is, rotated": a name left over goes with the one before it.
        near = group[0].clause == before[-1].clause or group[0].refers
        if near and not any(n.claimed for n in group) and not group[0].unclear:
            for cell in cells:
                if any(n is before[0] for n in cell.names):
                    _bind(cell, group)
    if any(c.names for c in cells):
        for group in groups:
            for name in group:
                if name.unclear and not name.claimed:
                    name.status = "off"


def _bind(cell: Item, group: Sequence[Item]) -> None:
    cell.names.extend(group)
    for name in group:
        name.claimed = True


def _previous(items: Sequence[Item], item: Item) -> Item | None:
    index = next(k for k, i in enumerate(items) if i is item)
    return items[index - 1] if index else None


def _listed(between: str) -> bool:
    return (
        re.fullmatch(
            r"\W*(?:(?:and|or|und|et|y|e|also|even|position|cell|positions|cells|partly|slightly|it|is|both|a|an|with|plus|as well as|has|some)\W+){0,3}|[\W]*(?:や|と|および|かつ|、)\W*",
            between.lower(),
        )
        is not None
    )


def _two_labels(base: str, items: Sequence[Item]) -> bool:
    """ "Location: 3C, 5U, Defect: missing, chipped": all cells, then all names, with a label between."""
    kinds = [i.kind for i in items]
    turn = kinds.index("name") if kinds[0] == "cells" else kinds.index("cells")
    if turn == 0 or len(set(kinds[:turn])) != 1 or len(set(kinds[turn:])) != 1:
        return False
    return (
        re.search(
            r"[A-Za-z\u3040-\u9fff]{2,}\W{0,2}(?:[:=]|\bis\b|\bare\b|は)\W*$",
            base[items[turn - 1].end : items[turn].start],
        )
        is not None
    )


def _cost(base: str, name: Item, run: Sequence[Item], forward: bool) -> float:
    """The price of binding a name to the cells before it (forward False) or after it (forward True)."""
    near = run[0] if forward else run[-1]
    between = (base[name.end : near.start] if forward else base[near.end : name.start]).lower()
    clauses = abs(name.clause - near.clause)
    price = 0.0
    if forward:
        if re.fullmatch(r"[^\w]{0,4}", between):
            price += 0.3 if "," not in between and ";" not in between and ")" not in between else 1.0
        elif re.search(
            r"\b(?:at|in|on|of|near|position|positions|cells?|location|locations|for|namely|bei|an|en|em|a|op|in)\W{0,3}(?:the )?(?:\w+ )?\W{0,3}$",
            between,
        ):
            price += 0.5 + 0.04 * len(between.split())
        else:
            price += 0.9 + 0.04 * len(between.split())
        price += 0.7 * len(re.findall(r",|\band\b|\bwhile\b|;|、", between)) + 0.45 * max(0, clauses)
        if re.search(r"\bis\b|\bare\b", between) and not re.search(
            r"(?:location|position|place|cell|cells|where|which|it|they) (?:is|are)\W", between
        ):
            price += 0.6
    else:
        price += 0.35 + 0.02 * len(between.split())
        if re.fullmatch(
            r"\W{0,4}(?:(?:is|are|was|were|has|have|has been|got|looks|appears|seems)\b.{0,30})?", between
        ) or re.fullmatch(r"(?:の[^、。]{0,14})?[がはにもで]?", between):
            price -= 0.1
        price += (
            0.6 * len(re.findall(r"(?:\band\b|;)(?=.*\b(?:a|an|the|there)\b)", between))
            + 0.3 * len(re.findall(r",|、", between))
            + 0.3 * clauses
        )
        if re.search(r"\band (?:a|an|there|some|two|one)\b", between):
            price += 0.8
        singular = re.match(r"[^,;]*?\b(is|has|was|shows|looks)\b", between) is not None
        plural = re.match(r"[^,;]*?\b(are|have|were|show|look)\b", between) is not None
        if singular and len(run) > 1:
            price += 0.4
        if plural and len(run) == 1 and len(near.cells) == 1:
            price += 0.2
    for first, second in itertools.pairwise(run):
        gap = base[first.end : second.start].lower()
        price += 0.0 if len(gap.split()) <= 6 and not re.search(r"[;.]", gap) else 0.7
        price += 0.5 * abs(first.clause - second.clause)
    return price


def _inherit_replaced(live: Sequence[Item]) -> None:
    pending: list[Item] = []
    for item in sorted((i for i in live if i.kind == "cells"), key=lambda i: i.start):
        if item.status == "replaced":
            pending = item.names or pending
        elif pending and not item.names:
            item.names = list(pending)
            pending = []
        else:
            pending = []


def _collect(mentions: Mentions, live: Sequence[Item]) -> list[Found]:
    cells = [i for i in live if i.kind == "cells" and i.status in ("on", "neutral")]
    firm = [i for i in cells if i.status == "on" or any(n.name is not None or n.status == "on" for n in i.names)]
    if any(i.names or i.flawed for i in firm):
        firm = [i for i in firm if i.names or i.flawed or not i.prose]
    chosen = firm or cells
    out: list[Found] = []
    seen: set[tuple[str | None, str | None]] = set()
    for item in chosen:
        for cell in item.cells:
            if any(at > item.start and cell in fine for at, fine in mentions.cleared):
                continue
            known: list[Item | None] = [n for n in item.names if n.name is not None]
            for name in known or [None]:
                key = (cell, name.name if name else None)
                if key in seen:
                    continue
                seen.add(key)
                spans: list[tuple[Literal["location", "defect"], int, int]] = [("location", item.start, item.end)]
                if name is not None:
                    spans.append(("defect", name.start, name.end))
                flawed = item.flawed or bool(item.names)
                out.append(Found(Finding(cell, key[1]), tuple(spans), flawed))
    named = {f.finding.location for f in out if f.finding.defect is not None}
    out = [f for f in out if f.finding.defect is not None or f.finding.location not in named]
    located = {f.finding.defect for f in out}
    for item in live:
        if (
            item.kind == "name"
            and item.status == "on"
            and item.name is not None
            and not item.claimed
            and item.name not in located
        ):
            if (None, item.name) in seen:
                continue
            seen.add((None, item.name))
            out.append(Found(Finding(None, item.name), (("defect", item.start, item.end),)))
    return out
