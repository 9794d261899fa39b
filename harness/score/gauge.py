"""The gauge study: the model as an attribute gauge, as a factory would study an inspector (MEASUREMENT section 4).

Enters: for each picture the true verdict, and the verdicts that each appraiser (a cycle's model) gave in repeated
trials. Leaves: GaugeFigures: effectiveness per decision and AIAG's (all trials of a picture right), miss and false
alarm rate, kappa against the truth, between trials and between appraisers, each with its interval and rule of thumb.
An unreadable answer (None) is a category of its own: wrong whatever the truth, and in agreement with another one.
Repeated trials of a picture are no independent records, so intervals go by picture, or by group where there are groups.
Cost: one Bootstrap for all kappas, some 50 ms for 400 pictures.

Sources: AIAG, Measurement Systems Analysis, 4th ed. 2010, ch. III C; Fleiss 1981, Statistical Methods for Rates and
Proportions, for the words about kappa; JMP's attribute agreement report for the all-trials effectiveness.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

from harness.records import Verdict
from harness.score.intervals import Bootstrap, Interval, clopper_pearson, clustered_wilson, wilson, wilson_ends

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: every decision that an answer can hold; None: unreadable
CATEGORIES: tuple[Verdict | None, ...] = ("passed", "defective", None)

#: metric -> (acceptable from / up to, marginal from / up to); conventions, no tests
AT_LEAST = {"effectiveness": (0.90, 0.80), "all_trials_effectiveness": (0.90, 0.80)}
AT_MOST = {"miss_rate": (0.02, 0.05), "false_alarm_rate": (0.05, 0.10)}
KAPPA_GOOD, KAPPA_POOR = 0.75, 0.40
KAPPAS = ("cohen_kappa", "fleiss_kappa")

#: what the figures mean, in the order in which they are shown
MEANINGS = {
    "effectiveness": "of all decisions: right",
    "all_trials_effectiveness": "of the pictures: every trial right (AIAG)",
    "miss_rate": "of the decisions on truly defective pictures: not 'defective', unreadable included",
    "false_alarm_rate": "of the decisions on truly passed pictures: not 'passed', unreadable included",
    "unreadable_rate": "of all decisions: no decision could be read",
    "repeatability": "of the pictures: every trial the same decision, right or wrong",
    "reproducibility": "of the pictures: every trial of every appraiser the same decision",
    "cohen_kappa": "agreement beyond chance with the truth, or between two appraisers trial by trial",
    "fleiss_kappa": "agreement beyond chance between all the trials",
}


@dataclass(frozen=True, slots=True)
class Trials:
    """One appraiser's decisions: `ratings[picture][trial]`, as many trials for each picture; None is unreadable."""

    rater: str
    ratings: tuple[tuple[Verdict | None, ...], ...]


@dataclass(frozen=True, slots=True)
class GaugeFigure:
    """One figure of an appraiser, of a pair ("c0001 and c0002"), or of all together ("all").

    `n` counts decisions or pictures, as MEANINGS says; `rule` is the word of the rule of thumb, "" where there is none.
    """

    rater: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    method: str
    rule: str


def rule_of_thumb(metric: str, value: float | None) -> str:
    """The conventional word for a figure; "" where there is none.

    Effectiveness >= 90 / 80 %, miss rate <= 2 / 5 %, false alarm rate <= 5 / 10 %: acceptable / marginal, else
    unacceptable. Kappa > .75 good, < .40 poor, else fair. It judges the value as seen, not what the sample shows.
    """
    if value is None:
        return ""
    if metric in KAPPAS:
        return "good" if value > KAPPA_GOOD else "poor" if value < KAPPA_POOR else "fair"
    if metric in AT_LEAST:
        good, fair = AT_LEAST[metric]
        return "acceptable" if value >= good else "marginal" if value >= fair else "unacceptable"
    if metric in AT_MOST:
        good, fair = AT_MOST[metric]
        return "acceptable" if value <= good else "marginal" if value <= fair else "unacceptable"
    return ""


