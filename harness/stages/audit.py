"""The data checks alone, before any cycle: what `harness audit --data SRC` prints.

Enters: sources. Leaves: an audit report; nothing is kept. Pictures lie in a temporary folder meanwhile, so memory
stays flat whatever their number.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.audit import AuditRecord, AuditReport, Picture, audit
from harness.config import CycleConfig
from harness.dataset.ingest import Drop, collect, declared_names, read_rows
from harness.dataset.pool import Pool
from harness.dataset.sources import open_source
from harness.dataset.split import TEST_SHARE, hashed_role
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
        rows, drops = [], list[Drop]()
        for src, as_test in [(src, True) for src in test_data] + [(src, False) for src in data]:
            source = open_source(src, config.data.columns, default_question=config.data.question)
            say(f"audit: reading {source.name}")
            taken, dropped = collect(source, pool, as_test=as_test, default_question=config.data.question)
            rows += taken
            drops += dropped
        grid = config.as_grid()
        declared = {**config.vocabulary, **declared_names(rows, config.as_vocabulary())}
        read = read_rows(rows, merge_vocabulary(declared, generic_vocabulary()), grid)
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
            )
            for item in read
        ]
        return audit(
            records,
            drops=drops,
            grid=grid,
            pictures={row.image_id: Picture(row.phash, pool.root / row.image) for row in rows},
        )
