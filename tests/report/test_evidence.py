"""The words that decided an answer are marked in it, wherever they stand, and nothing of the answer is changed."""

from __future__ import annotations

from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from harness.parse import PARSER_VERSION, generic_vocabulary, parse_answer
from harness.records import Grid
from harness.report import render_reports
from harness.report.evidence import Marker, version_note
from harness.store import Ledger

MARKER = Marker(generic_vocabulary(), Grid())


def marked(text: str) -> list[tuple[str, str]]:
    return [(piece.kind, piece.text) for piece in MARKER.pieces(text) if piece.kind]


def test_verdict_cell_and_name_are_marked() -> None:
    assert marked("The product is defective. Location: 3C, Defect: missing.") == [
        ("verdict", "defective"), ("location", "3C"), ("defect", "missing"),
    ]  # fmt: skip
    assert ("verdict", "不良品") in [
        (kind, text[:3]) for kind, text in marked("不良品です。3Cの部品が欠品しています。")
    ]
    assert marked("The cubes are of many colours.") == []


def test_what_decides_late_in_a_long_answer_is_shown() -> None:
    text = "The tray holds cubes of many colours. " * 400 + "So the product is defective: 5U is missing."
    pieces = MARKER.pieces(text)
    assert "defect" in {piece.kind for piece in pieces}
    shown = "".join(piece.text for piece in pieces)
    assert "5U is missing" in shown
    assert len(shown) < 1200
    plain = "a" * 5000
    assert MARKER.pieces(plain)[-1].text == " … (5,000 characters)"


@given(st.text(st.sampled_from("NGOK35UCpassdefti不良3Cの. <>&\n"), max_size=300))
@example("NG: 3C missing")
@example("")
def test_the_pieces_are_the_answer(text: str) -> None:
    pieces = MARKER.pieces(text)
    assert "".join(piece.text for piece in pieces) == text
    decided = set()
    for item in parse_answer(text, MARKER.vocabulary, MARKER.grid).evidence:
        decided |= set(range(item.start, item.end))
    at, marks = 0, set()
    for piece in pieces:
        if piece.kind:
            marks |= set(range(at, at + len(piece.text)))
        at += len(piece.text)
    assert marks == decided


def test_the_page_marks_them_and_stays_safe(built_ledger: Path, tmp_path: Path) -> None:
    page, _ = render_reports(Ledger(built_ledger), ["c0002"], tmp_path)
    text = page.read_text("utf-8")
    assert '<mark class="location" title="decided the location">3C</mark>' in text
    assert "<script>document.title" not in text
    assert "harness rescore brings" not in text


def test_marks_by_another_parser_than_the_scores_are_told() -> None:
    assert version_note(PARSER_VERSION) == version_note(None) == ""
    assert "harness rescore" in version_note(PARSER_VERSION - 1)
