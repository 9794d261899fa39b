"""May it be released? Each target is held against a one-sided 95 % bound; the answer is pass, fail or inconclusive.

Enters: counts and targets. Leaves: GateResults with the reason in words and, where undecided, how many records would
decide. A release needs all gates to pass, so the chance to pass a model that misses any one target is at most 5 %
(intersection-union: Berger 1982, Technometrics 24:295), without a correction for their number; the price is power,
since a good model must pass each. The bound counts records as independent: where parts or lots are shown many times
over, it promises too much, and the reason says what the groups alone would show (with_groups).
The regression gate is of another kind: it fails what is shown to be worse, and so lets a small loss pass that such a
sample cannot show; its reason says how large a loss the sample would show.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from harness.score.aggregate import Scored
from harness.score.compare import detectable_difference, regression_p_value
from harness.score.intervals import Interval, lower_bound, upper_bound
from harness.score.needed import more_records_needed, records_to_decide

Status = Literal["pass", "fail", "inconclusive"]

REGRESSION_LEVEL = 0.05
#: rates that an unreadable answer leaves untouched -> those that count it, one of which must be a target beside them
BLIND = {"escape_rate": ("miss_rate", "defect_accuracy"), "overkill_rate": ("false_reject_rate", "pass_accuracy")}
ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Target:
    """What a release must show: `metric` at most, or at least, `limit`, in [0, 1] of a proportion, else in dB."""

    metric: str
    limit: float
    direction: Literal["at_most", "at_least"]


@dataclass(frozen=True, slots=True)
class GateResult:
    """One gate's judgement.

    `metric` may also be "regression" or "overall", which have no target. `bound` is the one-sided 95 % bound on the
    side of the target: upper for at_most, lower for at_least (of a ratio in dB the end of its 95 % interval, None where
    it is infinite). `records_to_decide` counts further records of the class
    that would decide at the rate seen; None where the gate is decided or where none would.
    """

    metric: str
    target: Target | None
    value: float | None
    bound: float | None
    n: int | None
    status: Status
    records_to_decide: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class _Words:
    """What a gate's sentence calls the mistakes that count against its metric, and the records that can show one."""

    one: str
    many: str
    record: str


_WORDS = {
    "miss_rate": _Words("a miss", "misses", "defective record"),
    "defect_accuracy": _Words("a miss", "misses", "defective record"),
    "escape_rate": _Words("an escape", "escapes", "defective record"),
    "false_reject_rate": _Words("a false reject", "false rejects", "passed record"),
    "pass_accuracy": _Words("a false reject", "false rejects", "passed record"),
    "overkill_rate": _Words("an overkill", "overkills", "passed record"),
    "location_accuracy": _Words("a wrong set of locations", "wrong sets of locations", "defective record"),
    "defect_name_accuracy": _Words("a wrong set of names", "wrong sets of names", "defective record"),
    "verdict_accuracy": _Words("a wrong verdict", "wrong verdicts", "record"),
    "exact_accuracy": _Words("an inexact answer", "inexact answers", "record"),
    "parsed_rate": _Words("an unreadable answer", "unreadable answers", "record"),
    "style_rate": _Words("an answer out of style", "answers out of style", "record"),
}


def judge_target(successes: int, n: int, target: Target) -> GateResult:
    """Hold a proportion against its target.

    pass: the one-sided 95 % Clopper-Pearson bound meets the target; fail: the opposite bound excludes it, or it is
    parsed_rate and its value as seen is under its target; else inconclusive.

    Args:
        successes: records that show what the metric counts (misses for miss_rate, right verdicts for accuracies).
        n: records of the class that it is a share of.
        target: what must be shown.

    Raises:
        ValueError: not 0 <= successes <= n, or a limit outside [0, 1].
    """
    if not 0 <= target.limit <= 1:
        raise ValueError(f"a target of a proportion lies in [0, 1], got {target.metric} {target.limit}")
    high, low = upper_bound(successes, n), lower_bound(successes, n)
    words = _WORDS.get(target.metric, _Words("a mistake", "mistakes", "record"))
    if n == 0:
        reason = f"no {words.record} to judge by: add some"
        return GateResult(target.metric, target, None, None, 0, "inconclusive", None, reason)
    value = successes / n
    at_most = target.direction == "at_most"
    bound, opposite = (high, low) if at_most else (low, high)
    # A bound that is the limit but for rounding meets it, and excludes nothing.
    meets = bound <= target.limit + ROUNDING if at_most else bound >= target.limit - ROUNDING
    excluded = opposite > target.limit + ROUNDING if at_most else opposite < target.limit - ROUNDING
    unread = target.metric == "parsed_rate" and value < target.limit
    status: Status = "pass" if meets else "fail" if excluded or unread else "inconclusive"
    more = records_to_decide(*_as_mistakes(successes, n, target)) if status == "inconclusive" else None
    reason = _in_words(successes, n, target, status, opposite if excluded else bound, more, words)
    return GateResult(target.metric, target, value, bound, n, status, more, reason)


