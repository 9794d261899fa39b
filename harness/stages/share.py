"""Share: close the cycle and hand its knowledge on.

Enters: a judged cycle. Leaves: the cycle marked done in the ledger; cycle.py then renders the report, which shows this
stage's row as well.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from harness.dataset.pool import utc_now
from harness.stages.run import CycleRun
from harness.store import read, write


def share(run: CycleRun) -> dict[str, Any]:
    """Do the stage's work and return its manifest."""
    cycle = read.cycle(run.ledger, run.cycle_id)
    done = replace(cycle, status="done", finished_at=utc_now())
    with run.ledger.writing() as connection:
        write.replace(connection, "cycles", [done], cycle_id=run.cycle_id)
    adapter = run.left_by("improve")["adapter"]
    return {"adapter": adapter, "notes": [f"the adapter lies at {adapter} and loads with peft on {cycle.model}"]}
