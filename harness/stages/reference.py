"""The frozen reference model of a product: the model whose scores at n0 are the signal of sn_base.

Enters: what the user names, and what the product has recorded. Leaves: the reference by its hash, and its scores.
The first noise study of a product freezes its reference (the cycle's base model, unless another is named). Another
reference changes what sn_base means, so it is refused unless the change is asked for, and then the models are scored
on the old and on the new one. Its scores are those recorded when it first answered a record; only where a record has
none is the model asked, and loaded for that where it does not share the resident base.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.errors import LedgerError, ModelError, UnknownCycle
from harness.records import Sample
from harness.stages.answering import Respondent, model_id
from harness.stages.probing import Task, ask, verdict_openings
from harness.stages.run import CycleRun
from harness.store import Ledger, noise, read
from harness.store.rows import ModelRow
from harness.vlm.adapters import load_adapter
from harness.vlm.identity import adapter_hash
from harness.vlm.load import Vlm, load_vlm


@dataclass(frozen=True, slots=True)
class Reference:
    """The reference in force, and the one that it replaces (None where nothing is replaced). Model ids."""

    current: str
    former: str | None

    @property
    def all(self) -> tuple[str, ...]:
        """Every reference to be scored on, the current one first."""
        return (self.current,) if self.former is None else (self.current, self.former)


def settle_reference(ledger: Ledger, cycle_id: str, *, asked: str | None, change: bool) -> Reference:
    """Which model is the signal of sn_base.

    Args:
        asked: "base" (the cycle's base model), a cycle id (its fine-tuned model) or a model id; None takes what the
            product has recorded, else the cycle's base model.
        change: allow another reference than the recorded one.

    Raises:
        UnknownCycle, LedgerError: `asked` names no model, or another one than the recorded reference without `change`.
    """
    product = read.product(ledger, read.cycle(ledger, cycle_id).product)
    assert product is not None, "Define writes the product"
    recorded = product.reference_model_id
    wanted = _named(ledger, cycle_id, asked or "base") if asked is not None or recorded is None else recorded
    if recorded is None or wanted == recorded:
        return Reference(wanted, None)
    if not change:
        raise LedgerError(
            f"the reference of {product.product} is model {recorded}, not {wanted}: sn_base would mean something else",
            hint=f"leave out --reference, or score on both: harness robustness {cycle_id} --reference {asked} "
            "--change-reference",
        )
    return Reference(wanted, recorded)


def reference_scores(
    run: CycleRun, reference: str, samples: Sequence[Sample], respondents: Sequence[Respondent]
) -> list[float]:
    """The reference's scores s at n0, in the order of the samples.

    Args:
        respondents: the models at hand on the resident base.

    Raises:
        ModelError: it must be asked about records, and what is loaded under its name is another model by its hash.
    """
    openings = verdict_openings(run)
    known = noise.recorded_probabilities(
        run.ledger, model_id=reference, passed=openings.passed, defective=openings.defective
    )
    missing = [sample for sample in samples if sample.sample_id not in known]
    if missing:
        vlm, respondent = _at_hand(run, reference, respondents)
        (found,) = ask(run, vlm, [Task(respondent, missing, None)], "robustness: the reference at n0")
        known.update({sample.sample_id: (s + 1) / 2 for sample, s in zip(missing, found, strict=True)})
    return [2 * known[sample.sample_id] - 1 for sample in samples]


def _named(ledger: Ledger, cycle_id: str, asked: str) -> str:
    if asked == "base":
        return read.roles(ledger, cycle_id)["base"].model_id
    if read.rows(ledger, ModelRow, "model_id = ?", [asked]):
        return asked
    try:
        role = read.roles(ledger, read.cycle(ledger, asked).cycle_id).get("finetuned")
    except UnknownCycle as error:
        raise UnknownCycle(
            f"no reference {asked!r}: neither base, nor a cycle, nor a model of {ledger.path}",
            hint="--reference base, or a cycle id; list them: harness runs",
        ) from error
    if role is None:
        raise LedgerError(f"{asked} has no fine-tuned model yet", hint=f"finish it: harness cycle --resume {asked}")
    return role.model_id


def _at_hand(run: CycleRun, reference: str, respondents: Sequence[Respondent]) -> tuple[Vlm, Respondent]:
    """The reference, ready to be asked: one of the models at hand, an adapter on their base, or a base of its own."""
    for respondent in respondents:
        if respondent.model.model_id == reference:
            return run.bench.vlm, respondent
    model = read.model(run.ledger, reference)
    vlm = run.bench.vlm
    if model_id(vlm.base_hash, model.adapter_hash) != reference:
        run.say(f"robustness: loading the reference's own base {model.base}")
        vlm = load_vlm(
            model.base,
            revision=model.revision,
            dtype=run.config.model.dtype,
            attention=run.config.model.attention,
        )
    if model.adapter is None:
        found, respondent = None, Respondent("base", model, None)
    else:
        folder = run.runs / model.adapter
        found, respondent = adapter_hash(folder), Respondent("finetuned", model, "reference")
        load_adapter(vlm, folder, "reference")
    if model_id(vlm.base_hash, found) != reference:
        raise ModelError(
            f"the reference {reference} cannot be asked: what {model.base} holds now is another model by its hash",
            hint="restore its files, or take another reference: --reference base --change-reference",
        )
    return vlm, respondent