def gauge_figures(
    reference: Sequence[Verdict], raters: Sequence[Trials], groups: Sequence[str] | None = None
) -> list[GaugeFigure]:
    """Every figure of a gauge study.

    Args:
        reference: the true verdict of each picture.
        raters: the appraisers, each with its decisions on the same pictures in the same order.
        groups: each picture's group (part, lot), where a group holds several pictures.

    Returns:
        Figures of each appraiser; with two or more, of each pair and of all together. `repeatability` and the Fleiss
        kappa of one appraiser are left out where there is one trial.

    Raises:
        ValueError: no picture or appraiser, or unequal numbers of pictures or trials.
    """
    n = len(reference)
    trials = {len(row) for rater in raters for row in rater.ratings}
    lengths = {len(rater.ratings) for rater in raters} | {n if groups is None else len(groups)}
    if not n or not raters or lengths != {n} or len(trials) != 1 or trials == {0}:
        raise ValueError(f"{n} pictures, {len(raters)} appraisers of {lengths} pictures with {trials} trials")
    boot = Bootstrap(n, groups)
    found: list[GaugeFigure] = []
    for rater in raters:
        found += [_figure(rater.rater, *item) for item in _of_one(reference, rater.ratings, groups, boot).items()]
    for one, other in combinations(raters, 2):
        pairs = [tuple(zip(a, b, strict=True)) for a, b in zip(one.ratings, other.ratings, strict=True)]
        together = [a + b for a, b in zip(one.ratings, other.ratings, strict=True)]
        name = f"{one.rater} and {other.rater}"
        found.append(_figure(name, "reproducibility", _all_the_same(together)))
        found.append(_figure(name, "cohen_kappa", _cohen(pairs, boot)))
    if len(raters) > 1:
        together = [sum((rater.ratings[i] for rater in raters), ()) for i in range(n)]
        found.append(_figure("all", "all_trials_effectiveness", _all_right(reference, together)))
        found.append(_figure("all", "reproducibility", _all_the_same(together)))
        found.append(_figure("all", "fleiss_kappa", _fleiss(together, boot)))
    return found


def raters_of(names: Iterable[str]) -> list[str]:
    """The appraisers of a study from its figures' raters, which also hold pairs ("c0001 and c0002") and "all"."""
    return [name for name in dict.fromkeys(names) if name != "all" and " and " not in name]


def unsteady(raters: Sequence[Trials]) -> list[int]:
    """The places of the pictures on which not all trials of all appraisers decide the same."""
    return [
        i
        for i in range(len(raters[0].ratings) if raters else 0)
        if len({rating for rater in raters for rating in rater.ratings[i]}) > 1
    ]


def _figure(rater: str, metric: str, found: Interval) -> GaugeFigure:
    rule = rule_of_thumb(metric, found.value)
    return GaugeFigure(rater, metric, found.value, found.low, found.high, found.n, found.method, rule)


def _of_one(
    reference: Sequence[Verdict],
    ratings: Sequence[Sequence[Verdict | None]],
    groups: Sequence[str] | None,
    boot: Bootstrap,
) -> dict[str, Interval]:
    units = [str(i) for i in range(len(reference))] if groups is None else groups
    what = "picture" if groups is None else "group"
    decisions = [
        (truth, rating, unit) for truth, row, unit in zip(reference, ratings, units, strict=True) for rating in row
    ]

    def share(among: Verdict | None, wrong: bool) -> Interval:
        chosen = [(truth == rating, unit) for truth, rating, unit in decisions if among in (None, truth)]
        return _share([right != wrong for right, _ in chosen], [unit for _, unit in chosen], what)

    found = {
        "effectiveness": share(None, wrong=False),
        "all_trials_effectiveness": _all_right(reference, ratings),
        "miss_rate": share("defective", wrong=True),
        "false_alarm_rate": share("passed", wrong=True),
        "unreadable_rate": _share([r is None for _, r, _ in decisions], [unit for _, _, unit in decisions], what),
    }
    if len(ratings[0]) > 1:
        found["repeatability"] = _all_the_same(ratings)
    pairs = [tuple((truth, rating) for rating in row) for truth, row in zip(reference, ratings, strict=True)]
    found["cohen_kappa"] = _cohen(pairs, boot)
    if len(ratings[0]) > 1:
        found["fleiss_kappa"] = _fleiss(ratings, boot)
    return found


def _share(shows: Sequence[bool], units: Sequence[str], what: str) -> Interval:
    """A share of decisions: Wilson at the effective number of them; where all agree, at the number of units."""
    distinct = len(set(units))
    if distinct == len(shows):
        return wilson(sum(shows), len(shows))
    if any(shows) and not all(shows):
        found = clustered_wilson(shows, units)
        return replace(found, method=found.method.replace("by group", f"by {what}"))
    share = float(all(shows))
    method = f"no scatter: Wilson 95 % at {distinct} {what}s"
    return Interval(share, *wilson_ends(share, distinct), len(shows), method)


def _all_right(reference: Sequence[Verdict], ratings: Sequence[Sequence[Verdict | None]]) -> Interval:
    right = sum(all(rating == truth for rating in row) for truth, row in zip(reference, ratings, strict=True))
    return clopper_pearson(right, len(ratings))


def _all_the_same(ratings: Sequence[Sequence[Verdict | None]]) -> Interval:
    return clopper_pearson(sum(len(set(row)) == 1 for row in ratings), len(ratings))


