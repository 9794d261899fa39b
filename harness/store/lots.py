"""The lots on which frozen models were watched: read, and written anew as a whole.

Enters: a Ledger and a cycle id. Leaves: rows in the order of the charts. A lot's records are no records of the
pool: they have no role, and no cycle's figures know them.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.store import read, write
from harness.store.ledger import Ledger
from harness.store.rows import LotAnswerRow, LotRow


def lots(ledger: Ledger, cycle_id: str) -> list[LotRow]:
    """The lots of a cycle, in the order of the charts."""
    return read.rows(ledger, LotRow, "cycle_id = ?", [cycle_id], "number")


def lot_answers(ledger: Ledger, cycle_id: str, lot: str) -> list[LotAnswerRow]:
    """The answers to a lot, by record."""
    return read.rows(ledger, LotAnswerRow, "cycle_id = ? AND lot = ?", [cycle_id, lot], "sample_id")


def lots_holding(ledger: Ledger, cycle_id: str, sample_ids: Sequence[str]) -> dict[str, int]:
    """Lot -> how many of some records it holds, for the lots of a cycle that hold any."""
    found = read.table(
        ledger,
        "SELECT lot, count(*) AS n FROM lot_answers WHERE cycle_id = ? AND list_contains(?, sample_id) GROUP BY lot "
        "ORDER BY lot",
        [cycle_id, list(sample_ids)],
    )
    return {row["lot"]: row["n"] for row in found}


def released(ledger: Ledger, cycle_id: str) -> bool:
    """Whether a cycle was ever promoted."""
    return bool(read.releases(ledger, cycle_id=cycle_id))


def keep(ledger: Ledger, rows: Sequence[LotRow], answers: Sequence[LotAnswerRow]) -> None:
    """Write lots whole, in one transaction: what was stored under their names before goes."""
    with ledger.writing() as connection:
        for row in rows:
            write.replace(connection, "lots", [row], cycle_id=row.cycle_id, lot=row.lot)
            own = [answer for answer in answers if answer.lot == row.lot]
            write.replace(connection, "lot_answers", own, cycle_id=row.cycle_id, lot=row.lot)
