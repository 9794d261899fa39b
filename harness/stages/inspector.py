"""A cycle's frozen model, taken from the ledger to be asked again: by predict, suggest, watch and the gauge study.

Enters: a ledger and a cycle. Leaves: an Inspector, which is what the cycle left without any model yet; on a Seat the
base with the cycle's adapter, proved by their hashes to be the ones that the cycle left; and answers, each batch in a
journal before the next begins, so that a stopped or repeated command asks only what is new.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.answer.condition import Condition, Decoding
from harness.answer.generate import engine_fingerprint
from harness.answer.journal import AnswerJournal
from harness.answer.verdict import VerdictOpenings
from harness.config import CycleConfig
from harness.dataset.fingerprint import sample_id
from harness.errors import LedgerError, ModelError
from harness.records import RawAnswer, Sample
from harness.stages.answering import ask, engine_digest, journalled, model_id
from harness.store import Ledger, read
from harness.store.rows import CycleRow, ModelRow, ProductRow, RoleRow
from harness.vlm.adapters import load_adapter
from harness.vlm.identity import adapter_hash
from harness.vlm.load import load_vlm

if TYPE_CHECKING:
    from harness.vlm.load import Vlm


@dataclass(frozen=True, slots=True)
class Inspector:
    """A finished cycle with its fine-tuned model."""

    cycle: CycleRow
    config: CycleConfig
    product: ProductRow
    role: RoleRow
    model: ModelRow

    @property
    def cycle_id(self) -> str:
        """The cycle's id, under which the adapter is resident."""
        return self.cycle.cycle_id

    @property
    def condition(self) -> Condition:
        """n0: clean picture, canonical prompt, greedy."""
        return Condition("n0", decoding=Decoding(max_new_tokens=self.config.answer.max_new_tokens))

    @property
    def openings(self) -> VerdictOpenings:
        """The product's openings of either verdict."""
        stored = json.loads(self.product.openings)
        return VerdictOpenings(passed=stored["passed"], defective=stored["defective"])

    def engine(self, vlm: Vlm) -> str:
        """The engine_id of its answers under the canonical condition, by the versions, dtype and device of today."""
        return engine_digest(engine_fingerprint(vlm, self.condition.decoding, self.openings))

    def unlabelled(self, image_id: str, path: Path, question: str | None = None) -> Sample:
        """A picture without truth, with the product's question unless it has its own."""
        asked = question or self.product.question or ""
        return Sample(
            sample_id=sample_id(image_id, asked),
            image_id=image_id,
            image_path=path,
            question=asked,
            reference="",
            truth=None,
            truth_version=0,
            group=image_id,
        )


def inspector_of(ledger: Ledger, cycle_id: str) -> Inspector:
    """What a cycle left.

    Raises:
        UnknownCycle: no such cycle.
        LedgerError: it has no fine-tuned model yet.
    """
    cycle = read.cycle(ledger, cycle_id)
    role = read.roles(ledger, cycle_id).get("finetuned")
    product = read.product(ledger, cycle.product)
    if role is None or product is None:
        raise LedgerError(
            f"{cycle_id} has no fine-tuned model yet", hint=f"finish it: harness cycle --resume {cycle_id}"
        )
    config = CycleConfig.model_validate(json.loads(cycle.config))
    return Inspector(cycle, config, product, role, read.model(ledger, role.model_id))


class Seat:
    """Where one base model sits; inspectors of that base share it, another base takes its place.

    Args:
        ledger: whose runs folder holds the adapters.
        say: prints one line to people.
    """

    def __init__(self, ledger: Ledger, say: Callable[[str], None]) -> None:
        self.ledger = ledger
        self.say = say
        self._key: tuple[str | None, ...] = ()
        self._vlm: Vlm | None = None

    def take(self, inspector: Inspector) -> Vlm:
        """The inspector's base with its adapter loaded under the cycle's id.

        Raises:
            ModelError: base or adapter cannot be loaded, or are not those that the cycle left.
        """
        model, settings = inspector.model, inspector.config.model
        assert model.adapter is not None, "a fine-tuned model has an adapter"
        folder = self.ledger.runs / model.adapter
        key = (model.base, model.revision, settings.dtype, settings.attention)
        if self._vlm is None or key != self._key:
            self._vlm = None  # let go of the old one before the new one takes memory
            self._vlm = load_vlm(
                model.base, revision=model.revision, dtype=settings.dtype, attention=settings.attention
            )
            self._key = key
        vlm = self._vlm
        self.say(f"{vlm.describe()}, with the adapter of {inspector.cycle_id}")
        load_adapter(vlm, folder, inspector.cycle_id)
        found = adapter_hash(folder)
        if model_id(vlm.base_hash, found) != model.model_id:
            what = "adapter" if found != model.adapter_hash else "base model"
            raise ModelError(
                f"the {what} on disk is not the one that {inspector.cycle_id} left: "
                f"model {model_id(vlm.base_hash, found)}, not {model.model_id}",
                hint=f"restore {folder if what == 'adapter' else model.base}; a changed model is a new cycle",
            )
        return vlm


def ask_inspector(
    vlm: Vlm,
    inspector: Inspector,
    samples: Sequence[Sample],
    journal: AnswerJournal,
    *,
    label: str,
    say: Callable[[str], None],
    condition: Condition | None = None,
    repeat: int = 0,
    openings: VerdictOpenings | None = None,
) -> dict[str, RawAnswer]:
    """The inspector's answers by sample_id: from the journal of an earlier try, or now.

    Args:
        label: who asks, as in "watch".
        condition: None is the canonical one.
        openings: for P(defective); None leaves it out.
    """
    own = journalled(journal, inspector.role.model_id, samples, repeat=repeat)
    if own:
        say(f"{label}: {len(own)} answers reused")
    return own | ask(
        vlm,
        inspector.cycle_id,
        [sample for sample in samples if sample.sample_id not in own],
        journal,
        model_id=inspector.role.model_id,
        condition=condition or inspector.condition,
        batch_size=inspector.config.answer.batch_size,
        openings=openings,
        label=f"{label}: answers",
        say=say,
        repeat=repeat,
    )
