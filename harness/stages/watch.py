"""Watch: a frozen model on a new labelled lot. Nothing is trained, and the pool and the frozen split stay as they are.

    runs/c0001/watch/pool/images/      the lots' pictures
    runs/c0001/watch/answers-*.jsonl   the journal: a killed watch goes on where it stopped

Enters: a cycle with a fine-tuned model and a labelled lot. Leaves: rows in lots and lot_answers, a point on each
control chart, and the alarms. A lot's records are no test records: they enter no split, no pool and no cycle's figures.
A cycle that was never promoted is watched as well (its adapter is as frozen), and its lots say so. Before anything is
answered, the hash of the weights proves that the model is the one which the cycle left.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from harness.answer.journal import AnswerJournal
from harness.config import DataConfig
from harness.dataset.ingest import ReadRow
from harness.dataset.pool import Pool, utc_now
from harness.errors import ConfigError, LedgerError
from harness.parse import PARSER_VERSION
from harness.records import RawAnswer, Sample
from harness.score.charts import Chart
from harness.score.lots import alarms_of, charts_of_lots
from harness.stages.inspector import Inspector, Seat, ask_inspector, inspector_of
from harness.stages.lots import Lot, read_lot, reread_lots, say_of_twins, score_lot, tally
from harness.store import Ledger, read
from harness.store import lots as stored
from harness.store.rows import LotRow


@dataclass(frozen=True, slots=True)
class Watched:
    """A cycle's lots in order, its charts, and the alarms of the newest lot."""

    cycle_id: str
    released: bool
    lots: tuple[LotRow, ...]
    charts: tuple[Chart, ...]
    alarms: tuple[str, ...]
    lot: str


def watch_lot(
    ledger: Ledger,
    cycle_id: str,
    sources: Sequence[str],
    *,
    lot: str | None = None,
    again: bool = False,
    columns: DataConfig | None = None,
    say: Callable[[str], None],
) -> Watched:
    """Answer a labelled lot with a cycle's frozen model, keep the answers, and add a point to the control charts.

    Args:
        sources: SRCs; together they are the lot.
        lot: its name; the SRCs as typed where None.
        again: watch a lot of this name anew and put it in the old one's place.
        columns: names of columns and the default question; the cycle's own where None.

    Raises:
        UnknownCycle: no such cycle.
        LedgerError: the cycle has no fine-tuned model yet, or the lot was watched already.
        DataError: a source cannot be read, or holds no usable labelled record.
        ModelError: the model cannot be loaded, or is not the one that the cycle left.
    """
    inspector = inspector_of(ledger, cycle_id)
    name = lot if lot is not None else " + ".join(sources)
    if not name.strip():
        raise ConfigError("a lot needs a name", hint="name it: --lot 2026-05-a")
    known = {row.lot: row for row in stored.lots(ledger, cycle_id)}
    if name in known and not again:
        raise LedgerError(
            f"{cycle_id} was watched on lot {name!r} already, at {known[name].watched_at:%Y-%m-%d %H:%M} UTC",
            hint="name the new lot with --lot NAME, or watch this one anew in its place: --replace",
        )
    is_released = stored.released(ledger, cycle_id)
    if not is_released:
        say(f"watch: {cycle_id} was never promoted: its frozen model is watched all the same, as a trial")
    records = read_lot(ledger, inspector, sources, columns or inspector.config.data, say)
    say_of_twins(ledger, cycle_id, name, [row.row.sample_id for row in records.rows], say)
    answers, engine_id = _answer(ledger, inspector, records, say)
    reread_lots(ledger, inspector)
    rows = score_lot(inspector, name, records.rows, answers, records.vocabulary)
    seen = tally(rows)
    row = LotRow(
        product=inspector.cycle.product,
        cycle_id=cycle_id,
        model_id=inspector.model.model_id,
        engine_id=engine_id,
        lot=name,
        number=known[name].number if name in known else max((k.number for k in known.values()), default=0) + 1,
        sources=json.dumps(records.sources, ensure_ascii=False),
        passed=seen.passed,
        defective=seen.defective,
        misses=seen.misses,
        false_rejects=seen.false_rejects,
        unreadable=seen.unreadable,
        left_out=records.left_out,
        parser_version=PARSER_VERSION,
        released=is_released,
        alarms=[],
        watched_at=utc_now(),
    )
    others = [kept for kept in stored.lots(ledger, cycle_id) if kept.lot != name]
    together = sorted([*others, row], key=lambda kept: kept.number)
    charts = charts_of_lots(together, inspector.config.targets)
    alarms = alarms_of(charts, name)
    row = replace(row, alarms=alarms)
    stored.keep(ledger, [row], rows)
    say(f"watch: {_in_words(row)}")
    final = tuple(row if kept.lot == name else kept for kept in together)
    return Watched(cycle_id, is_released, final, charts, tuple(alarms), name)


