"""A first harness.toml: every setting with a comment, and the defect names that the references use.

Enters: sources, perhaps none. Leaves: the text of a TOML file and notes for people. Sources are read in a child
process, because `harness init` must stay light and reading sources loads the datasets library.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.config import CycleConfig
from harness.errors import DataError
from harness.parse import generic_vocabulary, merge_vocabulary, parse_answer
from harness.records import Vocabulary


@dataclass(frozen=True, slots=True)
class Draft:
    """The text of harness.toml, and what people should know about it."""

    text: str
    notes: tuple[str, ...]


def draft_config(sources: Sequence[str], *, product: str, runs: Path, config: CycleConfig) -> Draft:
    """Propose settings for a product.

    Raises:
        DataError: a source cannot be read.
    """
    references = [reference for src in sources for reference in _references(src, config)]
    generic = generic_vocabulary()
    vocabulary, notes = _propose(references, generic, config)
    lines = [
        "# Settings of `harness cycle`; flags and --set go before this file, this file before the recipe.",
        "",
        f"product = {json.dumps(product)}        # pool, test split and releases belong to a product",
        '# recipe = "default"          # default, seed, tiny, or a TOML file; chosen by the model where unset',
        "seed = 42                     # of training and sampling; the split does not depend on it",
        "# robustness = true           # the noise study in Control: 8 runs on validation, 2 on test, no texts",
        "",
        "[charter]                     # free text for the report's first section",
        'purpose = ""',
        'customer = ""',
        'owner = ""',
        "",
        "[targets]                     # what a release must show; the one-sided 95 % bound is held against it",
        "miss_rate = 0.02              # at most: truly defective, not called defective (unreadable included)",
        "false_reject_rate = 0.05      # at most: truly passed, not called passed (unreadable included)",
        "parsed_rate = 0.95            # at least: answers that state a decision",
        "# location_accuracy = 0.80    # at least: all cells named, none wrongly",
        "# sn_truth = 3.0              # at least, dB: follows the truth under noise; needs the noise study",
        "",
        "[grid]                        # coordinates printed at the panels",
        f"columns = {json.dumps(config.grid.columns)}",
        f"rows = {json.dumps(config.grid.rows)}",
        "",
        "[data]",
        f"train_cap = {config.data.train_cap}              # most training + validation records",
        f"test_cap = {config.data.test_cap}                # most test records",
        '# columns = { image = "photo" }   # our column name = the source\'s',
        '# question = "..."            # asked where the source has no question column',
        "# pool = false                # train on the named sources alone",
        "",
        "[model]",
        '# id = "microsoft/Phi-3-vision-128k-instruct"   # Hub id, folder, or "tiny"',
        "",
        "# [train]                     # as in the recipe, for example:",
        "# epochs = 4",
        "# learning_rate = 1e-4",
        "",
        "[vocabulary]                  # defect name = other ways to write it; inflections need no entry",
    ]
    if vocabulary.defects:
        lines += [
            f"{json.dumps(name, ensure_ascii=False)} = {json.dumps(list(aliases), ensure_ascii=False)}"
            for name, aliases in vocabulary.defects.items()
        ]
    else:
        lines.append('# "missing" = ["absent", "欠品"]')
    return Draft("\n".join(lines) + "\n", tuple(notes))


def _propose(
    references: Sequence[dict[str, list[str] | str | None]], generic: Vocabulary, config: CycleConfig
) -> tuple[Vocabulary, list[str]]:
    """The names that the references use, commonest first, with their known aliases."""
    if not references:
        return Vocabulary({}), ["no source named: [vocabulary] is empty, and the generic defect list will be used"]
    declared = {str(name): () for reference in references for name in reference["defects"] or ()}
    vocabulary = merge_vocabulary(declared, generic) if declared else generic
    counts: Counter[str] = Counter()
    unread, unnamed = 0, 0
    for reference in references:
        parsed = parse_answer(str(reference["answer"] or ""), vocabulary, config.as_grid())
        names = {f.defect for f in parsed.findings if f.defect} or set(reference["defects"] or ())
        counts.update(str(name) for name in names)
        unread += parsed.verdict is None and reference["verdict"] is None
        unnamed += parsed.verdict == "defective" and not names
    proposed = {name: tuple(vocabulary.defects.get(name, ())) for name, _ in counts.most_common()}
    notes = [
        f"{len(references)} references read; defect names: " + ", ".join(f"{n} {c}" for n, c in counts.most_common())
    ]
    if unread:
        notes.append(f"{unread} references state no verdict that can be read; Define stops above 5 %")
    if unnamed:
        notes.append(f"{unnamed} defective references name no known defect: add their words to [vocabulary]")
    return Vocabulary(proposed), notes


def _references(src: str, config: CycleConfig) -> list[dict[str, list[str] | str | None]]:
    command = [sys.executable, "-m", "harness.dataset.references", src, json.dumps(config.data.columns)]
    child = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    lines = [line for line in child.stdout.split("\n") if line]  # not splitlines: answers hold any separator
    if child.returncode:
        told = json.loads(lines[-1]) if lines and child.returncode == 1 else None
        if told is None:
            raise RuntimeError(f"reading {src} failed:\n{child.stderr}")
        raise DataError(told["message"], hint=told["hint"])
    return [json.loads(line) for line in lines]
