"""The ledger: one DuckDB file that remembers every record, answer, score and decision. All SQL lives here.

A process opens the file, writes or fetches, and closes it; it never holds it open over work.
"""

from harness.store.ledger import Ledger

__all__ = ["Ledger"]
