"""One DMAICS cycle: the six stages in order, each once, resumed at the first unfinished one.

Enters: a request (sources, sizes) and a configuration. Leaves: runs/<cycle>/, rows in the ledger, a report.
`--grow 50,100,200` is a series of cycles over one pool snapshot and one frozen test split; the base model stays
resident and answers once. A killed cycle goes on where it stopped, and so does its series.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.config import CycleConfig
from harness.dataset.ingest import open_usable
from harness.dataset.pool import Pool, utc_now
from harness.errors import ConfigError, HarnessError, Interrupted, LedgerError
from harness.stages import STAGES
from harness.stages.run import (
    Bench,
    CycleRequest,
    CycleRun,
    read_cycle_file,
    read_manifest,
    write_cycle_file,
    write_json,
)
from harness.store import Ledger, read, write
from harness.store.rows import StageRow

if TYPE_CHECKING:
    from harness.stages.robustness import NoiseStudy


@dataclass(frozen=True, slots=True)
class Place:
    """Where a cycle keeps its things and how it speaks."""

    runs: Path
    reports: Path
    say: Callable[[str], None]


def run_cycle(request: CycleRequest, config: CycleConfig, place: Place) -> list[str]:
    """Run a new cycle, or a series of them where the request grows; its id is taken once the sources can be read.

    Returns:
        The ids of the finished cycles, in order.

    Raises:
        HarnessError: as the stages do; the cycle is marked failed, what is finished stays and can be resumed.
        Interrupted: on SIGINT.
    """
    if not request.data:
        raise ConfigError("no data named", hint="name it: harness cycle --data SRC")
    if any(a >= b for a, b in zip(request.grow, request.grow[1:], strict=False)):
        raise ConfigError(
            f"--grow must rise, got {','.join(map(str, request.grow))}", hint="for example --grow 50,100,200"
        )
    open_usable((*request.test_data, *request.data), config.data.columns, default_question=config.data.question)
    cycle_id = _claim(place.runs)
    grow_id = cycle_id if request.grow else None
    write_cycle_file(place.runs / cycle_id, replace(request, grow_id=grow_id), config)
    return _run_series(cycle_id, place)


def resume_cycle(cycle_id: str, place: Place) -> list[str]:
    """Go on with a cycle at its first unfinished stage, then with the rest of its series.

    Returns:
        The ids of the cycles of the series that are finished now, from this one on.

    Raises:
        LedgerError: there is no such cycle.
    """
    return _run_series(cycle_id, place)


def study_robustness(
    cycle_id: str, place: Place, *, reference: str | None = None, change_reference: bool = False
) -> NoiseStudy:
    """Study a finished cycle's models under noise and render its page again.

    Args:
        reference: "base", a cycle id or a model id: whose scores are the signal of sn_base; None: the product's own.
        change_reference: allow another reference than the recorded one; both models are then scored on both.

    Raises:
        UnknownCycle: there is no such cycle.
        HarnessError: as `study_noise`; what was answered stays and is not asked again.
        Interrupted: on SIGINT.
    """
    from harness.report import render_reports
    from harness.stages.robustness import study_noise

    read.cycle(Ledger(place.runs), cycle_id)
    request, config = read_cycle_file(place.runs / cycle_id)
    run = _open(cycle_id, request, config, place, Bench(lambda: _load(config, place)))
    try:
        found = study_noise(run, reference=reference, change_reference=change_reference)
    except KeyboardInterrupt as stop:
        raise Interrupted(cycle_id, "harness robustness") from stop
    for page in render_reports(run.ledger, [cycle_id], place.reports):
        place.say(f"robustness: {page}")
    return found


def _run_series(cycle_id: str, place: Place) -> list[str]:
    request, config = read_cycle_file(place.runs / cycle_id)
    bench = Bench(lambda: _load(config, place))
    finished = []
    while True:
        try:
            _run_stages(_open(cycle_id, request, config, place, bench))
        except KeyboardInterrupt as stop:
            raise Interrupted(cycle_id) from stop
        finished.append(cycle_id)
        if request.position + 1 >= len(request.grow):
            return finished
        request = replace(request, position=request.position + 1, new_split=False)
        following = _find_in_series(place.runs, request)
        if following is None:
            following = _claim(place.runs)
            write_cycle_file(place.runs / following, request, config)
        cycle_id = following


def _run_stages(run: CycleRun) -> None:
    """The unfinished stages; an error leaves the cycle failed in the ledger, a kill leaves it running."""
    _change_status(run, "failed", "running")
    try:
        _run_unfinished(run)
    except LedgerError:
        raise  # the ledger is what fails
    except HarnessError:
        _change_status(run, "running", "failed")
        raise


def _change_status(run: CycleRun, old: str, new: str) -> None:
    for row in read.cycles(run.ledger):
        if row.cycle_id == run.cycle_id and row.status == old:
            with run.ledger.writing() as connection:
                write.replace(connection, "cycles", [replace(row, status=new)], cycle_id=run.cycle_id)


def _run_unfinished(run: CycleRun) -> None:
    for stage in STAGES:
        if run.manifest(stage) is not None:
            continue
        run.say(f"{run.cycle_id} {stage}")
        work = getattr(import_module(f"harness.stages.{stage}"), stage)
        started, clock = utc_now(), time.monotonic()
        manifest: dict[str, Any] = work(run)
        row = StageRow(
            cycle_id=run.cycle_id,
            stage=stage,
            started_at=started,
            finished_at=utc_now(),
            seconds=time.monotonic() - clock,
            peak_memory_gib=run.bench.peak_memory_gib(),
            peak_rss_gib=_peak_rss_gib(),
            manifest=json.dumps(manifest, ensure_ascii=False),
        )
        with run.ledger.writing() as connection:
            write.replace(connection, "stages", [row], cycle_id=run.cycle_id, stage=stage)
        if stage == "share":
            from harness.report import render_reports

            for page in render_reports(run.ledger, [run.cycle_id], run.reports):
                run.say(f"share: {page}")
        write_json(run.stage_folder(stage) / "manifest.json", manifest)


def _open(cycle_id: str, request: CycleRequest, config: CycleConfig, place: Place, bench: Bench) -> CycleRun:
    ledger = Ledger(place.runs, tell=place.say)
    pool = Pool(place.runs, config.product)
    return CycleRun(cycle_id, config, request, place.runs, place.reports, ledger, pool, bench, place.say)


def _load(config: CycleConfig, place: Place) -> Any:
    from harness.vlm.features import open_features
    from harness.vlm.load import load_vlm

    assert config.model.id is not None, "the command line settles the model"
    vlm = load_vlm(
        config.model.id,
        revision=config.model.revision,
        dtype=config.model.dtype,
        attention=config.model.attention,
    )
    vlm.features = open_features(vlm, place.runs / "features", limit=round(config.model.features_gib * 2**30))
    place.say(vlm.describe())
    return vlm


def _claim(runs: Path) -> str:
    """The next free cycle id; making its folder claims it against other processes."""
    runs.mkdir(parents=True, exist_ok=True)
    taken = [int(path.name[1:]) for path in runs.glob("c[0-9][0-9][0-9][0-9]*") if path.name[1:].isdigit()]
    taken += [int(row.cycle_id[1:]) for row in read.cycles(Ledger(runs))]
    number = max(taken, default=0) + 1
    while True:
        cycle_id = f"c{number:04d}"
        try:
            (runs / cycle_id).mkdir()
        except FileExistsError:
            number += 1
        else:
            return cycle_id


def _find_in_series(runs: Path, request: CycleRequest) -> str | None:
    """The cycle that an earlier try already made for this place of the series."""
    for folder in sorted(runs.glob("c*")):
        if (folder / "cycle.json").is_file():
            other, _ = read_cycle_file(folder)
            if other.grow_id == request.grow_id and other.position == request.position:
                return folder.name
    return None


def _peak_rss_gib() -> float:
    """Peak resident memory of this process so far, in GiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20


def finished(runs: Path, cycle_id: str) -> bool:
    """Whether every stage of a cycle has left its manifest.

    Raises:
        LedgerError: there is no such cycle.
    """
    if not (runs / cycle_id).is_dir():
        raise LedgerError(f"no cycle {cycle_id} in {runs}", hint="list the cycles: harness runs")
    return all(read_manifest(runs / cycle_id, stage) is not None for stage in STAGES)
