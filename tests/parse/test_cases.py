"""Two thousand labelled answers in the manner of many models, written by the rules before the parser saw them.

The ids tell how they were used: dev (developed on), held and last and fresh (looked at to measure), round1 to round9
(each measured first, then developed on). The few that are still read wrongly are named, so that a change which breaks
another one, or mends one of these, shows.
"""

from __future__ import annotations

import json
from pathlib import Path

from harness.parse import parse_to_json
from harness.parse.vocabulary import load_vocabulary_file
from tests.data.parse.score import findings_of

DATA = Path(__file__).resolve().parent.parent / "data" / "parse"

STILL_WRONG = {
    "held-correction-04", "held-multi-03", "held-negation-07", "held-plain-11", "last-decoy-02",
    "round2-correction-02", "round2-hostile-10", "round2-ramble-14", "round2-ramble-22", "round3-negation-02",
    "round4-ramble-08", "round6-ramble-12", "round7-hostile-04", "round8-negation-06", "round8-negation-08",
    "round8-ramble-03",
}  # fmt: skip


def test_labelled_cases() -> None:
    vocabulary, grid = load_vocabulary_file(DATA / "vocab.json")
    cases = [json.loads(line) for line in (DATA / "cases.jsonl").read_text("utf-8").split("\n") if line]
    wrong = set()
    for case in cases:
        said = parse_to_json(case["text"], vocabulary, grid)
        right = said["verdict"] == case["verdict"]
        if case["verdict"] is not None:
            right = right and findings_of(said) == findings_of(case)
        if not right:
            wrong.add(case["id"])
    assert len(cases) > 2000
    assert wrong == STILL_WRONG
