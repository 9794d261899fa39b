"""Choosing where P(defective) decides: on validation alone, with the honest result on test beside.

Enters: the fine-tuned model's answers at n0, in the ledger since Improve. Leaves: rows in thresholds and
threshold_figures, which the report shows and `harness predict` decides by. Needs no model; takes about two seconds.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from harness.dataset.pool import utc_now
from harness.errors import ConfigError, LedgerError, SplitError
from harness.score import auroc
from harness.score.calibration import calibration_error, reliability
from harness.score.intervals import Interval, wilson
from harness.score.threshold import (
    CurvePoint,
    Thresholds,
    choose_thresholds,
    decision_figures,
    escape_overkill_curve,
    escapes_in_words,
    why_no_threshold,
    zero_escape_point,
)
from harness.store import Ledger, read, write
from harness.store.rows import RoleRow, ThresholdFigureRow, ThresholdRow

#: bars of the histogram of P(defective)
BARS = 20
#: taken where neither the command nor the cycle's targets name a limit
MAX_ESCAPE, MAX_OVERKILL = 0.02, 0.05


@dataclass(frozen=True, slots=True)
class Scores:
    """The records of a split: true class, P(defective), and groups where a group holds several records."""

    defective: list[bool]
    p: list[float | None]
    groups: list[str] | None

    @property
    def known(self) -> list[int]:
        """The places of the records that have a P(defective)."""
        return [i for i, value in enumerate(self.p) if value is not None]


@dataclass(frozen=True, slots=True)
class Chosen:
    """What was stored; `reason` says why no threshold could be chosen, "" where one was."""

    threshold: ThresholdRow
    figures: list[ThresholdFigureRow]
    reason: str


def choose_threshold(
    ledger: Ledger,
    cycle_id: str,
    *,
    max_escape: float | None = None,
    max_overkill: float | None = None,
    split: str = "validation",
) -> Chosen:
    """Choose a cycle's thresholds on validation, report them on test, and store both.

    Args:
        max_escape: tolerated share of the truly defective that pass; None takes the cycle's target of miss_rate.
        max_overkill: tolerated share of the truly passed that are called defective without review; None takes the
            cycle's target of false_reject_rate.
        split: where to choose; anything but validation is refused.

    Raises:
        SplitError: asked to choose on test.
        ConfigError: a limit outside [0, 1).
        UnknownCycle: no such cycle.
        LedgerError: it has no answers of a fine-tuned model yet.
    """
    if split != "validation":
        raise SplitError(
            f"a threshold is chosen on validation only, not on {split}: what is tuned on test proves nothing there",
            hint=f"harness threshold {cycle_id} chooses on validation and reports the result on test",
        )
    cycle = read.cycle(ledger, cycle_id)
    targets = json.loads(cycle.config).get("targets") or {}
    escape = max_escape if max_escape is not None else float(targets.get("miss_rate", MAX_ESCAPE))
    overkill = max_overkill if max_overkill is not None else float(targets.get("false_reject_rate", MAX_OVERKILL))
    for name, limit in (("--max-escape", escape), ("--max-overkill", overkill)):
        if not 0 <= limit < 1:
            raise ConfigError(f"{name} is a share in [0, 1), got {limit:g}", hint=f"for example {name} 0.02")
    role = read.roles(ledger, cycle_id).get("finetuned")
    by_split = {} if role is None else _scores(ledger, cycle_id)
    if role is None or not (by_split["validation"].p or by_split["test"].p):
        raise LedgerError(
            f"{cycle_id} has no answers of a fine-tuned model", hint=f"finish it: harness cycle --resume {cycle_id}"
        )
    return _choose(ledger, cycle_id, role, by_split, escape, overkill)


def _choose(
    ledger: Ledger, cycle_id: str, role: RoleRow, by_split: dict[str, Scores], escape: float, overkill: float
) -> Chosen:
    validation = by_split["validation"]
    reason = why_no_threshold(validation.defective, validation.p)
    thresholds = None
    if not reason:
        thresholds = choose_thresholds(validation.defective, validation.p, max_escape=escape, max_overkill=overkill)
    figures = [row for split, of in by_split.items() for row in _figures(cycle_id, split, of, thresholds)]
    notes = _notes(by_split, thresholds, escape, overkill, reason)
    row = ThresholdRow(
        cycle_id=cycle_id,
        model_id=role.model_id,
        engine_id=role.engine_id,
        max_escape=escape,
        max_overkill=overkill,
        low=None if thresholds is None else thresholds.low,
        high=None if thresholds is None else thresholds.high,
        notes=json.dumps(notes),
        curves=json.dumps({split: _curves(of) for split, of in by_split.items()}, allow_nan=False),
        chosen_at=utc_now(),
    )
    with ledger.writing() as connection:
        write.replace(connection, "thresholds", [row], cycle_id=cycle_id)
        write.replace(connection, "threshold_figures", figures, cycle_id=cycle_id)
    return Chosen(row, figures, reason)


def _scores(ledger: Ledger, cycle_id: str) -> dict[str, Scores]:
    """The fine-tuned model's P(defective) at n0 by split, validation first, against the truths of the cycle."""
    records = {record["sample_id"]: record for record in read.judged_records(ledger, cycle_id)}
    answers = [
        answer
        for answer in read.cycle_answers(ledger, cycle_id, "finetuned")
        if answer.condition_id == "n0" and answer.repeat == 0
    ]
    found = {}
    for split in ("validation", "test"):
        own = [(records[answer.sample_id], answer) for answer in answers if records[answer.sample_id]["split"] == split]
        groups = [str(record["group_id"]) for record, _ in own]
        found[split] = Scores(
            [record["verdict"] == "defective" for record, _ in own],
            [answer.p_defective for _, answer in own],
            groups if len(set(groups)) < len(groups) else None,
        )
    return found


