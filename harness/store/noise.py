"""The queries of the noise study: verdict probabilities that are known already, and what its section of a page shows.

Enters: a Ledger and keys. Leaves: probabilities by record, and plain rows.
"""

from __future__ import annotations

from typing import Any

from harness.store import read
from harness.store.ledger import Ledger
from harness.store.rows import NoiseEffectRow, NoiseSnRow, NoiseStudyRow


def probabilities(ledger: Ledger, *, model_id: str, condition_id: str, engine_id: str) -> dict[str, float]:
    """Record -> P(defective) under one condition and one set of circumstances, asked for alone or with an answer."""
    found = read.table(
        ledger,
        "SELECT sample_id, p_defective FROM answers WHERE model_id = ? AND condition_id = ? AND engine_id = ? "
        "AND repeat = 0 AND p_defective IS NOT NULL UNION ALL "
        "SELECT sample_id, p_defective FROM probabilities WHERE model_id = ? AND condition_id = ? AND engine_id = ?",
        2 * [model_id, condition_id, engine_id],
    )
    return {row["sample_id"]: row["p_defective"] for row in found}


def recorded_probabilities(ledger: Ledger, *, model_id: str, passed: str, defective: str) -> dict[str, float]:
    """Record -> P(defective) at n0 as it was first recorded between two verdict openings, whatever the library
    versions were: the scores of a frozen reference."""
    found = read.table(
        ledger,
        """
SELECT a.sample_id, arg_min(a.p_defective, a.answered_at) AS p_defective
FROM (
    SELECT model_id, sample_id, condition_id, engine_id, p_defective, answered_at FROM answers
    WHERE repeat = 0 AND p_defective IS NOT NULL
    UNION ALL
    SELECT model_id, sample_id, condition_id, engine_id, p_defective, answered_at FROM probabilities
) a
JOIN conditions c ON c.condition_id = a.condition_id AND c.engine_id = a.engine_id
WHERE a.model_id = ? AND a.condition_id = 'n0' AND (c.engine->>'$.openings.passed') = ?
  AND (c.engine->>'$.openings.defective') = ?
GROUP BY a.sample_id
""",
        [model_id, passed, defective],
    )
    return {row["sample_id"]: row["p_defective"] for row in found}


def study(ledger: Ledger, cycle_id: str) -> NoiseStudyRow | None:
    """The noise study of a cycle, where there was one."""
    found = read.rows(ledger, NoiseStudyRow, "cycle_id = ?", [cycle_id])
    return found[0] if found else None


def effects(ledger: Ledger, cycle_id: str) -> list[NoiseEffectRow]:
    """The factor effects of a cycle's models, in the order of the plan."""
    return read.rows(ledger, NoiseEffectRow, "cycle_id = ?", [cycle_id], "rowid")


def figures(ledger: Ledger, cycle_id: str) -> list[NoiseSnRow]:
    """The figures of a cycle's noise study."""
    return read.rows(ledger, NoiseSnRow, "cycle_id = ?", [cycle_id], "rowid")


def history(ledger: Ledger, cycle_id: str) -> list[dict[str, Any]]:
    """sn_base and sn_truth of all cycles of the product on the same test split, each with what its yardstick was:
    the reference model and the two noise conditions."""
    return read.table(
        ledger,
        "SELECT n.cycle_id, n.model_role, n.metric, n.reference_model_id, n.value, n.ci_low, n.ci_high, n.method, "
        "s.n1_condition, s.n2_condition FROM noise_sn n JOIN noise_studies s USING (cycle_id) "
        "JOIN cycles c USING (cycle_id) JOIN cycles mine ON mine.product = c.product AND mine.split_id = c.split_id "
        "WHERE mine.cycle_id = ? AND n.metric IN ('sn_base', 'sn_truth') ORDER BY n.cycle_id, n.model_role, n.metric",
        [cycle_id],
    )


def rates(ledger: Ledger, cycle_id: str) -> list[dict[str, Any]]:
    """Error rates of the test answers at n0 and their digital SN ratio, by role: what stands beside an SN ratio."""
    return read.table(
        ledger,
        "SELECT model_role, metric, value, ci_low, ci_high, n, method FROM v_learning_curve WHERE cycle_id = ? "
        "AND metric IN ('false_reject_rate', 'miss_rate', 'digital_sn')",
        [cycle_id],
    )
