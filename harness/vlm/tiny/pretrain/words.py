"""Free-form talk about two-panel scenes: the questions and answers of the pretraining.

Enters: what is true of one scene. Leaves: a question and an answer. Four manners: what differs (short questions), what
stands in one cell, whether one cell is the same, and what the picture shows (long instructions of many wordings). A
place is named in many ways ("at 5U", "in the fifth column of the upper row"). The records' manner of answering, their
verdict words and their defect names never occur: that is what fine-tuning teaches.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from harness.vlm.tiny.pretrain.scenes import CELLS, COLORS, COLUMNS, KINDS, SHAPES

_ROWS = (("upper", "U", "first", "top"), ("middle", "C", "second", "central"), ("lower", "D", "third", "last"))
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth")
_COLORS = tuple(COLORS)

DIFFERENCE_QUESTIONS = (
    "What differs?", "Spot the difference.", "What has changed below?", "Which change do you see?", "Tell the change.",
    "What is new in the lower panel?", "Where do the panels differ?", "Name each change and its place.",
    "Look for changes.", "What is not as above?",
)  # fmt: skip
PLACE_QUESTIONS = ("Where are the changes?", "Which cells changed?", "List the changed cells.", "Where?")
COUNT_QUESTIONS = ("How many changes are there?", "Count the changes.")
SAME = (
    "Nothing differs.", "Both panels show the same.", "The two panels are alike.", "I see no change.",
    "Nothing has changed.", "The lower panel shows just what the upper one shows.",
)  # fmt: skip

_LOOK = (
    "Describe the picture.", "What do you see?", "Say what the picture shows.", "Tell me about this image.",
    "Please describe both photos in a few words.", "What does the scene contain?", "Give a short caption.",
)  # fmt: skip
PREAMBLES = (
    "Here is an image with two photos in it.", "The referenced picture has two parts, one above the other.",
    "You are given a photo of parts on a tray.", "The image has letters and digits at its edges to find a position.",
    "You should look at each position one by one.", "The columns are numbered 1 to 9 horizontally.",
    "The rows are called U, C, D vertically.", "The top image is the first photo and the bottom image is the second.",
    "Compare the light of the two images.", "You should evaluate what kind of scene it is.",
    "If you find objects in the image, explain their color and shape.", "The parts lie in rows.",
    "Take your time and look at the condition of the photo.", "Both photos were taken by a camera.",
    "Inside the image you find objects or lines.", "The product may be a board or a tray.",
)  # fmt: skip

_TALK: dict[str, tuple[str, ...]] = {
    "gone": (
        "the lower panel lacks the {old} {at}", "{at} the {old} is gone", "the {old} {at} is not there below",
        "there is no {old} {at} any more", "an empty place is left {at}, where the {old} was",
    ),
    "extra": (
        "a {new} has come {at}", "{at} a {new} was added", "the lower panel has a {new} {at}, the upper one has none",
    ),
    "recolored": (
        "the {shape} {at} is {newcolor}, not {oldcolor}", "{at} the {shape} has another color: {newcolor}",
        "the {oldcolor} {shape} {at} has turned {newcolor}", "the color of the {shape} {at} has changed to {newcolor}",
    ),
    "turned": (
        "the {old} {at} is turned", "{at} the {old} stands at another angle", "the {old} {at} has been twisted",
    ),
    "moved": (
        "the {old} {at} is off its place", "{at} the {old} has moved", "the {old} {at} has been pushed aside",
    ),
    "resized": ("the {old} {at} has another size", "{at} the {old} has grown or shrunk"),
    "reshaped": ("the {old} {at} is now a {newshape}", "{at} a {newshape} stands instead of the {shape}"),
    "notched": (
        "a piece of the {old} {at} is broken off", "{at} the {old} has lost a piece", "the {old} {at} has a notch",
    ),
    "spotted": (
        "the {old} {at} has a spot", "{at} a blot lies on the {old}", "there is a dirty mark on the {old} {at}",
    ),
    "gap": ("the line {at} is cut through", "{at} a gap parts the line", "a piece of the line {at} is gone"),
    "bridge": ("two lines touch {at}", "{at} a bridge joins two lines", "the space between the lines is filled {at}"),
    "bite": ("a bite is taken out of the edge {at}", "{at} the edge has a dent", "the line {at} is eaten at its edge"),
    "bump": ("a bump grows from the edge {at}", "{at} the edge has a thorn", "the line {at} has a bulge"),
    "island": ("a loose blob lies {at}", "{at} there is a blob that was not there", "an island has come {at}"),
    "hole": (
        "there is a little hole {at}", "{at} a dot is missing inside the solid part", "the solid part {at} is pierced",
    ),
    "disturbed": (
        "the pattern is disturbed {at}", "{at} the pattern is another", "a patch of the pattern {at} has changed",
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Told:
    """What is true of one scene: numbers as in Scenes, lists of 27 cells, two panels where there are two."""

    family: int
    kind: Sequence[int]
    shape: tuple[Sequence[int], Sequence[int]]
    color: tuple[Sequence[int], Sequence[int]]
    light: tuple[float, float]


def talk(told: Told, dice: random.Random) -> tuple[str, str]:
    """A question about the scene and its answer."""
    manner = dice.random()
    if manner < 0.56:
        return _difference(told, dice)
    if manner < 0.72:
        return _same_cell(told, dice)
    if manner < 0.82 and told.family == 0:
        return _cell(told, dice)
    return instruction(dice), describe(told, dice)


def cell_name(cell: int) -> str:
    """As in 5U."""
    return f"{cell % COLUMNS + 1}{_ROWS[cell // COLUMNS][1]}"


def place(cell: int, dice: random.Random) -> str:
    """One of many ways to name a cell."""
    row, column = _ROWS[cell // COLUMNS], cell % COLUMNS
    digit = str(column + 1)
    way = dice.random()
    if way < 0.45:
        return dice.choice(("at", "in", "in cell", "at position", "at")) + f" {digit}{row[1]}"
    if way < 0.6:
        return f"in column {digit} of row {row[1]}"
    if way < 0.75:
        return f"in column {digit} of the {dice.choice((row[0], row[2], row[3]))} row"
    if way < 0.9:
        return f"in the {_ORDINALS[column]} column of the {dice.choice((row[0], row[2]))} row"
    return f"in row {row[1]}, column {digit},"


def instruction(dice: random.Random) -> str:
    """A long instruction: some sentences in any order, and a request to describe."""
    sentences = dice.sample(PREAMBLES, dice.randrange(0, 6))
    sentences.insert(dice.randrange(len(sentences) + 1) if dice.random() < 0.3 else len(sentences), dice.choice(_LOOK))
    return " ".join(sentences)


def describe(told: Told, dice: random.Random) -> str:
    """What the picture shows, and how the light of the two photos compares. Not what has changed."""
    sentences = [dice.choice(("Two panels.", "Two photos, one above the other.", "The picture has two panels."))]
    if told.family == 1:
        sentences.append(dice.choice(("They show lines and pads.", "Both show a drawing of lines in two tones.")))
    elif told.family == 2:
        sentences.append(dice.choice(("They show a pattern.", "Both are filled with a pattern without objects.")))
    else:
        for number, row in enumerate(_ROWS):
            cells = range(number * COLUMNS, (number + 1) * COLUMNS)
            seen = [_noun(told, 0, cell) for cell in cells if told.shape[0][cell] >= 0]
            kinds = sorted(set(seen), key=lambda noun: (-seen.count(noun), noun))[:2]
            holds = " and ".join(_plural(kind) for kind in kinds) if kinds else "nothing"
            sentences.append(f"The {row[0]} row holds {holds}.")
    ratio = told.light[1] / told.light[0]
    if ratio > 1.08:
        sentences.append(dice.choice(("The lower photo is brighter.", "The light is brighter below.")))
    elif ratio < 0.92:
        sentences.append(dice.choice(("The lower photo is darker.", "The light is darker below.")))
    else:
        sentences.append(dice.choice(("The light is about equal.", "Both photos are equally bright.")))
    return " ".join(sentences)


def _difference(told: Told, dice: random.Random) -> tuple[str, str]:
    changed = [cell for cell in range(CELLS) if told.kind[cell] > 0]
    manner = dice.random()
    if manner < 0.1:
        number = ("No change.", "One change.", "Two changes.", "Three changes.")[min(len(changed), 3)]
        return dice.choice(COUNT_QUESTIONS), number
    if manner < 0.35:
        names = [cell_name(cell) for cell in changed]
        answer = dice.choice(("Nowhere.", "No cell.")) if not names else " and ".join(names) + "."
        return dice.choice(PLACE_QUESTIONS), answer
    question = dice.choice(DIFFERENCE_QUESTIONS)
    if not changed:
        return question, dice.choice(SAME)
    said = [_change(told, cell, dice) for cell in changed]
    text = "; ".join(said) if dice.random() < 0.5 else ", and ".join(said)
    if dice.random() < 0.3:
        text = f"{('one', 'two', 'three')[min(len(said), 3) - 1]} change{'s' * (len(said) > 1)}: {text}"
    return question, text[0].upper() + text[1:] + "."


def _change(told: Told, cell: int, dice: random.Random) -> str:
    template = dice.choice(_TALK[KINDS[told.kind[cell]]])
    old, new = (_noun(told, panel, cell) for panel in (0, 1))
    shapes = [SHAPES[max(told.shape[panel][cell], 0)] for panel in (0, 1)]
    colors = [_COLORS[max(told.color[panel][cell], 0)] for panel in (0, 1)]
    return template.format(
        at=place(cell, dice), old=old, new=new, shape=shapes[0], newshape=shapes[1],
        oldcolor=colors[0], newcolor=colors[1],
    ).replace(",,", ",")  # fmt: skip


def _same_cell(told: Told, dice: random.Random) -> tuple[str, str]:
    """Is one cell as above? Half of the questions are put to a changed cell where there is one."""
    changed = [cell for cell in range(CELLS) if told.kind[cell] > 0]
    cell = dice.choice(changed) if changed and dice.random() < 0.6 else dice.randrange(CELLS)
    where = place(cell, dice).rstrip(",")
    question = dice.choice(
        (f"Is it the same {where}?", f"Has anything changed {where}?", f"Look {where}. What changed?")
    )
    if told.kind[cell] == 0:
        same = f"nothing has changed {where}" if dice.random() < 0.5 else f"it is the same {where}"
        return question, same[0].upper() + same[1:] + "."
    text = _change(told, cell, dice)
    return question, text[0].upper() + text[1:] + "."


def _cell(told: Told, dice: random.Random) -> tuple[str, str]:
    panel, cell = dice.randrange(2), dice.randrange(CELLS)
    where = place(cell, dice).rstrip(",")
    name = ("upper", "lower")[panel]
    question = dice.choice((f"What is {where} of the {name} panel?", f"Name the object {where}, {name} panel."))
    return question, f"A {_noun(told, panel, cell)}." if told.shape[panel][cell] >= 0 else "Nothing."


def _noun(told: Told, panel: int, cell: int) -> str:
    if told.shape[panel][cell] < 0:
        return "nothing"
    return f"{_COLORS[told.color[panel][cell]]} {SHAPES[told.shape[panel][cell]]}"


def _plural(noun: str) -> str:
    return noun + ("es" if noun.endswith("s") else "s")
