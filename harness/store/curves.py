"""Which cycles may stand on one learning curve, and what each got right on the test records that they share.

Enters: a Ledger and a cycle (or the cycles that a user names). Leaves: a Family of cycles that differ in their training
records and seeds alone, with the reason why each other one is left out. Two cycles are comparable where product, frozen
test split, truths, parser version, base model (its weights' hash) and every setting that can change what is learned or
said are the same; a model that is another cycle's over again (same weights) is no second training.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.errors import SplitError
from harness.store import read
from harness.store.ledger import Ledger
from harness.store.rows import ScoreRow

#: parts of the configuration that decide what a model learns and says
SETTINGS = ("lora", "train", "answer.max_new_tokens", "model.dtype", "data.pool")
#: of these, what changes speed, memory or logging alone
IMMATERIAL = frozenset(
    {"train.eval_batch_size", "train.gradient_checkpointing", "train.packing", "train.tracker", "train.workers"}
)


@dataclass(frozen=True, slots=True)
class Joined:
    """A cycle on the curve."""

    cycle_id: str
    train_records: int
    seed: int


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A cycle that is not on the curve, and why."""

    cycle_id: str
    why: str


@dataclass(frozen=True, slots=True)
class Family:
    """The cycles that may be joined with `anchor`, by size, and those of its product that may not."""

    anchor: str
    product: str
    joined: tuple[Joined, ...]
    left_out: tuple[LeftOut, ...]


@dataclass(frozen=True, slots=True)
class FamilyAnswers:
    """What the family's fine-tuned models made of the test records at n0: one row of scores a cycle, in the family's
    order, each in the order of `sample_ids`. `groups` is None where every record stands alone."""

    sizes: tuple[int, ...]
    sample_ids: tuple[str, ...]
    scores: tuple[tuple[ScoreRow, ...], ...]
    defective: tuple[bool, ...]
    groups: tuple[str, ...] | None


def family(ledger: Ledger, anchor: str) -> Family:
    """The cycles of the anchor's product that may be joined with it.

    Raises:
        UnknownCycle: the ledger does not hold the anchor.
        LedgerError: there is no ledger.
    """
    own = read.cycle(ledger, anchor)
    setups = _setups(ledger, own.product)
    return _sort(anchor, own.product, {row["cycle_id"]: row for row in setups})


def named_family(ledger: Ledger, cycle_ids: Sequence[str]) -> Family:
    """The named cycles as one family.

    Raises:
        UnknownCycle: a cycle is not in the ledger.
        SplitError: they cannot be joined; every reason is told.
    """
    cycles = [read.cycle(ledger, cycle_id) for cycle_id in dict.fromkeys(cycle_ids)]
    products = sorted({cycle.product for cycle in cycles})
    if len(products) > 1:
        raise SplitError(
            f"the cycles raise several products: {', '.join(products)}",
            hint="name cycles of one product; list them: harness runs",
        )
    wanted = {cycle.cycle_id for cycle in cycles}
    setups = {row["cycle_id"]: row for row in _setups(ledger, products[0]) if row["cycle_id"] in wanted}
    found = _sort(cycles[0].cycle_id, products[0], setups)
    if found.left_out:
        raise SplitError(
            "these cycles are not comparable: " + "; ".join(f"{out.cycle_id}: {out.why}" for out in found.left_out),
            hint="leave them out; without cycle ids, harness curve joins those that are comparable",
        )
    return found


def latest_cycle(ledger: Ledger, product: str | None) -> str | None:
    """The newest cycle with scores of a fine-tuned model, of a product where one is named; None where there is none."""
    found = read.table(
        ledger,
        "SELECT max(c.cycle_id) AS cycle_id FROM cycles c JOIN metrics m USING (cycle_id) "
        "WHERE m.model_role = 'finetuned' AND m.split = 'test' AND (? IS NULL OR c.product = ?)",
        [product, product],
    )
    return None if found[0]["cycle_id"] is None else str(found[0]["cycle_id"])


def family_answers(ledger: Ledger, joined: Family) -> FamilyAnswers:
    """The scores behind a family's curve."""
    records = {row["sample_id"]: row for row in read.judged_records(ledger, joined.anchor) if row["split"] == "test"}
    by_cycle = read.scores_of_cycles(ledger, [c.cycle_id for c in joined.joined], "finetuned", split="test")
    rows = [{score.sample_id: score for score in by_cycle[cycle.cycle_id]} for cycle in joined.joined]
    common = sorted(records.keys() & set.intersection(*(set(row) for row in rows))) if rows else []
    groups = tuple(str(records[sample_id]["group_id"]) for sample_id in common)
    return FamilyAnswers(
        sizes=tuple(cycle.train_records for cycle in joined.joined),
        sample_ids=tuple(common),
        scores=tuple(tuple(row[sample_id] for sample_id in common) for row in rows),
        defective=tuple(records[sample_id]["verdict"] == "defective" for sample_id in common),
        groups=groups if len(set(groups)) < len(groups) else None,
    )


