"""Asking cycles' models their test pictures again and again, long after the cycles: the trials of a gauge study.

Enters: an inspector, a condition, how many trials. Leaves: answers as repeats 0, 1, ... in the ledger and, batch by
batch, in runs/<cycle>/gauge/, so that a kill costs one batch.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from harness.answer.condition import Condition
from harness.answer.generate import engine_fingerprint
from harness.answer.journal import AnswerJournal
from harness.dataset.pool import Pool
from harness.stages.inspector import Inspector, Seat, ask_inspector
from harness.store import Ledger, read, write
from harness.store.rows import AnswerRow, ConditionRow, RoleRow

ANSWER_KEY = ("model_id", "sample_id", "condition_id", "repeat", "engine_id")


def known_trials(
    ledger: Ledger, role: RoleRow, condition_id: str, engine_id: str, repeats: int
) -> dict[tuple[str, int], AnswerRow]:
    """The stored trials of a model under a condition and engine, by (sample, repeat)."""
    return {
        (row.sample_id, row.repeat): row
        for repeat in range(repeats)
        for row in read.answers(
            ledger, model_id=role.model_id, engine_id=engine_id, condition_id=condition_id, repeat=repeat
        )
    }


def stored_trials(
    ledger: Ledger, role: RoleRow, condition_id: str, sample_ids: Sequence[str], repeats: int
) -> dict[tuple[str, int], AnswerRow] | None:
    """All trials of a study, by the cycle's own engine or else the newest that made them all; None: some are gone."""
    engines = read.table(
        ledger,
        "SELECT engine_id FROM answers WHERE model_id = ? AND condition_id = ? GROUP BY engine_id "
        "ORDER BY engine_id = ? DESC, max(answered_at) DESC",
        [role.model_id, condition_id, role.engine_id],
    )
    for engine in engines:
        known = known_trials(ledger, role, condition_id, engine["engine_id"], repeats)
        if all((sample_id, repeat) in known for sample_id in sample_ids for repeat in range(repeats)):
            return known
    return None


def ask_trials(
    seat: Seat, inspector: Inspector, condition: Condition, sample_ids: Sequence[str], repeats: int
) -> dict[tuple[str, int], AnswerRow]:
    """Every trial of a cycle's fine-tuned model on some records, by (sample, repeat); what is stored is not asked.

    All trials come from one engine. Where today's differs from the cycle's (another version, dtype or device), the
    trials are today's, and that is said.

    Raises:
        ModelError: the base model or the adapter cannot be loaded, or are not those that the cycle left.
        DataError: a picture of the pool is gone.
    """
    ledger, role, cycle_id = seat.ledger, inspector.role, inspector.cycle_id
    vlm = seat.take(inspector)
    # The fingerprint is that of the cycle's own answers, so that the trials stand beside them.
    engine_id = inspector.engine(vlm)
    if engine_id != role.engine_id:
        seat.say(f"gauge: {cycle_id} answered under other versions, dtype or device: every trial is today's")
    pool = Pool(ledger.runs, inspector.cycle.product)
    index = pool.read()
    samples = [pool.sample(index, sample_id) for sample_id in sample_ids]
    known = known_trials(ledger, role, condition.condition_id, engine_id, repeats)
    reused = sum(key in known for key in ((s, k) for s in sample_ids for k in range(repeats)))
    engine = engine_fingerprint(vlm, inspector.condition.decoding, inspector.openings)
    row = ConditionRow(
        condition.condition_id, engine_id, condition.prompt, json.dumps(asdict(condition.decoding)), condition.noise,
        json.dumps(engine, default=str),
    )  # fmt: skip
    answered = 0
    for repeat in range(repeats):
        todo = [sample for sample in samples if (sample.sample_id, repeat) not in known]
        if not todo:
            continue
        name = f"answers-{condition.condition_id}-r{repeat}-{engine_id}.jsonl"
        journal = AnswerJournal(ledger.runs / cycle_id / "gauge" / name)
        label = f"gauge: {cycle_id}, trial {repeat + 1}"
        # Greedy trials are the model's answers at n0, which other cycles reuse with their P(defective).
        openings = inspector.openings if condition.condition_id == "n0" else None
        own = ask_inspector(
            vlm, inspector, todo, journal, label=label, say=seat.say, condition=condition, repeat=repeat,
            openings=openings,
        )  # fmt: skip
        new = [AnswerRow(engine_id=engine_id, **asdict(answer)) for answer in own.values()]
        with ledger.writing() as connection:
            write.upsert(connection, [row], ("condition_id", "engine_id"))
            write.upsert(connection, new, ANSWER_KEY)
        known |= {(answer.sample_id, answer.repeat): answer for answer in new}
        answered += len(new)
    seat.say(f"gauge: {cycle_id} answered {answered} trials, {reused} reused from the ledger")
    return known
