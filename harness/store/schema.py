"""The ledger's schema: the migrations that make its tables (tables.py) and views (views.py).

Enters: a writable DuckDB connection. Leaves: the same, at SCHEMA_VERSION.
Primary and foreign keys are not relied on (DuckLake has only NOT NULL): a stage deletes and inserts its own rows in
one transaction. Times are TIMESTAMP in UTC. A migration is never edited once released: a change is a new one, appended.
"""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from harness.store.tables import TABLES
from harness.store.views import METRIC_MEANINGS, VIEW_COLUMNS, VIEWS


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema, from version - 1 to version."""

    version: int
    statements: tuple[str, ...]


def _create(*tables: str) -> tuple[str, ...]:
    return tuple(
        f"CREATE TABLE {table} ({', '.join(f'{name} {kind}' for name, (kind, _) in TABLES[table].items())})"
        for table in tables
    )


MIGRATIONS: tuple[Migration, ...] = (
    Migration(
        1,
        _create(
            "products", "cycles", "samples", "truths", "memberships", "models", "roles", "conditions", "answers",
            "findings", "scores", "metrics", "comparisons", "training_log", "stages", "gates", "releases",
        ),
    ),
    Migration(2, _create("probabilities", "noise_studies", "noise_effects", "noise_sn")),
    Migration(3, _create("gauge_figures", "thresholds", "threshold_figures")),
    Migration(4, _create("lots", "lot_answers")),
    # A new ledger's first migration has made it already.
    Migration(5, ("ALTER TABLE scores ADD COLUMN IF NOT EXISTS evidence VARCHAR",)),
)  # fmt: skip
SCHEMA_VERSION = MIGRATIONS[-1].version


def schema_version(connection: duckdb.DuckDBPyConnection) -> int:
    """The version of the open ledger; 0 for a file that no ledger has written yet."""
    try:
        # Asking information_schema first would bind every view: 5 ms at each opening of the ledger.
        found = connection.execute("SELECT coalesce(max(version), 0) FROM migrations").fetchone()
    except duckdb.CatalogException:
        return 0
    return int(found[0]) if found else 0


def migrate(connection: duckdb.DuckDBPyConnection) -> None:
    """Bring the ledger to SCHEMA_VERSION in one transaction; views are made anew each time."""
    current = schema_version(connection)
    if current == SCHEMA_VERSION:
        return
    connection.execute("BEGIN")
    try:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS migrations (version INTEGER NOT NULL, applied_at TIMESTAMP NOT NULL)"
        )
        for migration in MIGRATIONS:
            if migration.version > current:
                for statement in migration.statements:
                    connection.execute(statement)
                connection.execute(f"INSERT INTO migrations VALUES ({migration.version}, now() AT TIME ZONE 'UTC')")
        for name, (_, body) in VIEWS.items():
            connection.execute(f"CREATE OR REPLACE VIEW {name} AS {body}")
        connection.execute("COMMIT")
    except duckdb.Error:
        connection.execute("ROLLBACK")
        raise


def describe() -> list[dict[str, str]]:
    """Every table with its columns, then every view: what `harness schema` prints."""
    rows = [
        {"name": table, "kind": "table", "column": column, "type": kind.removesuffix(" NOT NULL"), "meaning": meaning}
        for table, columns in TABLES.items()
        for column, (kind, meaning) in columns.items()
    ]
    meanings = {column: meaning for columns in TABLES.values() for column, (_, meaning) in columns.items()}
    with duckdb.connect(":memory:") as connection:
        migrate(connection)
        for view, (meaning, _) in VIEWS.items():
            rows.append({"name": view, "kind": "view", "column": "", "type": "", "meaning": meaning})
            for column, kind in connection.execute(
                f"SELECT column_name, data_type FROM information_schema.columns WHERE table_name = '{view}' "
                "ORDER BY ordinal_position"
            ).fetchall():
                told = VIEW_COLUMNS.get(column) or meanings.get(column) or METRIC_MEANINGS.get(column, "")
                rows.append({"name": view, "kind": "view", "column": column, "type": kind, "meaning": told})
    return rows
