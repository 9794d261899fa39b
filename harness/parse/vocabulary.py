"""The defect names of a product: the generic list, names declared by a user or by truth columns, and files.

Enters: declared names, generic.toml, a JSON or TOML file. Leaves: a `Vocabulary` in which no word has two owners.
Cost: a declared name takes the aliases of at most one generic entry, the one it equals or is an alias of.
"""

from __future__ import annotations

import json
import re
import tomllib
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from harness.errors import ConfigError
from harness.records import Grid, Vocabulary

from .defects import inflections


@lru_cache(maxsize=1)
def generic_vocabulary() -> Vocabulary:
    """The generic industrial defect list that ships with the package, in English and Japanese."""
    raw = tomllib.loads(resources.files(__package__).joinpath("generic.toml").read_text(encoding="utf-8"))
    return Vocabulary({name: tuple(aliases) for name, aliases in raw["vocabulary"].items()})


def name_key(name: str) -> str:
    """What two spellings of a name have in common: case, width, hyphens, blanks, colour/color and the plural fall away."""
    words = re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", name).lower())
    single = [w[:-1] if len(w) > 3 and w.endswith("s") and not w.endswith("ss") else w for w in words]
    return "".join(single).replace("colour", "color").replace("grey", "gray")


def merge_vocabulary(declared: Mapping[str, Sequence[str]], generic: Vocabulary) -> Vocabulary:
    """The names of a product, with what the generic list knows about them.

    Args:
        declared: names as the user or the truth columns spell them, with aliases of their own; the spelling is kept.
        generic: where a declared name that equals an entry, or an alias of one, gets further aliases from.

    Returns:
        The declared names alone, each with its own and the inherited aliases; the generic list whole where nothing is
        declared. A word that two names claim belongs to the declared one, and among declared ones to the first.
    """
    if not declared:
        return generic
    owners: dict[str, str] = {}
    for name in declared:
        owners.setdefault(name_key(name), name)
    merged: dict[str, list[str]] = {}
    for name, aliases in declared.items():
        merged[name] = []
        for alias in aliases:
            if owners.setdefault(name_key(alias), name) == name and name_key(alias) != name_key(name):
                merged[name].append(alias)
    for name in declared:
        entry = _entry_of(name_key(name), generic)
        if entry is None:
            continue
        for word in (entry, *generic.defects[entry]):
            if owners.setdefault(name_key(word), name) == name and word.lower() not in map(
                str.lower, (name, *merged[name])
            ):
                merged[name].append(word)  # another spelling of the same word ("mouse bite") is worth keeping too
    return Vocabulary({name: tuple(aliases) for name, aliases in merged.items()})


def _entry_of(key: str, generic: Vocabulary) -> str | None:
    for name in generic.defects:
        if name_key(name) == key:
            return name
    for name, aliases in generic.defects.items():
        if any(name_key(alias) == key for alias in aliases):
            return name
    return None


def canonical_defect(name: str, vocabulary: Vocabulary) -> str | None:
    """The canonical name of a truth column's value: a name, an alias or an inflection of either; None if unknown."""
    key = name_key(name)
    if not key:
        return None
    for canonical in vocabulary.defects:
        if name_key(canonical) == key:
            return canonical
    for canonical, aliases in vocabulary.defects.items():
        if any(name_key(alias) == key for alias in aliases):
            return canonical
    word = unicodedata.normalize("NFKC", name).strip().lower()
    for canonical, aliases in vocabulary.defects.items():
        if any(" " not in form and word in inflections(form.lower()) for form in (canonical, *aliases)):
            return canonical
    return None


def load_vocabulary_file(path: Path | str) -> tuple[Vocabulary, Grid]:
    """Reads {"columns": [...], "rows": [...], "vocabulary": {name: [aliases]}} from JSON or TOML.

    Columns and rows may be left out (the default grid is taken then).

    Raises:
        ConfigError: the file is absent, cannot be read, or has another shape.
    """
    file = Path(path)
    hint = 'write {"columns": ["1", "2"], "rows": ["U", "D"], "vocabulary": {"missing": ["absent"]}} as JSON or TOML'
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(
            f"vocabulary file {file}: {reason}", hint="name a readable file after --vocabulary"
        ) from error
    try:
        raw: Any = tomllib.loads(text) if file.suffix.lower() == ".toml" else json.loads(text)
    except (json.JSONDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"vocabulary file {file}: {error}", hint=hint) from error
    except RecursionError as error:
        raise ConfigError(f"vocabulary file {file}: nested too deeply", hint=hint) from error
    problems = _problems(raw)
    if problems:
        raise ConfigError(f"vocabulary file {file}: {'; '.join(problems)}", hint=hint)
    default = Grid()
    grid = Grid(tuple(raw.get("columns", default.columns)), tuple(raw.get("rows", default.rows)))
    return Vocabulary({name: tuple(aliases) for name, aliases in raw["vocabulary"].items()}), grid


def _problems(raw: Any) -> list[str]:
    if not isinstance(raw, dict):
        return [f"expected a table of columns, rows and vocabulary, found {type(raw).__name__}"]
    out = [f"unknown key {key!r}" for key in raw if key not in ("columns", "rows", "vocabulary")]
    for axis in ("columns", "rows"):
        labels = raw.get(axis, ["x"])
        if not (isinstance(labels, list) and labels and all(isinstance(v, str) and v.strip() for v in labels)):
            out.append(f"{axis} must be a list of labels in quotes")
        elif len({v.lower() for v in labels}) != len(labels):
            out.append(f"{axis} names a label twice")
    names = raw.get("vocabulary")
    if not isinstance(names, dict):
        return [*out, "vocabulary must be a table of name = [aliases]"]
    owners: dict[str, str] = {}
    for name, aliases in names.items():
        if not (isinstance(aliases, list) and all(isinstance(a, str) for a in aliases)):
            out.append(f"aliases of {name!r} must be a list of words in quotes")
            continue
        for word in (name, *aliases):
            key = name_key(word)
            if not key:
                out.append(f"{word!r} is no name")
            elif owners.setdefault(key, name) != name:
                out.append(f"{word!r} belongs to both {owners[key]!r} and {name!r}")
    return out
