"""Which unlabelled pictures should be labelled next? Those of which the raised inspector is least sure.

Enters: a finished cycle and a source of pictures. Leaves: Suggestions in order, nothing in the ledger; the answers go
to a journal in the cycle's folder, so that a stopped or repeated run asks only what is new. Unreadable answers come
first, then P(defective) from nearest to THRESHOLD on. A picture that the product knows already is left out; one nearly
equal to a picture before it steps back behind all others: the perceptual hash shortlists, the aligned difference of the
audit confirms (on one-product scenes the hash alone cannot tell pictures apart).
Cost: the answers; and 30 to 100 ms for each pair of pictures that is confirmed.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.answer.journal import AnswerJournal
from harness.audit.difference import aligned_difference
from harness.dataset.pictures import PoolPicture, unlabelled_pictures
from harness.errors import DataError
from harness.parse import parse_answer
from harness.records import RawAnswer
from harness.stages.inspector import Inspector, Seat, ask_inspector, inspector_of
from harness.stages.scoring import product_terms
from harness.store import Ledger, read
from harness.store.rows import CycleRow, ProductRow, SampleRow

#: P(defective) at which the inspector is least sure
THRESHOLD = 0.5
#: bits of 64 within which two pictures are compared pixel by pixel, and how many of the nearest are
HAMMING, COMPARED = 10, 8


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A picture to label. `distance` is |P(defective) - THRESHOLD|; `like` names a suggested picture that it nearly
    equals, "" where there is none."""

    rank: int
    picture: str
    p_defective: float | None
    distance: float | None
    verdict: str | None
    findings: str
    reason: str
    like: str


@dataclass(frozen=True, slots=True)
class Ranked:
    """A picture with its answer, before lookalikes step back."""

    picture: PoolPicture
    p_defective: float | None
    verdict: str | None
    findings: str
    reason: str

    @property
    def distance(self) -> float | None:
        """How far the inspector is from being undecided, in [0, 0.5]."""
        return None if self.p_defective is None else abs(self.p_defective - THRESHOLD)


def suggest(
    ledger: Ledger,
    cycle_id: str,
    pool: str,
    *,
    n: int = 50,
    columns: Mapping[str, str] | None = None,
    say: Callable[[str], None],
) -> list[Suggestion]:
    """Rank unlabelled pictures by how unsure a cycle's fine-tuned model is of them.

    Args:
        pool: a folder of pictures, or a SRC.
        n: how many to suggest, at most.
        columns: our column name -> the source's.

    Raises:
        DataError: the source cannot be read, or holds no picture that is new to the product.
        UnknownCycle: no such cycle.
        LedgerError: the cycle has no fine-tuned model yet.
        ModelError: the model cannot be loaded, or is not the one that the cycle left.
    """
    inspector = inspector_of(ledger, cycle_id)
    with tempfile.TemporaryDirectory(prefix="harness-suggest-") as work:
        pictures = _new_pictures(ledger, inspector.cycle, pool, Path(work), columns, say)
        answers = _answers(ledger, inspector, pictures, say)
        ranked = rank(_read(inspector.product, pictures, answers))
        return spread(ranked, n)


def rank(items: Sequence[Ranked]) -> list[Ranked]:
    """Unreadable first, then by distance to THRESHOLD; pictures without a probability last, ties by name."""
    return sorted(
        items,
        key=lambda item: (
            item.verdict is not None,
            1.0 if item.distance is None else item.distance,
            item.picture.name,
        ),
    )