def with_groups(result: GateResult, mistaken: Sequence[bool], groups: Sequence[str]) -> GateResult:
    """The same judgement, whose reason also says what it would show if a group told no more than one record.

    The bound counts records as independent. Where records share a part or a lot, a share of groups with any mistake
    bounds the share of mistakes from above whatever their likeness, at a price in records that only the user can weigh:
    so it is said, and does not decide.

    Args:
        mistaken: whether each record of the class counts against the target.
        groups: each record's group, in the same order.
    """
    every = set(groups)
    if result.target is None or len(every) == len(groups):
        return result
    bad = {group for group, wrong in zip(groups, mistaken, strict=True) if wrong}
    most = upper_bound(len(bad), len(every))
    at_most = result.target.direction == "at_most"
    shows = f"at most {most:.2%}" if at_most else f"at least {1 - most:.2%}"
    said = f"the {len(groups)} records come in {len(every)} groups: by group, {len(bad)} with a mistake shows {shows}"
    return replace(result, reason=f"{result.reason}; {said}")


def judge_ratio(found: Interval, beta: float | None, target: Target) -> GateResult:
    """Hold an SN ratio in dB against its target, by its interval.

    pass: the lower end meets the target; fail: the upper end excludes it, or the scores run against the signal; else
    inconclusive. The ends are those of a two-sided 95 % interval: resampled ends lie a little too near, which a
    one-sided 95 % bound could not afford.

    Args:
        found: the ratio with its interval; without ends where there is none, and its `method` says why.
        beta: slope on the signal; below 0 the scores run against it, however steadily.
        target: a floor in dB.
    """

    def result(status: Status, reason: str, more: int | None = None) -> GateResult:
        bound = found.low if found.low is not None and math.isfinite(found.low) else None
        value = found.value if found.value is not None and math.isfinite(found.value) else None
        return GateResult(target.metric, target, value, bound, found.n, status, more, reason)

    aim = f"the target is at least {target.limit:g} dB"
    if found.value is None or beta is None:
        return result("inconclusive", f"{found.method}; {aim}")
    if beta < 0 and found.low != -math.inf:
        return result("fail", f"the scores run against the truth (slope {beta:.3f}); {aim}")
    if found.low is None or found.high is None:
        return result("inconclusive", f"{found.method}; {aim}")
    shows = (
        f"{_decibel(found.value)} of {found.n} records, 95 % interval {_decibel(found.low)} to {_decibel(found.high)}"
    )
    if found.high < target.limit:
        return result("fail", f"{shows}; {aim}")
    if found.low >= target.limit and beta > 0:
        return result("pass", f"{shows}; {aim}")
    # The interval narrows with the square root of the records; the end on the target's side must come up to it.
    end, gap = found.low if found.value > target.limit else found.high, abs(found.value - target.limit)
    if not math.isfinite(found.value - end) or gap == 0:
        return result("inconclusive", f"{shows}; {aim}")
    more = max(1, math.ceil(found.n * ((found.value - end) / gap) ** 2) - found.n)
    decides = "pass" if found.value > target.limit else "fail"
    return result("inconclusive", f"{shows}; {aim}; at the ratio seen about {more} more would {decides} it", more)


def judge_regression(
    baseline: Sequence[Scored], candidate: Sequence[Scored], groups: Sequence[str] | None = None
) -> GateResult:
    """Is the candidate's verdict worse than the incumbent's? Exact McNemar, one-sided, on the same records.

    `value` is the paired difference of verdict_accuracy. Records of one part or lot err together, so that McNemar by
    record sees more than is there: it fails too soon, never too late. What the groups alone show (a sign test over
    those with more fixed than broken or the reverse) is said, and does not decide.

    Args:
        groups: each record's group, where groups hold several records.

    Raises:
        ValueError: not the same number of records.
    """
    pairs = list(zip(baseline, candidate, strict=True))
    if not pairs:
        return GateResult("regression", None, None, None, 0, "inconclusive", None, "no record in common")
    fixed = sum(c.verdict_correct and not b.verdict_correct for b, c in pairs)
    broken = sum(b.verdict_correct and not c.verdict_correct for b, c in pairs)
    p = regression_p_value(fixed, broken)
    worse = p < REGRESSION_LEVEL
    words = "significantly worse than the incumbent" if worse else "no significant regression against the incumbent"
    reason = f"{words}: {fixed} verdicts fixed, {broken} broken of {len(pairs)}, one-sided p = {p:.2g}"
    shows = detectable_difference(len(pairs), (fixed + broken) / len(pairs), alpha=2 * REGRESSION_LEVEL)
    if not worse and shows is not None:
        reason += f"; such a sample shows a loss of {shows:.1%} with 80% power"
    if groups is not None:
        net: Counter[str] = Counter()
        for (b, c), group in zip(pairs, groups, strict=True):
            net[group] += int(c.verdict_correct) - int(b.verdict_correct)
        up, down = sum(gain > 0 for gain in net.values()), sum(gain < 0 for gain in net.values())
        reason += (
            f"; the records come in {len(net)} groups: {up} better, {down} worse, "
            f"one-sided p = {regression_p_value(up, down):.2g}"
        )
    value = (fixed - broken) / len(pairs)
    return GateResult("regression", None, value, None, len(pairs), "fail" if worse else "pass", None, reason)


