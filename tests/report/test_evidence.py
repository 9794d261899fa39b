"""The words that decided an answer are marked in it, wherever they stand, and nothing of the answer is changed."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from harness.parse import generic_vocabulary, parse_answer
from harness.records import Grid
from harness.report import render_reports
from harness.report.evidence import Piece, pieces
from harness.stages.rescore import rescore
from harness.store import Ledger


def _decided(text: str) -> list[tuple[str, int, int]]:
    return [(e.kind, e.start, e.end) for e in parse_answer(text, generic_vocabulary(), Grid()).evidence]


def _pieces(text: str) -> tuple[Piece, ...]:
    return pieces(text, json.dumps(_decided(text)))


def marked(text: str) -> list[tuple[str, str]]:
    return [(piece.kind, piece.text) for piece in _pieces(text) if piece.kind]


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
    found = _pieces(text)
    assert "defect" in {piece.kind for piece in found}
    shown = "".join(piece.text for piece in found)
    assert "5U is missing" in shown
    assert len(shown) < 1200
    plain = "a" * 5000
    assert _pieces(plain)[-1].text == " … (5,000 characters)"


@given(st.text(st.sampled_from("NGOK35UCpassdefti不良3Cの. <>&\n"), max_size=300))
@example("NG: 3C missing")
@example("")
def test_the_pieces_are_the_answer(text: str) -> None:
    found = _pieces(text)
    assert "".join(piece.text for piece in found) == text
    decided = set()
    for _, start, end in _decided(text):
        decided |= set(range(start, end))
    at, marks = 0, set()
    for piece in found:
        if piece.kind:
            marks |= set(range(at, at + len(piece.text)))
        at += len(piece.text)
    assert marks == decided


def test_the_page_marks_them_and_stays_safe(built_ledger: Path, tmp_path: Path) -> None:
    page, _ = render_reports(Ledger(built_ledger), ["c0002"], tmp_path)
    text = page.read_text("utf-8")
    assert '<mark class="location" title="decided the location">3C</mark>' in text
    assert "<script>document.title" not in text
    assert "harness rescore" not in text


def test_scores_without_their_words_say_how_to_get_them(ledger_folder: Path, tmp_path: Path) -> None:
    """An older harness kept no evidence; rescore keeps it."""
    ledger = Ledger(ledger_folder)
    with ledger.writing() as connection:
        connection.execute("UPDATE scores SET evidence = NULL")
    page, _ = render_reports(ledger, ["c0002"], tmp_path)
    text = page.read_text("utf-8")
    assert "Some were scored before these words were kept: harness rescore c0002 marks them." in text
    assert '<mark class="location" title="decided the location">' not in text
    assert rescore(ledger, ["c0002"], say=lambda _: None) == [], "no figure changes"
    page, _ = render_reports(ledger, ["c0002"], tmp_path)
    assert '<mark class="location" title="decided the location">3C</mark>' in page.read_text("utf-8")
