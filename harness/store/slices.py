"""What Analyze asks of the ledger: test records with truth and verdict, and the findings that were trained on.

Enters: a Ledger, a cycle and a role. Leaves: JudgedRecords (score/strata.py) and findings.
"""

from __future__ import annotations

from harness.records import Finding, Role
from harness.score.strata import JudgedRecord
from harness.store import read
from harness.store.ledger import Ledger


def judged(ledger: Ledger, cycle_id: str, role: Role) -> list[JudgedRecord]:
    """The test records that a role of a cycle answered at n0; empty where none is scored."""
    right = {score.sample_id: score.verdict_correct for score in read.scores(ledger, cycle_id, role, split="test")}
    return [
        JudgedRecord(
            findings=tuple(Finding(f["location"], f["defect"]) for f in row["findings"]),
            defective=row["verdict"] == "defective",
            right=right[row["sample_id"]],
            severity=row["severity"],
            group=row["group_id"],
            source=row["source"],
        )
        for row in read.judged_records(ledger, cycle_id)
        if row["sample_id"] in right
    ]


def trained_findings(ledger: Ledger, cycle_id: str) -> list[tuple[Finding, ...]]:
    """The findings of each record that made gradients in a cycle, by the truths that it goes by."""
    rows = read.table(
        ledger,
        "SELECT t.findings FROM memberships m JOIN cycles c USING (cycle_id) JOIN truths t ON t.product = c.product "
        "AND t.sample_id = m.sample_id AND t.truth_version = m.truth_version "
        "WHERE m.cycle_id = ? AND m.split = 'train' ORDER BY m.sample_id",
        [cycle_id],
    )
    return [tuple(Finding(f["location"], f["defect"]) for f in row["findings"]) for row in rows]
