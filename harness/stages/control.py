"""Control: may this model be released? Targets with their bounds, and no regression against the incumbent.

Enters: scores in the ledger and the targets. Leaves: rows in gates, and a verdict: pass, fail or inconclusive.
Judging needs no model; `harness gate` calls the same function. With `robustness = true` the noise study runs before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from harness.config import AT_MOST, DECIBELS
from harness.dataset.pool import utc_now
from harness.errors import ConfigError, LedgerError
from harness.score import GateResult, Target, judge, judge_regression, judge_target
from harness.score.aggregate import PROPORTIONS, count, members
from harness.score.gate import judge_ratio, with_groups
from harness.score.intervals import Interval
from harness.stages.compare import pair
from harness.stages.run import CycleRun
from harness.store import Ledger, noise, read, write
from harness.store.rows import GateRow, ReleaseRow, ScoreRow


def control(run: CycleRun) -> dict[str, Any]:
    """Do the stage's work and return its manifest."""
    incumbent = run.left_by("improve")["incumbent"]
    notes = _noise_notes(run) if run.config.robustness else []
    rows = judge_cycle(run.ledger, run.cycle_id, run.config.targets, incumbent=incumbent)
    overall = rows[-1]
    for row in rows:
        run.say(f"control: {row.gate} {row.status}: {row.reason}")
    return {"overall": overall.status, "incumbent": incumbent, "notes": [overall.reason, *notes]}


def judge_cycle(ledger: Ledger, cycle_id: str, targets: Mapping[str, float], *, incumbent: str | None) -> list[GateRow]:
    """Judge a cycle's fine-tuned model on its frozen test split and write the gates.

    Args:
        targets: metric -> limit; a floor or a ceiling by the metric's nature.
        incumbent: the cycle that it must not fall behind; None where there is none.

    Returns:
        One row a gate, the overall verdict last.

    Raises:
        LedgerError: the cycle has no scored answers of a fine-tuned model yet.
    """
    scores = read.scores(ledger, cycle_id, "finetuned", split="test")
    if not scores:
        raise LedgerError(
            f"{cycle_id} has no scored answers of a fine-tuned model",
            hint=f"finish it: harness cycle --resume {cycle_id}",
        )
    records = {row["sample_id"]: row for row in read.judged_records(ledger, cycle_id)}
    defective = [records[score.sample_id]["verdict"] == "defective" for score in scores]
    groups = [str(records[score.sample_id]["group_id"]) for score in scores]
    results = [
        _judge_steadiness(ledger, cycle_id, metric, limit)
        if metric in DECIBELS
        else _judge_target(scores, defective, groups, metric, limit)
        for metric, limit in targets.items()
    ]
    regression: GateResult | None = None
    if incumbent is not None and incumbent != cycle_id:
        paired = pair(ledger, (incumbent, "finetuned"), (cycle_id, "finetuned")) if _same_split(
            ledger, incumbent, cycle_id
        ) else pair(ledger, (cycle_id, "incumbent"), (cycle_id, "finetuned"))  # fmt: skip
        regression = judge_regression(paired.baseline, paired.candidate, paired.groups)
    overall = judge(results, regression)
    now = utc_now()
    rows = [
        GateRow(
            cycle_id=cycle_id,
            gate=result.metric,
            direction=result.target.direction if result.target else None,
            target=result.target.limit if result.target else None,
            value=result.value,
            bound=result.bound,
            n=result.n,
            status=result.status,
            records_to_decide=result.records_to_decide,
            reason=result.reason,
            judged_at=now,
        )
        for result in [*results, *([regression] if regression else []), overall]
    ]
    with ledger.writing() as connection:
        write.replace(connection, "gates", rows, cycle_id=cycle_id)
    return rows


def gate_cycle(ledger: Ledger, cycle_id: str, targets: Mapping[str, float] | None) -> list[GateRow]:
    """Judge a finished cycle again, by other targets or (None) by those that it was run with.

    Raises:
        UnknownCycle: no such cycle.
        LedgerError: it has no fine-tuned model yet.
    """
    cycle = read.cycle(ledger, cycle_id)
    chosen = targets if targets is not None else json.loads(cycle.config)["targets"]
    incumbent = read.incumbent(ledger, cycle.product, before=cycle_id)
    return judge_cycle(ledger, cycle_id, chosen, incumbent=incumbent)


def promote_cycle(ledger: Ledger, cycle_id: str, *, note: str, force: bool) -> ReleaseRow:
    """Make a cycle's fine-tuned model its product's incumbent.

    Raises:
        ConfigError: `force` without a note that says why.
        UnknownCycle: no such cycle.
        LedgerError: it has no fine-tuned model, or its gate did not pass and `force` is not given.
    """
    if force and not note.strip():
        raise ConfigError("--force needs a note that says why", hint=f"harness promote {cycle_id} --force --note WHY")
    cycle = read.cycle(ledger, cycle_id)
    role = read.roles(ledger, cycle_id).get("finetuned")
    gates = read.gates(ledger, cycle_id)
    if role is None or not gates:
        raise LedgerError(
            f"{cycle_id} has no judged model to promote", hint=f"finish it: harness cycle --resume {cycle_id}"
        )
    status = gates[-1].status
    if status != "pass" and not force:
        raise LedgerError(
            f"the gate of {cycle_id} is {status}: {gates[-1].reason}",
            hint=f"add records and run another cycle, or: harness promote {cycle_id} --force --note WHY",
        )
    row = ReleaseRow(cycle.product, cycle_id, role.model_id, utc_now(), status, note.strip())
    with ledger.writing() as connection:
        write.insert(connection, [row])
    return row


def _noise_notes(run: CycleRun) -> list[str]:
    """Run the noise study. Without validation records there is none, which is no reason to lose the cycle."""
    from harness.stages.robustness import study_noise  # it runs models, and `harness gate` must stay light

    if not read.memberships(run.ledger, run.cycle_id, ("validation",)):
        note = "no noise study: there is no validation record to choose noise levels on"
        run.say(f"control: {note}")
        return [note]
    found = study_noise(run)
    return [f"noise study: {found.study.reason}"]


def _same_split(ledger: Ledger, first: str, second: str) -> bool:
    return read.cycle(ledger, first).split_id == read.cycle(ledger, second).split_id


def _judge_steadiness(ledger: Ledger, cycle_id: str, metric: str, limit: float) -> GateResult:
    """An SN ratio of the cycle's noise study against its target; undecided where there is no study."""
    target = Target(metric, limit, "at_least")
    for row in noise.figures(ledger, cycle_id):
        if row.metric == metric and row.model_role == "finetuned":
            return judge_ratio(Interval(row.value, row.ci_low, row.ci_high, row.n, row.method), row.beta, target)
    reason = f"no noise study yet: harness robustness {cycle_id}, then harness gate {cycle_id}"
    return GateResult(metric, target, None, None, None, "inconclusive", None, reason)


def _judge_target(
    scores: Sequence[ScoreRow], defective: Sequence[bool], groups: Sequence[str], metric: str, limit: float
) -> GateResult:
    target = Target(metric, limit, "at_most" if metric in AT_MOST else "at_least")
    result = judge_target(*count(metric, scores, defective), target)
    chosen, shows = members(metric, defective), PROPORTIONS[metric][1]
    mistaken = [shows(scores[i]) == (target.direction == "at_most") for i in chosen]
    return with_groups(result, mistaken, [groups[i] for i in chosen])
