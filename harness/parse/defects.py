"""What: the defect names of a vocabulary, in every inflection and spelling, told from ordinary use of the same words.

Enters: the words of a sentence and a `Vocabulary`. Leaves: `Mention`s with their canonical name; names of the generic list
that are not in the vocabulary come with the name None ("scratch at 4C" says that 4C differs, but not by a known name).
Cost: inflection is by rule (no dictionary), so an alias is also found in forms that no speaker would use; words with an
everyday meaning (open, short, copper, chip, spur, offset ...) only count where the sentence uses them as a defect's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from harness.records import Vocabulary

_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uff66-\uff9f]")
_WORD = re.compile(r"[^\W_]+")
# Words with an everyday meaning beside the defect's.
AMBIGUOUS = frozenset(
    [
        "open",
        "opens",
        "opened",
        "opening",
        "short",
        "shorts",
        "copper",
        "coppers",
        "chip",
        "chips",
        "spur",
        "spurs",
        "offset",
        "offsets",
        "shift",
        "shifts",
        "bubble",
        "bubbles",
        "void",
        "voids",
        "crack",
        "cracks",
        "bent",
        "loose",
        "extra",
        "wrong",
        "lift",
        "lifted",
        "foreign",
        "reversed",
        "color",
        "burr",
        "gap",
        "hole",
        "holes",
        "split",
        "cut",
        "dust",
        "line",
        "lines",
        "broken",
        "spot",
        "spots",
        "mark",
        "marks",
        "swap",
        "swapped",
        "excess",
        "bridge",
        "bridges",
        "fold",
        "folded",
        "rough",
    ]
)
_COLORS = frozenset({"color", "colour", "colors", "colours"})
_FUNCTION_WORDS = frozenset(
    [
        "towards",
        "toward",
        "to",
        "sideways",
        "outwards",
        "inwards",
        "slightly",
        "a",
        "an",
        "the",
        "is",
        "are",
        "was",
        "were",
        "be",
        "been",
        "being",
        "has",
        "have",
        "had",
        "at",
        "in",
        "on",
        "of",
        "to",
        "from",
        "by",
        "for",
        "with",
        "without",
        "between",
        "and",
        "or",
        "but",
        "nor",
        "as",
        "so",
        "which",
        "that",
        "where",
        "when",
        "while",
        "since",
        "because",
        "than",
        "then",
        "there",
        "here",
        "it",
        "its",
        "this",
        "these",
        "those",
        "both",
        "also",
        "too",
        "only",
        "not",
        "can",
        "could",
        "may",
        "might",
        "will",
        "would",
        "shall",
        "should",
        "must",
        "do",
        "does",
        "did",
        "if",
        "near",
        "next",
        "inside",
        "within",
        "along",
        "across",
        "after",
        "before",
        "under",
        "over",
        "around",
        "through",
        "into",
        "onto",
        "up",
        "out",
        "off",
        "due",
        "visible",
        "seen",
        "found",
        "detected",
        "observed",
        "present",
        "defect",
        "defects",
        "fault",
        "faults",
        "error",
        "errors",
        "flaw",
        "flaws",
        "failure",
        "failures",
        "circuit",
        "circuits",
        "type",
        "instead",
        "compared",
        "relative",
        "respectively",
        "again",
        "here's",
        "there's",
        "i",
        "we",
        "you",
        "they",
        "he",
        "she",
        "although",
        "though",
        "however",
        "therefore",
        "hence",
        "thus",
        "because",
        "appears",
        "appear",
        "exists",
        "exist",
        "occurs",
        "occurred",
        "covers",
        "spoils",
        "connects",
        "links",
        "joins",
        "bridges",
        "touches",
        "sticks",
        "extends",
        "runs",
        "lies",
        "sits",
        "grows",
        "protrudes",
        "affects",
        "disfigures",
        "catches",
        "mars",
        "shows",
        "stands",
        "remains",
        "seems",
        "caused",
        "causing",
        "making",
        "makes",
        "makes",
    ]
)


def inflections(word: str) -> frozenset[str]:
    """Forms of an English word that count as the same word: stain -> stains, stained, staining.

    Args:
        word: one lower-case word.

    Returns:
        The word, its spellings (color, colour) and the inflections of its stem, without those that mean something else
        ("missing" gives no "missed", "short" no "shorter").
    """
    out: set[str] = set()
    for spelling in _spellings(word):
        out |= _inflect(spelling)
    return frozenset(form for each in out for form in _spellings(each))


def _spellings(word: str) -> set[str]:
    out = {word}
    for a, b in (
        ("color", "colour"),
        ("gray", "grey"),
        ("mold", "mould"),
        ("aluminum", "aluminium"),
        ("isation", "ization"),
    ):
        out |= {w.replace(a, b) for w in out if a in w} | {w.replace(b, a) for w in out if b in w}
    return out


def _inflect(word: str) -> set[str]:
    if len(word) < 3 or not word.isalpha():
        return {word}
    if word.endswith("ing"):
        return {word}
    out = {word}
    stems: set[str] = set()
    if word.endswith("ation"):
        stems.add(word[:-3] + "e")
    elif word.endswith("tion") or word.endswith("sion"):
        stems.add(word[:-3])
    elif word.endswith("ment"):
        stems.add(word[:-4])
    elif word.endswith(("ent", "ant")):
        out |= {word[:-1] + "ce", word + "ly"}
    elif word.endswith("ed") and len(word) > 4:
        base = word[:-2]
        if len(base) > 2 and base[-1] == base[-2] and base[-1] not in "sl":
            stems.add(base[:-1])
        elif base[-2:] in ("at", "av", "iv", "ov", "am", "ac", "as", "et", "os") or base[-1:] in "ucvzg":
            stems |= {base + "e"}
        else:
            stems.add(base)
    elif word.endswith("s") and not word.endswith("ss"):
        stems.add(word[:-1])
    else:
        stems.add(word)
    for stem in stems:
        out |= _forms(stem)
    return out


def _forms(stem: str) -> set[str]:
    out = {stem}
    if stem.endswith("e"):
        out |= {stem + "s", stem + "d", stem[:-1] + "ing"}
        if stem.endswith("ate"):
            out |= {stem[:-1] + "ion", stem[:-1] + "ions", stem[:-1] + "ional"}
        return out
    if stem.endswith(("s", "x", "ch", "sh")):
        return out | {stem + "es", stem + "ed", stem + "ing"}
    if stem.endswith("y") and stem[-2:-1] not in "aeiou":
        return out | {stem[:-1] + "ies", stem[:-1] + "ied", stem + "ing"}
    double = re.search(r"[^aeiou][aeiou][bdgklmnprt]$", stem) is not None and (
        len(stem) <= 4 or stem.endswith(("set", "fit"))
    )
    out |= {stem + "s", stem + "ed", stem + "ing"}
    if double:
        out |= {stem + stem[-1] + "ed", stem + stem[-1] + "ing"}
    if stem.endswith(("gn", "place", "tach", "ign")):
        out |= {stem + "ment", stem + "ments"}
    if len(stem) <= 5 and stem[-1] not in "wy":
        out |= {stem + "y"}
        if double:
            out |= {stem + stem[-1] + "y"}
    return out


@dataclass(frozen=True, slots=True)
class Mention:
    """A defect named by words[first:last]; `name` None: a defect outside the vocabulary. `ambiguous`: an everyday word."""

    first: int
    last: int
    name: str | None
    ambiguous: bool


class DefectFinder:
    """Finds the names of a vocabulary.

    Args:
        vocabulary: canonical names and aliases.
        others: further names (the generic list) that count as a defect without a name.
    """

    def __init__(self, vocabulary: Vocabulary, others: Vocabulary) -> None:
        self._trie: dict[str, Any] = {}
        self._color_words: dict[str, str | None] = {}
        eastern: dict[str, str | None] = {}
        for known, source in ((False, others), (True, vocabulary)):
            for name, aliases in source.defects.items():
                for phrase in (name, *aliases):
                    canonical = name if known else None
                    if _CJK.search(phrase):
                        eastern[_eastern(phrase)] = canonical
                    else:
                        self._add(phrase, canonical)
        self._eastern = [
            (re.compile(p), n) for p, n in sorted(eastern.items(), key=lambda e: (e[1] is None, -len(e[0])))
        ]

    def _add(self, phrase: str, name: str | None) -> None:
        words = [w.lower() for w in _WORD.findall(phrase)]
        if not words:
            return
        forms = [[w, *sorted(inflections(w) - {w})] for w in words]
        if words[0] == "not":  # "not present": the verb may stand between
            forms[0] = ["not", "not be", "not been"]
        sequences: set[tuple[str, ...]] = set()
        for combination in product(*forms):
            sequences.add(tuple(" ".join(combination).split()))
        if len(words) > 1:
            sequences |= (
                {("".join((*w[:-1], last)),) for w in [tuple(words)] for last in forms[-1]}
                if words[0] != "not"
                else set()
            )
        if len(words) == 2 and {"color", "colour"} & {words[1]} | {"color", "colour"} & {words[0]}:
            sequences |= _color_phrases(words)
            self._color_words[words[0] if words[1] in _COLORS else words[1]] = name
        elif len(words) == 2 and words[1] in ("circuit", "trace", "line"):
            sequences |= {(words[1], be, form) for be in ("is", "was") for form in inflections(words[0])}
        for sequence in sequences:
            node = self._trie
            for word in sequence:
                node = node.setdefault(word, {})
            node["\0"] = name if name is not None else node.get("\0")

    def west(self, words: Sequence[str]) -> list[Mention]:
        """Mentions among the words of a sentence (lower case; punctuation is a word of its own)."""
        found: list[Mention] = []
        i, n = 0, len(words)
        while i < n:
            last, name, hit = i, None, False
            node: dict[str, Any] | None = self._trie.get(words[i])
            j = i
            while node is not None:
                j += 1
                if "\0" in node:
                    last, name, hit = j, node["\0"], True
                if j < n and words[j] == "-" and j + 1 < n and words[j + 1] in node:
                    j += 1
                node = node.get(words[j]) if j < n else None
            if hit:
                ambiguous = last - i == 1 and words[i] in AMBIGUOUS
                if words[i : i + 2] == ["missing", "of"] and last - i == 1:
                    i = last  # "the missing of a bus" is no missing part
                    continue
                if words[i:last][-1] in ("colors", "colours") and words[i] == "different" and "LOC" not in words:
                    i = last  # "the blocks have different colors": of one another
                    continue
                if not ambiguous or _is_a_name(words, i, last):
                    found.append(Mention(i, last, name, ambiguous))
                i = last
            elif words[i] in _COLORS and (far := self._color_far(words, i)) is not None:
                found.append(far)
                i = far.last
            else:
                i += 1
        return found

    def _color_far(self, words: Sequence[str], at: int) -> Mention | None:
        """ "The colour of the cube at 3C is wrong": the name's two words with the subject between them."""
        for k in range(at + 2, min(len(words), at + 12)):
            if words[k] in (",", ".", ";", "but", "and", ":"):
                return None
            if words[k - 1] in ("is", "are", "was", "looks") and words[k] in self._color_words:
                return Mention(k, k + 1, self._color_words[words[k]], False)
        return None

    def east(self, text: str) -> list[Mention]:
        """Mentions in Japanese, Chinese or Korean text; positions are characters."""
        found: list[Mention] = []
        for pattern, name in self._eastern:
            for m in pattern.finditer(text):
                if not any(f.first < m.end() and m.start() < f.last for f in found):
                    found.append(Mention(m.start(), m.end(), name, False))
        return sorted(found, key=lambda f: f.first)


