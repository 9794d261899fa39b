"""Reading the ledger: each function opens it, fetches, closes, and hands out row dataclasses.

Enters: a Ledger and keys. Leaves: rows (rows.py), or an UnknownCycle that names what exists.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, TypeVar

from harness.errors import LedgerError, UnknownCycle
from harness.store.ledger import Ledger
from harness.store.literals import bound
from harness.store.rows import (
    TABLE_OF,
    AnswerRow,
    ConditionRow,
    CycleRow,
    GateRow,
    GaugeFigureRow,
    MembershipRow,
    ModelRow,
    ProductRow,
    ReleaseRow,
    RoleRow,
    ScoreRow,
    StageRow,
    ThresholdFigureRow,
    ThresholdRow,
)

R = TypeVar("R")


def rows(ledger: Ledger, kind: type[R], where: str = "true", values: Sequence[object] = (), order: str = "") -> list[R]:
    """All rows of a kind that meet a condition.

    Args:
        where: an SQL condition over the table's columns with ? for values; written here in store, never by users.
        order: column names to sort by.
    """
    if not ledger.exists():
        return []
    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]  # R is a row dataclass
    tail = f" ORDER BY {order}" if order else ""
    with ledger.reading() as connection:
        found = connection.execute(
            bound(f"SELECT {', '.join(names)} FROM {TABLE_OF[kind]} WHERE {where}{tail}", values)
        ).fetchall()
    return [kind(*row) for row in found]


def cycles(ledger: Ledger, product: str | None = None) -> list[CycleRow]:
    """The cycles, oldest first."""
    if product is None:
        return rows(ledger, CycleRow, order="cycle_id")
    return rows(ledger, CycleRow, "product = ?", [product], "cycle_id")


def cycle(ledger: Ledger, cycle_id: str) -> CycleRow:
    """One cycle.

    Raises:
        UnknownCycle: the ledger does not hold it.
        LedgerError: there is no ledger.
    """
    with ledger.reading():  # raises where there is no ledger
        pass
    found = rows(ledger, CycleRow, "cycle_id = ?", [cycle_id])
    if found:
        return found[0]
    known = [row.cycle_id for row in cycles(ledger)]
    if not known:
        raise UnknownCycle(
            f"no cycle {cycle_id}: the ledger {ledger.path} is empty", hint="run one: harness cycle --data SRC"
        )
    near = get_close_matches(cycle_id, known, n=1)
    guess = f"did you mean {near[0]}? " if near else ""
    raise UnknownCycle(
        f"no cycle {cycle_id} in {ledger.path}; it holds {_span(known)}", hint=f"{guess}list them: harness runs"
    )


def _span(known: list[str]) -> str:
    return known[0] if len(known) == 1 else f"{len(known)} cycles, {known[0]} to {known[-1]}"


def product(ledger: Ledger, name: str) -> ProductRow | None:
    """A product, or None before its first cycle."""
    found = rows(ledger, ProductRow, "product = ?", [name])
    return found[0] if found else None


def roles(ledger: Ledger, cycle_id: str) -> dict[str, RoleRow]:
    """Role name -> who played it in the cycle."""
    return {row.model_role: row for row in rows(ledger, RoleRow, "cycle_id = ?", [cycle_id])}


def model(ledger: Ledger, model_id: str) -> ModelRow:
    """One model that answered before."""
    found = rows(ledger, ModelRow, "model_id = ?", [model_id])
    if not found:
        raise LedgerError(f"no model {model_id} in {ledger.path}", hint="list the cycles: harness runs")
    return found[0]


def answers(ledger: Ledger, *, model_id: str, engine_id: str, condition_id: str, repeat: int = 0) -> list[AnswerRow]:
    """Every stored answer of a model under one condition and one set of circumstances."""
    return rows(
        ledger,
        AnswerRow,
        "model_id = ? AND engine_id = ? AND condition_id = ? AND repeat = ?",
        [model_id, engine_id, condition_id, repeat],
    )


def cycle_answers(ledger: Ledger, cycle_id: str, model_role: str) -> list[AnswerRow]:
    """The answers of one role of a cycle to the cycle's test and validation records, under every condition."""
    names = [field.name for field in dataclasses.fields(AnswerRow)]
    with ledger.reading() as connection:
        query = bound(
            f"SELECT {', '.join('a.' + name for name in names)} FROM roles r "
            "JOIN memberships m ON m.cycle_id = r.cycle_id AND m.split IN ('test', 'validation') "
            "JOIN answers a ON a.model_id = r.model_id AND a.engine_id = r.engine_id AND a.sample_id = m.sample_id "
            "WHERE r.cycle_id = ? AND r.model_role = ? ORDER BY a.condition_id, a.repeat, a.sample_id",
            [cycle_id, model_role],
        )
        found = connection.execute(query).fetchall()
    return [AnswerRow(*row) for row in found]


