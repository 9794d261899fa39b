"""Analyze: where does the model to beat go wrong, and which records would teach most?

Enters: the scored answers of the incumbent, or of the base model where there is none. Leaves: notes in words, the
error slices (by defect, location, severity, group and source) and the strata to add, ranked by expected gain, in the
stage's manifest; the figures of each slice are in metrics, those of cells and names in the views v_grid and v_pareto.
The report shows the same for the cycle's own model, once it has answered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from harness.records import Finding, Role
from harness.score.strata import ADDED, FEW, Stratum, error_slices, rank_strata
from harness.stages.run import CycleRun
from harness.store import read
from harness.store.slices import judged, trained_findings

#: strata that the notes name; the manifest keeps TOP of them
NAMED, TOP = 3, 40


def analyze(run: CycleRun) -> dict[str, Any]:
    """Do the stage's work and return its manifest."""
    subject = read.incumbent(run.ledger, run.config.product, before=run.cycle_id)
    cycle_id, role = _subject(run, subject)
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
    trained = trained_findings(run.ledger, run.cycle_id)
    notes += _rare(run, trained)
    tested = judged(run.ledger, cycle_id, role)
    strata = rank_strata(tested, trained)
    notes += _advice(strata, name)
    for note in notes:
        run.say(f"analyze: {note}")
    return {
        "subject": subject or "base",
        "subject_role": role,
        "slices": [asdict(part) for part in error_slices(tested)],
        "strata": [asdict(stratum) for stratum in strata[:TOP]],
        "strata_seen": len(strata),
        "notes": notes,
    }


def _subject(run: CycleRun, incumbent: str | None) -> tuple[str, Role]:
    return (incumbent, "finetuned") if incumbent else (run.cycle_id, "base")


def _rare(run: CycleRun, trained: Sequence[Sequence[Finding]]) -> list[str]:
    """Defects with few training records, and cells with none."""
    notes = []
    names = Counter(name for findings in trained for name in {f.defect for f in findings if f.defect})
    rare = [f"{name} {n}" for name, n in sorted(names.items(), key=lambda item: item[1]) if n < FEW]
    if rare:
        notes.append(f"fewer than {FEW} training records: {', '.join(rare)}; add such records first")
    covered = {finding.location for findings in trained for finding in findings}
    bare = [cell for cell in run.config.as_grid().cells if cell not in covered]
    if bare:
        notes.append(f"no training record has a defect at {', '.join(bare)}")
    return notes


def _advice(strata: Sequence[Stratum], judged_by: str) -> list[str]:
    """The first strata in words; nothing where nothing is missed."""
    wanted = [stratum for stratum in strata[:NAMED] if stratum.gain > 0]
    if not wanted:
        return []
    top = ", ".join(
        f"{s.name} ({s.missed} of {s.n} missed, {s.trained} in training{', few test records' if s.few else ''})"
        for s in wanted
    )
    return [f"records that would teach most, {ADDED} of each, going by what {judged_by} misses: {top}"]
