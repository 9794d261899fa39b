"""The raised inspector at work: pictures in, one prediction each out.

Enters: a finished cycle and picture files. Leaves: verdict, decision, findings, P(defective) and the text, one a
picture. The product's own question is asked under the canonical condition, so the model sees what it was raised on.
The verdict is what the words say; the decision is what the cycle's stored thresholds make of P(defective). Without
stored thresholds there is no decision (None): a decision that sometimes meant the verdict would mean nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.answer.condition import Condition, Decoding
from harness.answer.generate import answer_batches, engine_fingerprint
from harness.answer.verdict import VerdictOpenings
from harness.config import CycleConfig
from harness.dataset.fingerprint import fingerprint_picture, sample_id
from harness.errors import DataError, LedgerError
from harness.parse import parse_to_json
from harness.records import Sample
from harness.score.threshold import Decision, Thresholds, decide
from harness.stages.answering import engine_digest
from harness.stages.scoring import product_terms
from harness.store import Ledger, read
from harness.store.rows import RoleRow
from harness.vlm.adapters import load_adapter, use_adapter
from harness.vlm.load import load_vlm


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the inspector says of one picture. `seconds` does not count loading the model.

    `decision` is pass, defective or review by the cycle's thresholds; None where none are stored.
    """

    picture: str
    verdict: str | None
    decision: Decision | None
    findings: list[dict[str, str | None]]
    p_defective: float | None
    text: str
    reason: str
    seconds: float


def predict(
    ledger: Ledger, cycle_id: str, pictures: Sequence[Path], *, say: Callable[[str], None]
) -> Iterator[Prediction]:
    """Answer pictures with a cycle's fine-tuned model.

    Raises:
        DataError: a file is absent or no picture; nothing is answered then.
        UnknownCycle: no such cycle.
        LedgerError: the cycle has no fine-tuned model yet.
        ModelError: the base model or the adapter cannot be loaded.
    """
    cycle = read.cycle(ledger, cycle_id)
    role = read.roles(ledger, cycle_id).get("finetuned")
    product = read.product(ledger, cycle.product)
    if role is None or product is None:
        raise LedgerError(
            f"{cycle_id} has no fine-tuned model yet", hint=f"finish it: harness cycle --resume {cycle_id}"
        )
    question = product.question or ""
    samples = [_sample(path, question) for path in pictures]
    model = read.model(ledger, role.model_id)
    config = CycleConfig.model_validate(json.loads(cycle.config))
    vlm = load_vlm(model.base, revision=model.revision, dtype=config.model.dtype, attention=config.model.attention)
    say(f"{vlm.describe()}, with the adapter of {cycle_id}")
    assert model.adapter is not None, "a fine-tuned model has an adapter"
    load_adapter(vlm, ledger.runs / model.adapter, cycle_id)
    stored = json.loads(product.openings)
    vocabulary, grid = product_terms(product)
    condition = Condition("n0", decoding=Decoding(max_new_tokens=config.answer.max_new_tokens))
    openings = VerdictOpenings(passed=stored["passed"], defective=stored["defective"])
    engine_id = engine_digest(engine_fingerprint(vlm, condition.decoding, openings))
    thresholds = _thresholds(ledger, role, engine_id, say)
    with use_adapter(vlm, cycle_id):
        for sample in samples:  # one at a time: a person waits for the first line
            for batch in answer_batches(
                vlm,
                [sample],
                model_id=role.model_id,
                condition=condition,
                batch_size=1,
                openings=openings,
                say=say,
            ):
                for answer in batch:
                    said: dict[str, Any] = parse_to_json(answer.text, vocabulary, grid)
                    yield Prediction(
                        picture=str(sample.image_path),
                        verdict=said["verdict"],
                        decision=None if thresholds is None else decide(answer.p_defective, thresholds),
                        findings=said["findings"],
                        p_defective=answer.p_defective,
                        text=answer.text,
                        reason=said["reason"],
                        seconds=round(answer.seconds, 3),
                    )


def _thresholds(ledger: Ledger, role: RoleRow, engine_id: str, say: Callable[[str], None]) -> Thresholds | None:
    """The cycle's thresholds, where they were chosen for this very model; what is amiss is said."""
    row = read.threshold(ledger, role.cycle_id)
    again = f"harness threshold {role.cycle_id}"
    if row is None or row.low is None:
        say(f"{role.cycle_id} has no thresholds, so that the decision is null; choose them: {again}")
        return None
    if row.model_id != role.model_id:
        say(f"the thresholds of {role.cycle_id} are another model's, so that the decision is null; again: {again}")
        return None
    if row.engine_id != engine_id:
        say(f"the thresholds of {role.cycle_id} were chosen under other versions, dtype or device: P may have moved")
    return Thresholds(row.low, row.high)


def _sample(path: Path, question: str) -> Sample:
    if not path.is_file():
        raise DataError(f"no such picture: {path}", hint="name picture files (PNG, JPEG, ...)")
    facts = fingerprint_picture(path.read_bytes())
    if facts.problem is not None:
        raise DataError(f"{path} is no readable picture: {facts.problem}", hint="name picture files (PNG, JPEG, ...)")
    return Sample(
        sample_id=sample_id(facts.image_id, question),
        image_id=facts.image_id,
        image_path=path,
        question=question,
        reference="",
        truth=None,
        truth_version=0,
        group=facts.image_id,
    )
