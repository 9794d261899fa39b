"""The data checks alone, before any cycle: what `harness audit --data SRC` prints.

Enters: sources. Leaves: an audit report; nothing is kept. Pictures lie in a temporary folder meanwhile, so memory holds
no picture. Cost: 16 ms a record on two cores, and 30 kB.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.audit import AuditFinding, AuditRecord, AuditReport, Picture, audit, disagreement, find_lookalikes
from harness.config import CycleConfig
from harness.dataset.ingest import Drop, collect, declared_names, read_rows
from harness.dataset.pool import Pool
from harness.dataset.sources import Source, open_source
from harness.dataset.split import TEST_SHARE, hashed_role
from harness.errors import MissingColumns
from harness.parse import generic_vocabulary, merge_vocabulary


def audit_sources(
    data: Sequence[str], test_data: Sequence[str], config: CycleConfig, *, say: Callable[[str], None]
) -> AuditReport:
    """Audit sources as a first cycle over them would see them.

    Raises:
        DataError: a source cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="harness-audit-") as folder:
        pool = Pool(Path(folder), config.product)
        rows, drops, about = [], list[Drop](), list[AuditFinding]()
        for src, as_test in [(src, True) for src in test_data] + [(src, False) for src in data]:
            try:
                source = open_source(src, config.data.columns, default_question=config.data.question)
            except MissingColumns as error:
                about.append(AuditFinding("columns", "error", error.message, 1, (src,), error.hint))
                continue
            about += _optional_columns(source, config)
            say(f"audit: reading {source.name}")
            taken, dropped = collect(source, pool, as_test=as_test, default_question=config.data.question)
            rows += taken
            drops += dropped
        grid = config.as_grid()
        declared = {**config.vocabulary, **declared_names(rows, config.as_vocabulary())}
        vocabulary = merge_vocabulary(declared, generic_vocabulary())
        own_test = bool(test_data) or any(row.own_role == "test" for row in rows)
        share = 0.0 if own_test else TEST_SHARE
        records = [
            AuditRecord(
                where=item.row.where,
                sample_id=item.row.sample_id,
                image_id=item.row.image_id,
                question=item.row.question,
                answer=item.row.answer,
                truth=item.truth,
                truth_problem=item.problem or None,
                split=item.row.own_role or hashed_role(item.row.group, test_share=share),
                disagreement=disagreement(item.said, item.truth) if item.said and item.truth else "",
            )
            for item in read_rows(rows, vocabulary, grid)
        ]
        pictures = {row.image_id: Picture(row.phash, pool.root / row.image) for row in rows}
        say(f"audit: comparing {len(pictures)} pictures")
        near = find_lookalikes(pictures, {record.image_id for record in records if record.split == "test"})
        report = audit(records, drops=drops, grid=grid, near=near)
        return AuditReport((*(a for a in about if a.severity == "error"), *report.findings,
                            *(a for a in about if a.severity != "error")))  # fmt: skip


def _optional_columns(source: Source, config: CycleConfig) -> list[AuditFinding]:
    """What a source leaves unsaid."""
    names = {ours: config.data.columns.get(ours, ours) for ours in ("verdict", "group")}
    said = {
        "verdict": ("no truth columns: the truth is read from the answers", "add verdict, locations and defects"),
        "group": ("no groups: each picture stands for a part of its own", "name the part or lot in a column group, so "
                  "that pictures of one part never lie on both sides of a split"),
    }  # fmt: skip
    return [
        AuditFinding("columns", "info", f"{source.name}: {said[ours][0]}", 1, (), said[ours][1])
        for ours, theirs in names.items()
        if theirs not in source.columns
    ]