def judge(results: Sequence[GateResult], regression: GateResult | None = None) -> GateResult:
    """The overall verdict: fail if any gate fails, else inconclusive if any is or if no target is set, else pass.

    A rate that does not count unreadable answers releases nobody by itself: a mute model has no escapes.
    """
    every = [*results, *([regression] if regression is not None else [])]
    failed = [result.metric for result in every if result.status == "fail"]
    open_ = [result for result in every if result.status == "inconclusive"]
    if failed:
        return GateResult("overall", None, None, None, None, "fail", None, f"failed: {', '.join(failed)}")
    if open_:
        known = [result.records_to_decide for result in open_ if result.records_to_decide is not None]
        more = max(known) if len(known) == len(open_) else None
        needs = [
            "" if r.records_to_decide is None else f" ({r.records_to_decide} more records would decide)" for r in open_
        ]
        reason = f"undecided: {', '.join(r.metric + need for r, need in zip(open_, needs, strict=True))}"
        return GateResult("overall", None, None, None, None, "inconclusive", more, reason)
    if not results:
        return GateResult("overall", None, None, None, None, "inconclusive", None, "no target is set: see [targets]")
    asked = {result.metric for result in results}
    for metric, partners in BLIND.items():
        if metric in asked and not asked & set(partners):
            reason = f"{metric} does not count unreadable answers: set a target for {' or '.join(partners)} as well"
            return GateResult("overall", None, None, None, None, "inconclusive", None, reason)
    return GateResult("overall", None, None, None, None, "pass", None, f"all {len(every)} gates pass")


def _as_mistakes(successes: int, n: int, target: Target) -> tuple[int, int, float]:
    """The target as one of mistakes: how many, of how many, and at most which share of them is allowed."""
    if target.direction == "at_most":
        return successes, n, target.limit
    return n - successes, n, 1 - target.limit


def _decibel(ratio: float) -> str:
    number = f"{ratio:.2f}".replace("-", "−") if math.isfinite(ratio) else "∞" if ratio > 0 else "−∞"
    return f"{number} dB"


def _in_words(
    successes: int, n: int, target: Target, status: Status, bound: float, more: int | None, words: _Words
) -> str:
    """The judgement as sentences: what was seen, what it shows (`bound`, that decided), and what would decide."""
    events, _, limit = _as_mistakes(successes, n, target)
    aim = f"{100 * target.limit:g}%"
    side, other = ("at most", "at least") if target.direction == "at_most" else ("at least", "at most")
    seen = f"{events} {words.one.partition(' ')[2] if events == 1 else words.many} of {n}"
    shows = _percent_beside(bound, target.limit)
    if status == "fail" and target.metric == "parsed_rate":
        return f"{seen}: {successes / n:.2%} were read; the target is {side} {aim} of those seen"
    if status != "inconclusive":
        return f"{seen} shows {other if status == 'fail' else side} {shows}; the target is {side} {aim}"
    if not 0 < limit < 1:
        return f"{seen} shows {side} {shows}; no number of records shows {aim}"
    clean = more_records_needed(events, n, limit)
    plural = "s" if clean != 1 else ""
    sentence = f"{seen} shows {side} {shows}; {clean} more {words.record}{plural} without {words.one} would show {aim}"
    if events == 0:
        return sentence
    if more is None:
        return f"{sentence}; at the rate seen no number of records decides"
    return f"{sentence}; at the rate seen {more} more would {'pass' if events / n < limit else 'fail'} it"


def _percent_beside(bound: float, limit: float) -> str:
    """A bound with as many digits as set it apart from the limit."""
    digits = next((d for d in range(2, 7) if round(100 * bound, d) != round(100 * limit, d)), 2)
    return f"{bound:.{digits}%}"
