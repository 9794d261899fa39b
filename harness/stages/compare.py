"""Did it improve? Two sets of scores of the same records, held against each other.

Enters: scores in the ledger. Leaves: paired comparisons. Only records that both answered on the same frozen test
split count; anything else is refused with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.errors import SplitError
from harness.parse import PARSER_VERSION
from harness.records import Comparison, Role
from harness.score import compare
from harness.score.trend import rising
from harness.store import Ledger, read, write
from harness.store.rows import ComparisonRow, ScoreRow

#: what is compared together, and so corrected together (Holm)
METRICS = ("verdict_accuracy", "exact_accuracy", "location_accuracy")


#: what is followed over the sizes of a series: metric -> whether it ought to rise
TRENDS = {"verdict_accuracy": True, "location_accuracy": True, "miss_rate": False}


@dataclass(frozen=True, slots=True)
class TrendOverSizes:
    """One figure of the fine-tuned models over the training sizes, on the same test records.

    `informative` records were right at some sizes and wrong at others; `p_value` is one-sided, for an improvement.
    """

    metric: str
    sizes: tuple[int, ...]
    values: tuple[float, ...]
    n: int
    informative: int
    p_value: float


@dataclass(frozen=True, slots=True)
class Paired:
    """The scores of two models on the same records, in the same order, with the records' true
    class and groups."""

    baseline: list[ScoreRow]
    candidate: list[ScoreRow]
    defective: list[bool]
    groups: list[str] | None


def compare_roles(ledger: Ledger, cycle_id: str, baseline: Role, candidate: Role = "finetuned") -> list[Comparison]:
    """Compare two roles of a cycle on test at n0 and write the rows."""
    paired = pair(ledger, (cycle_id, baseline), (cycle_id, candidate))
    found = compare_pair(paired)
    rows = [
        ComparisonRow(
            cycle_id=cycle_id,
            baseline=baseline,
            candidate=candidate,
            split="test",
            condition_id="n0",
            parser_version=PARSER_VERSION,
            metric=c.metric,
            n=c.n,
            baseline_value=c.baseline,
            candidate_value=c.candidate,
            difference=c.difference,
            ci_low=c.ci_low,
            ci_high=c.ci_high,
            fixed=c.fixed,
            broken=c.broken,
            p_value=c.p_value,
            p_holm=c.p_holm,
            detectable=c.detectable,
            method=c.method,
        )
        for c in found
    ]
    with ledger.writing() as connection:
        write.replace(
            connection,
            "comparisons",
            rows,
            cycle_id=cycle_id,
            baseline=baseline,
            candidate=candidate,
            parser_version=PARSER_VERSION,
        )
    return found


def compare_cycles(ledger: Ledger, first: str, second: str) -> list[Comparison]:
    """Compare the fine-tuned models of two cycles (first = baseline) on test at n0.

    Raises:
        UnknownCycle: one of them does not exist.
        SplitError: they were not scored on the same frozen test split.
    """
    a, b = read.cycle(ledger, first), read.cycle(ledger, second)
    if a.product != b.product:
        raise SplitError(
            f"{first} raises product {a.product} and {second} product {b.product}",
            hint="compare cycles of one product; list them: harness runs",
        )
    if a.split_id != b.split_id:
        raise SplitError(
            f"{first} was scored on test split {a.split_id} and {second} on {b.split_id}",
            hint="compare cycles with the same split; harness runs shows it",
        )
    return compare_pair(pair(ledger, (first, "finetuned"), (second, "finetuned")))


def pair(ledger: Ledger, baseline: tuple[str, Role], candidate: tuple[str, Role]) -> Paired:
    """The scores of two (cycle, role) on the test records that both answered.

    Raises:
        SplitError: they have no test record in common.
    """
    before = {row.sample_id: row for row in read.scores(ledger, *baseline, split="test")}
    after = {row.sample_id: row for row in read.scores(ledger, *candidate, split="test")}
    common = sorted(before.keys() & after.keys())
    if not common:
        raise SplitError(
            f"{' '.join(baseline)} and {' '.join(candidate)} have no scored test record in common",
            hint="finish both cycles first: harness runs shows which are unfinished",
        )
    records = {row["sample_id"]: row for row in read.judged_records(ledger, candidate[0])}
    groups = [str(records[sample_id]["group_id"]) for sample_id in common]
    return Paired(
        [before[sample_id] for sample_id in common],
        [after[sample_id] for sample_id in common],
        [records[sample_id]["verdict"] == "defective" for sample_id in common],
        groups if len(set(groups)) < len(groups) else None,
    )


def compare_pair(paired: Paired, metrics: Sequence[str] = METRICS) -> list[Comparison]:
    """The comparisons of one pair over the metrics, Holm-corrected together."""
    return compare(paired.baseline, paired.candidate, paired.defective, metrics=metrics, groups=paired.groups)


def trends(ledger: Ledger, cycle_ids: Sequence[str]) -> list[TrendOverSizes]:
    """Do the figures improve from size to size? For a series of cycles on one frozen test split.

    Returns:
        One trend a metric of TRENDS; none where there are fewer than three sizes, or the cycles share no test records.
    """
    cycles = sorted((read.cycle(ledger, cycle_id) for cycle_id in cycle_ids), key=lambda c: c.train_records or 0)
    if len({cycle.train_records for cycle in cycles}) < 3 or len({cycle.split_id for cycle in cycles}) != 1:
        return []
    scored = read.scores_of_cycles(ledger, [c.cycle_id for c in cycles], "finetuned", split="test")
    by_size = [{score.sample_id: score for score in scored[cycle.cycle_id]} for cycle in cycles]
    shared = sorted(set.intersection(*(set(scores) for scores in by_size)))
    bad = {
        row["sample_id"] for row in read.judged_records(ledger, cycles[-1].cycle_id) if row["verdict"] == "defective"
    }
    found = []
    for metric, ought_to_rise in TRENDS.items():
        asked = shared if metric == "verdict_accuracy" else [one for one in shared if one in bad]
        if not asked:
            continue
        field = "location_correct" if metric == "location_accuracy" else "verdict_correct"
        right = [[bool(getattr(scores[one], field)) for scores in by_size] for one in asked]
        shares = [sum(column) / len(asked) for column in zip(*right, strict=True)]
        trend = rising(right)
        found.append(
            TrendOverSizes(
                metric=metric,
                sizes=tuple(cycle.train_records or 0 for cycle in cycles),
                values=tuple(shares if ought_to_rise else (1 - share for share in shares)),
                n=trend.n,
                informative=trend.informative,
                p_value=trend.p_value,
            )
        )
    return found
