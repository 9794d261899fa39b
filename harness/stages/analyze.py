"""Analyze: where does the model to beat go wrong, and which records would teach most?

Enters: the scored answers of the incumbent, or of the base model where there is none. Leaves: notes in words; the
figures behind them are the slices in metrics (defect=, location=, severity=, source=) and the views v_pareto, v_grid.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from harness.stages.run import CycleRun
from harness.store import read

#: a cell or defect with fewer test records than this says little by itself
FEW = 10


def analyze(run: CycleRun) -> dict[str, Any]:
    """Do the stage's work and return its manifest."""
    subject = read.incumbent(run.ledger, run.config.product, before=run.cycle_id)
    cycle_id, role = (subject, "finetuned") if subject else (run.cycle_id, "base")
    name = f"the incumbent {subject}" if subject else "the base model"
    notes = []
    missed = [row for row in read.pareto(ledger=run.ledger, cycle_id=cycle_id, model_role=role) if row["missed"]]
    if missed:
        top = ", ".join(f"{row['defect']} {row['missed']} of {row['records']}" for row in missed[:3])
        notes.append(f"{name} misses most: {top} test records")
    reasons = read.unread_reasons(run.ledger, cycle_id, role)
    if reasons:
        total = sum(reasons.values())
        notes.append(
            f"{total} test answers of {name} state no decision "
            f"({', '.join(f'{reason} {n}' for reason, n in reasons.items())})"
        )
    index = run.pool.read()
    trained: Counter[str] = Counter()
    for member in read.memberships(run.ledger, run.cycle_id, ("train",)):
        truth = index.latest(member.sample_id)
        trained.update({defect for _, defect in truth.findings if defect})
    rare = [f"{name} {n}" for name, n in sorted(trained.items(), key=lambda item: item[1]) if n < FEW]
    if rare:
        notes.append(f"fewer than {FEW} training records: {', '.join(rare)}; add such records first")
    cells = run.config.as_grid().cells
    covered = {
        location
        for member in read.memberships(run.ledger, run.cycle_id, ("train",))
        for location, _ in index.latest(member.sample_id).findings
        if location
    }
    bare = [cell for cell in cells if cell not in covered]
    if bare:
        notes.append(f"no training record has a defect at {', '.join(bare)}")
    for note in notes:
        run.say(f"analyze: {note}")
    return {"subject": subject or "base", "notes": notes}
