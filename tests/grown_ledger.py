"""More cycles in the ledger of ledger_builder: copies of c0001 with another size, other answers, other settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from harness.stages.scoring import score_role
from harness.store import Ledger, read, write
from harness.store.rows import RoleRow
from tests.ledger_builder import PASSED


def add_cycle(
    ledger: Ledger,
    cycle_id: str,
    size: int,
    right: int,
    *,
    settings: Mapping[str, Any] | None = None,
    seed: int = 42,
    split_id: str = "split-1",
    base: str = "base",
    model: str | None = None,
) -> None:
    """Add a finished cycle whose model answers the first `right` test records rightly and calls the others passed.

    Args:
        settings: "section.name" -> value, changed in the configuration.
        base: model id of its base.
        model: model id of its fine-tuned model; None takes the cycle's id.
    """
    first = read.cycle(ledger, "c0001")
    config = json.loads(first.config)
    for name, value in (settings or {}).items():
        section, _, key = name.partition(".")
        config[section][key] = value
    cycle = replace(
        first, cycle_id=cycle_id, train_records=size, config=json.dumps(config), seed=seed, split_id=split_id
    )
    members = read.memberships(ledger, "c0001")
    records = {row["sample_id"]: row for row in read.judged_records(ledger, "c0001")}
    given = read.cycle_answers(ledger, "c0001", "finetuned")
    given.sort(key=lambda answer: (records[answer.sample_id]["split"], answer.sample_id))
    answers = [
        replace(
            answer, model_id=model or cycle_id, text=records[answer.sample_id]["reference"] if n < right else PASSED
        )
        for n, answer in enumerate(given)
    ]
    roles = [
        RoleRow(cycle_id, "base", base, "engine", 28, 0),
        RoleRow(cycle_id, "finetuned", model or cycle_id, "engine", 0, 28),
    ]
    own = replace(read.model(ledger, "c0001"), model_id=model or cycle_id)
    with ledger.writing() as connection:
        write.insert(connection, [cycle])
        write.insert(connection, [replace(m, cycle_id=cycle_id) for m in members])
        write.insert(connection, roles)
        write.upsert(connection, [own], ("model_id",))
        write.upsert(connection, answers, ("model_id", "sample_id", "condition_id", "repeat", "engine_id"))
    product = read.product(ledger, first.product)
    assert product is not None
    score_role(ledger, cycle, product, roles[1])
