"""The learning curve over past cycles: what `harness curve` prints. Needs no model.

Enters: scores in the ledger. Leaves: a line a target (or a line for a metric without one), the cycles that the curve
rests on, and those left out with the reason; nothing is written. Cost: some 60 ms a metric.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from harness.config import AT_LEAST, AT_MOST
from harness.errors import ConfigError, LedgerError
from harness.score.curve_target import records_needed
from harness.score.learning_curve import band, metric_curve
from harness.store import Ledger, read
from harness.store.curves import Family, family, family_answers, latest_cycle, named_family


@dataclass(frozen=True, slots=True)
class CurveLine:
    """A metric's curve and what one target needs of it.

    `value` is the figure at the largest size, `records`; a, b and c are of the figure where more is better, of
    1 - figure for a rate of mistakes. Numbers of records are train + validation. Where `estimable`, a `high` of None
    is an end that is open above.
    """

    metric: str
    target: float | None
    records: int | None
    value: float | None
    n: int
    needed: float | None
    low: float | None
    high: float | None
    above_plateau: float | None
    estimable: bool
    answer: str
    a: float | None
    b: float | None
    c: float | None
    method: str


@dataclass(frozen=True, slots=True)
class CurveReport:
    """The lines, and the cycles that they rest on."""

    lines: tuple[CurveLine, ...]
    family: Family


def learning_curves(
    ledger: Ledger,
    cycle_ids: Sequence[str] = (),
    *,
    product: str | None = None,
    metric: str | None = None,
    target: float | None = None,
) -> CurveReport:
    """Fit the learning curve of cycles that may be joined.

    Args:
        cycle_ids: the cycles; empty joins all that are comparable with the newest one.
        product: whose newest cycle, where no cycle is named.
        metric: one metric; None takes the targets of the newest cycle's charter.
        target: of that metric; None takes the charter's where it has one.

    Raises:
        ConfigError: no such metric, a target without a metric or outside [0, 1].
        LedgerError: no cycle has a fine-tuned model yet.
        SplitError: named cycles cannot be joined.
        UnknownCycle: a named cycle does not exist.
    """
    known = (*AT_LEAST, *AT_MOST)
    if metric is not None and metric not in known:
        raise ConfigError(f"no curve is known for {metric!r}", hint=f"known metrics: {', '.join(known)}")
    if target is not None and (metric is None or not 0 <= target <= 1):
        raise ConfigError(
            f"--target {target} {'needs --metric' if metric is None else 'lies outside [0, 1]'}",
            hint="for example --metric miss_rate --target 0.02",
        )
    if cycle_ids:
        joined = named_family(ledger, cycle_ids)
    else:
        newest = latest_cycle(ledger, product)
        if newest is None:
            of = f" of product {product}" if product else ""
            raise LedgerError(
                f"no cycle{of} has scores of a fine-tuned model",
                hint="run some: harness cycle --data SRC --grow 50,100",
            )
        joined = family(ledger, newest)
    charter: dict[str, float] = json.loads(read.cycle(ledger, joined.anchor).config).get("targets") or {}
    if metric is None:
        shares = [(name, limit) for name, limit in charter.items() if name in known]
        wanted: list[tuple[str, float | None]] = [*shares] or [("verdict_accuracy", None)]
    else:
        wanted = [(metric, target if target is not None else charter.get(metric))]
    answers = family_answers(ledger, joined)
    lines = []
    for name, limit in wanted:
        curve = metric_curve(name, answers.sizes, answers.scores, answers.defective, answers.groups)
        law = curve.law
        needed = None if limit is None else records_needed(curve, limit)
        if needed is not None:
            answer = needed.sentence
        elif law is None:
            answer = f"not estimable: {curve.reason}"
        else:
            ahead = band(curve, [2 * curve.largest])[0]
            answer = (
                f"{ahead.value:.1%} [{ahead.low:.1%}, {ahead.high:.1%}] with twice the records, if the curve goes on"
            )
        lines.append(
            CurveLine(
                metric=name,
                target=limit,
                records=curve.largest if curve.points else None,
                value=curve.at_largest if curve.points else None,
                n=curve.n,
                needed=needed.needed if needed else None,
                low=needed.low if needed else None,
                high=needed.high if needed else None,
                above_plateau=needed.above_plateau if needed else None,
                estimable=needed.estimable if needed else law is not None,
                answer=answer,
                a=law.a if law else None,
                b=law.b if law else None,
                c=law.c if law else None,
                method=curve.method,
            )
        )
    return CurveReport(tuple(lines), joined)
