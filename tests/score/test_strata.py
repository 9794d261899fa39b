"""Error slices and the strata to add: by hand, and by property."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from harness.records import Finding
from harness.score.strata import (
    ADDED,
    FEW,
    PRIOR,
    JudgedRecord,
    error_slices,
    rank_strata,
    severity_band,
)
from tests.score.answers import cells, names


def _bad(defect: str | None, location: str | None, right: bool, group: str = "g", severity: float | None = None,
         source: str = "line 1") -> JudgedRecord:  # fmt: skip
    return JudgedRecord((Finding(location, defect),), True, right, severity, group, source)


def _good(right: bool, group: str = "g", source: str = "line 1") -> JudgedRecord:
    return JudgedRecord((), False, right, None, group, source)


def test_slices_by_every_axis() -> None:
    records = [
        _bad("stain", "1U", right=False, group="lot 1", severity=0.2),
        _bad("stain", "3C", right=True, group="lot 1", severity=0.9),
        _bad("short", "3C", right=True, group="lot 2", severity=0.5, source="line 2"),
        _good(right=False, group="lot 3"),
    ]
    found = {(part.axis, part.value): (part.wrong, part.n) for part in error_slices(records)}
    assert found == {
        ("defect", "stain"): (1, 2), ("defect", "short"): (0, 1), ("location", "1U"): (1, 1),
        ("location", "3C"): (0, 2),
        ("severity", "hard"): (1, 1), ("severity", "medium"): (0, 1), ("severity", "easy"): (0, 1),
        ("group", "lot 1"): (1, 2), ("source", "line 1"): (2, 3), ("source", "line 2"): (0, 1),
    }  # fmt: skip
    assert [part.value for part in error_slices(records) if part.axis == "defect"] == ["stain", "short"], "worst first"
    stain = error_slices(records)[0]
    assert (stain.low, stain.high) == pytest.approx(proportion_confint(1, 2, method="wilson"))
    assert stain.few


def test_severity_bands_are_thirds() -> None:
    assert [severity_band(s) for s in (0.0, 0.33, 0.34, 0.66, 0.67, 1.0)] == [
        "hard", "hard", "medium", "medium", "easy", "easy",
    ]  # fmt: skip


def test_a_cell_stands_alone_from_ten_test_records_on() -> None:
    records = [_bad("stain", "1U", right=False) for _ in range(FEW)] + [_bad("stain", "2U", right=True)] * (FEW - 1)
    found = {(s.defect, s.location): s for s in rank_strata(records, [])}
    assert set(found) == {("stain", "1U"), ("stain", None), (None, "2U")}
    assert found["stain", "1U"].n == FEW
    assert not found["stain", "1U"].few
    assert found["stain", None].n == FEW - 1, "what no cell of its own speaks for"
    assert found["stain", None].few
    assert found["stain", "1U"].name == "stain at 1U"
    assert found["stain", None].name == "stain"
    assert found[None, "2U"].name == "any defect at 2U"


def test_the_gain_by_hand() -> None:
    records = [_bad("stain", None, right=i >= 6) for i in range(20)] + [_bad("short", None, right=True)] * 20
    trained = [(Finding(None, "stain"),)] * 3 + [(Finding(None, "short"),)] * 80
    stain, short = rank_strata(records, trained)
    # 6 of 20 missed, 6 of 40 over all: (6 + 10 x 0.15) / 30 = 0.25; 4 training records and one become 24.
    assert (stain.defect, stain.missed, stain.n, stain.trained) == ("stain", 6, 20, 3)
    assert (PRIOR, ADDED) == (10, 20)
    assert stain.rate == pytest.approx(0.25)
    assert stain.gain == pytest.approx(0.25 * (1 - (4 / 24) ** 0.5))
    assert short.rate == pytest.approx(0.05)
    assert short.gain == pytest.approx(0.05 * (1 - (81 / 101) ** 0.5))


def test_one_unlucky_record_does_not_rank_first() -> None:
    records = [_bad("scratch", None, right=False)] + [_bad("stain", None, right=i >= 30) for i in range(40)]
    records += [_bad("short", None, right=True)] * 60
    trained = [(Finding(None, name),) for name in ("scratch", "stain", "short") for _ in range(10)]
    assert [s.defect for s in rank_strata(records, trained)][:2] == ["stain", "scratch"]


def test_a_stratum_of_training_alone_is_ranked_at_the_mean() -> None:
    records = [_bad("stain", "1U", right=i >= 5) for i in range(10)]
    found = {s.defect: s for s in rank_strata(records, [(Finding(None, "dent"),)]) if s.location is None}
    assert found["dent"].n == 0
    assert found["dent"].rate == pytest.approx(0.5)
    assert found["dent"].few


def test_nothing_missed_and_nothing_tested() -> None:
    assert rank_strata([], []) == []
    assert error_slices([]) == []
    assert all(s.gain == 0 for s in rank_strata([_bad("stain", "1U", right=True)], []))


RECORDS = st.builds(
    JudgedRecord,
    findings=st.lists(st.builds(Finding, cells, names), min_size=1, max_size=3).map(tuple),
    defective=st.booleans(),
    right=st.booleans(),
    severity=st.none() | st.floats(0, 1),
    group=st.sampled_from(["a", "b", "c"]),
    source=st.sampled_from(["x", "y"]),
)


@settings(max_examples=60, deadline=None)
@given(records=st.lists(RECORDS, max_size=60), more=st.integers(1, 50))
def test_ranks_and_bounds_whatever_the_records(records: list[JudgedRecord], more: int) -> None:
    trained = [record.findings for record in records]
    strata = rank_strata(records, trained)
    assert all(one.gain >= other.gain for one, other in pairwise(strata))
    for stratum in strata:
        assert 0 <= stratum.gain <= stratum.rate <= 1
        assert stratum.missed <= stratum.n
        assert stratum.few == (stratum.n < FEW)
    if strata:
        top = strata[0]
        again = rank_strata(records, [*trained, *[(Finding(top.location, top.defect),)] * more])
        same = next((s for s in again if (s.defect, s.location) == (top.defect, top.location)), None)
        assert same is not None
        assert same.gain <= top.gain, "more training records of a stratum lower its gain"
    for part in error_slices(records):
        assert 0 <= part.low <= part.rate <= part.high <= 1
        assert part.wrong <= part.n
