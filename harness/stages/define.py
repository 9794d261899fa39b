"""Define: what is inspected, by which records, and who judges.

Enters: the request's sources. Leaves: the pool with their records, the product's vocabulary, verdict openings and
answer forms, the closed test split, and this cycle's memberships; rows in products, cycles, samples, truths and
memberships. Stops before anything enters the index when more than 5 % of the references cannot be read.
Later sizes of a --grow series do not read the sources again: they share the first one's snapshot.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from harness.dataset.ingest import Intake, ReadRow, collect, declared_names, enter, open_usable, read_rows
from harness.dataset.pool import PoolIndex, PoolSplit, utc_now
from harness.dataset.split import Member, assign, close_split
from harness.errors import DataError, SplitError
from harness.parse import generic_vocabulary, merge_vocabulary, parse_answer
from harness.records import Grid, Truth, Vocabulary
from harness.stages.run import CycleRun, read_manifest, write_json
from harness.store import read, write
from harness.store.rows import CycleRow, MembershipRow, ProductRow, SampleRow, TruthRow

if TYPE_CHECKING:
    from harness.audit import NearPair

#: Define stops above this share of references that cannot be read.
UNREAD_LIMIT = 0.05

#: Verdict continuations where the training answers of a verdict show none.
DEFAULT_OPENINGS = {
    "passed": "The product in the bottom image is passed",
    "defective": "The product in the bottom image is defective",
}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a --grow series shares: the sources' outcome, the named records, and who nearly equals a test record."""

    intakes: list[dict[str, Any]]
    named: list[str]
    near_test: dict[str, str]
    notes: list[str]
    lookalikes: list[dict[str, Any]] = field(default_factory=list)


def define(run: CycleRun) -> dict[str, Any]:
    """Do the stage's work and return its manifest.

    Raises:
        DataError: a source cannot be read, or too many references cannot.
        SplitError: nothing to test on or to train on.
    """
    closes = False
    with run.pool.locked():
        index = run.pool.read()
        product = read.product(run.ledger, run.config.product)
        grid = run.config.as_grid()
        if run.request.position == 0:
            closes = _closes_split(run, index)
            vocabulary, snapshot = _take_in(run, index, product, closes=closes)
        else:
            assert product is not None, "the first size wrote the product"
            assert run.request.grow_id is not None, "a series has an id"
            vocabulary = _vocabulary(json.loads(product.vocabulary))
            first = read_manifest(run.runs / run.request.grow_id, "define")
            assert first is not None
            snapshot = Snapshot(**first["snapshot"])
        split = index.closed_split()
        assert split is not None
        members = assign(
            index.candidates(),
            split,
            train_cap=run.request.size or run.config.data.train_cap,
            near_test=snapshot.near_test,
            named=None if run.config.data.pool else set(snapshot.named),
        )
        notes = list(snapshot.notes) + _check_members(members)
        if product is None or closes:
            product = _freeze_product(run, index, members, vocabulary, grid, split.split_id)
        else:
            product = replace(product, vocabulary=_vocabulary_json(vocabulary), split_id=split.split_id)
        counts = _counts(index, members)
        cycle = _cycle_row(run, split.split_id, counts, snapshot)
        _write_rows(run, index, product, cycle, members)
    manifest: dict[str, Any] = {
        "sources": snapshot.intakes,
        "splits": counts,
        "split_id": split.split_id,
        "vocabulary": json.loads(product.vocabulary),
        "question": product.question,
        "openings": json.loads(product.openings),
        "charter": run.config.charter,
        "targets": run.config.targets,
        "kept_back": dict(Counter(m.reason for m in members if m.reason and m.split in ("excluded", "reserve"))),
        "notes": notes,
        "snapshot": {
            "intakes": snapshot.intakes,
            "named": snapshot.named,
            "near_test": snapshot.near_test,
            "notes": snapshot.notes,
            "lookalikes": snapshot.lookalikes,
        },
    }
    run.say(
        f"define: {cycle.train_records} training records ({cycle.validation_records} of them for validation), "
        f"{cycle.test_records} test records in split {split.split_id}"
    )
    for note in notes:
        run.say(f"define: {note}")
    return manifest


