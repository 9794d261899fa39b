"""Every figure of a set of answers, by the names of MEASUREMENT sections 1 and 2, each with n, interval and method.

Enters: scores with their truths. Leaves: Metrics. A figure that is not defined (no such record) is a Metric whose value
is None and whose method says why; none is ever guessed. Proportions carry Wilson intervals; sums of counts and the
balanced accuracy are resampled (2000 times, by group where groups are given).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from harness.records import Metric, Outcome, SampleScore, Truth
from harness.score.digital_sn import digital_sn
from harness.score.intervals import bootstrap, wilson
from harness.score.sample import TextScorers

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Scored(Protocol):
    """A score as proportions see it: a SampleScore, or a row of the ledger's scores."""

    @property
    def outcome(self) -> Outcome: ...  # noqa: D102  # SampleScore says what each field means
    @property
    def parsed(self) -> bool: ...  # noqa: D102
    @property
    def verdict_correct(self) -> bool: ...  # noqa: D102
    @property
    def location_correct(self) -> bool: ...  # noqa: D102
    @property
    def defect_names_correct(self) -> bool: ...  # noqa: D102
    @property
    def exact(self) -> bool: ...  # noqa: D102
    @property
    def in_style(self) -> bool: ...  # noqa: D102


#: metric -> (which records it is a share of, what is counted)
PROPORTIONS: dict[str, tuple[str, Callable[[Scored], bool]]] = {
    "pass_accuracy": ("passed", lambda score: score.verdict_correct),
    "overkill_rate": ("passed", lambda score: score.outcome == "overkill"),
    "false_reject_rate": ("passed", lambda score: not score.verdict_correct),
    "defect_accuracy": ("defective", lambda score: score.verdict_correct),
    "escape_rate": ("defective", lambda score: score.outcome == "escape"),
    "miss_rate": ("defective", lambda score: not score.verdict_correct),
    "location_accuracy": ("defective", lambda score: score.location_correct),
    "defect_name_accuracy": ("defective", lambda score: score.defect_names_correct),
    "verdict_accuracy": ("all", lambda score: score.verdict_correct),
    "exact_accuracy": ("all", lambda score: score.exact),
    "parsed_rate": ("all", lambda score: score.parsed),
    "style_rate": ("all", lambda score: score.in_style),
}


def count(metric: str, scores: Sequence[Scored], defective: Sequence[bool]) -> tuple[int, int]:
    """How many records show what a proportion counts, and of how many.

    Args:
        metric: a key of PROPORTIONS.
        defective: whether each record is truly defective.
    """
    among, shows = PROPORTIONS[metric]
    chosen = [s for s, bad in zip(scores, defective, strict=True) if among == "all" or bad == (among == "defective")]
    return sum(shows(score) for score in chosen), len(chosen)


def aggregate(
    scores: Sequence[SampleScore],
    truths: Sequence[Truth],
    texts: Sequence[str],
    references: Sequence[str],
    p_defective: Sequence[float | None],
    *,
    groups: Sequence[str] | None = None,
    slice: str = "all",
) -> list[Metric]:
    """All figures of a set of answers, which run in parallel over the arguments.

    Args:
        p_defective: P(defective) of each answer, None where it was not asked for.
        groups: each record's group (part, lot), where a group holds several records.
        slice: the name of the part of the data, "all" or "axis=value".
    """
    defective = [truth.verdict == "defective" for truth in truths]
    found: list[Metric] = []
    for name in PROPORTIONS:
        successes, n = count(name, scores, defective)
        interval = wilson(successes, n)
        found.append(Metric(name, interval.value, interval.low, interval.high, n, interval.method, slice))
    found.append(_balanced(scores, defective, groups, slice))
    for unit in ("location", "finding"):
        found += _micro(scores, unit, groups, slice)
    found += _text_figures(scores, texts, references, groups, slice)
    found.append(_digital_sn(scores, defective, slice))
    found.append(_auroc(defective, p_defective, groups, slice))
    return found


def _undefined(name: str, n: int, why: str, slice: str) -> Metric:
    return Metric(name, None, None, None, n, f"not defined: {why}", slice)


def _resampled(groups: Sequence[str] | None) -> str:
    return "bootstrap 95 % by group" if groups is not None else "bootstrap 95 % by record"


