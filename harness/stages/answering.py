"""Asking one model the cycle's validation and test records: what is known is reused, what is new goes to the journal.

Enters: a role (base, finetuned, incumbent) with its adapter. Leaves: rows in models, conditions, answers and roles.
Every finished batch is on disk before the next begins, so a kill costs at most one batch. An answer is reused only
when the model, the picture, the condition and everything in the engine's fingerprint are the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from harness.answer.condition import Condition, Decoding
from harness.answer.generate import answer_batches, engine_fingerprint
from harness.answer.journal import AnswerJournal
from harness.answer.verdict import VerdictOpenings
from harness.dataset.pool import utc_now
from harness.records import RawAnswer, Role, Sample
from harness.stages.progress import Progress
from harness.stages.run import CycleRun
from harness.store import read, write
from harness.store.rows import AnswerRow, ConditionRow, ModelRow, RoleRow
from harness.vlm.adapters import use_adapter

if TYPE_CHECKING:
    from harness.vlm.load import Vlm


@dataclass(frozen=True, slots=True)
class Respondent:
    """A model in its role. `adapter` is the name under which it is resident; None is the base, adapter off."""

    role: Role
    model: ModelRow
    adapter: str | None


def canonical(run: CycleRun) -> Condition:
    """The condition n0: clean picture, canonical prompt, greedy."""
    return Condition("n0", decoding=Decoding(max_new_tokens=run.config.answer.max_new_tokens))


def variants(run: CycleRun) -> list[Condition]:
    """The sampling conditions that were asked for beside n0; the id ends in a hash of the settings."""
    conditions = []
    for name in run.config.answer.variants:
        variant = run.config.decoding[name]
        decoding = Decoding(
            max_new_tokens=variant.max_new_tokens,
            do_sample=True,
            temperature=variant.temperature,
            top_p=variant.top_p,
            seed=run.config.seed,
        )
        conditions.append(Condition(f"{name}-{_digest(asdict(decoding))[:6]}", decoding=decoding))
    return conditions


def samples_of(run: CycleRun, *splits: str) -> list[Sample]:
    """The cycle's records of some splits, with the truth versions that it goes by."""
    index = run.pool.read()
    members = read.memberships(run.ledger, run.cycle_id, splits)
    return [run.pool.sample(index, m.sample_id, m.truth_version) for m in members]


def base_model(run: CycleRun) -> ModelRow:
    """The identity of the resident base model."""
    vlm = run.bench.vlm
    return ModelRow(
        model_id=model_id(vlm.base_hash),
        kind="base",
        base=vlm.model_ref,
        revision=vlm.revision,
        adapter_hash=None,
        adapter=None,
        created_at=utc_now(),
    )


def engine_digest(engine: dict[str, Any]) -> str:
    """The engine_id of an engine fingerprint."""
    return _digest(engine)[:16]


def model_id(base_hash: str, adapter_hash: str | None = None) -> str:
    """Hash of what the base is (id and revision, or the files' content) and of the adapter's weights."""
    return hashlib.sha256(f"{base_hash}\n{adapter_hash or ''}".encode()).hexdigest()[:16]