def _color_phrases(words: Sequence[str]) -> set[tuple[str, ...]]:
    """Two-word names about colour, the other way round: "the color is wrong", "a mismatch in colour"."""
    other = words[0] if words[1] in ("color", "colour") else words[1]
    out: set[tuple[str, ...]] = set()
    for color in ("color", "colour", "colors", "colours"):
        out |= {(color, be, other) for be in ("is", "are", "was", "looks")} | {(color, other)}
        out |= {(other, prep, color) for prep in ("in", "of")}
        if other == "different":
            out |= {
                (color, "difference"),
                (color, "differs"),
                (color, "differ"),
                ("difference", "in", color),
                ("differs", "in", color),
            }
    for colored in ("colored", "coloured", "color", "colour"):
        out |= {(other, colored), (other + "ly", colored), (other, "in", colored)}
    return out


_CHIPS = frozenset(
    {
        "bit",
        "computer",
        "control",
        "controller",
        "driver",
        "flash",
        "logic",
        "memory",
        "poker",
        "potato",
        "processor",
        "radio",
        "silicon",
        "wood",
    }
)
_ORDINARY_BEFORE = frozenset({"in", "for", "fall", "falls", "fell", "cut", "run", "running", "stop", "of", "nor"})


def _is_a_name(words: Sequence[str], first: int, last: int) -> bool:
    """Whether an everyday word is used as a defect's name: a noun or predicate of its own, not before another noun."""
    word = words[first]
    before = words[first - 1] if first else ""
    after = words[last] if last < len(words) else ""
    if word in ("opened", "opening", "opens", "coppers"):
        return False
    if before == "-" or (
        after == "-"
        and last + 1 < len(words)
        and words[last + 1] not in ("LOC",)
        and words[last + 1].isalpha()
        and word in ("open", "short", "copper")
    ):
        return _listed(words, first, last)
    if (
        word in ("short", "copper", "open")
        and before in _ORDINARY_BEFORE
        and not (
            word == "copper"
            and before == "of"
            and words[max(0, first - 2)] in ("piece", "bit", "spot", "speck", "residue")
        )
    ):
        return False
    if word in ("short",) and after == "of":
        return False
    if word == "open" and before in ("to", "i", "we", "you", "they", "left", "stay", "stays", "kept"):
        return False
    if word == "open" and after == "at" and words[last + 1 : last + 2] in (["the"], ["a"], ["page"]):
        return False  # a book
    if word in ("chip", "chips") and before in _CHIPS:
        return False
    if word in ("chip", "chips") and after == "on" and before in ("the", "this", "that", "each", "every", "both"):
        return False  # a part that is mounted on something
    if word == "spur" and after == "of":
        return False
    earlier = words[first - 2] if first > 1 else ""
    if (
        word in ("copper", "chip", "chips")
        and before == "the"
        and earlier in ("in", "of", "on", "into", "through", "from", "under", "around")
    ):
        return False
    if (
        word == "copper"
        and (first == 0 or before == ":")
        and after in ("is", "has", "conducts", "was")
        and "LOC" not in words
    ):
        return False
    if word == "copper" and before in ("the", "bare", "red") and after in ("is", "of", "has", "shines", "on"):
        return False
    if words[last + 1 : last + 2] in (["="], [":"]):
        return True  # the next label begins: "def = spur res = ng"
    return not (after[:1].isalpha() and after.islower() and after not in _FUNCTION_WORDS)


