"""The records of a watched lot: read with the truths that they bring, and their answers scored.

Enters: labelled sources, or the answers of a lot in the ledger. Leaves: usable records with every other row counted and
named; rows for lot_answers. A lot must be labelled, new to the model, and each of its records counts once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.config import DataConfig
from harness.dataset.ingest import Drop, ReadRow, collect, declared_names, read_rows
from harness.dataset.pool import Pool
from harness.dataset.sources import open_source
from harness.errors import ConfigError, DataError
from harness.parse import PARSER_VERSION, parse_answer
from harness.records import Finding, Grid, RawAnswer, Truth, Vocabulary
from harness.score.sample import normalised, score_answers
from harness.score.style import AnswerForms
from harness.stages.inspector import Inspector
from harness.stages.scoring import product_terms
from harness.store import Ledger, read
from harness.store import lots as stored
from harness.store.rows import LotAnswerRow, ProductRow

#: a lot with a larger share of unreadable truths is refused, as Define does
UNREAD_LIMIT = 0.05


@dataclass(frozen=True, slots=True)
class Lot:
    """The usable records of a lot, what they came from, and how many rows were left out."""

    rows: list[ReadRow]
    sources: list[dict[str, Any]]
    left_out: int
    vocabulary: Vocabulary
    pool: Pool


@dataclass(frozen=True, slots=True)
class Tally:
    """Records of a lot by true verdict, and the mistakes among them; unreadable answers are among the mistakes."""

    passed: int
    defective: int
    misses: int
    false_rejects: int
    unreadable: int


def read_lot(
    ledger: Ledger, inspector: Inspector, sources: Sequence[str], data: DataConfig, say: Callable[[str], None]
) -> Lot:
    """Read the lot's records with the truths that they bring; what cannot be used is counted and named."""
    if not sources:
        raise ConfigError("no lot named", hint=f"name it: harness watch {inspector.cycle_id} --data NEWLOT")
    pool = Pool(ledger.runs / inspector.cycle_id / "watch", inspector.cycle.product)
    question = data.question or inspector.product.question
    rows, drops, named = [], list[Drop](), []
    for src in sources:
        source = open_source(src, data.columns, default_question=question)
        say(f"watch: reading {source.name}")
        taken, dropped = collect(source, pool, as_test=False, default_question=question)
        rows += taken
        drops += dropped
        named.append({"name": source.name, "revision": source.revision, "rows": len(taken) + len(dropped)})
    vocabulary, grid = product_terms(inspector.product)
    vocabulary = Vocabulary({**vocabulary.defects, **declared_names(rows, vocabulary)})
    judged = read_rows(rows, vocabulary, grid)
    unread = [item for item in judged if item.truth is None]
    if len(unread) > UNREAD_LIMIT * len(judged):
        raise DataError(
            f"{len(unread)} of {len(judged)} truths of the lot cannot be read, for example {unread[0].row.where}: "
            f"{unread[0].problem}",
            hint="a lot must be labelled: see each with harness audit --data SRC",
        )
    drops += [Drop(item.row.where, "truth", item.problem) for item in unread]
    usable, twins = _once_each([item for item in judged if item.truth is not None])
    drops += twins
    trained = {m.sample_id for m in read.memberships(ledger, inspector.cycle_id, ("train", "validation"))}
    seen = [item for item in usable if item.row.sample_id in trained]
    drops += [Drop(item.row.where, "trained", "the model was trained on it") for item in seen]
    usable = [item for item in usable if item.row.sample_id not in trained]
    for reason, count in Counter(drop.reason for drop in drops).most_common():
        say(f"watch: {count} rows left out: {reason}")
    if not usable:
        raise DataError("the lot holds no usable record", hint="see why: harness audit --data SRC")
    return Lot(usable, named, len(drops), vocabulary, pool)


def _once_each(rows: Sequence[ReadRow]) -> tuple[list[ReadRow], list[Drop]]:
    """Each record once: a repeated one tells nothing new, and where its labels differ none can be believed."""
    by_id: dict[str, list[ReadRow]] = {}
    for item in rows:
        by_id.setdefault(item.row.sample_id, []).append(item)
    kept, drops = [], []
    for same in by_id.values():
        labels = {(i.truth.verdict, normalised(i.truth.findings)) for i in same if i.truth is not None}
        if len(labels) > 1:
            drops += [Drop(item.row.where, "labels", "contradicting labels") for item in same]
        else:
            kept.append(same[0])
            drops += [Drop(item.row.where, "twins", "the same picture and question again") for item in same[1:]]
    return kept, drops


