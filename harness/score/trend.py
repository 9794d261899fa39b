"""Does a figure rise as the data grows? One test over all sizes, in which each record is its own control.

Enters: for each test record, whether each size's model got it right. Leaves: a one-sided p value for a rise.
Mantel's extension test with records as strata (Mantel 1963, "Chi-square tests with one degree of freedom"; Page 1963
asks the same of ranks): under the null the sizes of a record are exchangeable. Cost: only records that some sizes got
right and others wrong carry information, and groups of like records are not considered.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trend:
    """`n` records, of which `informative` changed between sizes; z > 0 is a rise; `p_value` is one-sided."""

    n: int
    informative: int
    z: float
    p_value: float


def rising(right: Sequence[Sequence[bool]]) -> Trend:
    """Test for a rise over ordered sizes.

    Args:
        right: a row per record, a column per size in rising order.

    Returns:
        The trend; z 0 and p 1 where no record changed.

    Raises:
        ValueError: fewer than two sizes, or rows of unequal length.
    """
    sizes = len(right[0]) if right else 2
    if sizes < 2 or any(len(row) != sizes for row in right):
        raise ValueError(f"a trend needs rows of the same two or more sizes, got {sorted({len(row) for row in right})}")
    scores = [place - (sizes - 1) / 2 for place in range(sizes)]
    spread = sum(score**2 for score in scores)
    total = variance = 0.0
    informative = 0
    for row in right:
        hits = sum(row)
        total += sum(score for score, hit in zip(scores, row, strict=True) if hit)
        variance += spread * hits * (sizes - hits) / (sizes * (sizes - 1))
        informative += 0 < hits < sizes
    if not informative:
        return Trend(len(right), 0, 0.0, 1.0)
    z = total / math.sqrt(variance)
    return Trend(len(right), informative, z, 0.5 * math.erfc(z / math.sqrt(2)))
