"""One frozen dataclass for each table that a stage writes; field names are the column names (a test holds them equal).

Enters and leaves: nothing but values. Times are UTC without a zone; JSON columns carry JSON text.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from harness.records import FinishReason, Outcome, Role, Split, Verdict


@dataclass(frozen=True, slots=True)
class ProductRow:
    """A product and what its first cycle froze."""

    product: str
    created_at: datetime
    split_id: str | None
    question: str | None
    vocabulary: str
    grid: str
    openings: str
    forms: str
    reference_model_id: str | None = None


@dataclass(frozen=True, slots=True)
class CycleRow:
    """A cycle: what it was asked to do and, once known, how much of everything it had."""

    cycle_id: str
    product: str
    status: str
    created_at: datetime
    finished_at: datetime | None
    harness_version: str
    recipe: str
    seed: int
    config: str
    sources: str
    grow_id: str | None
    split_id: str | None
    train_records: int | None
    fit_records: int | None
    validation_records: int | None
    test_records: int | None
    model: str | None
    device: str | None = None
    trainable_parameters: int | None = None
    trainable_share: float | None = None


@dataclass(frozen=True, slots=True)
class SampleRow:
    """A record of the pool, without its truth."""

    product: str
    sample_id: str
    image_id: str
    image_file: str
    width: int
    height: int
    question: str
    group_id: str
    severity: float | None
    source: str
    role: str
    first_cycle: str
    added_at: datetime


@dataclass(frozen=True, slots=True)
class TruthRow:
    """One version of the truth of one record; findings as {"location", "defect"} pairs."""

    product: str
    sample_id: str
    truth_version: int
    verdict: Verdict
    findings: tuple[dict[str, str | None], ...]
    reference: str
    origin: str
    added_at: datetime


@dataclass(frozen=True, slots=True)
class MembershipRow:
    """The part that a record plays in a cycle."""

    cycle_id: str
    sample_id: str
    split: Split
    truth_version: int
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model that answered."""

    model_id: str
    kind: str
    base: str
    revision: str | None
    adapter_hash: str | None
    adapter: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class RoleRow:
    """Which model played which role in a cycle, and how many of its answers were already there."""

    cycle_id: str
    model_role: Role
    model_id: str
    engine_id: str
    reused: int
    answered: int


@dataclass(frozen=True, slots=True)
class ConditionRow:
    """A condition under one set of circumstances."""

    condition_id: str
    engine_id: str
    prompt: str
    decoding: str
    noise: str
    engine: str


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """An answer as given."""

    model_id: str
    sample_id: str
    condition_id: str
    repeat: int
    engine_id: str
    text: str
    p_defective: float | None
    prompt_tokens: int
    new_tokens: int
    finish_reason: FinishReason
    seconds: float
    answered_at: datetime


@dataclass(frozen=True, slots=True)
class FindingRow:
    """One finding read from an answer."""

    product: str
    model_id: str
    sample_id: str
    condition_id: str
    repeat: int
    engine_id: str
    parser_version: int
    location: str | None
    defect: str | None


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One answer held against one version of its truth."""

    product: str
    model_id: str
    sample_id: str
    condition_id: str
    repeat: int
    engine_id: str
    parser_version: int
    truth_version: int
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
    evidence: str | None


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One figure of one role of one cycle."""

    cycle_id: str
    model_role: Role
    split: Split
    condition_id: str
    slice: str
    parser_version: int
    metric: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    n: int
    method: str


@dataclass(frozen=True, slots=True)
class ComparisonRow:
    """One paired comparison within a cycle."""

    cycle_id: str
    baseline: Role
    candidate: Role
    split: Split
    condition_id: str
    parser_version: int
    metric: str
    n: int
    baseline_value: float
    candidate_value: float
    difference: float
    ci_low: float
    ci_high: float
    fixed: int
    broken: int
    p_value: float
    p_holm: float
    detectable: float | None
    method: str


@dataclass(frozen=True, slots=True)
class TrainingLogRow:
    """One logged step of the training."""

    cycle_id: str
    step: int
    epoch: float | None
    loss: float | None
    eval_loss: float | None
    learning_rate: float | None
    grad_norm: float | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class StageRow:
    """One finished stage."""

    cycle_id: str
    stage: str
    started_at: datetime
    finished_at: datetime
    seconds: float
    peak_memory_gib: float | None
    peak_rss_gib: float
    manifest: str


@dataclass(frozen=True, slots=True)
class GateRow:
    """One gate's judgement; gate "overall" sums them up."""

    cycle_id: str
    gate: str
    direction: str | None
    target: float | None
    value: float | None
    bound: float | None
    n: int | None
    status: str
    records_to_decide: int | None
    reason: str
    judged_at: datetime