def _listed(words: Sequence[str], first: int, last: int) -> bool:
    """A hyphen as a separator ("2C-open", "NG - short - 3C"), not inside a compound ("open-top")."""
    after = words[last + 1] if last + 1 < len(words) and words[last] == "-" else ""
    return not (after[:1].isalpha() and after.islower() and len(after) > 2)


_TAILS = (
    ("い", "[いうっえ]"),
    ("れ", "れ"),
    ("け", "け"),
    ("り", "[りっるら]"),
    ("き", "[きいくか]"),
    ("み", "[みんむま]"),
)


def _eastern(phrase: str) -> str:
    """A pattern for a Japanese, Chinese or Korean name: a particle may stand inside, a verb's end may bend."""
    text = re.sub(r"\s+", "", phrase)
    pattern = ""
    for position, char in enumerate(text):
        last = position == len(text) - 1
        bent = next((p for tail, p in _TAILS if char == tail), None) if last and position else None
        if "\u30a1" <= char <= "\u30f6":
            pattern += f"[{char}{chr(ord(char) - 0x60)}]"
        elif "\u3041" <= char <= "\u3096" and bent is None:
            pattern += f"[{char}{chr(ord(char) + 0x60)}]"
        else:
            pattern += bent or re.escape(char)
        head = text[: position + 1]
        if not last and head in ("色", "位置", "形", "向き", "部品", "方向", "寸法", "角"):
            pattern += "(?:が|の|は|も)?(?:少し|わずかに)?"
    if re.fullmatch(r"[\u30a1-\u30fc]+", text):
        # A loan word must not be the beginning of another one (バリ, バリエーション).
        pattern += r"(?![\u30a1-\u30fa])"
        pattern = (r"(?<![\u30a1-\u30fa])" if len(text) <= 3 else "") + pattern
    if text[0] == "ず":
        pattern = "(?<!い)" + pattern
    return pattern


def words_of(names: Iterable[str]) -> list[str]:
    """The lower-case words of some names, for a quick look whether a text can contain one."""
    return sorted({w.lower()[:6] for n in names for w in _WORD.findall(n) if len(w) > 2})
