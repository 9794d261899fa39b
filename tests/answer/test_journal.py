"""The journal: what was finished before a kill is there after it, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.answer.journal import AnswerJournal, AnswerKey, answer_key
from harness.errors import DataError
from harness.records import RawAnswer

ANSWER = RawAnswer(
    model_id="m1",
    sample_id="s1",
    condition_id="n0",
    repeat=0,
    text="The product is passed.",
    p_defective=0.125,
    prompt_tokens=812,
    new_tokens=7,
    finish_reason="stop",
    seconds=0.25,
    answered_at=datetime(2024, 9, 26, 12, 0, 0, 123456),
)

answers = st.builds(
    RawAnswer,
    model_id=st.text(),
    sample_id=st.text(),
    condition_id=st.text(),
    repeat=st.integers(0, 99),
    # Every code point, lone surrogates too: what a byte-level tokenizer may decode to is not always text.
    text=st.text(st.characters(exclude_categories=())),
    p_defective=st.none() | st.floats(0, 1),
    prompt_tokens=st.integers(0, 10**6),
    new_tokens=st.integers(0, 10**4),
    finish_reason=st.sampled_from(["stop", "length"]),
    seconds=st.floats(0, 1e6),
    answered_at=st.datetimes(),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.lists(answers, max_size=3), max_size=4))
def test_read_gives_back_what_was_appended(tmp_path: Path, batches: list[list[RawAnswer]]) -> None:
    path = tmp_path / "answers.jsonl"
    path.unlink(missing_ok=True)
    for batch in batches:
        AnswerJournal(path).append(batch)
    assert AnswerJournal(path).read() == [answer for batch in batches for answer in batch]


def test_an_absent_journal_is_empty(tmp_path: Path) -> None:
    journal = AnswerJournal(tmp_path / "deep" / "answers.jsonl")
    assert journal.read() == []
    assert journal.keys() == set()
    journal.append([])
    assert not journal.path.exists()
    journal.append([ANSWER])
    assert journal.read() == [ANSWER]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(min_value=1))
def test_a_torn_last_line_is_dropped_and_repaired(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "answers.jsonl"
    path.unlink(missing_ok=True)
    journal = AnswerJournal(path)
    # Longer than the block in which the file's end is searched for a line end.
    second = replace(ANSWER, sample_id="s2", text="x" * 70_000)
    journal.append([ANSWER])
    whole = path.stat().st_size
    journal.append([second])
    os.truncate(path, whole + cut % (path.stat().st_size - whole))
    assert journal.read() == [ANSWER]
    third = replace(ANSWER, sample_id="s3")
    journal.append([third])
    assert journal.read() == [ANSWER, third]
    assert path.read_bytes().count(b"\n") == 2


def test_a_journal_torn_in_its_first_line(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_bytes(b'{"model_id": "m1", "sam')
    assert AnswerJournal(path).read() == []
    AnswerJournal(path).append([ANSWER])
    assert AnswerJournal(path).read() == [ANSWER]


def test_keys(tmp_path: Path) -> None:
    journal = AnswerJournal(tmp_path / "answers.jsonl")
    journal.append([ANSWER, replace(ANSWER, repeat=1)])
    assert journal.keys() == {AnswerKey("m1", "s1", "n0", 0), AnswerKey("m1", "s1", "n0", 1)}
    assert answer_key(ANSWER) in journal.keys()  # noqa: SIM118


@pytest.mark.parametrize("line", [b"not json", b"[1, 2]", b'{"model_id": "m1"}', b"\xff\xfe", b""])
def test_a_damaged_line_in_the_middle_is_told(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "answers.jsonl"
    journal = AnswerJournal(path)
    journal.append([ANSWER])
    path.write_bytes(path.read_bytes() + line + b"\n")
    journal.append([ANSWER])
    with pytest.raises(DataError, match=r"answers\.jsonl line 2 is no answer"):
        journal.read()


def test_a_probability_that_is_none_is_refused(tmp_path: Path) -> None:
    journal = AnswerJournal(tmp_path / "answers.jsonl")
    with pytest.raises(ValueError, match="not JSON compliant"):
        journal.append([replace(ANSWER, p_defective=float("nan"))])
    assert journal.read() == []


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_process_killed_while_it_appends(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    program = textwrap.dedent(
        """
        import sys
        from dataclasses import replace
        from pathlib import Path
        from harness.answer.journal import AnswerJournal
        from tests.answer.test_journal import ANSWER
        journal = AnswerJournal(Path(sys.argv[1]))
        for number in range(10**9):
            journal.append([replace(ANSWER, sample_id=f"{number}-{row}", text="x" * 2000) for row in range(4)])
            print(number, flush=True)
        """
    )
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen([sys.executable, "-c", program, str(path)], cwd=root, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    told = -1
    for line in process.stdout:
        told = int(line)
        if told >= 20:
            break
    process.send_signal(signal.SIGKILL)
    told = max([told, *(int(line) for line in process.stdout if line.endswith("\n"))])
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    journal = AnswerJournal(path)
    found = [answer.sample_id for answer in journal.read()]
    # All that was told to be finished is there, in order; of the batch under way, perhaps some lines.
    assert found[: 4 * (told + 1)] == [f"{number}-{row}" for number in range(told + 1) for row in range(4)]
    assert len(found) < 4 * (told + 3)
    journal.append([ANSWER])
    assert [answer.sample_id for answer in journal.read()] == [*found, "s1"]


def test_times_keep_their_microseconds(tmp_path: Path) -> None:
    journal = AnswerJournal(tmp_path / "answers.jsonl")
    later = replace(ANSWER, answered_at=ANSWER.answered_at + timedelta(microseconds=1))
    journal.append([ANSWER, later])
    assert [answer.answered_at for answer in journal.read()] == [ANSWER.answered_at, later.answered_at]


def test_the_journal_is_light() -> None:
    program = (
        "import sys, harness.answer.journal, harness.answer.condition, harness.train.recipe, harness.train.checkpoints;"
        "print([name for name in ('torch', 'transformers', 'peft', 'datasets') if name in sys.modules])"
    )
    root = Path(__file__).resolve().parents[2]
    result = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
