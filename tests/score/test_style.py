"""The form of an answer: places, names and numbers masked, lists drawn together."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.records import Grid, Vocabulary
from harness.score import AnswerForms, in_style, learn_forms

GRID = Grid()
VOCABULARY = Vocabulary({"missing": ("absent", "欠品"), "stain": ("dirt",), "pin hole": (), "short": ("短絡",)})
DEMO = (
    "The product in the bottom image is passed. No difference is found.",
    "The product in the bottom image is defective. Location: 5U, Defect: missing.",
)


def _forms(*answers: str) -> AnswerForms:
    return learn_forms(answers, VOCABULARY, GRID)


@pytest.mark.parametrize(
    ("learned", "asked"),
    [
        ("Defective at 3C.", "Defective at 3C and 5U."),
        ("Defective at 3C, 4C and 5U.", "Defective at 9D."),
        ("The cube at 3C is missing.", "the  cube at 9D is STAINED."),
        ("The cube at 3C is missing.", "The cube at U5 is absent."),
        ("Defective: missing at 3C.", "Defective: missing at 3C, stain at 5U, and pin-hole at 9D."),
        ("There is a missing cube at 3C in it.", "There is a missing cube at 3C and a stained cube at 5U in it."),
        (DEMO[1], DEMO[1].replace("missing", "stain; Location: 3C, Defect: missing; Location: 9D, Defect: short")),
        ("Column 5, row U is wrong.", "Column 6, row C is wrong."),
        ("2 defects were found.", "14 defects were found."),
        ("不合格です。3Cに欠品があります。", "不合格です。5Uに欠品があります。"),
        ("不合格です。3Cに欠品があります。", "不合格です。５Ｕと３Ｃに短絡があります。"),
        ("位置：5列U行。", "位置：7列C行。"),
    ],
)  # fmt: skip
def test_same_form(learned: str, asked: str) -> None:
    assert in_style(asked, _forms(learned))


@pytest.mark.parametrize(
    ("learned", "asked"),
    [
        ("Defective at 3C.", "Passed."),
        ("Defective at 3C.", "Defective at 3C. I hope that this helps!"),
        ("Defective at 3C.", "Defective at"),
        ("Defective at 3C.", ""),
        ("Defective at 3C.", "  \n "),
        ("The shortest cube at 3C.", "The missing cube at 3C."),
        ("不合格です。3Cに欠品があります。", "不合格です。3Cに傷があります。"),
    ],
)
def test_other_form(learned: str, asked: str) -> None:
    assert not in_style(asked, _forms(learned))


def test_a_wrong_answer_in_the_right_form_is_in_style() -> None:
    forms = _forms(*DEMO)
    assert in_style("The product in the bottom image is defective. Location: 1D, Defect: stain.", forms)
    assert in_style(DEMO[0], forms)
    assert not in_style("No difference is found between 3C and 5U.", forms)


def test_an_answer_cannot_speak_in_masks() -> None:
    form = next(iter(_forms("At 3C.").forms))
    assert not in_style(form, _forms("At 3C."))


def test_other_grids_are_masked_too() -> None:
    forms = learn_forms(["Hole at A10."], Vocabulary(), Grid(("9", "10", "11"), ("A", "B")))
    assert in_style("Hole at 11B.", forms)
    assert not in_style("Hole at 11Q.", forms)


def test_stored_forms_are_plain_json() -> None:
    stored = json.loads(_forms(*DEMO).to_json())
    assert set(stored) == {"forms", "masked"}
    assert "missing" in stored["masked"]


@settings(deadline=None, max_examples=60)
@given(answers=st.lists(st.text(max_size=60)), names=st.dictionaries(st.text(max_size=8), st.just(())))
def test_round_trip_and_own_answers(answers: list[str], names: dict[str, tuple[str, ...]]) -> None:
    forms = learn_forms(answers, Vocabulary(names), GRID)
    assert AnswerForms.from_json(forms.to_json()) == forms
    for answer in answers:
        assert in_style(answer, forms) == bool(in_style(answer, learn_forms([answer], Vocabulary(names), GRID)))


@pytest.mark.parametrize("piece", ["3C,", "a 3C b ", "3C and ", ",", " ", "3C x and ", "9"])
def test_work_is_linear_in_the_text(piece: str) -> None:
    """16 times the text takes about 16 times as long; 256 times if the work were quadratic."""
    forms = _forms(*DEMO)

    def seconds(length: int) -> float:
        text = piece * (length // len(piece))
        taken = []
        for _ in range(3):
            start = time.process_time()
            in_style(text, forms)
            taken.append(time.process_time() - start)
        return min(taken)

    assert seconds(16_000) < 64 * seconds(1_000) + 0.1


def test_a_text_longer_than_any_answer_is_not_looked_at() -> None:
    forms = _forms(*DEMO)
    answer = DEMO[0]
    assert in_style(answer, forms)
    assert not in_style(f"{answer} " * 20_000, forms)
