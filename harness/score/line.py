"""What the rates of a test set mean on a line, where defective products are rare.

Enters: how frequent defective products are, and the two error rates. Leaves: the shares that a line sees. Cost: the
projection takes the rates as known; their intervals are not carried through.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LineProjection:
    """Shares in [0, 1]; None where nothing is accepted, or nothing rejected."""

    escapes_among_accepted: float | None
    truly_bad_among_rejected: float | None


def line_projection(prevalence: float, miss_rate: float, overkill_rate: float) -> LineProjection:
    """Bayes: what is accepted and what is rejected on a line that sees a share `prevalence` of defective products.

    Prevalence 1 %, miss 2 %, overkill 5 %: 212.6 ppm escapes among the accepted, 16.5 % of the rejects truly bad.

    Args:
        prevalence: share of defective products, in [0, 1].
        miss_rate: share of them that is accepted, in [0, 1].
        overkill_rate: share of the good ones that is rejected, in [0, 1].

    Raises:
        ValueError: an argument outside [0, 1].
    """
    if not all(0 <= share <= 1 for share in (prevalence, miss_rate, overkill_rate)):
        raise ValueError(f"shares lie in [0, 1], got {prevalence}, {miss_rate}, {overkill_rate}")
    missed, caught = prevalence * miss_rate, prevalence * (1 - miss_rate)
    accepted = missed + (1 - prevalence) * (1 - overkill_rate)
    rejected = caught + (1 - prevalence) * overkill_rate
    return LineProjection(missed / accepted if accepted else None, caught / rejected if rejected else None)
