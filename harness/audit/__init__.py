"""Is the data sound? Checks that need no model, MEASUREMENT section 8.

checks.py      labels, missing fields, duplicates, balance -> an AuditReport
lookalikes.py  pictures nearly equal to a test picture: shortlisted by perceptual hash, confirmed by pixels
"""

from harness.audit.checks import AuditFinding, AuditRecord, AuditReport, audit
from harness.audit.lookalikes import NearPair, Picture, near_duplicates

__all__ = ["AuditFinding", "AuditRecord", "AuditReport", "NearPair", "Picture", "audit", "near_duplicates"]
