"""Scores: one answer, sums with intervals, paired comparison, digital SN ratio, gates. MEASUREMENT defines each number.

    sample.py      one answer held against its truth
    texts.py       ROUGE-L, BLEU, chrF, in English and Japanese
    style.py       has an answer the form of a training answer?
    intervals.py   Wilson, Clopper-Pearson, bootstrap, clusters
    aggregate.py   every figure of a set of answers
    digital_sn.py  two kinds of mistakes in one ratio
    noise_sn.py    how steady is the inspector under noise?
    noise_plan.py  which noise: the L8, factor effects, compound noise
    auroc.py       how well P(defective) separates
    compare.py     did it improve? paired, on the same records
    gate.py        may it be released?
    gauge.py       repeated trials: how far does it agree with the truth, with itself, with others?
    threshold.py   P(defective) -> pass, defective or review
    calibration.py does P(defective) mean what it says?
    needed.py      how many more records does a target need?
    line.py        what the rates mean on a line
    charts.py      p chart, Laney p', EWMA, CUSUM: is this lot unlike the others?
    lots.py        those charts of watched lots, and their alarms
    learning_curve.py, power_law.py, curve_target.py   how does a figure grow with training records?
    strata.py      where does a model go wrong, and which records would teach most?

Importing this package is light: numpy, scipy, statsmodels and the text scorers come in with the functions. The names
are imported at once all the same: a lazy `aggregate` would give way to the module of that name. What only one command
needs (gauge, threshold, calibration, learning curve, strata) is imported from its module.
"""

from harness.score.aggregate import aggregate
from harness.score.auroc import auroc
from harness.score.compare import compare, detectable_difference, mcnemar_exact, paired_wald
from harness.score.digital_sn import DigitalSN, digital_sn
from harness.score.gate import GateResult, Target, judge, judge_regression, judge_target
from harness.score.intervals import (
    Interval,
    clopper_pearson,
    clustered_standard_error,
    lower_bound,
    upper_bound,
    wilson,
)
from harness.score.line import LineProjection, line_projection
from harness.score.needed import more_records_needed, records_for
from harness.score.sample import score_answer, score_answers
from harness.score.style import AnswerForms, in_style, learn_forms

__all__ = [
    "AnswerForms",
    "DigitalSN",
    "GateResult",
    "Interval",
    "LineProjection",
    "Target",
    "aggregate",
    "auroc",
    "clopper_pearson",
    "clustered_standard_error",
    "compare",
    "detectable_difference",
    "digital_sn",
    "in_style",
    "judge",
    "judge_regression",
    "judge_target",
    "learn_forms",
    "line_projection",
    "lower_bound",
    "mcnemar_exact",
    "more_records_needed",
    "paired_wald",
    "records_for",
    "score_answer",
    "score_answers",
    "upper_bound",
    "wilson",
]
