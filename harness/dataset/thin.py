"""Fewer records without losing the mixture: a stratified, deterministic, nested order.

Enters: records with a stratum. Leaves: their ids in an order of which every prefix has, up to one record, the strata
in the proportions of the whole. Cost: a rare stratum enters a small prefix only when its share is due, so a defect
with 1 % of the records is absent from most sets of 50.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from typing import Protocol


class Stratified(Protocol):
    """A record that knows its stratum and its role."""

    @property
    def sample_id(self) -> str:
        """Its id."""

    @property
    def stratum(self) -> str:
        """Its verdict and leading defect."""

    @property
    def role(self) -> str:
        """train | validation | test."""


def stratified_order(records: Iterable[Stratified]) -> list[str]:
    """The ids of the records; any prefix is a stratified sample and contains every shorter one.

    Within a stratum (role and truth) records are ranked by a hash of their id; the record of rank i of n goes to the
    place (i + 1/2) / n, as in systematic sampling with proportional allocation (Cochran, Sampling Techniques, ch. 8).
    """
    strata: dict[tuple[str, str], list[str]] = defaultdict(list)
    for record in records:
        strata[record.role, record.stratum].append(record.sample_id)
    places: list[tuple[float, str, str]] = []
    for ids in strata.values():
        ranked = sorted(ids, key=_lot)
        places += [((rank + 0.5) / len(ranked), _lot(sample_id), sample_id) for rank, sample_id in enumerate(ranked)]
    return [sample_id for _, _, sample_id in sorted(places)]


def _lot(sample_id: str) -> str:
    return hashlib.sha256(f"thin\n{sample_id}".encode()).hexdigest()
