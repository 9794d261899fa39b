"""May it be released? Each target is held against a one-sided 95 % bound; the answer is pass, fail or inconclusive.

Enters: counts and targets. Leaves: GateResults with the reason in words and, where undecided, how many records would
decide. A release needs all gates to pass, so the chance to pass a model that misses any one target is at most 5 %
(intersection-union: Berger 1982), without a correction for their number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.score.aggregate import Scored
from harness.score.compare import regression_p_value
from harness.score.intervals import lower_bound, upper_bound

Status = Literal["pass", "fail", "inconclusive"]

#: a search for the number of records that would decide ends here
FAR = 1_000_000
REGRESSION_LEVEL = 0.05


@dataclass(frozen=True, slots=True)
class Target:
    """What a release must show of a proportion."""

    metric: str
    limit: float
    direction: Literal["at_most", "at_least"]


@dataclass(frozen=True, slots=True)
class GateResult:
    """One gate's judgement. `bound` is the one-sided 95 % bound on the side of the target; `metric` may also be
    "regression" or "overall", which have no target."""

    metric: str
    target: Target | None
    value: float | None
    bound: float | None
    n: int | None
    status: Status
    records_to_decide: int | None
    reason: str


def judge_target(successes: int, n: int, target: Target) -> GateResult:
    """Hold a proportion against its target.

    Args:
        successes: records that show what the metric counts (misses for miss_rate).
        n: records of the class that it is a share of.
    """
    if n == 0:
        reason = "no record of the class: add some"
        return GateResult(target.metric, target, None, None, 0, "inconclusive", None, reason)
    value = successes / n
    high, low = upper_bound(successes, n), lower_bound(successes, n)
    at_most = target.direction == "at_most"
    bound = high if at_most else low
    if high <= target.limit if at_most else low >= target.limit:
        status: Status = "pass"
    elif (low > target.limit) if at_most else (high < target.limit):
        status = "fail"
    else:
        unread = target.metric == "parsed_rate" and value < target.limit
        status = "fail" if unread else "inconclusive"
    more = _records_to_decide(successes, n, target) if status == "inconclusive" else None
    return GateResult(
        target.metric, target, value, bound, n, status, more, _in_words(successes, n, target, bound, status, more)
    )


def judge_regression(baseline: Sequence[Scored], candidate: Sequence[Scored]) -> GateResult:
    """Is the candidate's verdict worse than the incumbent's? Exact McNemar, one-sided, on the same records."""
    pairs = list(zip(baseline, candidate, strict=True))
    fixed = sum(c.verdict_correct and not b.verdict_correct for b, c in pairs)
    broken = sum(b.verdict_correct and not c.verdict_correct for b, c in pairs)
    p = regression_p_value(fixed, broken)
    worse = p < REGRESSION_LEVEL
    words = "significantly worse than the incumbent" if worse else "no significant regression against the incumbent"
    reason = f"{words}: {fixed} verdicts fixed, {broken} broken of {len(pairs)}, one-sided p = {p:.2g}"
    difference = (fixed - broken) / len(pairs) if pairs else None
    return GateResult("regression", None, difference, None, len(pairs), "fail" if worse else "pass", None, reason)


def judge(results: Sequence[GateResult], regression: GateResult | None) -> GateResult:
    """The overall verdict: fail if any gate fails, else inconclusive if any is, else pass."""
    every = [*results, *([regression] if regression is not None else [])]
    failed = [result.metric for result in every if result.status == "fail"]
    open_ = [result for result in every if result.status == "inconclusive"]
    if failed:
        return GateResult("overall", None, None, None, None, "fail", None, f"failed: {', '.join(failed)}")
    if open_:
        known = [result.records_to_decide for result in open_ if result.records_to_decide is not None]
        more = max(known) if len(known) == len(open_) else None
        reason = f"undecided: {', '.join(result.metric for result in open_)}"
        return GateResult("overall", None, None, None, None, "inconclusive", more, reason)
    if not every:
        return GateResult("overall", None, None, None, None, "inconclusive", None, "no target is set: see [targets]")
    return GateResult("overall", None, None, None, None, "pass", None, f"all {len(every)} gates pass")


def records_for(limit: float, events: int) -> int:
    """The fewest records on which `events` events show a rate of at most `limit` (one-sided 95 %).

    0 events and 2 % need 149 records; 1 event needs 236.
    """
    if not 0 < limit < 1:
        raise ValueError(f"a limit lies in (0, 1), got {limit}")
    low, high = events, events + 1
    while upper_bound(events, high) > limit:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if upper_bound(events, middle) > limit else (low, middle)
    return high


def line_projection(prevalence: float, miss_rate: float, overkill_rate: float) -> tuple[float, float]:
    """What the rates mean on a line that sees `prevalence` defective products.

    Returns:
        (share of defective among the accepted, share of truly defective among the rejected), by Bayes.
    """
    missed, caught = prevalence * miss_rate, prevalence * (1 - miss_rate)
    accepted = missed + (1 - prevalence) * (1 - overkill_rate)
    rejected = caught + (1 - prevalence) * overkill_rate
    return (missed / accepted if accepted else 0.0), (caught / rejected if rejected else 0.0)


def _records_to_decide(successes: int, n: int, target: Target) -> int | None:
    """How many further records of the class would decide at the rate seen; None where they never would."""
    at_most = target.direction == "at_most"
    rate = successes / n
    if rate == target.limit:
        return None
    good = rate < target.limit if at_most else rate > target.limit

    def decided(total: int) -> bool:
        # Rounded against the decision, so that the number promises nothing too early.
        events = math.ceil(rate * total - 1e-9) if at_most == good else math.floor(rate * total + 1e-9)
        if at_most == good:
            return upper_bound(events, total) <= target.limit if at_most else upper_bound(events, total) < target.limit
        return lower_bound(events, total) > target.limit if at_most else lower_bound(events, total) >= target.limit

    low, high = n, 2 * n
    while not decided(high):
        if high > FAR:
            return None
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decided(middle) else (middle, high)
    return high - n


def _in_words(successes: int, n: int, target: Target, bound: float, status: Status, more: int | None) -> str:
    shows = "at most" if target.direction == "at_most" else "at least"
    sentence = f"{successes} of {n} shows {shows} {bound:.2%}; the target is {shows} {target.limit:.2%}"
    if status != "inconclusive":
        return sentence
    if target.direction == "at_most" and 0 < target.limit < 1 and successes / n < target.limit:
        clean = records_for(target.limit, successes) - n
        sentence += f"; {clean} further records without an event would show it"
    if more is None:
        return f"{sentence}; at the rate seen no number of records decides"
    return f"{sentence}; at the rate seen {more} further records would decide"