def memberships(ledger: Ledger, cycle_id: str, splits: Sequence[str] = ()) -> list[MembershipRow]:
    """The records of a cycle, of some splits where any are named, ordered by sample id."""
    marks = ", ".join("?" for _ in splits)
    where = f"cycle_id = ? AND split IN ({marks})" if splits else "cycle_id = ?"
    return rows(ledger, MembershipRow, where, [cycle_id, *splits], "sample_id")


def judged_records(ledger: Ledger, cycle_id: str) -> list[dict[str, Any]]:
    """The test and validation records of a cycle with the truth that it goes by."""
    return table(
        ledger,
        "SELECT m.sample_id, m.split, m.truth_version, t.verdict, t.findings, t.reference, s.group_id, s.severity, "
        "s.source, s.image_file, s.question FROM memberships m JOIN cycles c USING (cycle_id) "
        "JOIN truths t ON t.product = c.product AND t.sample_id = m.sample_id AND t.truth_version = m.truth_version "
        "JOIN samples s ON s.product = c.product AND s.sample_id = m.sample_id "
        "WHERE m.cycle_id = ? AND m.split IN ('test', 'validation') ORDER BY m.sample_id",
        [cycle_id],
    )


def scores(ledger: Ledger, cycle_id: str, model_role: str, *, split: str, condition_id: str = "n0") -> list[ScoreRow]:
    """The scores of one role of a cycle on one split, at the cycle's newest parser version and its truth versions."""
    return scores_of_cycles(ledger, [cycle_id], model_role, split=split, condition_id=condition_id)[cycle_id]


def scores_of_cycles(
    ledger: Ledger, cycle_ids: Sequence[str], model_role: str, *, split: str, condition_id: str = "n0"
) -> dict[str, list[ScoreRow]]:
    """The same of several cycles, in one query: cycle id -> scores, empty where there are none."""
    names = [field.name for field in dataclasses.fields(ScoreRow)]
    marks = ", ".join("?" for _ in cycle_ids)
    with ledger.reading() as connection:
        query = bound(
            f"SELECT r.cycle_id, {', '.join('s.' + name for name in names)} FROM roles r "
            "JOIN cycles c USING (cycle_id) "
            "JOIN memberships m ON m.cycle_id = r.cycle_id AND m.split = ? "
            "JOIN scores s ON s.product = c.product AND s.model_id = r.model_id AND s.engine_id = r.engine_id "
            "AND s.sample_id = m.sample_id AND s.truth_version = m.truth_version "
            f"WHERE r.cycle_id IN ({marks}) AND r.model_role = ? AND s.condition_id = ? AND s.repeat = 0 "
            "AND s.parser_version = (SELECT max(parser_version) FROM metrics WHERE cycle_id = r.cycle_id) "
            "ORDER BY r.cycle_id, s.sample_id",
            [split, *cycle_ids, model_role, condition_id],
        )
        found = connection.execute(query).fetchall()
    by_cycle: dict[str, list[ScoreRow]] = {cycle_id: [] for cycle_id in cycle_ids}
    for owner, *values in found:
        by_cycle[owner].append(ScoreRow(*values))
    return by_cycle


def condition(ledger: Ledger, condition_id: str, engine_id: str) -> ConditionRow | None:
    """A condition as it was run."""
    found = rows(ledger, ConditionRow, "condition_id = ? AND engine_id = ?", [condition_id, engine_id])
    return found[0] if found else None


def stages(ledger: Ledger, cycle_id: str) -> list[StageRow]:
    """The finished stages of a cycle, in order."""
    return rows(ledger, StageRow, "cycle_id = ?", [cycle_id], "started_at")


def gates(ledger: Ledger, cycle_id: str) -> list[GateRow]:
    """The latest judgement of a cycle, overall last."""
    found = rows(ledger, GateRow, "cycle_id = ?", [cycle_id])
    return sorted(found, key=lambda row: row.gate == "overall")


def gauge_figures(ledger: Ledger, cycle_id: str) -> list[GaugeFigureRow]:
    """The gauge studies of a cycle, the newest first, each in the order of its table."""
    return rows(ledger, GaugeFigureRow, "cycle_id = ?", [cycle_id], "studied_at DESC, condition_id, rowid")


