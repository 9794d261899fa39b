"""What travels between the rooms: frozen dataclasses, and the words they are made of.

Enters: nothing (standard library only, so that every room may import it).
Leaves: one vocabulary for a record on its whole way, in the order of the data's path:

    SourceRecord -> Sample (+ Truth) -> RawAnswer -> ParsedAnswer -> SampleScore -> Metric, Comparison

Positive = defective, everywhere. A location is column then row, as in "5U".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

Verdict = Literal["passed", "defective"]
Split = Literal["train", "validation", "test", "reserve", "excluded"]
Role = Literal["base", "finetuned", "incumbent"]
Outcome = Literal["true_pass", "true_defect", "escape", "overkill", "unreadable"]
FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Grid:
    """The coordinates printed at the panels: columns from left to right, rows from top to bottom."""

    columns: tuple[str, ...] = ("1", "2", "3", "4", "5", "6", "7", "8", "9")
    rows: tuple[str, ...] = ("U", "C", "D")

    @property
    def cells(self) -> tuple[str, ...]:
        """Every location, row by row: 1U 2U ... 9U 1C ... 9D."""
        return tuple(column + row for row in self.rows for column in self.columns)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The defect names of a product: canonical name -> other ways to write it (aliases).

    Inflections and spellings of a name need no alias: the parser knows them.
    """

    defects: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing said to be wrong: where and what; either may be unsaid (None), never both."""

    location: str | None
    defect: str | None


@dataclass(frozen=True, slots=True)
class Truth:
    """What is true of the product under test. A passed product has no findings."""

    verdict: Verdict
    findings: tuple[Finding, ...] = ()

    @property
    def locations(self) -> frozenset[str]:
        """The cells that differ."""
        return frozenset(f.location for f in self.findings if f.location is not None)

    @property
    def defects(self) -> frozenset[str]:
        """The canonical defect names."""
        return frozenset(f.defect for f in self.findings if f.defect is not None)


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """One row as a source gives it, before anything is believed of it.

    `image` holds the encoded bytes (PNG, JPEG, ...); None where the source has no readable bytes for the row.
    `where` names the row for messages: "deeppcb-train[train] row 17". The truth columns are None where the source
    has none; `locations` and `defects` run in parallel. `split` is the source's own split name.
    """

    where: str
    image: bytes | None
    question: str | None
    answer: str | None
    verdict: str | None = None
    locations: tuple[str, ...] | None = None
    defects: tuple[str, ...] | None = None
    group: str | None = None
    severity: float | None = None
    source: str = ""
    split: str = "train"


@dataclass(frozen=True, slots=True)
class Sample:
    """One record of the pool, with the version of the truth that a cycle goes by.

    `sample_id` = hash of the decoded pixels and the question; `image_id` = hash of the decoded pixels alone. `truth` is
    None (and `reference` empty) for a picture that is only to be inspected.
    """

    sample_id: str
    image_id: str
    image_path: Path
    question: str
    reference: str
    truth: Truth | None
    truth_version: int
    group: str
    severity: float | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """One answer as the model gave it, before it is parsed.

    `p_defective` is the model's probability of the verdict "defective" in [0, 1] (None where it was not asked for);
    tokens are counts, `seconds` is the record's share of its batch, `answered_at` is in UTC without a zone.
    """

    model_id: str
    sample_id: str
    condition_id: str
    repeat: int
    text: str
    p_defective: float | None
    prompt_tokens: int
    new_tokens: int
    finish_reason: FinishReason
    seconds: float
    answered_at: datetime


@dataclass(frozen=True, slots=True)
class Evidence:
    """A stretch text[start:end] of the answer as given that decided the verdict, a location or a defect name."""

    kind: Literal["verdict", "location", "defect"]
    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class ParsedAnswer:
    """What an answer says. `verdict` None is a value: no decision could be read, and `reason` says why.

    `reason` is "" where a verdict was read, else one of: empty, refusal, undecided, contradiction, echo, no_decision.
    `findings` is empty unless the verdict is "defective".
    """

    verdict: Verdict | None
    reason: str
    findings: tuple[Finding, ...]
    evidence: tuple[Evidence, ...]
    parser_version: int


@dataclass(frozen=True, slots=True)
class SampleScore:
    """One answer held against its truth (MEASUREMENT.md section 1). Counts are of cells and (cell, name) pairs."""

    parsed: bool
    reason: str
    verdict: Verdict | None
    outcome: Outcome
    verdict_correct: bool
    location_correct: bool
    location_tp: int
    location_fp: int
    location_fn: int
    defect_names_correct: bool
    finding_tp: int
    finding_fp: int
    finding_fn: int
    exact: bool
    rouge_l: float
    sentence_bleu: float
    sentence_chrf: float
    in_style: bool


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure with its interval. `value` is None where it cannot be computed, and `method` then says why.

    Proportions lie in [0, 1], SN ratios are in dB, corpus texts scores in [0, 1] (ROUGE-L) or [0, 100] (BLEU, chrF).
    `slice` is "all" or "axis=value", as in "defect=missing".
    """

    metric: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    n: int
    method: str
    slice: str = "all"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A paired comparison of two sets of answers to the same records; difference = candidate - baseline.

    `fixed` counts records that only the candidate has right, `broken` those that only the baseline has right.
    `p_value` is the exact two-sided McNemar test's; `p_holm` is corrected over the metrics compared together.
    `detectable` is the smallest true difference that such a sample shows with 80 % power.
    """

    metric: str
    n: int
    baseline: float
    candidate: float
    difference: float
    ci_low: float
    ci_high: float
    fixed: int
    broken: int
    p_value: float
    p_holm: float
    detectable: float | None
    method: str
