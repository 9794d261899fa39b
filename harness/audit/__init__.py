"""Is the data sound? Checks that need no model, MEASUREMENT section 8.

checks.py      labels, missing fields, duplicates, balance -> an AuditReport
words.py       does an answer say what the truth columns say?
lookalikes.py  pictures that are nearly equal
shortlist.py   ... which pairs are worth a look: perceptual hash, tangent distance of thumbnails
difference.py  ... the look: pictures laid on each other, their largest local difference
"""

from harness.audit.checks import AuditFinding, AuditRecord, AuditReport, audit
from harness.audit.lookalikes import NearPair, Picture, find_lookalikes
from harness.audit.words import disagreement

__all__ = [
    "AuditFinding",
    "AuditRecord",
    "AuditReport",
    "NearPair",
    "Picture",
    "audit",
    "disagreement",
    "find_lookalikes",
]
