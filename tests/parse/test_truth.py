"""Truth from columns and from answers, and the vocabulary that both go by."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.errors import ConfigError
from harness.parse import (
    UnreadTruth,
    canonical_defect,
    canonical_location,
    generic_vocabulary,
    load_vocabulary_file,
    merge_vocabulary,
    read_truth,
)
from harness.records import Finding, Grid, Truth, Vocabulary

GRID = Grid()
WORDS = Vocabulary({"missing": ("absent", "欠品"), "stain": ("dirt",)})


def test_columns_are_the_truth() -> None:
    truth = read_truth("defective", ["U5", "3C"], ["absent", "dirt"], "", WORDS, GRID)
    assert truth == Truth("defective", (Finding("5U", "missing"), Finding("3C", "stain")))
    assert read_truth("OK", [], [], "", WORDS, GRID) == Truth("passed")
    assert read_truth("不良品", ["5U"], None, None, WORDS, GRID) == Truth("defective", (Finding("5U", None),))
    assert read_truth("ng", None, ["stain"], None, WORDS, GRID) == Truth("defective", (Finding(None, "stain"),))
    assert read_truth("Fail", None, None, None, WORDS, GRID) == Truth("defective")


def test_the_answer_is_read_where_there_are_no_columns() -> None:
    assert read_truth(None, None, None, "5U is missing. NG", WORDS, GRID) == Truth(
        "defective", (Finding("5U", "missing"),)
    )
    assert read_truth(None, None, None, "良品です。", WORDS, GRID) == Truth("passed")


@pytest.mark.parametrize(
    ("verdict", "locations", "defects", "answer", "why"),
    [
        ("maybe", None, None, "", "unknown_verdict"),
        ("passed", ["5U"], ["stain"], "", "passed_with_findings"),
        ("defective", ["5U", "3C"], ["stain"], "", "unequal_lengths"),
        ("defective", ["5X"], ["stain"], "", "unknown_location"),
        ("defective", ["5U"], ["blorp"], "", "unknown_defect"),
        (None, None, None, None, "no_columns_no_answer"),
    ],
)
def test_no_truth_has_a_reason(
    verdict: str | None, locations: list[str] | None, defects: list[str] | None, answer: str | None, why: str
) -> None:
    found = read_truth(verdict, locations, defects, answer, WORDS, GRID)
    assert isinstance(found, UnreadTruth)
    assert found.reason == why
    assert found.detail


@pytest.mark.parametrize(
    ("text", "cell"),
    [("5U", "5U"), ("U5", "5U"), ("5u", "5U"), ("５Ｕ", "5U"), ("(3, C)", "3C"), ("row D, column 9", "9D"),
     ("12U", None), ("", None), ("X", None)],
)  # fmt: skip
def test_locations(text: str, cell: str | None) -> None:
    assert canonical_location(text, GRID) == cell


def test_declared_names_keep_their_spelling_and_take_the_generic_aliases() -> None:
    words = merge_vocabulary({"pin-hole": (), "copper": (), "blorp": ("blorped",)}, generic_vocabulary())
    assert set(words.defects) == {"pin-hole", "copper", "blorp"}
    assert "ピンホール" in words.defects["pin-hole"]
    assert canonical_defect("pinhole", words) == "pin-hole"
    assert canonical_defect("spurious copper", words) == "copper"
    assert canonical_defect("blorped", words) == "blorp"
    assert canonical_defect("nonsense", words) is None
    owners: dict[str, str] = {}
    for name, aliases in words.defects.items():
        for word in (name, *aliases):
            assert owners.setdefault(word, name) == name, f"{word} belongs to two names"


def test_nothing_declared_is_the_generic_list() -> None:
    assert merge_vocabulary({}, generic_vocabulary()).defects == generic_vocabulary().defects


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("v.json", "{"),
        ("v.json", "[]"),
        ("v.json", '{"columns": 3}'),
        ("v.toml", "a = ="),
        ("v.json", '{"vocabulary": 1}'),
    ],
)
def test_a_bad_vocabulary_file_is_one_clear_line(tmp_path: Path, name: str, text: str) -> None:
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_vocabulary_file(file)
    assert "\n" not in error.value.message
    assert error.value.hint
    with pytest.raises(ConfigError):
        load_vocabulary_file(tmp_path / "absent.json")


def test_a_vocabulary_file_in_toml_and_json(tmp_path: Path) -> None:
    content = {"columns": ["1", "2"], "rows": ["A"], "vocabulary": {"dent": ["ding"]}}
    (tmp_path / "v.json").write_text(json.dumps(content))
    (tmp_path / "v.toml").write_text('columns = ["1", "2"]\nrows = ["A"]\n[vocabulary]\ndent = ["ding"]\n')
    for name in ("v.json", "v.toml"):
        words, grid = load_vocabulary_file(tmp_path / name)
        assert words.defects == {"dent": ("ding",)}
        assert grid == Grid(("1", "2"), ("A",))
