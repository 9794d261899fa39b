"""The raised inspector at work: pictures in, one prediction each out.

Enters: a finished cycle and picture files. Leaves: verdict, decision, findings, P(defective) and the text, one a
picture. The product's own question is asked under the canonical condition, so the model sees what it was raised on.
The verdict is what the words say; the decision is what the cycle's stored thresholds make of P(defective). Without
stored thresholds there is no decision (None): a decision that sometimes meant the verdict would mean nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.answer.generate import answer_batches
from harness.dataset.fingerprint import fingerprint_picture
from harness.errors import DataError
from harness.parse import parse_to_json
from harness.records import Sample
from harness.score.threshold import Decision, Thresholds, decide
from harness.stages.inspector import Inspector, Seat, inspector_of
from harness.stages.scoring import product_terms
from harness.store import Ledger, read
from harness.store.rows import RoleRow
from harness.vlm.adapters import use_adapter


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
    """Answer pictures with a cycle's fine-tuned model; each that cannot be read is named before the first answer.

    Raises:
        DataError: after the last answer, where a file was absent or no picture.
        UnknownCycle: no such cycle.
        LedgerError: the cycle has no fine-tuned model yet.
        ModelError: the base model or the adapter cannot be loaded, or is not the one that the cycle left.
    """
    inspector = inspector_of(ledger, cycle_id)
    samples = [sample for path in pictures if (sample := _sample(inspector, path, say)) is not None]
    if samples:
        yield from _predictions(ledger, inspector, samples, say=say)
    if bad := len(pictures) - len(samples):
        raise DataError(
            f"{bad} of {len(pictures)} pictures cannot be read; each is named above",
            hint="name picture files (PNG, JPEG, ...)",
        )


def _predictions(
    ledger: Ledger, inspector: Inspector, samples: Sequence[Sample], *, say: Callable[[str], None]
) -> Iterator[Prediction]:
    vlm = Seat(ledger, say).take(inspector)
    vocabulary, grid = product_terms(inspector.product)
    thresholds = _thresholds(ledger, inspector.role, inspector.engine(vlm), say)
    with use_adapter(vlm, inspector.cycle_id):
        for sample in samples:  # one at a time: a person waits for the first line
            for batch in answer_batches(
                vlm,
                [sample],
                model_id=inspector.role.model_id,
                condition=inspector.condition,
                batch_size=1,
                openings=inspector.openings,
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


def _sample(inspector: Inspector, path: Path, say: Callable[[str], None]) -> Sample | None:
    """The picture to ask about, or None, with the reason said, where there is none."""
    try:
        facts = fingerprint_picture(path.read_bytes())
    except OSError as error:  # absent, a folder, not ours to read, a name too long
        say(f"predict: {path}: {error.strerror or error}")
        return None
    if facts.problem is not None:
        say(f"predict: {path}: no readable picture: {facts.problem}")
        return None
    return inspector.unlabelled(facts.image_id, path)
