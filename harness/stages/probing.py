"""Asking for verdict probabilities alone, under noise levels: what is known is reused, what is new goes to the ledger.

Enters: tasks of (model, records, noise levels). Leaves: rows in probabilities and conditions, batch by batch, so that a
kill costs one batch and the next try goes on; and the scores s = 2 P(defective) - 1.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from harness.answer.condition import Condition
from harness.answer.generate import engine_fingerprint
from harness.answer.noise import NOISE_VERSION
from harness.answer.probability import probability_batches
from harness.answer.verdict import VerdictOpenings
from harness.dataset.pool import utc_now
from harness.records import Sample
from harness.score.noise_plan import NoiseLevels
from harness.stages.answering import Respondent, canonical, engine_digest
from harness.stages.progress import Progress
from harness.stages.run import CycleRun
from harness.store import noise, read, write
from harness.store.rows import ConditionRow, ProbabilityRow
from harness.vlm.adapters import use_adapter

if TYPE_CHECKING:
    from harness.vlm.load import Vlm


@dataclass(frozen=True, slots=True)
class Engine:
    """Everything beside model, record and condition that a probability depends on, with its hash."""

    engine_id: str
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Task:
    """Records that a model is to be asked about under some levels; None is the standard condition n0."""

    respondent: Respondent
    samples: Sequence[Sample]
    levels: NoiseLevels | None

    @property
    def condition_id(self) -> str:
        """The condition's id in the ledger."""
        return "n0" if self.levels is None else self.levels.condition_id


def verdict_openings(run: CycleRun) -> VerdictOpenings:
    """The two continuations that the product's P(defective) compares, fixed in Define."""
    product = read.product(run.ledger, run.config.product)
    assert product is not None, "Define writes the product"
    stored = json.loads(product.openings)
    return VerdictOpenings(passed=stored["passed"], defective=stored["defective"])


def engine_of(run: CycleRun, vlm: Vlm, *, noisy: bool) -> Engine:
    """The circumstances of a probability. At n0 they are those of an answer, so that the answers' own are reused."""
    facts = engine_fingerprint(vlm, canonical(run).decoding, verdict_openings(run))
    if noisy:
        import numpy
        import PIL

        facts["noise"] = {
            "noise_version": NOISE_VERSION,
            "paraphrase": run.config.noise.paraphrase,
            "pillow": PIL.__version__,
            "numpy": numpy.__version__,
        }
    return Engine(engine_digest(facts), facts)


def ask(run: CycleRun, vlm: Vlm, tasks: Sequence[Task], label: str) -> list[list[float]]:
    """The scores of each task's records, in the order of its samples: s = 2 P(defective) - 1, in [-1, 1].

    Raises:
        DataError, ModelError: as `probability_batches`; what was answered before stays.
    """
    openings = verdict_openings(run)
    engines = {noisy: engine_of(run, vlm, noisy=noisy) for noisy in (False, True)}
    known = [_known(run, task, engines[task.levels is not None]) for task in tasks]
    todo = [[s for s in task.samples if s.sample_id not in found] for task, found in zip(tasks, known, strict=True)]
    total, reused = sum(map(len, todo)), sum(len(task.samples) for task in tasks) - sum(map(len, todo))
    if reused:
        run.say(f"{label}: {reused} probabilities reused")
    if total:
        with Progress(label, total, run.say) as progress:
            for task, samples, found in zip(tasks, todo, known, strict=True):
                if samples:
                    _ask_one(run, vlm, task, samples, openings, engines[task.levels is not None], found, progress)
    return [
        [2 * found[sample.sample_id] - 1 for sample in task.samples] for task, found in zip(tasks, known, strict=True)
    ]


def _known(run: CycleRun, task: Task, engine: Engine) -> dict[str, float]:
    return noise.probabilities(
        run.ledger,
        model_id=task.respondent.model.model_id,
        condition_id=task.condition_id,
        engine_id=engine.engine_id,
    )


def _ask_one(
    run: CycleRun,
    vlm: Vlm,
    task: Task,
    samples: Sequence[Sample],
    openings: VerdictOpenings,
    engine: Engine,
    found: dict[str, float],
    progress: Progress,
) -> None:
    model_id = task.respondent.model.model_id
    condition = _condition_row(_condition(run, task.levels), engine)
    with use_adapter(vlm, task.respondent.adapter):
        for batch in probability_batches(
            vlm,
            samples,
            openings,
            batch_size=run.config.answer.batch_size,
            levels=task.levels,
            paraphrased=run.config.noise.paraphrase,
            say=run.say,
        ):
            now = utc_now()
            rows = [
                ProbabilityRow(
                    model_id, p.sample_id, condition.condition_id, engine.engine_id, p.p_defective, p.seconds, now
                )
                for p in batch
            ]
            with run.ledger.writing() as connection:
                write.upsert(connection, [condition], ("condition_id", "engine_id"))
                write.upsert(connection, rows, ("model_id", "sample_id", "condition_id", "engine_id"))
            found.update({p.sample_id: p.p_defective for p in batch})
            progress.advance(len(batch))


def _condition(run: CycleRun, levels: NoiseLevels | None) -> Condition:
    if levels is None:
        return canonical(run)
    prompt = "paraphrased" if levels.value("prompt") else "canonical"
    return Condition(levels.condition_id, canonical(run).decoding, prompt=prompt, noise=levels.describe())


def _condition_row(condition: Condition, engine: Engine) -> ConditionRow:
    return ConditionRow(
        condition.condition_id,
        engine.engine_id,
        condition.prompt,
        json.dumps(asdict(condition.decoding)),
        condition.noise,
        json.dumps(engine.facts, default=str),
    )