@dataclass(frozen=True, slots=True)
class ReleaseRow:
    """A promotion: from here on this cycle's model is the product's incumbent."""

    product: str
    cycle_id: str
    model_id: str
    released_at: datetime
    gate_status: str
    note: str

    @property
    def sentence(self) -> str:
        """The promotion in words; it was forced where the gate did not pass."""
        how = "its gate had passed" if self.gate_status == "pass" else f"by force: its gate was {self.gate_status}"
        note = f"; {self.note}" if self.note else ""
        return f"{self.cycle_id} was promoted on {self.released_at:%Y-%m-%d %H:%M} UTC, {how}{note}"


@dataclass(frozen=True, slots=True)
class ProbabilityRow:
    """A verdict probability that was asked for alone, without a text."""

    model_id: str
    sample_id: str
    condition_id: str
    engine_id: str
    p_defective: float
    seconds: float
    answered_at: datetime


@dataclass(frozen=True, slots=True)
class NoiseStudyRow:
    """The noise study of a cycle: which compound noise, on how many records, against which reference."""

    cycle_id: str
    n1_condition: str
    n2_condition: str
    compound: str
    reason: str
    reference_model_id: str
    validation_records: int
    test_records: int
    engine_id: str
    studied_at: datetime


@dataclass(frozen=True, slots=True)
class NoiseEffectRow:
    """The effect of one noise factor on one model's scores of the validation records."""

    cycle_id: str
    model_role: Role
    slice: str
    factor: str
    low_level: str
    high_level: str
    low_mean: float
    high_mean: float
    effect: float
    ci_low: float | None
    ci_high: float | None
    up: int
    down: int
    p_value: float
    steady: bool
    n: int


@dataclass(frozen=True, slots=True)
class NoiseSnRow:
    """One figure of the noise study. `reference_model_id` is "truth" where the signal is the truth."""

    cycle_id: str
    model_role: Role
    model_id: str
    metric: str
    reference_model_id: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    beta: float | None
    n: int
    method: str


@dataclass(frozen=True, slots=True)
class LotRow:
    """A lot on which a frozen model was watched; `number` is its place on the charts."""

    product: str
    cycle_id: str
    model_id: str
    engine_id: str
    lot: str
    number: int
    sources: str
    passed: int
    defective: int
    misses: int
    false_rejects: int
    unreadable: int
    left_out: int
    parser_version: int
    released: bool
    alarms: list[str]
    watched_at: datetime


@dataclass(frozen=True, slots=True)
class LotAnswerRow:
    """One record of a lot: its truth, the answer as given, and what was read from it."""

    cycle_id: str
    lot: str
    sample_id: str
    image_file: str
    group_id: str
    question: str
    reference: str
    true_verdict: Verdict
    true_findings: tuple[dict[str, str | None], ...]
    text: str
    p_defective: float | None
    prompt_tokens: int
    new_tokens: int
    finish_reason: FinishReason
    seconds: float
    answered_at: datetime
    parser_version: int
    verdict: Verdict | None
    reason: str
    outcome: Outcome
    verdict_correct: bool
    location_correct: bool
    exact: bool


@dataclass(frozen=True, slots=True)
class GaugeFigureRow:
    """One figure of a gauge study."""

    cycle_id: str
    condition_id: str
    rater: str
    metric: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    n: int
    method: str
    rule: str
    repeats: int
    temperature: float | None
    parser_version: int
    studied_at: datetime


@dataclass(frozen=True, slots=True)
class ThresholdRow:
    """The thresholds that turn a cycle's P(defective) into pass, defective or review."""

    cycle_id: str
    model_id: str
    engine_id: str
    max_escape: float
    max_overkill: float
    low: float | None
    high: float | None
    notes: str
    curves: str
    chosen_at: datetime


@dataclass(frozen=True, slots=True)
class ThresholdFigureRow:
    """One figure of a cycle's thresholds on one split."""

    cycle_id: str
    split: Split
    rule: str
    metric: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    n: int
    method: str


#: row class -> its table
TABLE_OF: dict[type, str] = {
    ProductRow: "products",
    CycleRow: "cycles",
    SampleRow: "samples",
    TruthRow: "truths",
    MembershipRow: "memberships",
    ModelRow: "models",
    RoleRow: "roles",
    ConditionRow: "conditions",
    AnswerRow: "answers",
    FindingRow: "findings",
    ScoreRow: "scores",
    MetricRow: "metrics",
    ComparisonRow: "comparisons",
    TrainingLogRow: "training_log",
    StageRow: "stages",
    GateRow: "gates",
    ReleaseRow: "releases",
    ProbabilityRow: "probabilities",
    NoiseStudyRow: "noise_studies",
    NoiseEffectRow: "noise_effects",
    NoiseSnRow: "noise_sn",
    LotRow: "lots",
    LotAnswerRow: "lot_answers",
    GaugeFigureRow: "gauge_figures",
    ThresholdRow: "thresholds",
    ThresholdFigureRow: "threshold_figures",
}
