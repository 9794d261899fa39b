"""The gauge study of a finished cycle: repeated trials on its test pictures, against the truth and other cycles.

Enters: a cycle, how often and how hot each picture is decided, and other cycles as further appraisers. Leaves: the
trials as repeats under a condition of their own (scored, so that v_answers has them), and rows in gauge_figures.
Every finished batch is on disk before the next begins; what is stored is not asked again, and where nothing is missing
no model is loaded: a study that was done costs two seconds to do again, with a newer parser for instance.
Cost: repeats x test pictures answers an appraiser, without P(defective), which no temperature moves.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from harness.answer.condition import Condition, Decoding
from harness.config import CycleConfig
from harness.dataset.pool import utc_now
from harness.errors import ConfigError, Interrupted, LedgerError, SplitError
from harness.parse import PARSER_VERSION
from harness.records import Verdict
from harness.score.gauge import GaugeFigure, Trials, gauge_figures, gauge_notes, raters_of, unsteady
from harness.stages.inspector import Inspector, Seat, inspector_of
from harness.stages.scoring import judge_answers, write_scores
from harness.stages.trials import ask_trials, known_trials, stored_trials
from harness.store import Ledger, read, write
from harness.store.rows import AnswerRow, CycleRow, GaugeFigureRow


@dataclass(frozen=True, slots=True)
class Study:
    """A gauge study: its figures, what a reader must know of it, and the pictures whose trials disagree."""

    figures: list[GaugeFigureRow]
    notes: list[str]
    unsteady: list[str]


def gauge_condition(config: CycleConfig, temperature: float) -> Condition:
    """How the trials are asked: greedy (n0) at temperature 0, else sampling; the id ends in a hash of the settings."""
    budget = config.answer.max_new_tokens
    if temperature == 0:
        return Condition("n0", decoding=Decoding(max_new_tokens=budget))
    decoding = Decoding(max_new_tokens=budget, do_sample=True, temperature=temperature, seed=config.seed)
    digest = hashlib.sha256(json.dumps(asdict(decoding), sort_keys=True).encode()).hexdigest()
    return Condition(f"gauge-t{temperature:g}-{digest[:6]}", decoding=decoding)


def gauge_cycle(
    ledger: Ledger,
    cycle_id: str,
    *,
    repeats: int,
    temperature: float,
    others: Sequence[str] = (),
    say: Callable[[str], None],
) -> Study:
    """Study a cycle's fine-tuned model as an attribute gauge on its test split, and store the figures.

    Args:
        repeats: trials a picture, at least 1; repeatability needs 2.
        temperature: of the sampling; 0 is greedy.
        others: cycles of the same product and test split whose models are further appraisers.

    Raises:
        ConfigError: repeats below 1, a negative temperature, or a cycle named twice.
        UnknownCycle: no such cycle.
        LedgerError: a cycle has no fine-tuned model yet, or there is no test record.
        SplitError: another cycle raises another product or was scored on another test split.
        Interrupted: on SIGINT; what is answered stays.
    """
    if repeats < 1 or temperature < 0:
        raise ConfigError(
            f"a gauge study takes repeats >= 1 and a temperature >= 0, got {repeats} and {temperature:g}",
            hint=f"harness gauge {cycle_id} --repeats 3 --temperature 0.3",
        )
    names = [cycle_id, *others]
    if len(set(names)) < len(names):
        raise ConfigError(f"an appraiser is named twice: {', '.join(names)}", hint="name each cycle once with --with")
    cycle, *rest = (read.cycle(ledger, name) for name in names)
    for other in rest:
        _refuse_other_split(cycle, other)
    appraisers = [inspector_of(ledger, name) for name in names]
    members = read.memberships(ledger, cycle_id, ("test",))
    if not members:
        raise LedgerError(f"{cycle_id} has no test record", hint="run a cycle with more data: harness cycle --data SRC")
    condition = gauge_condition(appraisers[0].config, temperature)
    try:
        answers = _ask(ledger, appraisers, condition, [m.sample_id for m in members], repeats, say)
    except KeyboardInterrupt as stop:
        more = "".join(f" --with {name}" for name in others)
        command = f"harness gauge --repeats {repeats} --temperature {temperature:g}{more}"
        raise Interrupted(cycle_id, command) from stop
    return _judge(ledger, cycle, names, answers, condition, repeats)


def regauge(ledger: Ledger, cycle_id: str, condition_id: str) -> Study | None:
    """Judge the trials of a stored study again, by today's parser and the truths that the cycle goes by now.

    Returns:
        The study; None where its trials are not all in the ledger any more.
    """
    rows = [row for row in read.gauge_figures(ledger, cycle_id) if row.condition_id == condition_id]
    repeats, temperature = rows[0].repeats, rows[0].temperature
    names = raters_of(row.rater for row in rows)
    appraisers = [inspector_of(ledger, name) for name in names]
    cycle = appraisers[0].cycle
    condition = gauge_condition(appraisers[0].config, temperature or 0)
    assert condition.condition_id == condition_id, "a cycle's settings never change"
    samples = [member.sample_id for member in read.memberships(ledger, cycle_id, ("test",))]
    answers = [stored_trials(ledger, a.role, condition_id, samples, repeats) for a in appraisers]
    whole = [known for known in answers if known is not None]
    if len(whole) < len(answers):
        return None
    return _judge(ledger, cycle, names, whole, condition, repeats)


def _refuse_other_split(cycle: CycleRow, other: CycleRow) -> None:
    for what, mine, theirs in (
        ("product", cycle.product, other.product),
        ("test split", cycle.split_id, other.split_id),
    ):
        if mine != theirs:
            raise SplitError(
                f"{other.cycle_id} has {what} {theirs} and {cycle.cycle_id} has {mine}: they cannot be appraisers of "
                "the same pictures",
                hint="name cycles of one product and test split; harness runs shows both",
            )


def _ask(
    ledger: Ledger,
    appraisers: Sequence[Inspector],
    condition: Condition,
    sample_ids: Sequence[str],
    repeats: int,
    say: Callable[[str], None],
) -> list[dict[tuple[str, int], AnswerRow]]:
    """Each appraiser's answers by (sample, repeat): from the ledger where they are there, else asked for now."""
    found: list[dict[tuple[str, int], AnswerRow]] = []
    seat = Seat(ledger, say)
    for appraiser in appraisers:
        known = known_trials(ledger, appraiser.role, condition.condition_id, appraiser.role.engine_id, repeats)
        lacking = sum((sample_id, k) not in known for sample_id in sample_ids for k in range(repeats))
        if lacking:
            known = ask_trials(seat, appraiser, condition, sample_ids, repeats)
        else:
            say(f"gauge: {appraiser.cycle_id}: all {len(sample_ids) * repeats} trials are in the ledger")
        found.append(known)
    return found