def answer_role(run: CycleRun, stage: str, respondent: Respondent) -> RoleRow:
    """Answer the cycle's validation and test records at n0, and the test records under the variants asked for.

    Returns:
        The role's row, with how many answers were reused and how many are new.
    """
    vlm = run.bench.vlm
    product = read.product(run.ledger, run.config.product)
    assert product is not None, "Define writes the product"
    stored = json.loads(product.openings)
    openings = VerdictOpenings(passed=stored["passed"], defective=stored["defective"])
    tasks = [(canonical(run), samples_of(run, "validation", "test"))]
    tasks += [(condition, samples_of(run, "test")) for condition in variants(run)]
    engine = engine_fingerprint(vlm, canonical(run).decoding, openings)
    engine_id = engine_digest(engine)
    reused = answered = 0
    for condition, samples in tasks:
        known, new = _answer(run, stage, respondent, condition, samples, openings, engine_id)
        reused, answered = reused + len(known), answered + len(new)
        rows = [AnswerRow(engine_id=engine_id, **asdict(answer)) for answer in new]
        row = ConditionRow(
            condition.condition_id,
            engine_id,
            condition.prompt,
            json.dumps(asdict(condition.decoding)),
            condition.noise,
            json.dumps(engine, default=str),
        )
        with run.ledger.writing() as connection:
            write.upsert(connection, [row], ("condition_id", "engine_id"))
            write.upsert(connection, rows, ("model_id", "sample_id", "condition_id", "repeat", "engine_id"))
    known_model = read.rows(run.ledger, ModelRow, "model_id = ?", [respondent.model.model_id])
    role = RoleRow(run.cycle_id, respondent.role, respondent.model.model_id, engine_id, reused, answered)
    with run.ledger.writing() as connection:
        if not known_model:
            write.insert(connection, [respondent.model])
        write.replace(connection, "roles", [role], cycle_id=run.cycle_id, model_role=respondent.role)
    run.say(f"{stage}: {respondent.role} answered {answered} records, {reused} answers reused")
    return role


def _answer(
    run: CycleRun,
    stage: str,
    respondent: Respondent,
    condition: Condition,
    samples: Sequence[Sample],
    openings: VerdictOpenings,
    engine_id: str,
) -> tuple[list[str], list[RawAnswer]]:
    """What the ledger knew already, and this cycle's own answers (from the journal of an earlier try, or now)."""
    name = f"answers-{respondent.role}-{condition.condition_id}-{engine_id}.jsonl"
    journal = AnswerJournal(run.stage_folder(stage) / name)
    own = journalled(journal, respondent.model.model_id, samples)
    in_ledger = read.answers(
        run.ledger,
        model_id=respondent.model.model_id,
        engine_id=engine_id,
        condition_id=condition.condition_id,
    )
    # Trials that a gauge study stored without P(defective) are no whole answers.
    stored = {row.sample_id for row in in_ledger if row.p_defective is not None}
    known = [sample.sample_id for sample in samples if sample.sample_id in stored and sample.sample_id not in own]
    own |= ask(
        run.bench.vlm,
        respondent.adapter,
        [sample for sample in samples if sample.sample_id not in {*own, *known}],
        journal,
        model_id=respondent.model.model_id,
        condition=condition,
        batch_size=run.config.answer.batch_size,
        openings=openings,
        label=f"{stage}: {respondent.role} answers ({condition.condition_id})",
        say=run.say,
    )
    return known, list(own.values())


def journalled(
    journal: AnswerJournal, model_id: str, samples: Sequence[Sample], *, repeat: int = 0
) -> dict[str, RawAnswer]:
    """A model's answers to these samples that an earlier try left, by sample_id."""
    wanted = {sample.sample_id for sample in samples}
    return {
        answer.sample_id: answer
        for answer in journal.read()
        if (answer.model_id, answer.repeat) == (model_id, repeat) and answer.sample_id in wanted
    }


def ask(
    vlm: Vlm,
    adapter: str | None,
    samples: Sequence[Sample],
    journal: AnswerJournal,
    *,
    model_id: str,
    condition: Condition,
    batch_size: int,
    openings: VerdictOpenings | None,
    label: str,
    say: Callable[[str], None],
    repeat: int = 0,
) -> dict[str, RawAnswer]:
    """Ask the samples now, by sample_id; each batch is in the journal before the next begins.

    Args:
        adapter: the name under which it is resident; None asks the base.
        openings: for P(defective); None leaves it out.
        label: of the progress.
    """
    found: dict[str, RawAnswer] = {}
    if not samples:
        return found
    with use_adapter(vlm, adapter), Progress(label, len(samples), say) as progress:
        for batch in answer_batches(
            vlm,
            samples,
            model_id=model_id,
            condition=condition,
            batch_size=batch_size,
            repeat=repeat,
            openings=openings,
            say=say,
        ):
            journal.append(batch)
            found.update({answer.sample_id: answer for answer in batch})
            progress.advance(len(batch))
    return found


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