def _cohen(pairs: Sequence[Sequence[tuple[Verdict | None, Verdict | None]]], boot: Bootstrap) -> Interval:
    """Cohen's kappa of all pairs of decisions; pairs[picture] holds those of one picture.

    Source: Cohen 1960, Educ Psychol Meas 20:37, as statsmodels cohens_kappa.
    """
    import numpy as np
    from statsmodels.stats.inter_rater import cohens_kappa

    size = len(CATEGORIES)
    cells = np.zeros((len(pairs), size, size))
    for i, row in enumerate(pairs):
        for one, other in row:
            cells[i, CATEGORIES.index(one), CATEGORIES.index(other)] += 1
    table = cells.sum(axis=0)
    n = int(table.sum())
    seen, chance = _cohen_parts(table[..., None])
    if chance[0] >= 1:
        return Interval(None, None, None, n, "not defined: both sides know one and the same category")
    value = float(cohens_kappa(table, return_results=False))
    sums = boot.sums(cells.reshape(len(pairs), -1).T.tolist()).reshape(size, size, -1)
    return _kappa_interval(value, *_cohen_parts(sums), (float(seen[0]), float(chance[0])), n, boot)


def _cohen_parts(tables: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The agreement seen and the one expected by chance, of tables [categories, categories, tables]."""
    import numpy as np

    n = tables.sum(axis=(0, 1))
    seen = np.trace(tables) / n
    return seen, (tables.sum(axis=0) * tables.sum(axis=1)).sum(axis=0) / n**2


def _fleiss(ratings: Sequence[Sequence[Verdict | None]], boot: Bootstrap) -> Interval:
    """Fleiss' kappa over pictures and trials.

    Source: Fleiss 1971, Psychol Bull 76:378, as statsmodels aggregate_raters and fleiss_kappa.
    """
    import numpy as np
    from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa

    codes = np.array([[CATEGORIES.index(rating) for rating in row] for row in ratings])
    table, _ = aggregate_raters(codes, n_cat=len(CATEGORIES))
    trials = codes.shape[1]
    agreeing = ((table**2).sum(axis=1) - trials) / (trials * (trials - 1))
    shares = table.mean(axis=0) / trials
    chance = float((shares**2).sum())
    if chance >= 1:
        return Interval(None, None, None, len(ratings), "not defined: every decision is the same")
    value = float(fleiss_kappa(table))
    sums = boot.sums([*table.T.tolist(), agreeing.tolist(), [1.0] * len(ratings)])
    draws_chance = ((sums[: len(CATEGORIES)] / (sums[-1] * trials)) ** 2).sum(axis=0)
    seen = float(agreeing.mean())
    return _kappa_interval(value, sums[-2] / sums[-1], draws_chance, (seen, chance), len(ratings), boot)


def _kappa_interval(
    value: float,
    seen: NDArray[np.float64],
    chance: NDArray[np.float64],
    own: tuple[float, float],
    n: int,
    boot: Bootstrap,
) -> Interval:
    """The resampled interval of a kappa; for full agreement Wilson's of the agreement, with the chance agreement held.

    A constant appraiser has a kappa of 0 in every resample: there is no interval then.
    """
    import numpy as np

    defined = chance < 1 - 1e-12
    draws = np.divide(seen - chance, 1 - chance, out=np.full_like(seen, np.nan), where=defined)
    found = boot.interval(value, draws, n)
    if found.low is not None:
        return replace(found, method=found.method.replace("by record", "by picture"))
    if own[0] < 1 - 1e-12:
        return replace(found, method=found.method.replace("records", "pictures"))
    low, high = ((end - own[1]) / (1 - own[1]) for end in wilson_ends(1.0, boot.units))
    what = boot.what.replace("records", "pictures")
    return Interval(value, low, high, n, f"no scatter in {boot.units} {what}: Wilson 95 % of the agreement")


def gauge_notes(temperature: float | None, repeats: int, raters: int) -> list[str]:
    """What a reader of a gauge study must know, in sentences.

    Args:
        temperature: of the sampling; None is greedy.
        repeats: trials a picture.
        raters: how many appraisers.
    """
    if temperature is None:
        notes = [
            "The trials are decoded greedily, which gives the same answer each time: repeatability is trivially near "
            "100 % and says nothing of the gauge."
        ]
    else:
        notes = [
            f"The trials are sampled at temperature {temperature:g}. In use the inspector decodes greedily, "
            "which makes its repeatability trivially near 100 %; here it tells how many pictures stand near tipping."
        ]
    if repeats == 1:
        notes.append("There is one trial a picture: repeatability needs two or more.")
    if raters == 1:
        notes.append("There is one appraiser: reproducibility needs another cycle (--with CYCLE).")
    notes.append(
        "An unreadable answer is a category of its own: wrong whatever the truth, counted as a miss or a false alarm, "
        "and in agreement with another unreadable one."
    )
    notes.append(
        "Rules of thumb (AIAG; Fleiss for kappa) judge the value as seen and are conventions, no tests: effectiveness "
        "from 90 / 80 %, miss rate to 2 / 5 %, false alarm rate to 5 / 10 % acceptable / marginal; kappa above .75 "
        "good, below .40 poor."
    )
    return notes