def _judge(
    ledger: Ledger,
    cycle: CycleRow,
    names: Sequence[str],
    answers: Sequence[dict[tuple[str, int], AnswerRow]],
    condition: Condition,
    repeats: int,
) -> Study:
    product = read.product(ledger, cycle.product)
    assert product is not None, "Define writes the product"
    records = {row["sample_id"]: row for row in read.judged_records(ledger, cycle.cycle_id) if row["split"] == "test"}
    order = sorted(records)
    reference: list[Verdict] = [records[sample_id]["verdict"] for sample_id in order]
    raters, scores = [], []
    for name, own in zip(names, answers, strict=True):
        judged = judge_answers(ledger, cycle, product, [own[s, k] for s in order for k in range(repeats)])
        read_as = {(item.answer.sample_id, item.answer.repeat): item.parsed.verdict for item in judged}
        raters.append(Trials(name, tuple(tuple(read_as[s, k] for k in range(repeats)) for s in order)))
        scores += judged
    groups = [str(records[sample_id]["group_id"]) for sample_id in order]
    figures = gauge_figures(reference, raters, groups if len(set(groups)) < len(groups) else None)
    temperature = condition.decoding.temperature
    now = utc_now()
    rows = [_row(cycle.cycle_id, condition.condition_id, figure, repeats, temperature, now) for figure in figures]
    with ledger.writing() as connection:
        write_scores(connection, product.product, scores)
        write.replace(connection, "gauge_figures", rows, cycle_id=cycle.cycle_id, condition_id=condition.condition_id)
    places = unsteady(raters)
    notes = gauge_notes(temperature, repeats, len(names))
    notes.append(f"On {len(places)} of {len(order)} pictures not all trials decide the same.")
    return Study(rows, notes, [order[i] for i in places])


def _row(
    cycle_id: str, condition_id: str, figure: GaugeFigure, repeats: int, temperature: float | None, now: datetime
) -> GaugeFigureRow:
    return GaugeFigureRow(
        cycle_id=cycle_id,
        condition_id=condition_id,
        rater=figure.rater,
        metric=figure.metric,
        value=figure.value,
        ci_low=figure.low,
        ci_high=figure.high,
        n=figure.n,
        method=figure.method,
        rule=figure.rule,
        repeats=repeats,
        temperature=temperature,
        parser_version=PARSER_VERSION,
        studied_at=now,
    )