def say_of_twins(
    ledger: Ledger, cycle_id: str, lot: str, sample_ids: Sequence[str], say: Callable[[str], None]
) -> None:
    """Records that are not new: of the frozen test split, or of an earlier lot."""
    tested = {m.sample_id for m in read.memberships(ledger, cycle_id, ("test",))} & set(sample_ids)
    if tested:
        say(f"watch: {len(tested)} of the {len(sample_ids)} records are test records of {cycle_id}: they are not new")
    for other, count in stored.lots_holding(ledger, cycle_id, sample_ids).items():
        if other != lot:
            say(f"watch: {count} of the {len(sample_ids)} records are in lot {other!r} as well")


def score_lot(
    inspector: Inspector, lot: str, rows: Sequence[ReadRow], answers: dict[str, RawAnswer], vocabulary: Vocabulary
) -> list[LotAnswerRow]:
    """The rows of a lot: each answer held against its record's truth."""
    unread = []
    for item in rows:
        assert item.truth is not None, "records without truth were left out"
        answer = answers[item.row.sample_id]
        unread.append(
            LotAnswerRow(
                cycle_id=inspector.cycle_id,
                lot=lot,
                sample_id=item.row.sample_id,
                image_file=f"{inspector.cycle_id}/watch/pool/{item.row.image}",
                group_id=item.row.group,
                question=item.row.question,
                reference=item.row.answer,
                true_verdict=item.truth.verdict,
                true_findings=tuple({"location": f.location, "defect": f.defect} for f in item.truth.findings),
                text=answer.text,
                p_defective=answer.p_defective,
                prompt_tokens=answer.prompt_tokens,
                new_tokens=answer.new_tokens,
                finish_reason=answer.finish_reason,
                seconds=answer.seconds,
                answered_at=answer.answered_at,
                parser_version=PARSER_VERSION,
                verdict=None,
                reason="",
                outcome="unreadable",
                verdict_correct=False,
                location_correct=False,
                exact=False,
            )
        )
    return _read_again(unread, vocabulary, product_terms(inspector.product)[1], inspector.product)


def _read_again(
    rows: Sequence[LotAnswerRow], vocabulary: Vocabulary, grid: Grid, product: ProductRow
) -> list[LotAnswerRow]:
    """The same rows as today's parser reads their texts."""
    parsed = [parse_answer(row.text, vocabulary, grid) for row in rows]
    truths = [
        Truth(row.true_verdict, tuple(Finding(f["location"], f["defect"]) for f in row.true_findings)) for row in rows
    ]
    scores = score_answers(
        [row.text for row in rows],
        [row.reference for row in rows],
        truths,
        parsed,
        AnswerForms.from_json(product.forms),
    )
    return [
        replace(
            row,
            parser_version=PARSER_VERSION,
            verdict=score.verdict,
            reason=score.reason,
            outcome=score.outcome,
            verdict_correct=score.verdict_correct,
            location_correct=score.location_correct,
            exact=score.exact,
        )
        for row, score in zip(rows, scores, strict=True)
    ]


def reread_lots(ledger: Ledger, inspector: Inspector) -> int:
    """Bring the lots that an older parser read to today's, so that one chart compares like with like.

    The alarms told at the time stay in the ledger; the charts are drawn from the new counts.

    Returns:
        How many verdicts are others than before.
    """
    cycle_id = inspector.cycle_id
    lots, answers, changed = [], [], 0
    for row in stored.lots(ledger, cycle_id):
        if row.parser_version == PARSER_VERSION:
            continue
        before = stored.lot_answers(ledger, cycle_id, row.lot)
        names = {f["defect"]: () for a in before for f in a.true_findings if f["defect"]}
        vocabulary, grid = product_terms(inspector.product)
        after = _read_again(before, Vocabulary({**names, **vocabulary.defects}), grid, inspector.product)
        changed += sum(a.verdict != b.verdict for a, b in zip(before, after, strict=True))
        now = tally(after)
        lots.append(
            replace(
                row,
                misses=now.misses,
                false_rejects=now.false_rejects,
                unreadable=now.unreadable,
                parser_version=PARSER_VERSION,
            )
        )
        answers += after
    if lots:
        stored.keep(ledger, lots, answers)
    return changed


def tally(rows: Sequence[LotAnswerRow]) -> Tally:
    """What a lot's row counts."""
    bad = [row for row in rows if row.true_verdict == "defective"]
    good = [row for row in rows if row.true_verdict == "passed"]
    return Tally(
        passed=len(good),
        defective=len(bad),
        misses=sum(not row.verdict_correct for row in bad),
        false_rejects=sum(not row.verdict_correct for row in good),
        unreadable=sum(row.outcome == "unreadable" for row in rows),
    )