def _setups(ledger: Ledger, product: str) -> list[dict[str, Any]]:
    """A row a cycle of the product: all that must agree, and the size and the model that may differ."""
    return read.table(
        ledger,
        """
SELECT c.cycle_id, c.train_records, c.seed, c.config, c.split_id, b.model_id AS base_id,
       coalesce(c.model, '?') AS model, f.model_id AS finetuned_id, m.parser_version, t.truths
FROM cycles c
LEFT JOIN roles b ON b.cycle_id = c.cycle_id AND b.model_role = 'base'
LEFT JOIN roles f ON f.cycle_id = c.cycle_id AND f.model_role = 'finetuned'
LEFT JOIN (SELECT cycle_id, max(parser_version) AS parser_version FROM metrics
           WHERE model_role = 'finetuned' AND split = 'test' AND condition_id = 'n0' GROUP BY cycle_id) m
     ON m.cycle_id = c.cycle_id
LEFT JOIN (SELECT cycle_id, md5(string_agg(sample_id || ' ' || truth_version, ',' ORDER BY sample_id)) AS truths
           FROM memberships WHERE split = 'test' GROUP BY cycle_id) t ON t.cycle_id = c.cycle_id
WHERE c.product = ? ORDER BY c.cycle_id
""",
        [product],
    )


def _sort(anchor: str, product: str, setups: Mapping[str, Mapping[str, Any]]) -> Family:
    own = setups[anchor]
    joined: list[Joined] = []
    left_out: list[LeftOut] = []
    models: dict[str, str] = {}
    # The anchor first, so that of two cycles with one model it is the one that stays.
    for cycle_id in sorted(setups, key=lambda name: (name != anchor, name)):
        row = setups[cycle_id]
        if row["finetuned_id"] is None or row["parser_version"] is None or row["train_records"] is None:
            left_out.append(LeftOut(cycle_id, "it has no scores of a fine-tuned model yet"))
            continue
        reasons = _differences(anchor, own, row)
        twin = models.setdefault(row["finetuned_id"], cycle_id)
        if not reasons and twin != cycle_id:
            reasons = [f"its model is that of {twin} over again"]
        if reasons:
            left_out.append(LeftOut(cycle_id, "; ".join(reasons)))
        else:
            joined.append(Joined(cycle_id, int(row["train_records"]), int(row["seed"])))
    return Family(
        anchor=anchor,
        product=product,
        joined=tuple(sorted(joined, key=lambda item: (item.train_records, item.cycle_id))),
        left_out=tuple(sorted(left_out, key=lambda item: item.cycle_id)),
    )


def _differences(anchor: str, own: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Why a cycle cannot be joined with the anchor; empty where it can."""
    reasons = []
    if own["split_id"] != other["split_id"]:
        reasons.append(f"test split {other['split_id']}, not {own['split_id']} as {anchor}")
    elif own["truths"] != other["truths"]:
        reasons.append(f"its test records have other truths than those of {anchor} (harness rescore brings all to one)")
    if own["base_id"] != other["base_id"]:
        reasons.append(f"base model {other['model']} ({other['base_id']}), not {own['model']} ({own['base_id']})")
    if own["parser_version"] != other["parser_version"]:
        reasons.append(
            f"read by parser {other['parser_version']}, not {own['parser_version']} (harness rescore brings all to one)"
        )
    mine, theirs = _settings(own["config"]), _settings(other["config"])
    reasons += [
        f"{name} = {theirs.get(name)}, not {mine.get(name)}"
        for name in sorted(mine.keys() | theirs.keys())
        if mine.get(name) != theirs.get(name)
    ]
    return reasons


def _settings(config: str) -> dict[str, Any]:
    """The settings that matter: dotted name -> value."""
    flat: dict[str, Any] = {}
    for path in SETTINGS:
        value: Any = json.loads(config)
        for part in path.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if isinstance(value, dict):
            flat.update({f"{path}.{name}": inner for name, inner in value.items()})
        else:
            flat[path] = value
    return {name: value for name, value in flat.items() if name not in IMMATERIAL}
