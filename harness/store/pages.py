"""The queries behind the report's pages: each opens the ledger, fetches, and closes it.

Enters: a Ledger and a cycle id. Leaves: plain rows, in the order in which a page shows them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from harness.dataset.split import NEARLY_EQUAL
from harness.store import read
from harness.store.ledger import Ledger


def manifests(ledger: Ledger, cycle_id: str) -> dict[str, dict[str, Any]]:
    """Stage -> what it left, for the finished stages."""
    return {row.stage: json.loads(row.manifest) for row in read.stages(ledger, cycle_id)}


def figures(ledger: Ledger, cycle_id: str) -> list[dict[str, Any]]:
    """Test figures at n0 of every role, whole split."""
    return read.table(
        ledger,
        "SELECT metric, model_role, value, ci_low, ci_high, n, method FROM v_learning_curve WHERE cycle_id = ?",
        [cycle_id],
    )


def comparisons(ledger: Ledger, cycle_id: str) -> list[dict[str, Any]]:
    """The paired comparisons at the cycle's newest parser version."""
    return read.table(
        ledger,
        "SELECT * FROM comparisons c WHERE cycle_id = ? AND parser_version = "
        "(SELECT max(parser_version) FROM comparisons WHERE cycle_id = c.cycle_id) ORDER BY baseline, metric",
        [cycle_id],
    )


def confusion(ledger: Ledger, cycle_id: str) -> list[dict[str, Any]]:
    """Test answers by role, true verdict, and verdict read (NULL: unreadable)."""
    return read.table(
        ledger,
        "SELECT model_role, true_verdict, verdict, count(*) AS n FROM v_answers WHERE cycle_id = ? AND split = 'test' "
        "AND condition_id = 'n0' AND repeat = 0 GROUP BY ALL ORDER BY ALL",
        [cycle_id],
    )


def pareto(ledger: Ledger, cycle_id: str) -> list[dict[str, Any]]:
    """Missed defects by name and role, those most missed first."""
    return read.table(
        ledger,
        "SELECT model_role, defect, records, missed FROM v_pareto WHERE cycle_id = ? ORDER BY missed DESC, defect",
        [cycle_id],
    )


def grid(ledger: Ledger, cycle_id: str, role: str) -> list[dict[str, Any]]:
    """Cells that were truly defective or wrongly named."""
    return read.table(
        ledger,
        "SELECT location, defective, found, missed, wrongly_named FROM v_grid WHERE cycle_id = ? AND model_role = ?",
        [cycle_id, role],
    )


def training_log(ledger: Ledger, cycle_id: str) -> list[dict[str, Any]]:
    """Training and validation losses by step."""
    return read.table(
        ledger, "SELECT step, epoch, loss, eval_loss FROM training_log WHERE cycle_id = ? ORDER BY step", [cycle_id]
    )


def learning_curve(ledger: Ledger, cycle_ids: Sequence[str]) -> list[dict[str, Any]]:
    """The figures of cycles that may be joined (store/curves.py says which), by training records."""
    marks = ", ".join("?" for _ in cycle_ids)
    return read.table(
        ledger,
        f"SELECT * FROM v_learning_curve WHERE cycle_id IN ({marks}) AND model_role IN ('base', 'finetuned') "
        "AND metric IN ('verdict_accuracy', 'location_accuracy', 'exact_accuracy') ORDER BY train_records, cycle_id",
        list(cycle_ids),
    )


def gallery(ledger: Ledger, cycle_id: str, limit: int) -> list[dict[str, Any]]:
    """Test records with both answers: fixed and broken first, then still wrong (wrong verdicts before), then right.

    Each kind has an equal part of the limit, and more where others need less: many fixed records hide no wrong one.
    """
    return read.table(
        ledger,
        """
WITH seen AS (
SELECT b.sample_id, b.image_file, b.question, b.reference, b.true_verdict, b.true_locations, b.true_defects,
       b.answer AS base_answer, b.exact AS base_exact, b.outcome AS base_outcome, b.p_defective AS base_p,
       b.evidence AS base_evidence, f.evidence AS finetuned_evidence,
       f.answer AS finetuned_answer, f.exact AS finetuned_exact, f.outcome AS finetuned_outcome,
       f.p_defective AS finetuned_p, coalesce(f.verdict_correct, true) AS verdict_correct, count(*) OVER () AS total,
       CASE WHEN f.exact AND NOT b.exact THEN 'fixed' WHEN b.exact AND NOT f.exact THEN 'broken'
            WHEN f.exact IS NULL OR f.exact THEN 'right' ELSE 'wrong' END AS change
FROM v_answers b
LEFT JOIN v_answers f ON f.cycle_id = b.cycle_id AND f.sample_id = b.sample_id AND f.split = 'test'
     AND f.condition_id = 'n0' AND f.repeat = 0 AND f.model_role = 'finetuned'
WHERE b.cycle_id = ? AND b.model_role = 'base' AND b.split = 'test' AND b.condition_id = 'n0' AND b.repeat = 0
), placed AS (
SELECT *, row_number() OVER (PARTITION BY change ORDER BY verdict_correct, true_verdict, sample_id) AS place,
       list_position(['fixed', 'broken', 'wrong', 'right'], change) AS part
FROM seen
)
SELECT * FROM (SELECT * FROM placed ORDER BY place, part LIMIT ?) ORDER BY part, place
""",
        [cycle_id, limit],
    )


def lookalikes(ledger: Ledger, cycle_id: str) -> list[dict[str, Any]]:
    """Records kept out because their picture nearly equals a test record's, each with that record."""
    return read.table(
        ledger,
        """
SELECT m.sample_id, t.sample_id AS test_id, s.image_file, t.image_file AS test_file, s.source, t.source AS test_source
FROM memberships m
JOIN cycles c USING (cycle_id)
JOIN samples s ON s.product = c.product AND s.sample_id = m.sample_id
JOIN samples t ON t.product = c.product AND m.reason = ? || t.sample_id
WHERE m.cycle_id = ? AND m.split = 'excluded' ORDER BY m.sample_id
""",
        [NEARLY_EQUAL, cycle_id],
    )


def index(ledger: Ledger) -> list[dict[str, Any]]:
    """Every cycle with its figures and their intervals, for the index page, by product."""
    return read.table(
        ledger,
        """
SELECT c.cycle_id, c.product, c.status, c.created_at, c.model, c.recipe, c.split_id, c.train_records, c.test_records,
       v.model_role, v.metric, v.value, v.ci_low, v.ci_high, v.n, g.status AS gate,
       r.released_at IS NOT NULL AS promoted
FROM cycles c
LEFT JOIN v_learning_curve v ON v.cycle_id = c.cycle_id AND v.model_role IN ('base', 'finetuned')
     AND v.metric IN ('verdict_accuracy', 'location_accuracy', 'exact_accuracy', 'miss_rate', 'false_reject_rate')
LEFT JOIN gates g ON g.cycle_id = c.cycle_id AND g.gate = 'overall'
LEFT JOIN (SELECT cycle_id, max(released_at) AS released_at FROM releases GROUP BY cycle_id) r
     ON r.cycle_id = c.cycle_id
ORDER BY c.product, c.cycle_id, v.model_role, v.metric
""",
    )
