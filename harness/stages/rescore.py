"""Rescore: read the stored texts again, with today's parser and the newest truths. No model is needed.

Enters: cycles in the ledger. Leaves: findings, scores, metrics and comparisons at the current parser version; those of
older versions stay (but of a watched lot and of a gauge study only the newest reading is kept). Studies of a cycle
whose truths were corrected are made again from what is stored. Says which records changed and why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast

from harness.errors import LedgerError
from harness.records import Role
from harness.stages.compare import compare_roles
from harness.stages.inspector import inspector_of
from harness.stages.lots import reread_lots
from harness.stages.restudy import restudy
from harness.stages.scoring import score_role
from harness.store import Ledger, read, write
from harness.store.rows import ScoreRow


@dataclass(frozen=True, slots=True)
class Change:
    """One answer whose score is another than before."""

    cycle_id: str
    model_role: str
    sample_id: str
    split: str
    cause: Literal["truth", "parser"]
    before: str
    after: str


def rescore(ledger: Ledger, cycle_ids: Sequence[str] = (), *, say: Callable[[str], None]) -> list[Change]:
    """Score the stored answers of some cycles again, of all where none is named.

    Args:
        say: told of each cycle before it is read again, and of each study that is made again.

    Returns:
        The answers whose score changed, in order of cycle, role and record.

    Raises:
        UnknownCycle: a cycle is not in the ledger.
        LedgerError: there is no ledger.
    """
    chosen = [read.cycle(ledger, cycle_id) for cycle_id in cycle_ids] or read.cycles(ledger)
    if not chosen:
        raise LedgerError(f"the ledger {ledger.path} holds no cycle", hint="run one: harness cycle --data SRC")
    changes: list[Change] = []
    for number, cycle in enumerate(chosen, start=1):
        say(f"rescore: {cycle.cycle_id}, {number} of {len(chosen)}")
        product = read.product(ledger, cycle.product)
        roles = read.roles(ledger, cycle.cycle_id)
        if product is None or not roles:
            continue  # not yet measured: there is no answer to score
        before = {name: _scores(ledger, cycle.cycle_id, name) for name in roles}
        # Left behind by a rescore that was stopped between the truths and the studies.
        pending = ledger.runs / cycle.cycle_id / "restudy.pending"
        moved = _move_to_latest_truth(ledger, cycle.cycle_id, cycle.product, pending)
        for role in roles.values():
            score_role(ledger, cycle, product, role)
        for name in roles:
            after = _scores(ledger, cycle.cycle_id, name)
            for key, (split, score) in sorted(after.items()):
                old = before[name].get(key)
                if old is not None and _figures(old[1]) != _figures(score):
                    changes.append(
                        Change(
                            cycle.cycle_id,
                            name,
                            key,
                            split,
                            "truth" if key in moved else "parser",
                            _words(old[1]),
                            _words(score),
                        )
                    )
        for baseline in ("base", "incumbent"):
            if baseline in roles and "finetuned" in roles:
                compare_roles(ledger, cycle.cycle_id, cast(Role, baseline))
        if "finetuned" in roles:
            reread_lots(ledger, inspector_of(ledger, cycle.cycle_id))
            restudy(ledger, cycle.cycle_id, corrected=pending.exists(), say=say)
        pending.unlink(missing_ok=True)
    return changes


def _scores(ledger: Ledger, cycle_id: str, role: str) -> dict[str, tuple[str, ScoreRow]]:
    return {
        score.sample_id: (split, score)
        for split in ("test", "validation")
        for score in read.scores(ledger, cycle_id, role, split=split)
    }


def _move_to_latest_truth(ledger: Ledger, cycle_id: str, product: str, pending: Path) -> set[str]:
    """Let the cycle go by the newest truths; returns the records whose truth is another than before."""
    newest = read.latest_truths(ledger, product)
    members = read.memberships(ledger, cycle_id)
    moved = {m.sample_id for m in members if newest[m.sample_id] != m.truth_version}
    if moved:
        pending.parent.mkdir(parents=True, exist_ok=True)
        pending.touch()
        changed = [replace(m, truth_version=newest[m.sample_id]) for m in members if m.sample_id in moved]
        with ledger.writing() as connection:
            write.upsert(connection, changed, ("cycle_id", "sample_id"))
    return moved


def _figures(score: ScoreRow) -> ScoreRow:
    return replace(score, parser_version=0, truth_version=0, evidence=None)


def _words(score: ScoreRow) -> str:
    exact = "exact" if score.exact else "not exact"
    return f"{score.outcome}, {exact}, cells +{score.location_tp} -{score.location_fn} wrong {score.location_fp}"
