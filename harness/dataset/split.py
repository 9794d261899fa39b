"""Who is trained on, who chooses, who judges: roles by group hash, the closed test split, and a cycle's memberships.

Enters: pool records with their roles. Leaves: the split of every record in a cycle, each with a reason where it is
kept back. Roles come from the hash of the record's group and nothing else, so they are the same for every seed, order
of arrival and machine; a group is never on both sides. Cost: shares are met on average only (n groups: +- sqrt(n)).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from harness.dataset.thin import stratified_order
from harness.errors import SplitError
from harness.records import Split

TEST_SHARE = 0.2
VALIDATION_SHARE = 0.2  # of the rest

PoolRole = Literal["train", "validation", "test"]

#: the reason of a record that is kept out for its picture, before the id of the test record
NEARLY_EQUAL = "nearly equal to test record "

#: what sources call their splits
SPLIT_ROLES: Mapping[str, PoolRole] = {
    "test": "test",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
}


def hashed_role(group: str, *, test_share: float = TEST_SHARE) -> PoolRole:
    """The role of a group, from its name alone.

    Args:
        test_share: 0 where the data brings its own test split.
    """
    if _unit("test", group) < test_share:
        return "test"
    return "validation" if _unit("validation", group) < VALIDATION_SHARE else "train"


def _unit(salt: str, text: str) -> float:
    digest = hashlib.sha256(f"{salt}\n{text}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


@dataclass(frozen=True, slots=True)
class Candidate:
    """What splitting needs to know of a record. `stratum` is its verdict and leading defect."""

    sample_id: str
    image_id: str
    group: str
    role: PoolRole
    stratum: str


@dataclass(frozen=True, slots=True)
class ClosedSplit:
    """A frozen test split; `split_id` is the hash of its sorted sample ids."""

    split_id: str
    sample_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Member:
    """The part of a record in a cycle; `reason` says why it is kept back."""

    sample_id: str
    split: Split
    reason: str | None = None


def close_split(candidates: Iterable[Candidate], cap: int) -> ClosedSplit:
    """Freeze the test split: the records of role test, thinned to the cap by strata.

    Raises:
        SplitError: there is none.
    """
    tests = [candidate for candidate in candidates if candidate.role == "test"]
    if not tests:
        raise SplitError(
            "no record fell into the test split", hint="add records, or name the test data with --test-data SRC"
        )
    kept = sorted(stratified_order(tests)[:cap])
    return ClosedSplit(hashlib.sha256("\n".join(kept).encode()).hexdigest()[:16], tuple(kept))


def assign(
    candidates: Iterable[Candidate],
    split: ClosedSplit,
    *,
    train_cap: int,
    near_test: Mapping[str, str],
    named: Collection[str] | None = None,
) -> list[Member]:
    """The split of every record of the pool in one cycle.

    Args:
        candidates: all records of the product's pool.
        split: the frozen test split.
        train_cap: most training + validation records.
        near_test: sample id -> id of the test record that its picture nearly equals.
        named: the sample ids of this cycle's own sources, where only these shall be trained on.

    Returns:
        One Member a record, ordered by sample id. Training and validation together keep at most `train_cap` records; a
        smaller cap over the same pool gives a subset.
    """
    tests = set(split.sample_ids)
    pool = sorted(candidates, key=lambda candidate: candidate.sample_id)
    test_groups = {candidate.group for candidate in pool if candidate.sample_id in tests}
    test_images = {candidate.image_id for candidate in pool if candidate.sample_id in tests}
    members: dict[str, Member] = {}
    trainable: list[Candidate] = []
    for candidate in pool:
        sample_id = candidate.sample_id
        if sample_id in tests:
            members[sample_id] = Member(sample_id, "test")
        elif candidate.role == "test":
            members[sample_id] = Member(sample_id, "reserve", "belongs to test; the test split in force is closed")
        elif candidate.image_id in test_images:
            members[sample_id] = Member(sample_id, "excluded", "its picture is in the test split")
        elif candidate.group in test_groups:
            members[sample_id] = Member(sample_id, "excluded", f"its group {candidate.group} is in the test split")
        elif sample_id in near_test:
            members[sample_id] = Member(sample_id, "excluded", f"{NEARLY_EQUAL}{near_test[sample_id]}")
        elif named is not None and sample_id not in named:
            members[sample_id] = Member(sample_id, "excluded", "not in the named sources (data.pool = false)")
        else:
            trainable.append(candidate)
    order = stratified_order(trainable)
    roles = {candidate.sample_id: candidate.role for candidate in trainable}
    for rank, sample_id in enumerate(order):
        if rank < train_cap:
            members[sample_id] = Member(sample_id, "validation" if roles[sample_id] == "validation" else "train")
        else:
            members[sample_id] = Member(sample_id, "excluded", f"beyond the cap of {train_cap} training records")
    return [members[sample_id] for sample_id in sorted(members)]