def watched(ledger: Ledger, cycle_id: str) -> Watched:
    """The history of a cycle's lots and its charts. No model is needed.

    Raises:
        UnknownCycle: no such cycle.
        LedgerError: no lot was watched yet.
    """
    cycle = read.cycle(ledger, cycle_id)
    rows = stored.lots(ledger, cycle_id)
    if not rows:
        raise LedgerError(
            f"{cycle_id} was not watched on any lot yet", hint=f"watch one: harness watch {cycle_id} --data NEWLOT"
        )
    charts = charts_of_lots(rows, json.loads(cycle.config)["targets"])
    last = rows[-1].lot
    return Watched(
        cycle_id, stored.released(ledger, cycle_id), tuple(rows), charts, tuple(alarms_of(charts, last)), last
    )


def chart_rows(seen: Watched) -> list[dict[str, Any]]:
    """A row a lot and chart, for tables and JSON."""
    return [
        {
            "lot": point.lot,
            "metric": chart.metric,
            "chart": chart.name,
            "mistakes": point.mistakes,
            "n": point.n,
            "value": point.value,
            "center": chart.center,
            "low": point.low,
            "high": point.high,
            "provisional": chart.provisional,
            "alarm": point.alarm,
            "note": point.note,
        }
        for chart in seen.charts
        for point in chart.points
    ]


def _answer(
    ledger: Ledger, inspector: Inspector, lot: Lot, say: Callable[[str], None]
) -> tuple[dict[str, RawAnswer], str]:
    """The frozen model's answers by record, from the journal or asked now, and the id of their circumstances."""
    vlm = Seat(ledger, say).take(inspector)
    engine_id = inspector.engine(vlm)
    journal = AnswerJournal(ledger.runs / inspector.cycle_id / "watch" / f"answers-{engine_id}.jsonl")
    samples = [_sample(item, lot.pool) for item in lot.rows]
    answers = ask_inspector(vlm, inspector, samples, journal, label="watch", say=say, openings=inspector.openings)
    return answers, engine_id


def _sample(item: ReadRow, pool: Pool) -> Sample:
    row = item.row
    return Sample(
        sample_id=row.sample_id,
        image_id=row.image_id,
        image_path=pool.root / row.image,
        question=row.question,
        reference=row.answer,
        truth=item.truth,
        truth_version=1,
        group=row.group,
    )


def _in_words(row: LotRow) -> str:
    return (
        f"lot {row.lot!r} (number {row.number}): {row.misses} of {row.defective} defective missed, "
        f"{row.false_rejects} of {row.passed} passed rejected, {row.unreadable} answers unreadable"
    )


def chart_notes(seen: Watched) -> list[str]:
    """What makes the charts weak, a line a metric and remark."""
    found = [f"{chart.metric}: {note}" for chart in seen.charts for note in chart.notes]
    return list(dict.fromkeys(found))


def lot_line(row: LotRow) -> dict[str, Any]:
    """A lot as tables show it."""
    hidden = ("product", "cycle_id", "model_id", "engine_id", "sources", "parser_version", "watched_at")
    shown = {name: value for name, value in asdict(row).items() if name not in hidden}
    shown["miss_rate"] = row.misses / row.defective if row.defective else None
    shown["false_reject_rate"] = row.false_rejects / row.passed if row.passed else None
    return shown