def threshold(ledger: Ledger, cycle_id: str) -> ThresholdRow | None:
    """The thresholds of a cycle; None where `harness threshold` has not been run."""
    found = rows(ledger, ThresholdRow, "cycle_id = ?", [cycle_id])
    return found[0] if found else None


def threshold_figures(ledger: Ledger, cycle_id: str) -> list[ThresholdFigureRow]:
    """The figures of a cycle's thresholds, validation after test."""
    return rows(ledger, ThresholdFigureRow, "cycle_id = ?", [cycle_id], "split, rowid")


def releases(ledger: Ledger, *, product_name: str | None = None, cycle_id: str | None = None) -> list[ReleaseRow]:
    """The promotions, of one product or cycle where named, the newest first."""
    where = "(? IS NULL OR product = ?) AND (? IS NULL OR cycle_id = ?)"
    return rows(ledger, ReleaseRow, where, [product_name, product_name, cycle_id, cycle_id], "released_at DESC")


def incumbent(ledger: Ledger, product_name: str, *, before: str | None = None) -> str | None:
    """The cycle to beat: the promoted one, else the latest that passed its gates; None where there is neither.

    Args:
        before: a cycle that shall not count as its own incumbent.
    """
    for release in releases(ledger, product_name=product_name):
        if release.cycle_id != before:
            return release.cycle_id
    if not ledger.exists():
        return None
    with ledger.reading() as connection:
        query = bound(
            "SELECT max(g.cycle_id) FROM gates g JOIN cycles c USING (cycle_id) WHERE c.product = ? "
            "AND g.gate = 'overall' AND g.status = 'pass' AND (? IS NULL OR g.cycle_id < ?)",
            [product_name, before, before],
        )
        row = connection.execute(query).fetchone()
    return None if row is None or row[0] is None else str(row[0])


def table(ledger: Ledger, query: str, values: Sequence[object] = ()) -> list[dict[str, Any]]:
    """Fetch a query of our own (never a user's) as dictionaries, for tables that are printed as they are."""
    with ledger.reading() as connection:
        cursor = connection.execute(bound(query, values))
        names = [column[0] for column in cursor.description or []]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def pareto(ledger: Ledger, cycle_id: str, model_role: str) -> list[dict[str, Any]]:
    """Missed defects by name, most missed first (v_pareto)."""
    return table(
        ledger,
        "SELECT defect, records, missed, miss_rate FROM v_pareto WHERE cycle_id = ? AND model_role = ? "
        "ORDER BY missed DESC, defect",
        [cycle_id, model_role],
    )


def unread_reasons(ledger: Ledger, cycle_id: str, model_role: str) -> dict[str, int]:
    """Why test answers at n0 could not be read: reason -> count, commonest first."""
    found = table(
        ledger,
        "SELECT reason, count(*) AS n FROM v_answers WHERE cycle_id = ? AND model_role = ? AND split = 'test' "
        "AND condition_id = 'n0' AND repeat = 0 AND NOT parsed GROUP BY reason ORDER BY n DESC, reason",
        [cycle_id, model_role],
    )
    return {row["reason"]: row["n"] for row in found}


def latest_truths(ledger: Ledger, product_name: str) -> dict[str, int]:
    """Record -> newest version of its truth."""
    found = table(
        ledger,
        "SELECT sample_id, max(truth_version) AS newest FROM truths WHERE product = ? GROUP BY sample_id",
        [product_name],
    )
    return {row["sample_id"]: row["newest"] for row in found}


