"""Scores: one answer, sums with intervals, paired comparison, digital SN ratio, gates. MEASUREMENT defines each number.

    sample.py      one answer held against its truth
    style.py       has an answer the form of a training answer?
    intervals.py   Wilson, Clopper-Pearson, bootstrap
    aggregate.py   every figure of a set of answers
    digital_sn.py  two kinds of mistakes in one ratio
    compare.py     did it improve? paired, on the same records
    gate.py        may it be released?

Importing this package is light: numpy, scipy, statsmodels and the text scorers come in with the functions.
"""

from harness.score.aggregate import aggregate
from harness.score.compare import compare, detectable_difference
from harness.score.digital_sn import DigitalSN, digital_sn
from harness.score.gate import GateResult, Target, judge, judge_regression, judge_target, line_projection
from harness.score.intervals import Interval, clopper_pearson, lower_bound, upper_bound, wilson
from harness.score.sample import score_answer, score_answers
from harness.score.style import AnswerForms, learn_forms

__all__ = [
    "AnswerForms",
    "DigitalSN",
    "GateResult",
    "Interval",
    "Target",
    "aggregate",
    "clopper_pearson",
    "compare",
    "detectable_difference",
    "digital_sn",
    "judge",
    "judge_regression",
    "judge_target",
    "learn_forms",
    "line_projection",
    "lower_bound",
    "score_answer",
    "score_answers",
    "upper_bound",
    "wilson",
]
