"""`python score.py tests.parse.score_entry:parse`: the parser as the scorer calls it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.parse import load_vocabulary_file, parse_to_json

VOCABULARY, GRID = load_vocabulary_file(Path(__file__).parents[1] / "data" / "parse" / "vocab.json")


def parse(text: str) -> dict[str, Any]:
    return parse_to_json(text, VOCABULARY, GRID)