def _balanced(
    scores: Sequence[SampleScore], defective: Sequence[bool], groups: Sequence[str] | None, slice: str
) -> Metric:
    n_bad = sum(defective)
    n_good = len(defective) - n_bad
    if not n_bad or not n_good:
        return _undefined("balanced_accuracy", len(scores), "one class is absent", slice)
    right = [score.verdict_correct for score in scores]
    columns = [
        [float(r and not d) for r, d in zip(right, defective, strict=True)],
        [float(not d) for d in defective],
        [float(r and d) for r, d in zip(right, defective, strict=True)],
        [float(d) for d in defective],
    ]

    def statistic(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        import numpy as np

        with np.errstate(invalid="ignore", divide="ignore"):
            both: NDArray[np.float64] = (sums[:, 0] / sums[:, 1] + sums[:, 2] / sums[:, 3]) / 2
        return both

    value = (sum(columns[0]) / n_good + sum(columns[2]) / n_bad) / 2
    low, high = bootstrap(columns, statistic, groups=groups) or (None, None)
    return Metric("balanced_accuracy", value, low, high, len(scores), _resampled(groups), slice)


def _micro(scores: Sequence[SampleScore], unit: str, groups: Sequence[str] | None, slice: str) -> list[Metric]:
    """Micro precision, recall and F1 over cells or findings; n counts the true and the named ones together."""
    columns = [[float(getattr(score, f"{unit}_{part}")) for score in scores] for part in ("tp", "fp", "fn")]
    tp, fp, fn = (sum(column) for column in columns)

    def ratio(over: Callable[[NDArray[np.float64]], NDArray[np.float64]], times: float) -> Callable[..., object]:
        def statistic(sums: NDArray[np.float64]) -> NDArray[np.float64]:
            import numpy as np

            with np.errstate(invalid="ignore", divide="ignore"):
                share: NDArray[np.float64] = times * sums[:, 0] / over(sums)
            return share

        return statistic

    parts = {
        "precision": (tp, tp + fp, ratio(lambda s: s[:, 0] + s[:, 1], 1), "nothing was named"),
        "recall": (tp, tp + fn, ratio(lambda s: s[:, 0] + s[:, 2], 1), "nothing was true"),
        "f1": (2 * tp, 2 * tp + fp + fn, ratio(lambda s: 2 * s[:, 0] + s[:, 1] + s[:, 2], 2), "nothing to name"),
    }
    found = []
    for part, (over, under, statistic, why) in parts.items():
        name = f"{unit}_{part}"
        if under == 0:
            found.append(_undefined(name, 0, why, slice))
            continue
        low, high = bootstrap(columns, statistic, groups=groups) or (None, None)  # type: ignore[arg-type]
        found.append(Metric(name, over / under, low, high, int(tp + fp + fn), _resampled(groups), slice))
    return found


def _text_figures(
    scores: Sequence[SampleScore],
    texts: Sequence[str],
    references: Sequence[str],
    groups: Sequence[str] | None,
    slice: str,
) -> list[Metric]:
    """ROUGE-L (mean of the answers' F1), corpus BLEU and chrF; the latter two carry no interval."""
    n = len(scores)
    if n == 0:
        return [_undefined(name, 0, "no record", slice) for name in ("rouge_l", "bleu", "chrf")]
    rouge = [score.rouge_l for score in scores]

    def mean(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        share: NDArray[np.float64] = sums[:, 0] / sums[:, 1]
        return share

    low, high = bootstrap([rouge, [1.0] * n], mean, groups=groups) or (None, None)
    bleu, chrf = TextScorers().corpus(texts, references)
    return [
        Metric("rouge_l", sum(rouge) / n, low, high, n, _resampled(groups), slice),
        Metric("bleu", bleu, None, None, n, "corpus", slice),
        Metric("chrf", chrf, None, None, n, "corpus", slice),
    ]


def _digital_sn(scores: Sequence[SampleScore], defective: Sequence[bool], slice: str) -> Metric:
    false_rejects, passed = count("false_reject_rate", scores, defective)
    misses, bad = count("miss_rate", scores, defective)
    ratio = digital_sn(false_rejects, passed, misses, bad)
    if ratio is None:
        return _undefined("digital_sn", len(scores), "one class is absent", slice)
    sign = ">= " if ratio.at_least else ""
    method = f"{sign}log-odds 95 %; p = {ratio.p:.4g}, q = {ratio.q:.4g}"
    return Metric("digital_sn", ratio.sn, ratio.low, ratio.high, len(scores), method, slice)


def _auroc(
    defective: Sequence[bool], p_defective: Sequence[float | None], groups: Sequence[str] | None, slice: str
) -> Metric:
    known = [(d, p) for d, p in zip(defective, p_defective, strict=True) if p is not None]
    if groups is not None:
        groups = [group for group, p in zip(groups, p_defective, strict=True) if p is not None]
    classes = {d for d, _ in known}
    if len(classes) < 2:
        why = "P(defective) was not asked for" if not known else "one class is absent"
        return _undefined("auroc", len(known), why, slice)
    import numpy as np
    from sklearn.metrics import roc_auc_score

    truth = np.array([d for d, _ in known])
    score = np.array([p for _, p in known])
    value = float(roc_auc_score(truth, score))
    if groups is None:
        # Hanley and McNeil 1982: no resampling, so that the many slices stay cheap.
        n_bad, n_good = int(truth.sum()), int((~truth).sum())
        q1, q2 = value / (2 - value), 2 * value**2 / (1 + value)
        variance = value * (1 - value) + (n_bad - 1) * (q1 - value**2) + (n_good - 1) * (q2 - value**2)
        error = 1.96 * (max(variance, 0.0) / (n_bad * n_good)) ** 0.5
        return Metric(
            "auroc", value, max(0.0, value - error), min(1.0, value + error), len(known), "Hanley-McNeil 95 %", slice
        )
    generator = np.random.default_rng(0)
    members = [np.array([i for i, g in enumerate(groups) if g == name]) for name in sorted(set(groups))]
    draws = []
    for _ in range(200):
        rows = np.concatenate([members[i] for i in generator.integers(0, len(members), len(members))])
        if len(set(truth[rows])) == 2:
            draws.append(roc_auc_score(truth[rows], score[rows]))
    low, high = np.quantile(draws, [0.025, 0.975]) if draws else (None, None)
    return Metric(
        "auroc",
        value,
        None if low is None else float(low),
        None if high is None else float(high),
        len(known),
        _resampled(groups),
        slice,
    )
