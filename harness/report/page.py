"""What a page holds: one frozen dataclass a page, and one a line of its tables, numbers as the text that people read.

Enters: nothing. Leaves: the shapes that contexts.py fills and the templates print.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.report.evidence import Piece
from harness.report.figures import Figure
from harness.report.gauge import GaugePart
from harness.report.learning_curve import CurvePart
from harness.report.lookalikes import PairShown, PicturePlaced
from harness.report.lots import LotsPart
from harness.report.robustness import RobustnessPart
from harness.report.strata import StrataPart
from harness.report.threshold import ThresholdPart


@dataclass(frozen=True, slots=True)
class Field:
    """A name and what is said of it."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class SourceLine:
    """A source of the cycle's records."""

    name: str
    kind: str
    revision: str
    rows: str
    added: str
    corrected: str
    known: str
    dropped: str


@dataclass(frozen=True, slots=True)
class SplitLine:
    """Records of a split by verdict."""

    name: str
    passed: str
    defective: str
    total: str


@dataclass(frozen=True, slots=True)
class AuditLine:
    """One finding of the audit."""

    severity: str
    section: str
    message: str
    count: str
    examples: str
    hint: str


@dataclass(frozen=True, slots=True)
class FigureLine:
    """A figure of the base and the fine-tuned model, each with interval and n in words."""

    name: str
    meaning: str
    base: str
    finetuned: str


@dataclass(frozen=True, slots=True)
class ComparisonLine:
    """A paired comparison in words."""

    metric: str
    against: str
    before: str
    after: str
    difference: str
    pairs: str
    p_value: str
    p_holm: str
    detectable: str
    sentence: str


@dataclass(frozen=True, slots=True)
class GateLine:
    """A gate's judgement."""

    gate: str
    status: str
    target: str
    value: str
    bound: str
    reason: str
    to_decide: str


@dataclass(frozen=True, slots=True)
class AnswerShown:
    """An answer beside a picture, in pieces that say what they decided. `mark` is "right", "wrong" or "absent"."""

    pieces: tuple[Piece, ...]
    mark: str
    outcome: str
    p_defective: str


@dataclass(frozen=True, slots=True)
class PictureShown:
    """A test record in the gallery. `image_file` is below the ledger's pool; `picture` is where the page finds it, None
    where the file is gone."""

    sample_id: str
    image_file: str
    picture: PicturePlaced | None
    change: str
    question: str
    reference: str
    truth: str
    base: AnswerShown
    finetuned: AnswerShown


@dataclass(frozen=True, slots=True)
class CyclePage:
    """The page of one cycle."""

    cycle_id: str
    product: str
    status: str
    gate: str
    facts: tuple[Field, ...]
    unfinished: tuple[str, ...]
    charter: tuple[Field, ...]
    sources: tuple[SourceLine, ...]
    splits: tuple[SplitLine, ...]
    kept_back: tuple[Field, ...]
    definitions: tuple[Field, ...]
    vocabulary: tuple[Field, ...]
    audit: tuple[AuditLine, ...]
    figures: tuple[FigureLine, ...]
    reuse: tuple[Field, ...]
    notes: Mapping[str, tuple[str, ...]]
    comparisons: tuple[ComparisonLine, ...]
    training: tuple[Field, ...]
    gates: tuple[GateLine, ...]
    promotions: tuple[str, ...]
    lots: LotsPart | None
    stages: tuple[Field, ...]
    sharing: tuple[Field, ...]
    plots: Mapping[str, Figure]
    curve: CurvePart | None
    strata: StrataPart | None
    gallery: tuple[PictureShown, ...]
    gallery_total: int
    robustness: RobustnessPart | None
    gauge: GaugePart | None
    threshold: ThresholdPart | None
    evidence_note: str
    lookalikes: tuple[PairShown, ...]
    lookalikes_shown: tuple[PairShown, ...]
    made_at: str
    version: str


@dataclass(frozen=True, slots=True)
class CycleLine:
    """A cycle in the index."""

    cycle_id: str
    status: str
    created: str
    model: str
    records: str
    split_id: str
    base_verdict: str
    verdict: str
    location: str
    exact: str
    gate: str
    mark: str


@dataclass(frozen=True, slots=True)
class ProductPart:
    """A product in the index: its cycles, promotions and two figures."""

    name: str
    key: str
    cycles: tuple[CycleLine, ...]
    incumbent: str
    promotions: tuple[str, ...]
    plots: Mapping[str, Figure]


@dataclass(frozen=True, slots=True)
class IndexPage:
    """The page over all cycles."""

    products: tuple[ProductPart, ...]
    made_at: str
    version: str
