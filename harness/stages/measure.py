"""Measure: is the data sound, and what can the base model do before it is taught?

Enters: the cycle's records. Leaves: the audit, and the base model's answers to the validation and test records,
scored; rows in models, conditions, answers, roles, findings, scores and metrics.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from harness.audit import AuditRecord, audit
from harness.dataset.ingest import Drop
from harness.dataset.pool import PoolIndex
from harness.stages.answering import Respondent, answer_role, base_model
from harness.stages.run import CycleRun
from harness.stages.scoring import score_role
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
    index = run.pool.read()
    records = [
        _audit_record(index, member.sample_id, member.split)
        for member in read.memberships(run.ledger, run.cycle_id, ("train", "validation", "test"))
    ]
    drops = [Drop(**drop) for intake in run.left_by("define")["sources"] for drop in intake["dropped"]]
    return [asdict(finding) for finding in audit(records, grid=run.config.as_grid(), drops=drops).findings]


def _audit_record(index: PoolIndex, sample_id: str, split: str) -> AuditRecord:
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
    )