def _figures(cycle_id: str, split: str, of: Scores, thresholds: Thresholds | None) -> list[ThresholdFigureRow]:
    defective, p = [of.defective[i] for i in of.known], [float(of.p[i] or 0.0) for i in of.known]
    groups = None if of.groups is None else [of.groups[i] for i in of.known]
    found: list[tuple[str, str, Interval]] = []
    if thresholds is not None:
        found += [
            (figure.rule, figure.metric, figure.interval)
            for figure in decision_figures(of.defective, of.p, thresholds, of.groups)
        ]
    point = zero_escape_point(escape_overkill_curve(defective, p))
    if point is not None and point.threshold is not None:
        good = defective.count(False)
        zero = wilson(round(point.overkill_rate * good), good)
        at = f"{zero.method}; defective from {point.threshold:.4g} on, the highest score of all without an escape"
        found.append(("score", "zero_escape_overkill_rate", Interval(zero.value, zero.low, zero.high, zero.n, at)))
    found.append(("score", "auroc", auroc(defective, p, groups)))
    found.append(("score", "calibration_error", calibration_error(defective, p)))
    return [
        ThresholdFigureRow(
            cycle_id=cycle_id,
            split="test" if split == "test" else "validation",
            rule=rule,
            metric=metric,
            value=figure.value,
            ci_low=figure.low,
            ci_high=figure.high,
            n=figure.n,
            method=figure.method,
        )
        for rule, metric, figure in found
    ]


def _curves(of: Scores) -> dict[str, Any]:
    """What the plots of a split are drawn from."""
    import numpy as np

    defective, p = [of.defective[i] for i in of.known], [float(of.p[i] or 0.0) for i in of.known]
    histogram = {
        name: np.histogram([value for value, bad in zip(p, defective, strict=True) if bad == wanted], BARS, (0, 1))[0]
        for name, wanted in (("passed", False), ("defective", True))
    }
    curve: list[CurvePoint] = escape_overkill_curve(defective, p)
    return {
        "curve": [asdict(point) for point in curve],
        "histogram": {name: counts.tolist() for name, counts in histogram.items()},
        "reliability": [asdict(part) for part in reliability(defective, p)],
    }


def _notes(
    by_split: dict[str, Scores], thresholds: Thresholds | None, escape: float, overkill: float, reason: str
) -> list[str]:
    """The choice in sentences: the rule, what validation shows of it, what test says, and what to be wary of."""
    validation, test = by_split["validation"], by_split["test"]
    if thresholds is None:
        return [f"No threshold could be chosen on validation: {reason}."]
    notes = [_rule(thresholds)]
    bad = sum(validation.defective)
    if thresholds.low == 0:
        notes.append(
            "On validation no passed record scores below the defective ones that may not escape: nothing passes "
            "without review, so that nothing escapes."
        )
    else:
        escapes = _count(validation, thresholds, "escape_rate")
        notes += [
            f"Chosen on validation: {escapes_in_words(escapes, bad, escape)}.",
            f"The choice flatters the records that it was made on: with {escapes} of {bad} defective ones escaping, up "
            f"to about {(escapes + 1) / (bad + 1):.1%} of new ones may be expected to. The result on test is honest.",
        ]
        if test.defective:
            found = _count(test, thresholds, "escape_rate")
            notes.append(f"On test: {escapes_in_words(found, sum(test.defective), escape)}.")
    if test.defective:
        rejected, reviewed = _count(test, thresholds, "overkill_rate"), _count(test, thresholds, "review_rate")
        notes.append(
            f"On test {rejected} of {test.defective.count(False)} passed records are called defective without review, "
            f"and {reviewed} of {len(test.p)} records go to review."
        )
    if thresholds.high is None:
        notes.append(
            f"No defective validation record scores above all but {overkill:.2%} of the passed ones: nothing is called "
            "defective without review."
        )
    for name, of in by_split.items():
        unscored = len(of.p) - len(of.known)
        if unscored:
            notes.append(f"{unscored} of {len(of.p)} {name} answers carry no P(defective): they go to review.")
        if of.known and len({of.p[i] for i in of.known}) == 1:
            notes.append(f"Every {name} answer has the same P(defective): no threshold tells them apart.")
    return notes


def _rule(thresholds: Thresholds) -> str:
    low, high = thresholds.low, thresholds.high
    if high is None:
        return f"Pass where P(defective) is below {low:.4g}; review from {low:.4g} on."
    if low == high:
        return f"Pass where P(defective) is below {low:.4g}, defective from {low:.4g} on; nothing is left to review."
    return f"Pass where P(defective) is below {low:.4g}, defective from {high:.4g} on; review between."


def _count(of: Scores, thresholds: Thresholds, metric: str) -> int:
    figures = decision_figures(of.defective, of.p, thresholds)
    return next(figure.count for figure in figures if (figure.rule, figure.metric) == ("band", metric))
