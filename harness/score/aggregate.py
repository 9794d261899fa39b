"""Every figure of a set of answers, by the names of MEASUREMENT sections 1 and 2, each with n, interval and method.

Enters: scores with their truths. Leaves: Metrics. A figure that is not defined (no such record) is a Metric whose value
is None and whose method says why; none is ever guessed. Proportions carry Wilson intervals (by group: at the effective
number of records); ratios of sums and the balanced accuracy are resampled, by group where groups are given. Where the
resamples show no scatter (a perfect model) a Wilson interval stands in, so that ten of ten is never printed as certain.
Cost: about 0.4 s for 400 answers, most of it for BLEU and chrF; 2 s more at the first call, for loading libraries.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

from harness.records import Metric, Outcome, SampleScore, Truth
from harness.score.auroc import auroc
from harness.score.digital_sn import digital_sn, group_effect
from harness.score.intervals import Bootstrap, Interval, clustered_wilson, wilson, wilson_ends
from harness.score.texts import TextScorers


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

#: proportions that count mistakes: less is better
MISTAKES = frozenset({"overkill_rate", "false_reject_rate", "escape_rate", "miss_rate"})


def members(metric: str, defective: Sequence[bool]) -> list[int]:
    """The places of the records that a proportion is a share of.

    Args:
        metric: a key of PROPORTIONS.
        defective: whether each record is truly defective.
    """
    among, _ = PROPORTIONS[metric]
    return [i for i, bad in enumerate(defective) if among == "all" or bad == (among == "defective")]


def count(metric: str, scores: Sequence[Scored], defective: Sequence[bool]) -> tuple[int, int]:
    """How many records show what a proportion counts, and of how many.

    Args:
        metric: a key of PROPORTIONS.
        scores: the answers' scores.
        defective: whether each record is truly defective, in the same order.
    """
    if len(scores) != len(defective):
        raise ValueError(f"{len(scores)} scores of {len(defective)} records")
    shows, chosen = PROPORTIONS[metric][1], members(metric, defective)
    return sum(shows(scores[i]) for i in chosen), len(chosen)


def aggregate(
    scores: Sequence[SampleScore],
    truths: Sequence[Truth],
    texts: Sequence[str],
    references: Sequence[str],
    p_defective: Sequence[float | None],
    groups: Sequence[str] | None = None,
    slice: str = "all",
) -> list[Metric]:
    """All figures of a set of answers, which run in parallel over the arguments.

    Args:
        scores: the answers' scores.
        truths: what is true of each product.
        texts: the answers as given.
        references: the reference answers.
        p_defective: P(defective) of each answer, None where it was not asked for.
        groups: each record's group (part, lot), where a group holds several records.
        slice: the name of the part of the data, "all" or "axis=value".

    Raises:
        ValueError: the sequences are not of one length.
    """
    lengths = [len(column) for column in (scores, truths, texts, references, p_defective, groups or scores)]
    if len(set(lengths)) > 1:
        raise ValueError(f"scores, truths, texts, references, p_defective, groups are of lengths {lengths}")
    defective = [truth.verdict == "defective" for truth in truths]
    found: dict[str, Interval] = {}
    for name, (_, shows) in PROPORTIONS.items():
        chosen = members(name, defective)
        if groups is None:
            found[name] = wilson(sum(shows(scores[i]) for i in chosen), len(chosen))
        else:
            found[name] = clustered_wilson([shows(scores[i]) for i in chosen], [groups[i] for i in chosen])
    boot = Bootstrap(len(scores), groups) if scores else None
    found["balanced_accuracy"] = _balanced(scores, defective, boot)
    for unit in ("location", "finding"):
        found |= _micro(scores, unit, boot)
    found |= _text_figures(scores, texts, references, groups, boot)
    found["digital_sn"] = _digital_sn(scores, defective, groups)
    found["auroc"] = _auroc(defective, p_defective, groups)
    return [Metric(name, i.value, i.low, i.high, i.n, i.method, slice) for name, i in found.items()]


def _undefined(n: int, why: str) -> Interval:
    return Interval(None, None, None, n, f"not defined: {why}")


def _balanced(scores: Sequence[SampleScore], defective: Sequence[bool], boot: Bootstrap | None) -> Interval:
    n_bad = sum(defective)
    if boot is None or n_bad in (0, len(scores)):
        return _undefined(len(scores), "one class is absent")
    good_right = [float(score.verdict_correct and not bad) for score, bad in zip(scores, defective, strict=True)]
    bad_right = [float(score.verdict_correct and bad) for score, bad in zip(scores, defective, strict=True)]
    good, bad = [float(not bad) for bad in defective], [float(bad) for bad in defective]
    shares = sum(good_right) / sum(good), sum(bad_right) / n_bad
    value = sum(shares) / 2
    draws = (boot.ratio(good_right, good) + boot.ratio(bad_right, bad)) / 2
    found = boot.interval(value, draws, len(scores))
    if found.low is not None:
        return found
    # Without scatter: the two classes' Wilson intervals, put together (MOVER: Zou and Donner 2008, Stat Med 27:1693).
    ends = [wilson_ends(share, boot.units_with(of)) for share, of in zip(shares, (good, bad), strict=True)]
    below = math.hypot(*(share - low for share, (low, _) in zip(shares, ends, strict=True))) / 2
    above = math.hypot(*(high - share for share, (_, high) in zip(shares, ends, strict=True))) / 2
    method = f"no scatter in {boot.units} {boot.what}: both classes' Wilson 95 % (MOVER)"
    return Interval(value, max(0.0, value - below), min(1.0, value + above), len(scores), method)


def _micro(scores: Sequence[SampleScore], unit: str, boot: Bootstrap | None) -> dict[str, Interval]:
    """Micro precision, recall and F1 over cells or findings.

    n counts cells or findings: those named (precision), those true (recall), and both together (F1).
    """
    tp, fp, fn = ([int(getattr(score, f"{unit}_{part}")) for score in scores] for part in ("tp", "fp", "fn"))
    named = [a + b for a, b in zip(tp, fp, strict=True)]
    true = [a + c for a, c in zip(tp, fn, strict=True)]
    either = [a + b + c for a, b, c in zip(tp, fp, fn, strict=True)]
    parts = {
        "precision": (tp, named, named, "nothing was named"),
        "recall": (tp, true, true, "nothing is true"),
        "f1": ([2 * a for a in tp], [a + b for a, b in zip(named, true, strict=True)], either, "nothing true or named"),
    }
    found = {}
    for part, (over, under, counted, why) in parts.items():
        found[f"{unit}_{part}"] = (
            _ratio(boot, over, under, sum(counted)) if boot is not None and any(under) else _undefined(0, why)
        )
    return found


def _ratio(boot: Bootstrap, over: Sequence[float], under: Sequence[float], n: int) -> Interval:
    """sum(over) / sum(under), a figure in [0, 1], with its interval."""
    value = sum(over) / sum(under)
    found = boot.interval(value, boot.ratio(over, under), n)
    if found.low is not None or not (boot.units == 1 or value < 1e-9 or value > 1 - 1e-9):
        return found
    units = boot.units_with(under)
    low, high = wilson_ends(min(value, 1.0), units)
    return Interval(value, low, high, n, f"no scatter in {units} {boot.what}: Wilson 95 %")


def _text_figures(
    scores: Sequence[SampleScore],
    texts: Sequence[str],
    references: Sequence[str],
    groups: Sequence[str] | None,
    boot: Bootstrap | None,
) -> dict[str, Interval]:
    """ROUGE-L (mean of the answers' F1; it has no corpus form), corpus BLEU and chrF."""
    if boot is None:
        return {name: _undefined(0, "no such record") for name in ("rouge_l", "bleu", "chrf")}
    rouge = _ratio(boot, [score.rouge_l for score in scores], [1.0] * len(scores), len(scores))
    bleu, chrf = TextScorers().corpus(texts, references, groups)
    return {"rouge_l": rouge, "bleu": bleu, "chrf": chrf}


def _digital_sn(scores: Sequence[SampleScore], defective: Sequence[bool], groups: Sequence[str] | None) -> Interval:
    mistaken = [not score.verdict_correct for score in scores]
    effect = 1.0 if groups is None else group_effect(mistaken, defective, groups)
    rejects, misses = count("false_reject_rate", scores, defective), count("miss_rate", scores, defective)
    ratio = digital_sn(*rejects, *misses, effect=effect)
    if ratio is None:
        return _undefined(len(scores), "one class is absent")
    sign = f"{ratio.sign} " if ratio.sign else ""
    by_group = " by group" if effect > 1 else ""
    method = f"{sign}log-odds 95 %{by_group}; p = {ratio.p:.4g}, q = {ratio.q:.4g}"
    return Interval(ratio.sn, ratio.low, ratio.high, len(scores), method)


def _auroc(defective: Sequence[bool], p_defective: Sequence[float | None], groups: Sequence[str] | None) -> Interval:
    known = [i for i, p in enumerate(p_defective) if p is not None]
    if not known:
        return _undefined(0, "P(defective) was not asked for" if len(defective) else "no such record")
    own = None if groups is None else [groups[i] for i in known]
    return auroc([defective[i] for i in known], [p for p in p_defective if p is not None], own)