def _closes_split(run: CycleRun, index: PoolIndex) -> bool:
    """Whether this cycle closes the test split: none is closed, it was asked to, or nobody was judged on the one there.

    Nobody was judged where every cycle on it failed before its model gave an answer, as with a misspelt model, or where
    none is on it: the Define that closed it ended before its rows were written, which the pool's lock covers. Where the
    ledger lost its rows, the answers beside it still say that somebody was.
    """
    if run.request.new_split or not index.splits:
        return True
    split = index.splits[-1]
    there = [row for row in read.cycles(run.ledger) if row.split_id == split.split_id]
    cycles = {split.cycle, *(row.cycle_id for row in there)}
    return all(row.status == "failed" for row in there) and not any(_answered(run, cycle) for cycle in cycles)


def _answered(run: CycleRun, cycle_id: str) -> bool:
    journals = (run.runs / cycle_id).glob("*/answers-*.jsonl")
    return bool(read.roles(run.ledger, cycle_id)) or any(journals)


def _take_in(
    run: CycleRun, index: PoolIndex, product: ProductRow | None, *, closes: bool
) -> tuple[Vocabulary, Snapshot]:
    """Read the sources into the pool, close the test split where asked, find near copies of test records."""
    data, srcs = run.config.data, (*run.request.test_data, *run.request.data)
    rows_by_source = []
    for place, source in enumerate(open_usable(srcs, data.columns, default_question=data.question)):
        as_test = place < len(run.request.test_data)
        revision = f" at {source.revision}" if source.revision else ""
        run.say(f"define: reading {source.name} ({source.kind}{revision})")
        taken, drops = collect(source, run.pool, as_test=as_test, default_question=data.question)
        intake = Intake(source.name, source.kind, source.revision, rows=len(taken) + len(drops), dropped=list(drops))
        rows_by_source.append((intake, taken))
    everything = [row for _, rows in rows_by_source for row in rows]
    vocabulary = _extend_vocabulary(run, product, everything)
    grid = run.config.as_grid()
    read_by_source = [(intake, read_rows(rows, vocabulary, grid)) for intake, rows in rows_by_source]
    _stop_if_unread(run, [row for _, rows in read_by_source for row in rows])
    own_test = bool(run.request.test_data) or any(row.own_role == "test" for row in everything)
    for intake, rows in read_by_source:
        enter(run.pool, index, intake, rows, cycle_id=run.cycle_id, own_test=own_test)
    named = sorted({row.sample_id for row in everything if row.sample_id in index.records})
    notes = _close(run, index) if closes else _stays_closed(run, index)
    late = sum(row.own_role == "test" and index.records[row.sample_id].role != "test" for row in everything
               if row.sample_id in index.records)  # fmt: skip
    if late:
        notes.append(f"{late} records of the test data were training records before and stay so")
    for intake, _ in read_by_source:
        counts = Counter(drop.reason if drop.section != "labels" else "contradicting labels" for drop in intake.dropped)
        notes += [f"{intake.name}: {count} records dropped: {reason}" for reason, count in counts.most_common()]
    pairs = _lookalikes(run, index)
    intakes = [_intake_json(intake) for intake, _ in read_by_source]
    return vocabulary, Snapshot(intakes, named, _near_test(index, pairs), notes, [asdict(pair) for pair in pairs])


def _extend_vocabulary(run: CycleRun, product: ProductRow | None, rows: Sequence[Any]) -> Vocabulary:
    """What the user declared, what the product had, and the new names of the truth columns; else the generic list."""
    generic = generic_vocabulary()
    declared: dict[str, Sequence[str]] = dict(run.config.vocabulary)
    if product is not None:
        known = json.loads(product.vocabulary)
        declared = {**{name: aliases for name, aliases in known.items() if name not in declared}, **declared}
    names = declared_names(rows, Vocabulary({name: tuple(aliases) for name, aliases in declared.items()}))
    declared.update(names)
    return merge_vocabulary(declared, generic)


def _stop_if_unread(run: CycleRun, rows: Sequence[ReadRow]) -> None:
    """List the rows whose truth cannot be read; too many of them stop the cycle before the pool is touched."""
    unread = [row for row in rows if row.truth is None]
    listing = run.stage_folder("define") / "unread.json"
    write_json(listing, [{"where": r.row.where, "reason": r.problem, "answer": r.row.answer} for r in unread])
    if len(unread) > UNREAD_LIMIT * len(rows):
        first = "; ".join(f"{r.row.where}: {r.row.answer[:60]!r} ({r.problem})" for r in unread[:3])
        raise DataError(
            f"{len(unread)} of {len(rows)} references cannot be read (more than {UNREAD_LIMIT:.0%}): {first}",
            hint=f"all are listed in {listing}; add truth columns, or verdict words and [vocabulary] by harness init",
        )


