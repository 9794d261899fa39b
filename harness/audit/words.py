"""Does a reference answer say what the truth columns say? Training teaches the words, scoring goes by the columns.

Enters: what an answer says, and the truth of its columns. Leaves: the difference in words, "" where there is none. An
answer that says less than the columns (no cell, no name) contradicts nothing.
"""

from __future__ import annotations

from collections.abc import Collection

from harness.records import ParsedAnswer, Truth


def disagreement(said: ParsedAnswer, truth: Truth) -> str:
    """How the cells and defect names of an answer differ from the truth; its verdict is another question."""
    if said.verdict != "defective" or truth.verdict != "defective":
        return ""
    cells = {finding.location for finding in said.findings if finding.location is not None}
    names = {finding.defect for finding in said.findings if finding.defect is not None}
    parts = [
        f"the columns say {_listed(true)}, the answer says {_listed(read)}"
        for read, true in ((cells, truth.locations), (names, truth.defects))
        if read and true and read != true
    ]
    return "; ".join(parts)


def _listed(words: Collection[str]) -> str:
    return ", ".join(sorted(words))
