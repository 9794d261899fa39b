"""Measure: is the data sound, and what can the base model do before it is taught?

Enters: the cycle's records. Leaves: the audit, and the base model's answers to the validation and test records,
scored; rows in models, conditions, answers, roles, findings, scores and metrics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from harness.audit import AuditRecord, NearPair, audit, disagreement
from harness.dataset.ingest import Drop
from harness.dataset.pool import PoolIndex
from harness.parse import parse_answer
from harness.records import ParsedAnswer
from harness.stages.answering import Respondent, answer_role, base_model
from harness.stages.run import CycleRun
from harness.stages.scoring import product_terms, score_role
from harness.store import read


def measure(run: CycleRun) -> dict[str, Any]:
    """Do the stage's work and return its manifest."""
    audited = _audit(run)
    for finding in audited:
        if finding["severity"] != "info":
            run.say(f"measure: {finding['severity']}: {finding['message']} ({finding['count']})")
    role = answer_role(run, "measure", Respondent("base", base_model(run), None))
    product = read.product(run.ledger, run.config.product)
    assert product is not None, "Define writes the product"
    judged = score_role(run.ledger, read.cycle(run.ledger, run.cycle_id), product, role)
    unread = sum(not item.score.parsed for item in judged if item.split == "test")
    if unread:
        run.say(f"measure: {unread} of the base model's test answers state no decision; they count as wrong")
    return {"audit": audited, "answered": role.answered, "reused": role.reused}


def _audit(run: CycleRun) -> list[dict[str, Any]]:
    """The checks of the cycle's records, and of those that were kept out because they nearly equal a test record."""
    index, left = run.pool.read(), run.left_by("define")
    near = [NearPair(**pair) for pair in left["snapshot"].get("lookalikes", ())]
    product = read.product(run.ledger, run.config.product)
    assert product is not None, "Define writes the product"
    vocabulary, grid = product_terms(product)
    kept_out = set(left["snapshot"]["near_test"])
    heard: dict[str, ParsedAnswer] = {}  # references repeat themselves, and parsing is the cost
    records = []
    for member in read.memberships(run.ledger, run.cycle_id):
        if member.split in ("train", "validation", "test") or member.sample_id in kept_out:
            truth = index.latest(member.sample_id)
            if truth.origin == "columns" and truth.reference not in heard:
                heard[truth.reference] = parse_answer(truth.reference, vocabulary, grid)
            records.append(_audit_record(index, member.sample_id, member.split, heard))
    drops = [Drop(**drop) for intake in left["sources"] for drop in intake["dropped"]]
    return [asdict(finding) for finding in audit(records, grid=grid, drops=drops, near=near).findings]


def _audit_record(index: PoolIndex, sample_id: str, split: str, heard: Mapping[str, ParsedAnswer]) -> AuditRecord:
    record, truth = index.records[sample_id], index.latest(sample_id)
    return AuditRecord(
        where=sample_id,
        sample_id=sample_id,
        image_id=record.image_id,
        question=record.question,
        answer=truth.reference,
        truth=truth.truth,
        truth_problem=None,
        split=split,
        disagreement=disagreement(heard[truth.reference], truth.truth) if truth.origin == "columns" else "",
    )
