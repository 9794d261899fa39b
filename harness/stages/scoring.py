"""Stored texts -> parsed, scored, summed up. Needs no model: the same function serves a cycle and `harness rescore`.

Enters: the answers of one role of one cycle, already in the ledger. Leaves: rows in findings, scores and metrics at
the current parser version; older versions stay. Cost: about 1 ms an answer, most of it for chrF and ROUGE.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from harness.parse import PARSER_VERSION, parse_answer
from harness.records import Finding, Grid, ParsedAnswer, SampleScore, Truth, Vocabulary
from harness.score import AnswerForms, aggregate, score_answers
from harness.score.strata import severity_band
from harness.store import Ledger, read, write
from harness.store.rows import AnswerRow, CycleRow, FindingRow, MetricRow, ProductRow, RoleRow, ScoreRow, TruthRow

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@dataclass(frozen=True, slots=True)
class Judged:
    """One answer with its truth and score, and what slices are cut by."""

    answer: AnswerRow
    split: str
    truth: Truth
    truth_version: int
    reference: str
    group: str
    severity: float | None
    source: str
    parsed: ParsedAnswer
    score: SampleScore


def product_terms(product: ProductRow) -> tuple[Vocabulary, Grid]:
    """The vocabulary and the grid that a product's answers are read with."""
    vocabulary = {name: tuple(aliases) for name, aliases in json.loads(product.vocabulary).items()}
    grid = json.loads(product.grid)
    return Vocabulary(vocabulary), Grid(tuple(grid["columns"]), tuple(grid["rows"]))


def as_truth(row: TruthRow) -> Truth:
    """A stored truth as the scorer takes it."""
    return Truth(row.verdict, tuple(Finding(f["location"], f["defect"]) for f in row.findings))


def score_role(ledger: Ledger, cycle: CycleRow, product: ProductRow, role: RoleRow) -> list[Judged]:
    """Parse and score every answer of a role in a cycle, write the rows, and return what was judged.

    The cycle's memberships say which version of the truth counts.
    """
    judged = judge(ledger, cycle, product, role)
    metrics = _metrics(cycle.cycle_id, role, judged)
    with ledger.writing() as connection:
        write_scores(connection, product.product, judged)
        write.replace(
            connection,
            "metrics",
            metrics,
            cycle_id=cycle.cycle_id,
            model_role=role.model_role,
            parser_version=PARSER_VERSION,
        )
    return judged


def write_scores(connection: DuckDBPyConnection, product: str, judged: Sequence[Judged]) -> None:
    """Write the scores and findings of answers, in the place of those of the same answers at the same versions."""
    scores = [_score_row(product, item) for item in judged]
    findings = [row for item in judged for row in _finding_rows(product, item)]
    answer_key = ("product", "model_id", "sample_id", "condition_id", "repeat", "engine_id", "parser_version")
    write.delete_matching(connection, "findings", scores, answer_key)
    write.insert(connection, findings)
    write.upsert(connection, scores, (*answer_key, "truth_version"))


def judge(ledger: Ledger, cycle: CycleRow, product: ProductRow, role: RoleRow) -> list[Judged]:
    """Parse and score every answer of a role in a cycle, writing nothing."""
    return judge_answers(ledger, cycle, product, read.cycle_answers(ledger, cycle.cycle_id, role.model_role))


def judge_answers(ledger: Ledger, cycle: CycleRow, product: ProductRow, answers: Sequence[AnswerRow]) -> list[Judged]:
    """Parse and score answers, of whatever model, to a cycle's test and validation records; writes nothing."""
    vocabulary, grid = product_terms(product)
    records = {row["sample_id"]: row for row in read.judged_records(ledger, cycle.cycle_id)}
    parsed = [parse_answer(answer.text, vocabulary, grid) for answer in answers]
    truths = [
        Truth(
            records[answer.sample_id]["verdict"],
            tuple(Finding(f["location"], f["defect"]) for f in records[answer.sample_id]["findings"]),
        )
        for answer in answers
    ]
    references = [str(records[answer.sample_id]["reference"]) for answer in answers]
    scores = score_answers(
        [answer.text for answer in answers], references, truths, parsed, AnswerForms.from_json(product.forms)
    )
    return [
        Judged(
            answer=answer,
            split=records[answer.sample_id]["split"],
            truth=truth,
            truth_version=records[answer.sample_id]["truth_version"],
            reference=reference,
            group=records[answer.sample_id]["group_id"],
            severity=records[answer.sample_id]["severity"],
            source=records[answer.sample_id]["source"],
            parsed=read_answer,
            score=score,
        )
        for answer, truth, reference, read_answer, score in zip(
            answers, truths, references, parsed, scores, strict=True
        )
    ]


def _metrics(cycle_id: str, role: RoleRow, judged: Sequence[Judged]) -> list[MetricRow]:
    parts: dict[tuple[str, str, str], list[Judged]] = defaultdict(list)
    for item in judged:
        if item.answer.repeat != 0:
            continue
        condition = item.answer.condition_id
        parts[item.split, condition, "all"].append(item)
        if condition == "n0" and item.split == "test":
            for name in _slices(item):
                parts[item.split, condition, name].append(item)
    rows = []
    for (split, condition, name), items in parts.items():
        for metric in aggregate(
            [item.score for item in items],
            [item.truth for item in items],
            [item.answer.text for item in items],
            [item.reference for item in items],
            [item.answer.p_defective for item in items],
            groups=_groups(items),
            slice=name,
        ):
            rows.append(
                MetricRow(
                    cycle_id,
                    role.model_role,
                    "test" if split == "test" else "validation",
                    condition,
                    metric.slice,
                    PARSER_VERSION,
                    metric.metric,
                    metric.value,
                    metric.ci_low,
                    metric.ci_high,
                    metric.n,
                    metric.method,
                )
            )
    return rows


def _slices(item: Judged) -> list[str]:
    """The slices a record belongs to, beside "all"."""
    names = [f"defect={name}" for name in sorted(item.truth.defects)]
    names += [f"location={cell}" for cell in sorted(item.truth.locations)]
    names.append(f"source={item.source}")
    if item.severity is not None:
        names.append(f"severity={severity_band(item.severity)}")
    return names


def _groups(items: Sequence[Judged]) -> list[str] | None:
    """The records' groups where any holds more than one record, else None (each record stands alone)."""
    groups = [item.group for item in items]
    return groups if len(set(groups)) < len(groups) else None


def _score_row(product: str, item: Judged) -> ScoreRow:
    answer = item.answer
    return ScoreRow(
        product=product,
        model_id=answer.model_id,
        sample_id=answer.sample_id,
        condition_id=answer.condition_id,
        repeat=answer.repeat,
        engine_id=answer.engine_id,
        parser_version=item.parsed.parser_version,
        truth_version=item.truth_version,
        evidence=json.dumps([[e.kind, e.start, e.end] for e in item.parsed.evidence]),
        **asdict(item.score),
    )


def _finding_rows(product: str, item: Judged) -> list[FindingRow]:
    answer = item.answer
    return [
        FindingRow(
            product=product,
            model_id=answer.model_id,
            sample_id=answer.sample_id,
            condition_id=answer.condition_id,
            repeat=answer.repeat,
            engine_id=answer.engine_id,
            parser_version=item.parsed.parser_version,
            location=finding.location,
            defect=finding.defect,
        )
        for finding in item.parsed.findings
    ]
