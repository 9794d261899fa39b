"""The answer journal: every finished batch is on disk before the next one starts.

Enters: batches of answers. Leaves: an append-only JSONL file, one answer a line, read back as written.
A kill can only tear the last line; it is dropped on reading and cut off before the next batch is appended, so the
record it belonged to is answered again. One process writes a journal. Cost: one fsync a batch, some milliseconds.
No torch here: the ledger's commands read journals too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path

from harness.errors import DataError
from harness.records import RawAnswer


@dataclass(frozen=True, slots=True)
class AnswerKey:
    """What makes an answer one: who was asked, what, how, and the how-manieth time."""

    model_id: str
    sample_id: str
    condition_id: str
    repeat: int


def answer_key(answer: RawAnswer) -> AnswerKey:
    """The key of an answer."""
    return AnswerKey(answer.model_id, answer.sample_id, answer.condition_id, answer.repeat)


class AnswerJournal:
    """A JSONL file of answers.

    Args:
        path: the file; it and its folder are made with the first batch.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, batch: Sequence[RawAnswer]) -> None:
        """Write a finished batch; on return it survives a kill and a power cut."""
        if not batch:
            return
        lines = "".join(_to_line(answer) for answer in batch).encode("ascii")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not self.path.exists()
        with self.path.open("ab") as file:
            whole = self._whole_bytes()
            if file.tell() > whole:
                file.truncate(whole)
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            _sync_folder(self.path.parent)

    def read(self) -> list[RawAnswer]:
        """All answers in the order written; a torn last line is left out, an absent file is empty.

        A key that was answered twice appears twice; the later answer is the one to keep.

        Raises:
            DataError: a line other than a torn last one is no answer.
        """
        if not self.path.exists():
            return []
        lines = self.path.read_bytes()[: self._whole_bytes()].split(b"\n")[:-1]
        return [self._from_line(line, number) for number, line in enumerate(lines, start=1)]

    def keys(self) -> set[AnswerKey]:
        """The keys that need no asking again."""
        return {answer_key(answer) for answer in self.read()}

    def _whole_bytes(self) -> int:
        """Length of the file up to and with its last line end."""
        with self.path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            while end > 0:
                start = max(end - 65536, 0)
                file.seek(start)
                found = file.read(end - start).rfind(b"\n")
                if found >= 0:
                    return start + found + 1
                end = start
        return 0

    def _from_line(self, line: bytes, number: int) -> RawAnswer:
        try:
            values = json.loads(line)
            values["answered_at"] = datetime.fromisoformat(values["answered_at"])
            return RawAnswer(**values)
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(
                f"{self.path} line {number} is no answer: {error}",
                hint="the file was changed from outside: remove it and resume the cycle, which then answers again",
            ) from error


def _to_line(answer: RawAnswer) -> str:
    values = asdict(answer) | {"answered_at": answer.answered_at.isoformat()}
    assert list(values) == [field.name for field in fields(RawAnswer)]
    return json.dumps(values, ensure_ascii=True, allow_nan=False) + "\n"


def _sync_folder(folder: Path) -> None:
    """Make the new file's name durable; where a folder cannot be opened (Windows), the system does so by itself."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
