"""Everything that can go wrong for a reason the user can act on.

    HarnessError
    ├── ConfigError       harness.toml, a recipe, a flag or --set says something we cannot follow
    ├── DataError         a source, a record, a column, a picture
    │   ├── MissingColumns   a column that a source lacks
    │   └── SplitError    the frozen test split or the roles would be violated
    ├── ModelError        a checkpoint, a processor, an adapter
    ├── LedgerError       the ledger file: absent, locked, of another version
    │   ├── UnknownCycle  a cycle id that the ledger does not hold
    │   └── QueryError    SQL that failed or is not allowed
    └── CheckFailed       a gate, a watch or an audit that says no (exit 3) or cannot say (exit 4)

The message says what failed and the value seen; `hint` says what to do next, a command where one exists.
The command line catches HarnessError once and prints `error:` and `hint:`; anything else is a bug and keeps
its traceback.
"""

from __future__ import annotations


class HarnessError(Exception):
    """An error the user can act on.

    Args:
        message: what failed, with the value seen, in one line.
        hint: what to do next, in one line; a command to run where there is one.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(HarnessError):
    """Settings that contradict the schema; every problem found is in the message."""


class DataError(HarnessError):
    """A source, a record, a column or a picture that cannot be used."""


class MissingColumns(DataError):
    """A source that lacks a column, or has it under another name."""


class SplitError(DataError):
    """A request that would break the frozen test split or mix the roles."""


class ModelError(HarnessError):
    """A checkpoint, processor or adapter that cannot be loaded or does not do what it must."""


class LedgerError(HarnessError):
    """The ledger is absent, locked for too long, damaged, or written by a newer version."""


class UnknownCycle(LedgerError):
    """A cycle id that the ledger does not hold."""


class QueryError(LedgerError):
    """SQL that failed, writes, or reaches outside the ledger."""


class CheckFailed(HarnessError):
    """A check said no (exit 3) or could not decide (exit 4)."""

    exit_code = 3

    def __init__(self, message: str, *, hint: str, inconclusive: bool = False) -> None:
        super().__init__(message, hint=hint)
        if inconclusive:
            self.exit_code = 4


class Interrupted(Exception):
    """The user stopped a cycle (SIGINT), which is no error: `cycle_id` can be resumed, by `command`.

    No KeyboardInterrupt, because the command-line library ends on those without a word.
    """

    def __init__(self, cycle_id: str, command: str = "harness cycle --resume") -> None:
        super().__init__(cycle_id)
        self.cycle_id = cycle_id
        self.command = command