def spread(
    ranked: Sequence[Ranked], n: int, *, difference: Callable[[Path, Path], float] = aligned_difference
) -> list[Suggestion]:
    """The first n, where a picture nearly equal to one before it steps back behind all that are not.

    Args:
        ranked: in order.
        n: at most so many.
        difference: how different two picture files are; below 1 they are nearly equal.
    """
    chosen: list[Ranked] = []
    back: list[tuple[Ranked, str]] = []
    for item in ranked:
        if len(chosen) == n:
            break
        twin = _lookalike(item, chosen, difference)
        if twin is None:
            chosen.append(item)
        else:
            back.append((item, twin.picture.name))
    order = [(item, "") for item in chosen] + back[: n - len(chosen)]
    return [
        Suggestion(
            rank=place,
            picture=item.picture.name,
            p_defective=item.p_defective,
            distance=item.distance,
            verdict=item.verdict,
            findings=item.findings,
            reason=item.reason,
            like=like,
        )
        for place, (item, like) in enumerate(order, start=1)
    ]


def _lookalike(item: Ranked, chosen: Sequence[Ranked], difference: Callable[[Path, Path], float]) -> Ranked | None:
    """The nearest chosen picture that the item nearly equals."""
    own = int(item.picture.phash, 16)
    near = [((own ^ int(other.picture.phash, 16)).bit_count(), place) for place, other in enumerate(chosen)]
    for bits, place in sorted(near)[:COMPARED]:
        if bits <= HAMMING and difference(item.picture.path, chosen[place].picture.path) < 1:
            return chosen[place]
    return None


def _new_pictures(
    ledger: Ledger,
    cycle: CycleRow,
    pool: str,
    work: Path,
    columns: Mapping[str, str] | None,
    say: Callable[[str], None],
) -> list[PoolPicture]:
    """The source's pictures, each once, without those that the product has records of."""
    found, drops = unlabelled_pictures(pool, work, columns=columns)
    for why, count in Counter(drop.reason.partition(":")[0] for drop in drops).items():
        say(f"suggest: {count} left out: {why}, as {next(d.where for d in drops if d.reason.startswith(why))}")
    known = {row.image_id for row in read.rows(ledger, SampleRow, "product = ?", [cycle.product])}
    once = {picture.image_id: picture for picture in reversed(found)}
    new = [once[image_id] for image_id in dict.fromkeys(p.image_id for p in found) if image_id not in known]
    labelled = sum(picture.image_id in known for picture in found)
    if labelled:
        say(f"suggest: {labelled} left out: product {cycle.product} has records of these pictures")
    if len(found) - labelled > len(new):
        say(f"suggest: {len(found) - labelled - len(new)} left out: equal to another picture of {pool}")
    if not new:
        raise DataError(
            f"all {len(found)} pictures of {pool} are in the product's pool already",
            hint="name a folder with pictures that have no label yet",
        )
    return new


def _answers(
    ledger: Ledger, inspector: Inspector, pictures: Sequence[PoolPicture], say: Callable[[str], None]
) -> dict[str, RawAnswer]:
    """Image id -> the fine-tuned model's answer under the canonical condition."""
    vlm = Seat(ledger, say).take(inspector)
    name = f"answers-{inspector.role.model_id}-{inspector.engine(vlm)}.jsonl"
    journal = AnswerJournal(ledger.runs / inspector.cycle_id / "suggest" / name)
    samples = {p.image_id: inspector.unlabelled(p.image_id, p.path, p.question) for p in pictures}
    answers = ask_inspector(
        vlm, inspector, [*samples.values()], journal, label="suggest", say=say, openings=inspector.openings
    )
    return {image_id: answers[sample.sample_id] for image_id, sample in samples.items()}


def _read(product: ProductRow, pictures: Sequence[PoolPicture], answers: Mapping[str, RawAnswer]) -> list[Ranked]:
    vocabulary, grid = product_terms(product)
    items = []
    for picture in pictures:
        answer = answers[picture.image_id]
        parsed = parse_answer(answer.text, vocabulary, grid)
        said = "; ".join(f"{f.location or '?'} {f.defect or '?'}" for f in parsed.findings)
        items.append(Ranked(picture, answer.p_defective, parsed.verdict, said, parsed.reason))
    return items
