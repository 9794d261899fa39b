"""The reference answers of a source as JSON lines: `python -m harness.dataset.references SRC COLUMNS`.

Enters: a SRC and a JSON column map, as arguments. Leaves: one line a record on stdout; an error as one JSON line and
exit 1. It is a process of its own so that light commands can read sources without loading the datasets library.
"""

from __future__ import annotations

import json
import sys

from harness.dataset.sources import open_source
from harness.errors import HarnessError


def main() -> int:
    """Print the references of the source."""
    try:
        source = open_source(sys.argv[1], json.loads(sys.argv[2]), default_question="")
        for record in source.records():
            line = {"answer": record.answer, "verdict": record.verdict, "defects": list(record.defects or ())}
            print(json.dumps(line, ensure_ascii=False))
    except HarnessError as error:
        print(json.dumps({"message": error.message, "hint": error.hint}, ensure_ascii=False))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