def _close(run: CycleRun, index: PoolIndex) -> list[str]:
    """Close the test split over the records of today; say where it replaces one on which nobody was judged."""
    before = index.closed_split()
    closed = close_split(index.candidates(), run.config.data.test_cap)
    if before is not None and closed.split_id == before.split_id:
        return []
    fact = PoolSplit(closed.split_id, closed.sample_ids, run.cycle_id, utc_now().isoformat(timespec="seconds"))
    run.pool.append([fact])
    index.splits.append(fact)
    if before is None or run.request.new_split:
        return []
    return [f"no answer was given on the test split {before.split_id}, whose cycles failed: it was closed anew"]


def _stays_closed(run: CycleRun, index: PoolIndex) -> list[str]:
    """What the closed test split means for this cycle's test records and cap."""
    split = index.closed_split()
    assert split is not None, "else this cycle closes it"
    notes = []
    closed_at, cap = len(split.sample_ids), run.config.data.test_cap
    if cap < closed_at:
        notes.append(f"a test cap of {cap} has no effect: the test split stays closed ({closed_at} records)")
    waiting = sum(record.role == "test" for record in index.records.values()) - closed_at
    if waiting > 0:
        notes.append(
            f"the test split {split.split_id} stays closed ({closed_at} records); {waiting} test records "
            "wait in reserve, untrained, until --new-split"
        )
    return notes


def _lookalikes(run: CycleRun, index: PoolIndex) -> list[NearPair]:
    """Pictures of the pool that are nearly equal; those that wait in reserve are trained on by nobody."""
    from harness.audit import Picture, find_lookalikes

    split = index.closed_split()
    assert split is not None
    tests = {index.records[sample_id].image_id for sample_id in split.sample_ids}
    pictures = {
        record.image_id: Picture(record.phash, run.pool.root / record.image)
        for record in index.records.values()
        if record.image_id in tests or record.role != "test"
    }
    return find_lookalikes(pictures, tests)


def _near_test(index: PoolIndex, pairs: Sequence[NearPair]) -> dict[str, str]:
    """Record -> the test record whose picture its own nearly equals; `pairs` come with the likest first."""
    split = index.closed_split()
    assert split is not None
    tests = {index.records[sample_id].image_id: sample_id for sample_id in split.sample_ids}
    nearest: dict[str, str] = {}
    for pair in pairs:
        if pair.one in tests and pair.other not in tests:
            nearest.setdefault(pair.other, tests[pair.one])
    return {
        record.sample_id: nearest[record.image_id] for record in index.records.values() if record.image_id in nearest
    }


def _check_members(members: Sequence[Member]) -> list[str]:
    counts = Counter(member.split for member in members)
    if not counts["train"]:
        raise SplitError(
            "no training record is left after the split",
            hint="add records with --data SRC, or raise --train-cap; harness audit --data SRC shows what was dropped",
        )
    notes = []
    if not counts["validation"]:
        notes.append("no validation record: the last epoch is kept, and no threshold can be chosen")
    near = [member for member in members if member.reason and member.reason.startswith("nearly equal")]
    if near:
        notes.append(f"{len(near)} records nearly equal to a test record are kept out of training")
    return notes


def _freeze_product(
    run: CycleRun, index: PoolIndex, members: Sequence[Member], vocabulary: Vocabulary, grid: Grid, split_id: str
) -> ProductRow:
    """Fix what later cycles must share: the question, the verdict openings and the forms of the training answers."""
    from harness.answer.verdict import choose_openings
    from harness.score.style import learn_forms

    sample_ids = [m.sample_id for m in members if m.split in ("train", "validation")]
    sample_ids += [m.sample_id for m in members if m.split == "excluded" and (m.reason or "").startswith("beyond")]
    answers: list[tuple[str, Truth, int]] = []
    for sample_id in sorted(sample_ids):
        truth = index.latest(sample_id)
        parsed = parse_answer(truth.reference, vocabulary, grid)
        ends = [evidence.end for evidence in parsed.evidence if evidence.kind == "verdict"]
        if parsed.verdict == truth.verdict and ends:
            answers.append((truth.reference, truth.truth, ends[0]))
    chosen = choose_openings(answers)
    openings = {
        verdict: getattr(chosen, verdict, None) or DEFAULT_OPENINGS[verdict] for verdict in ("passed", "defective")
    }
    openings["origin"] = "training answers" if chosen is not None else "default"
    questions = Counter(index.records[sample_id].question for sample_id in sample_ids)
    forms = learn_forms([index.latest(sample_id).reference for sample_id in sorted(sample_ids)], vocabulary, grid)
    known = read.product(run.ledger, run.config.product)
    return ProductRow(
        product=run.config.product,
        created_at=known.created_at if known else utc_now(),
        split_id=split_id,
        question=questions.most_common(1)[0][0],
        vocabulary=_vocabulary_json(vocabulary),
        grid=json.dumps({"columns": grid.columns, "rows": grid.rows}),
        openings=json.dumps(openings, ensure_ascii=False),
        forms=forms.to_json(),
        reference_model_id=known.reference_model_id if known else None,
    )


