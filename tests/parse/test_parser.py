"""The parser on labelled answers: every example right, no crash on any text, linear time, evidence quoted."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.parse import PARSER_VERSION, merge_vocabulary, parse_answer, parse_to_json
from harness.parse.vocabulary import generic_vocabulary, load_vocabulary_file
from harness.records import Grid, Vocabulary
from tests.data.parse.score import findings_of

DATA = Path(__file__).resolve().parent.parent / "data" / "parse"
CASES = [json.loads(line) for line in (DATA / "examples.jsonl").read_text("utf-8").splitlines()]
VOCABULARY, GRID = load_vocabulary_file(DATA / "vocab.json")
GENERIC = generic_vocabulary()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_labelled_examples(case: dict[str, object]) -> None:
    said = parse_to_json(str(case["text"]), VOCABULARY, GRID)
    assert said["verdict"] == case["verdict"], case["why"]
    assert findings_of(said) == findings_of(case), case["why"]


#: written by the label rules of the examples before the parser saw them
MORE = [
    ("The product in the bottom image is passed. No difference is found.", "passed", set()),
    ("The product in the bottom image is defective. Location: 3C, Defect: missing; Location: 5U, Defect: stain.",
     "defective", {("3C", "missing"), ("5U", "stain")}),
    ("Location is 3C and defect name is missing", "defective", {("3C", "missing")}),
    ("It passes inspection, I see nothing unusual at all.", "passed", set()),
    ("NG: 4U rotated, 4C rotated", "defective", {("4U", "rotated"), ("4C", "rotated")}),
    ("不合格。5Dが欠品。", "defective", {("5D", "missing")}),
    ("１Ｕに汚れがあります。不良品です。", "defective", {("1U", "stain")}),
    ("I am unable to see any image.", None, set()),
    ("Is the product passed or defective?", None, set()),
    ("If there were a missing cube at 3C, the product would be defective.", None, set()),
    ("The top image is passed.", None, set()),
    ('{"verdict": "defective", "findings": [{"location": "7C", "defect": "chipped"}]}', "defective",
     {("7C", "chipped")}),
    ("**Verdict:** PASS", "passed", set()),
    ("Not defective.", "passed", set()),
    ("The bottom product is not passed.", "defective", set()),
]  # fmt: skip


@pytest.mark.parametrize(("text", "verdict", "findings"), MORE, ids=[text[:30] for text, _, _ in MORE])
def test_more_by_the_same_rules(text: str, verdict: str | None, findings: set[tuple[str, str]]) -> None:
    parsed = parse_answer(text, VOCABULARY, GRID)
    assert parsed.verdict == verdict
    assert {(f.location, f.defect) for f in parsed.findings} == findings
    assert parsed.parser_version == PARSER_VERSION
    assert bool(parsed.reason) == (verdict is None)


@given(st.text(max_size=400))
@settings(max_examples=300, deadline=None)
def test_no_text_crashes_it_and_evidence_is_a_quotation(text: str) -> None:
    parsed = parse_answer(text, VOCABULARY, GRID)
    for evidence in parsed.evidence:
        assert text[evidence.start : evidence.end] == evidence.text
    if parsed.verdict != "defective":
        assert parsed.findings == ()
    for finding in parsed.findings:
        assert finding.location is None or finding.location in GRID.cells
        assert finding.defect is None or finding.defect in VOCABULARY.defects


SAYINGS = (
    "not passed defective no missing 3C 5U , . ; the bottom top is at or and row U column 3 { } [ ] : NG OK "
    "合格 ではない 欠品 3C から まで - * | if would however"
)
WORDS = st.sampled_from([*SAYINGS.split(), "\n", '"'])


@given(st.lists(WORDS, max_size=60))
@settings(max_examples=300, deadline=None)
def test_no_mixture_of_its_own_words_crashes_it(words: list[str]) -> None:
    parse_answer(" ".join(words), VOCABULARY, GRID)


@pytest.mark.parametrize(
    "piece",
    ["not ", "5 U C D ", "<", "{", "欠け", "a", " ", "3C is missing. ", "😀", '"defect": [', "|a|b|\n", "(", "1-9"],
)
def test_work_is_at_most_linear_in_the_text(piece: str) -> None:
    """16 times the text takes at most about 16 times as long; benchmarks/parse_cpu.py has the seconds of 1 MB."""

    def seconds(length: int) -> float:
        text = piece * (length // len(piece.encode()))
        taken = []
        for _ in range(2):
            start = time.process_time()
            parse_answer(text, VOCABULARY, GRID)
            taken.append(time.process_time() - start)
        return min(taken)

    parse_answer("warm up", VOCABULARY, GRID)
    assert seconds(1_000_000) < 64 * seconds(62_500) + 0.2


def test_reference_answers_of_real_records(shared: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    for file in sorted((shared / "data").glob("*/data/*.parquet")):
        rows = pq.read_table(file, columns=["answer", "verdict", "locations", "defects"]).to_pylist()
        declared = merge_vocabulary({name: () for row in rows for name in row["defects"]}, GENERIC)
        for row in rows:
            parsed = parse_answer(row["answer"], declared)
            assert parsed.verdict == row["verdict"], row["answer"]
            said = {(f.location, f.defect) for f in parsed.findings}
            assert said == set(zip(row["locations"], row["defects"], strict=True)), row["answer"]


def test_another_grid_is_read() -> None:
    grid = Grid(("A", "B"), ("1", "2"))
    parsed = parse_answer("Defective: B2 is missing.", Vocabulary({"missing": ()}), grid)
    assert parsed.verdict == "defective"
    assert {f.location for f in parsed.findings} <= set(grid.cells)
