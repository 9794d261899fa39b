"""A finished cycle's studies by corrected truths and today's parser: gauge, threshold and noise. No model is needed.

Enters: a cycle whose records have newer truths, or whose trials an older parser read. Leaves: the rows of its studies
anew, from the answers and probabilities in the ledger. What N1 and N2 are does not depend on the truth, and stays.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from harness.parse import PARSER_VERSION
from harness.records import Role
from harness.score.noise_plan import noise_plan
from harness.stages.answering import Respondent
from harness.stages.gauge import regauge
from harness.stages.noise_rows import effect_rows, figure_rows
from harness.stages.threshold import choose_threshold
from harness.store import Ledger, noise, read, write
from harness.store.rows import NoiseEffectRow, NoiseSnRow, NoiseStudyRow

ROLES: tuple[Role, Role] = ("base", "finetuned")


def restudy(ledger: Ledger, cycle_id: str, *, corrected: bool, say: Callable[[str], None]) -> None:
    """Bring the stored studies of a cycle up to date, and say which.

    Args:
        corrected: the cycle goes by other truths than before.
    """
    read_by = {row.condition_id: row.parser_version for row in read.gauge_figures(ledger, cycle_id)}
    for condition_id, version in read_by.items():
        if corrected or version != PARSER_VERSION:
            again = regauge(ledger, cycle_id, condition_id)
            told = "is judged again" if again else f"lacks trials and stays as it was: harness gauge {cycle_id}"
            say(f"rescore: {cycle_id}: its gauge study {condition_id} {told}")
    if not corrected:
        return
    old = read.threshold(ledger, cycle_id)
    if old is not None:
        new = choose_threshold(ledger, cycle_id, max_escape=old.max_escape, max_overkill=old.max_overkill).threshold
        said = " -> ".join(f"{_end(row.low)} and {_end(row.high)}" for row in (old, new))
        say(f"rescore: {cycle_id}: its thresholds are chosen again: {said}")
    study = noise.study(ledger, cycle_id)
    if study is not None:
        _hold_against_truths(ledger, study)
        say(f"rescore: {cycle_id}: its noise study is held against the newest truths")


def _end(threshold: float | None) -> str:
    return "none" if threshold is None else f"{threshold:.4g}"


def _hold_against_truths(ledger: Ledger, study: NoiseStudyRow) -> None:
    """Effects and figures of a noise study anew, from the stored probabilities."""
    cycle_id = study.cycle_id
    product = read.product(ledger, read.cycle(ledger, cycle_id).product)
    assert product is not None, "Define writes the product"
    openings = json.loads(product.openings)
    records = read.judged_records(ledger, cycle_id)
    validation, test = ([row for row in records if row["split"] == split] for split in ("validation", "test"))

    def at_n0(model_id: str) -> list[float]:
        known = noise.recorded_probabilities(
            ledger, model_id=model_id, passed=openings["passed"], defective=openings["defective"]
        )
        return [2 * known[row["sample_id"]] - 1 for row in test]

    def under(model_id: str, condition_id: str, rows: Sequence[dict[str, object]]) -> list[float]:
        known = noise.probabilities(ledger, model_id=model_id, condition_id=condition_id, engine_id=study.engine_id)
        return [2 * known[str(row["sample_id"])] - 1 for row in rows]

    past = noise.figures(ledger, cycle_id)
    signals = {name: at_n0(name) for name in {r.reference_model_id: 0 for r in past if r.metric == "sn_base"}}
    roles = read.roles(ledger, cycle_id)
    effects: list[NoiseEffectRow] = []
    figures: list[NoiseSnRow] = []
    for role in ROLES:
        who = Respondent(role, read.model(ledger, roles[role].model_id), None)
        own = who.model.model_id
        plan = [under(own, levels.condition_id, validation) for levels in noise_plan()]
        noisy = [under(own, condition, test) for condition in (study.n1_condition, study.n2_condition)]
        effects += effect_rows(cycle_id, role, plan, _truths(validation), _groups(validation))
        figures += figure_rows(cycle_id, who, at_n0(own), noisy, _truths(test), signals, _groups(test))
    with ledger.writing() as connection:
        write.replace(connection, "noise_effects", effects, cycle_id=cycle_id)
        write.replace(connection, "noise_sn", figures, cycle_id=cycle_id)


def _truths(rows: Sequence[dict[str, object]]) -> list[float]:
    return [1.0 if row["verdict"] == "defective" else -1.0 for row in rows]


def _groups(rows: Sequence[dict[str, object]]) -> list[str] | None:
    """The records' groups where any holds more than one of them, else None."""
    groups = [str(row["group_id"]) for row in rows]
    return groups if len(set(groups)) < len(groups) else None