def _counts(index: PoolIndex, members: Sequence[Member]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {
        split: {"passed": 0, "defective": 0} for split in ("train", "validation", "test", "reserve", "excluded")
    }
    for member in members:
        counts[member.split][index.latest(member.sample_id).verdict] += 1
    return counts


def _cycle_row(run: CycleRun, split_id: str, counts: dict[str, dict[str, int]], snapshot: Snapshot) -> CycleRow:
    from harness import __version__

    total = {split: sum(by_verdict.values()) for split, by_verdict in counts.items()}
    known = [row for row in read.cycles(run.ledger) if row.cycle_id == run.cycle_id]
    return CycleRow(
        cycle_id=run.cycle_id,
        product=run.config.product,
        status="running",
        created_at=known[0].created_at if known else utc_now(),
        finished_at=None,
        harness_version=__version__,
        recipe=run.config.recipe,
        seed=run.config.seed,
        config=run.config.model_dump_json(),
        sources=json.dumps(snapshot.intakes, ensure_ascii=False),
        grow_id=run.request.grow_id,
        split_id=split_id,
        train_records=total["train"] + total["validation"],
        fit_records=total["train"],
        validation_records=total["validation"],
        test_records=total["test"],
        model=run.config.model.id,
    )


def _write_rows(
    run: CycleRun, index: PoolIndex, product: ProductRow, cycle: CycleRow, members: Sequence[Member]
) -> None:
    samples = [
        SampleRow(
            product=run.config.product,
            sample_id=record.sample_id,
            image_id=record.image_id,
            image_file=record.image,
            width=record.width,
            height=record.height,
            question=record.question,
            group_id=record.group,
            severity=record.severity,
            source=record.source,
            role=record.role,
            first_cycle=record.cycle,
            added_at=datetime.fromisoformat(record.added_at),
        )
        for record in index.records.values()
    ]
    truths = [
        TruthRow(
            product=run.config.product,
            sample_id=truth.sample_id,
            truth_version=truth.truth_version,
            verdict=truth.verdict,
            findings=tuple({"location": location, "defect": defect} for location, defect in truth.findings),
            reference=truth.reference,
            origin=truth.origin,
            added_at=datetime.fromisoformat(truth.added_at),
        )
        for versions in index.truths.values()
        for truth in versions
    ]
    memberships = [
        MembershipRow(run.cycle_id, m.sample_id, m.split, index.latest(m.sample_id).truth_version, m.reason)
        for m in members
    ]
    with run.ledger.writing() as connection:
        write.replace(connection, "products", [product], product=product.product)
        write.replace(connection, "cycles", [cycle], cycle_id=run.cycle_id)
        write.replace(connection, "samples", samples, product=product.product)
        write.replace(connection, "truths", truths, product=product.product)
        write.replace(connection, "memberships", memberships, cycle_id=run.cycle_id)


def _vocabulary(stored: dict[str, list[str]]) -> Vocabulary:
    return Vocabulary({name: tuple(aliases) for name, aliases in stored.items()})


def _vocabulary_json(vocabulary: Vocabulary) -> str:
    return json.dumps({name: list(aliases) for name, aliases in vocabulary.defects.items()}, ensure_ascii=False)


def _intake_json(intake: Intake) -> dict[str, Any]:
    return {
        "name": intake.name,
        "kind": intake.kind,
        "revision": intake.revision,
        "rows": intake.rows,
        "added": len(intake.added),
        "corrected": len(intake.corrected),
        "known": len(intake.known),
        "dropped": [{"where": d.where, "section": d.section, "reason": d.reason} for d in intake.dropped],
    }
