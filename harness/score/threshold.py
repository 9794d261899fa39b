"""From P(defective) to a decision: pass below a low threshold, defective from a high one on, a person between.

Enters: the true classes and P(defective) of validation records, and how many escapes and overkills are tolerated.
Leaves: Thresholds, which decide any P; the curve of both mistakes over the threshold (scikit-learn's ROC), and the
figures of a set of decisions, each with n and interval.
A record without P is never decided by a threshold: a person reviews it.
Costs: a threshold flatters the records that it was chosen on. With k escapes of n there, a new defective product
escapes with a chance of about (k + 1)/(n + 1); what counts is the result on records that chose nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.score.intervals import Interval, clustered_wilson, upper_bound, wilson
from harness.score.needed import more_records_needed

Decision = Literal["pass", "defective", "review"]

#: a share of n records that is a whole number but for rounding counts as that number
ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Pass where P < low, defective where P >= high, review between; low = high leaves nothing between.

    `low` is also the operating threshold of a line without review: defective from it on. At low = 0 nothing passes
    unseen; at high = None nothing is rejected unseen.
    """

    low: float
    high: float | None


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Both mistakes of the rule "defective where P >= threshold"; threshold None: nothing is called defective."""

    threshold: float | None
    escape_rate: float
    overkill_rate: float


@dataclass(frozen=True, slots=True)
class DecisionFigure:
    """A share of decisions: `rule` is "threshold" (defective from low on) or "band" (with review)."""

    rule: Literal["threshold", "band"]
    metric: str
    count: int
    interval: Interval


def decide(p: float | None, thresholds: Thresholds) -> Decision:
    """What happens to a product with this P(defective)."""
    if p is None:
        return "review"
    if p < thresholds.low:
        return "pass"
    return "defective" if thresholds.high is not None and p >= thresholds.high else "review"


def why_no_threshold(defective: Sequence[bool], p: Sequence[float | None]) -> str:
    """Why no threshold can be chosen on these records; "" where one can."""
    if not defective:
        return "there is no record"
    if all(value is None for value in p):
        return f"none of {len(p)} answers carries P(defective)"
    for wanted, name in ((True, "defective"), (False, "passed")):
        if not any(bad == wanted and value is not None for bad, value in zip(defective, p, strict=True)):
            return f"no truly {name} record with P(defective) among {len(p)}"
    return ""


def choose_thresholds(
    defective: Sequence[bool], p: Sequence[float | None], *, max_escape: float, max_overkill: float
) -> Thresholds:
    """The thresholds with the least review and overkill whose escapes and overkills are within the limits as seen.

    low: of the thresholds with at most `max_escape` of the defective below it, those with the fewest passed products
    above; of these the one with the fewest escapes; halfway between the scores that it parts. high: the mirror image,
    at most `max_overkill` of the passed at or above it. Where one threshold meets both limits, low = high.

    Args:
        defective: whether each record is truly defective.
        p: P(defective) in [0, 1]; None is reviewed, and so neither an escape nor an overkill.
        max_escape: the tolerated share of the truly defective, in [0, 1).
        max_overkill: the tolerated share of the truly passed, in [0, 1).

    Raises:
        ValueError: a limit out of range, or `why_no_threshold` gives a reason.
    """
    if not (0 <= max_escape < 1 and 0 <= max_overkill < 1):
        raise ValueError(f"a tolerated share lies in [0, 1), got {max_escape} and {max_overkill}")
    if reason := why_no_threshold(defective, p):
        raise ValueError(reason)
    bad = sorted(value for value, is_bad in zip(p, defective, strict=True) if is_bad and value is not None)
    good = sorted(value for value, is_bad in zip(p, defective, strict=True) if not is_bad and value is not None)
    low = _low(bad, good, _tolerated(max_escape, sum(defective)))
    high = _high(bad, good, _tolerated(max_overkill, len(defective) - sum(defective)))
    return Thresholds(low, low if high is not None and high <= low else high)


def _tolerated(share: float, n: int) -> int:
    return math.floor(share * n + ROUNDING)


def _low(bad: Sequence[float], good: Sequence[float], tolerated: int) -> float:
    """The highest useful threshold with at most `tolerated` of `bad` below it; both are sorted."""
    ceiling = bad[tolerated] if tolerated < len(bad) else math.inf
    below = [value for value in good if value < ceiling]
    if not below:
        return 0.0
    above = [value for value in (*bad, *good) if value > below[-1]]
    # Nothing above: every scored defective product is tolerated, and so everything passes.
    return _halfway(below[-1], min(above)) if above else math.nextafter(1.0, 2.0)


def _high(bad: Sequence[float], good: Sequence[float], tolerated: int) -> float | None:
    """The lowest useful threshold with at most `tolerated` of `good` at or above it; both are sorted."""
    floor = good[-1 - tolerated] if tolerated < len(good) else -math.inf
    above = [value for value in bad if value > floor]
    if not above:
        return None
    below = [value for value in (*bad, *good) if value < above[0]]
    return _halfway(max(below), above[0]) if below else 0.0


def _halfway(below: float, above: float) -> float:
    """A threshold t with below < t <= above, in the middle; neighbouring floats have nothing between them."""
    middle = below + (above - below) / 2
    return middle if below < middle else above


def escape_overkill_curve(defective: Sequence[bool], p: Sequence[float]) -> list[CurvePoint]:
    """Both mistakes at every distinct score, from "nothing is defective" down: scikit-learn's roc_curve.

    Its detection rate is 1 - escape_rate, its false positive rate the overkill_rate. Empty where a class is absent.
    """
    if len(set(defective)) < 2:
        return []
    from sklearn.metrics import roc_curve

    overkill, detected, thresholds = roc_curve([*defective], [*p], drop_intermediate=False)
    return [
        CurvePoint(None if math.isinf(t) else float(t), 1 - float(tp), float(fp))
        for t, tp, fp in zip(thresholds, detected, overkill, strict=True)
    ]


def zero_escape_point(curve: Sequence[CurvePoint]) -> CurvePoint | None:
    """The highest threshold without an escape, and the overkill that it costs; None on an empty curve."""
    return next((point for point in curve if point.escape_rate == 0), None)


def decision_figures(
    defective: Sequence[bool],
    p: Sequence[float | None],
    thresholds: Thresholds,
    groups: Sequence[str] | None = None,
) -> list[DecisionFigure]:
    """What the thresholds do to a set of records.

    Rule "threshold": escape_rate, overkill_rate of a line without review (a record without P is rejected). Rule "band":
    escape_rate, overkill_rate of what is decided unseen, review_rate of all and of each class.

    Args:
        groups: each record's group, where groups hold several records.
    """
    decisions = [decide(value, thresholds) for value in p]
    alone = [decision != "pass" for decision in decisions]

    def share(rule: Literal["threshold", "band"], metric: str, shows: Sequence[bool], among: bool | None) -> None:
        chosen = [i for i, is_bad in enumerate(defective) if among is None or is_bad == among]
        seen = [shows[i] for i in chosen]
        found = (
            wilson(sum(seen), len(seen))
            if groups is None or not seen
            else clustered_wilson(seen, [groups[i] for i in chosen])
        )
        figures.append(DecisionFigure(rule, metric, sum(seen), found))

    figures: list[DecisionFigure] = []
    passed = [decision == "pass" for decision in decisions]
    review = [decision == "review" for decision in decisions]
    share("threshold", "escape_rate", passed, among=True)
    share("threshold", "overkill_rate", alone, among=False)
    share("band", "escape_rate", passed, among=True)
    share("band", "overkill_rate", [decision == "defective" for decision in decisions], among=False)
    share("band", "review_rate", review, among=None)
    share("band", "review_rate_defective", review, among=True)
    share("band", "review_rate_passed", review, among=False)
    return figures


def escapes_in_words(escapes: int, n: int, limit: float) -> str:
    """What so many escapes of n defective records show about a limit: as seen, the exact bound, and what would show it.

    Args:
        limit: the tolerated share, in [0, 1).
    """
    if n == 0:
        return "no truly defective record: nothing is shown"
    bound = upper_bound(escapes, n)
    seen = f"{escapes} escape{'' if escapes == 1 else 's'} of {n} defective ({escapes / n:.2%})"
    within = "within" if escapes <= limit * n + ROUNDING else "beyond"
    words = f"{seen}, {within} the {limit:.2%} tolerated; with 95 % confidence at most {bound:.2%}"
    if bound <= limit:
        return f"{words}, which shows it"
    if limit == 0:
        return f"{words}; no number of records shows 0%"
    more = more_records_needed(escapes, n, limit)
    plural = "" if more == 1 else "s"
    return f"{words}; {more} more defective record{plural} without an escape would show {limit:.2%}"