def accuracies(ledger: Ledger, cycle_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of v_accuracy for some cycles, base before fine-tuned."""
    marks = ", ".join("?" for _ in cycle_ids)
    query = f"SELECT * FROM v_accuracy WHERE cycle_id IN ({marks}) ORDER BY cycle_id, model_role"
    return table(ledger, query, list(cycle_ids))


def overview(ledger: Ledger) -> list[dict[str, Any]]:
    """A line a cycle for `harness runs`, oldest first.

    Raises:
        LedgerError: there is no ledger.
    """
    return table(
        ledger,
        "SELECT c.cycle_id, c.product, c.status, c.model, c.recipe, c.train_records, c.test_records, c.split_id, "
        "b.verdict_accuracy AS base_verdict, f.verdict_accuracy, f.location_accuracy, f.exact_accuracy, "
        "g.status AS gate, CASE WHEN r.note IS NOT NULL THEN 'yes' ELSE '' END AS promoted, r.note, c.created_at "
        "FROM cycles c "
        "LEFT JOIN v_accuracy b ON b.cycle_id = c.cycle_id AND b.model_role = 'base' "
        "LEFT JOIN v_accuracy f ON f.cycle_id = c.cycle_id AND f.model_role = 'finetuned' "
        "LEFT JOIN gates g ON g.cycle_id = c.cycle_id AND g.gate = 'overall' "
        "LEFT JOIN (SELECT cycle_id, arg_max(note, released_at) AS note FROM releases GROUP BY cycle_id) r "
        "ON r.cycle_id = c.cycle_id ORDER BY c.cycle_id",
    )


def cycle_card(ledger: Ledger, cycle_id: str) -> dict[str, list[dict[str, Any]]]:
    """Everything `harness show` prints of a cycle: title -> rows.

    Raises:
        UnknownCycle: the ledger does not hold it.
    """
    cycle(ledger, cycle_id)
    queries = {
        "cycle": "SELECT cycle_id, product, status, model, recipe, seed, device, split_id, train_records, fit_records, "
        "validation_records, test_records, trainable_parameters, trainable_share, created_at, finished_at "
        "FROM cycles WHERE cycle_id = ?",
        "splits": "SELECT split, coalesce(reason, '') AS reason, count(*) AS records FROM memberships "
        "WHERE cycle_id = ? GROUP BY ALL ORDER BY split, records DESC",
        "models": "SELECT model_role, r.model_id, kind, base, adapter, reused, answered FROM roles r "
        "JOIN models m USING (model_id) WHERE cycle_id = ? ORDER BY model_role",
        "test figures at n0": "SELECT metric, model_role, value, ci_low, ci_high, n, method FROM metrics m "
        "WHERE cycle_id = ? AND split = 'test' AND condition_id = 'n0' AND slice = 'all' AND parser_version = "
        "(SELECT max(parser_version) FROM metrics WHERE cycle_id = m.cycle_id) ORDER BY metric, model_role",
        "comparisons": "SELECT metric, baseline, baseline_value, candidate_value, difference, ci_low, ci_high, n, "
        "fixed, broken, p_value, p_holm, detectable FROM comparisons c WHERE cycle_id = ? AND parser_version = "
        "(SELECT max(parser_version) FROM comparisons WHERE cycle_id = c.cycle_id) ORDER BY baseline, metric",
        "gates": "SELECT gate, status, target, value, bound, n, records_to_decide, reason FROM gates "
        "WHERE cycle_id = ?",
        "promotions": "SELECT released_at, gate_status, note FROM releases WHERE cycle_id = ? ORDER BY released_at",
        "stages": "SELECT stage, seconds, peak_memory_gib, peak_rss_gib, started_at FROM stages WHERE cycle_id = ? "
        "ORDER BY started_at",
    }
    return {title: table(ledger, query, [cycle_id]) for title, query in queries.items()}


def summary(ledger: Ledger, cycle_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Base against fine-tuned at each size, for the end of `harness cycle`: values with 95 % intervals, and p."""
    marks = ", ".join("?" for _ in cycle_ids)
    found = table(
        ledger,
        f"""
SELECT c.cycle_id, c.train_records, f.metric, f.n, b.value AS base, b.ci_low AS base_low, b.ci_high AS base_high,
       f.value AS finetuned, f.ci_low AS low, f.ci_high AS high, p.p_value
FROM cycles c
JOIN v_learning_curve f ON f.cycle_id = c.cycle_id AND f.model_role = 'finetuned'
JOIN v_learning_curve b ON b.cycle_id = c.cycle_id AND b.model_role = 'base' AND b.metric = f.metric
LEFT JOIN comparisons p ON p.cycle_id = c.cycle_id AND p.baseline = 'base' AND p.metric = f.metric
     AND p.parser_version = (SELECT max(parser_version) FROM comparisons WHERE cycle_id = c.cycle_id)
WHERE c.cycle_id IN ({marks})
  AND f.metric IN ('parsed_rate', 'auroc', 'verdict_accuracy', 'balanced_accuracy', 'location_accuracy',
                   'exact_accuracy')
ORDER BY c.cycle_id, list_position(['parsed_rate', 'auroc', 'verdict_accuracy', 'balanced_accuracy',
                                    'location_accuracy', 'exact_accuracy'], f.metric)
""",
        list(cycle_ids),
    )
    return [
        {
            "cycle": row["cycle_id"],
            "records": row["train_records"],
            "metric": row["metric"],
            "base": _with_interval(row["base"], row["base_low"], row["base_high"]),
            "fine-tuned": _with_interval(row["finetuned"], row["low"], row["high"]),
            "n": row["n"],
            "p (McNemar)": None if row["p_value"] is None else f"{row['p_value']:.2g}",
        }
        for row in found
    ]


def _with_interval(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "not defined"
    return f"{value:.3f}" if low is None or high is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"
