"""Asking cycles' models their test pictures again and again, long after the cycles: the trials of a gauge study.

Enters: a cycle with its fine-tuned model, a condition, how many trials. Leaves: answers as repeats 0, 1, ... in the
ledger and, batch by batch, in runs/<cycle>/gauge/, so that a kill costs one batch. Models that share a base share the
resident one. Loads torch; stages/gauge.py imports this only where an answer is missing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from harness.answer.condition import Condition, Decoding
from harness.answer.generate import answer_batches, engine_fingerprint
from harness.answer.journal import AnswerJournal
from harness.answer.verdict import VerdictOpenings
from harness.config import CycleConfig
from harness.dataset.pool import Pool
from harness.records import Sample
from harness.stages.answering import engine_digest
from harness.stages.gauge import known_trials
from harness.stages.progress import Progress
from harness.store import Ledger, read, write
from harness.store.rows import AnswerRow, ConditionRow, CycleRow, ModelRow, RoleRow
from harness.vlm.adapters import load_adapter, use_adapter
from harness.vlm.load import load_vlm

if TYPE_CHECKING:
    from harness.vlm.load import Vlm

ANSWER_KEY = ("model_id", "sample_id", "condition_id", "repeat", "engine_id")


class TrialBench:
    """The one resident base model; another base takes its place. `say` prints one line to people."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self._key: tuple[str | None, ...] = ()
        self._vlm: Vlm | None = None

    def seat(self, ledger: Ledger, model: ModelRow, config: CycleConfig, cycle_id: str) -> Vlm:
        """The base of a cycle's model with the cycle's adapter loaded under its id."""
        key = (model.base, model.revision, config.model.dtype, config.model.attention)
        if self._vlm is None or key != self._key:
            self._vlm = None  # let go of the old one before the new one takes memory
            self._vlm = load_vlm(
                model.base, revision=model.revision, dtype=config.model.dtype, attention=config.model.attention
            )
            self._key = key
            self.say(self._vlm.describe())
        assert model.adapter is not None, "a fine-tuned model has an adapter"
        load_adapter(self._vlm, ledger.runs / model.adapter, cycle_id)
        return self._vlm


def ask_trials(
    ledger: Ledger,
    bench: TrialBench,
    cycle: CycleRow,
    role: RoleRow,
    condition: Condition,
    sample_ids: Sequence[str],
    repeats: int,
) -> dict[tuple[str, int], AnswerRow]:
    """Every trial of a cycle's fine-tuned model on some records, by (sample, repeat); what is stored is not asked.

    All trials come from one engine. Where today's differs from the cycle's (another version, dtype or device), the
    trials are today's, and that is said.

    Raises:
        ModelError: the base model or the adapter cannot be loaded.
        DataError: a picture of the pool is gone.
    """
    config = CycleConfig.model_validate(json.loads(cycle.config))
    product = read.product(ledger, cycle.product)
    assert product is not None, "Define writes the product"
    stored = json.loads(product.openings)
    openings = VerdictOpenings(passed=stored["passed"], defective=stored["defective"])
    vlm = bench.seat(ledger, read.model(ledger, role.model_id), config, cycle.cycle_id)
    # The fingerprint is that of the cycle's own answers, so that the trials stand beside them.
    engine = engine_fingerprint(vlm, Decoding(max_new_tokens=config.answer.max_new_tokens), openings)
    engine_id = engine_digest(engine)
    if engine_id != role.engine_id:
        bench.say(f"gauge: {cycle.cycle_id} answered under other versions, dtype or device: every trial is today's")
    pool = Pool(ledger.runs, cycle.product)
    index = pool.read()
    samples = [pool.sample(index, sample_id) for sample_id in sample_ids]
    known = known_trials(ledger, role, condition.condition_id, engine_id, repeats)
    reused = sum(key in known for key in ((s, k) for s in sample_ids for k in range(repeats)))
    row = ConditionRow(
        condition.condition_id, engine_id, condition.prompt, json.dumps(asdict(condition.decoding)), condition.noise,
        json.dumps(engine, default=str),
    )  # fmt: skip
    answered = 0
    for repeat in range(repeats):
        todo = [sample for sample in samples if (sample.sample_id, repeat) not in known]
        if not todo:
            continue
        new = _answer(ledger, bench, vlm, cycle.cycle_id, role, condition, engine_id, todo, repeat, config)
        with ledger.writing() as connection:
            write.upsert(connection, [row], ("condition_id", "engine_id"))
            write.upsert(connection, new, ANSWER_KEY)
        known |= {(answer.sample_id, answer.repeat): answer for answer in new}
        answered += len(new)
    bench.say(f"gauge: {cycle.cycle_id} answered {answered} trials, {reused} reused from the ledger")
    return known


def _answer(
    ledger: Ledger,
    bench: TrialBench,
    vlm: Vlm,
    cycle_id: str,
    role: RoleRow,
    condition: Condition,
    engine_id: str,
    samples: Sequence[Sample],
    repeat: int,
    config: CycleConfig,
) -> list[AnswerRow]:
    """The answers of one repeat to some records: from the journal of an earlier try, or now."""
    wanted = {sample.sample_id for sample in samples}
    name = f"answers-{condition.condition_id}-r{repeat}-{engine_id}.jsonl"
    journal = AnswerJournal(ledger.runs / cycle_id / "gauge" / name)
    own = {
        answer.sample_id: answer
        for answer in journal.read()
        if answer.model_id == role.model_id and answer.repeat == repeat and answer.sample_id in wanted
    }
    todo = [sample for sample in samples if sample.sample_id not in own]
    if own:
        bench.say(f"gauge: {cycle_id}: {len(own)} answers of trial {repeat + 1} are in the journal already")
    label = f"gauge: {cycle_id}, trial {repeat + 1}"
    with use_adapter(vlm, cycle_id), Progress(label, len(todo), bench.say) as progress:
        for batch in answer_batches(
            vlm,
            todo,
            model_id=role.model_id,
            condition=condition,
            batch_size=config.answer.batch_size,
            repeat=repeat,
            say=bench.say,
        ):
            journal.append(batch)
            own.update({answer.sample_id: answer for answer in batch})
            progress.advance(len(batch))
    return [AnswerRow(engine_id=engine_id, **asdict(answer)) for answer in own.values()]
