"""How many more records does a target need?

Enters: mistakes seen of so many records, and the share of mistakes that is allowed at most (one-sided 95 %
Clopper-Pearson). Leaves: numbers of records. Cost: a search over bounds, some milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from harness.score.intervals import lower_bound, upper_bound

#: a search at the rate seen ends at about this many records
FAR = 1_000_000


def records_for(limit: float, mistakes: int) -> int:
    """The fewest records on which so many mistakes show a rate of at most `limit` (one-sided 95 %).

    0 mistakes and 2 % need 149 records; 1 mistake needs 236.

    Raises:
        ValueError: a limit outside (0, 1), or fewer than 0 mistakes.
    """
    if not 0 < limit < 1 or mistakes < 0:
        raise ValueError(f"a limit lies in (0, 1) and mistakes are counted, got {limit} and {mistakes}")
    low, high = mistakes, mistakes + 1
    while upper_bound(mistakes, high) > limit:
        low, high = high, 2 * high
    return _first(lambda n: upper_bound(mistakes, n) <= limit, low, high)


def more_records_needed(mistakes: int, n: int, limit: float) -> int:
    """How many further records without a mistake would show a rate of at most `limit`; 0 where n records do.

    Args:
        mistakes: seen so far.
        n: records so far, of the class that can show such a mistake.
        limit: the share of mistakes allowed; for an accuracy of at least 95 % it is 0.05.

    Raises:
        ValueError: a limit outside (0, 1), or not 0 <= mistakes <= n.
    """
    if not 0 <= mistakes <= n:
        raise ValueError(f"{mistakes} mistakes of {n}")
    return max(0, records_for(limit, mistakes) - n)


def records_to_decide(mistakes: int, n: int, limit: float) -> int | None:
    """How many further records would decide whether the rate is at most `limit`, at the rate seen.

    To decide is to show that it is, or that it is more. The mistakes among so many records are rounded against the
    decision, so that the number promises nothing too early; it is the smallest such number.

    Args:
        mistakes: seen so far.
        n: records so far, at least 1.
        limit: the share of mistakes allowed, in [0, 1].

    Returns:
        None where the rate seen is the limit itself, or so near that about a million records would not do.
    """
    if math.isclose(mistakes / n, limit, abs_tol=1e-12):
        return None
    if mistakes / n > limit:

        def total(count: int) -> int:
            """The records that hold `count` mistakes at the rate seen."""
            return -(-count * n // mistakes)

        count = _gallop(lambda count: lower_bound(count, total(count)) > limit, mistakes, FAR * mistakes // n)
        return None if count is None else total(count) - n
    if mistakes == 0:
        return records_for(limit, 0) - n
    # `count` mistakes show the limit on records_for(count) records; at the rate seen those must hold no more of them.
    count = _gallop(lambda count: records_for(limit, count) * mistakes <= count * n, mistakes, FAR * mistakes // n)
    return None if count is None else records_for(limit, count) - n


def _first(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The first place in (low, high] from which a condition holds, where it does not at low and does at high."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _gallop(holds: Callable[[int], bool], low: int, far: int) -> int | None:
    """The first place after `low` from which a condition holds, or None where that lies far beyond `far`."""
    high = low + 1
    while not holds(high):
        if high > far:
            return None
        low, high = high, 2 * high
    return _first(holds, low, high)
