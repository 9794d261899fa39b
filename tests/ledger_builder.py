"""A real ledger without a model: two cycles whose answers are written here, hostile ones too, and scored for real.

Enters: a runs folder. Leaves: harness.duckdb, pictures in the pool, two finished cycles of the product "default" on one
test split of 24 records: c0001 (its model learned half) and c0002 (nearly all), and the base that both share.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from PIL import Image, ImageDraw

from harness.config import load_config
from harness.dataset.fingerprint import fingerprint_picture, sample_id
from harness.parse import generic_vocabulary
from harness.records import Grid
from harness.score import learn_forms
from harness.stages.compare import compare_roles
from harness.stages.control import judge_cycle
from harness.stages.scoring import score_role
from harness.store import Ledger, read, write
from harness.store.rows import (
    AnswerRow,
    ConditionRow,
    CycleRow,
    LotRow,
    MembershipRow,
    ModelRow,
    ProductRow,
    RoleRow,
    SampleRow,
    StageRow,
    TrainingLogRow,
    TruthRow,
)

NOW = datetime(2026, 1, 2, 3, 4, 5)
QUESTION = "Is the product in the bottom image passed or defective?"
PASSED = "The product in the bottom image is passed. No difference is found."
TEST, VALIDATION = 24, 4

#: what a page must survive; each is the base's answer to one test record
HOSTILE = (
    "<script>document.title = 'owned'</script>",
    "<img src=x onerror=\"document.title = 'owned'\">",
    "</script><script>document.title = 'owned'</script>",
    "{{ 7 * 7 }} {% raw %} &lt;b&gt; \"quotes\" 'single' \\",
    "",
    "検査品は不良品です。3Cの部品が欠品しています。",
    "the same as the top and " * 400,
    "\u202eright to left\u202c \u0000 nul",
)


def defective(cell: str, name: str) -> str:
    """The reference answer to a defective record."""
    return f"The product in the bottom image is defective. Location: {cell}, Defect: {name}."


#: what a cycle's fine-tuned model says to record `number` with this reference, and its P(defective)
Speaker = Callable[[int, str], tuple[str, float]]


def _right_until(last: int) -> Speaker:
    """A model that repeats the reference for the first `last` records, and calls the others passed."""
    return lambda number, reference: (reference if number < last else PASSED, 0.9 if "defective" in reference else 0.1)


LEARNERS = (_right_until(TEST // 2), _right_until(TEST - 2))

#: models at the ends of what is possible, each with its own kind of failure
EXTREMES: dict[str, Speaker] = {
    "always passed": lambda number, reference: (PASSED, 0.1),
    "always defective": lambda number, reference: (defective("3C", "missing"), 0.9),
    "mute": lambda number, reference: ("", 0.5),
    "perfect": lambda number, reference: (reference, 0.9 if "defective" in reference else 0.1),
}


def build_ledger(runs: Path, speakers: Sequence[Speaker] = LEARNERS) -> Ledger:
    """Fill a ledger with a cycle for each speaker, c0001, c0002, ...; the same content each time."""
    ledger = Ledger(runs, tell=lambda _: None)
    config = load_config(recipe="tiny", flags={"model.id": "tiny"})
    vocabulary, grid = generic_vocabulary(), Grid()
    truths = [_truth(number) for number in range(TEST + VALIDATION)]
    samples = [_sample(runs, number) for number in range(TEST + VALIDATION)]
    references = [truth[2] for truth in truths]
    product = ProductRow(
        "default", NOW, "split-1", QUESTION, json.dumps({k: list(v) for k, v in vocabulary.defects.items()}),
        json.dumps({"columns": grid.columns, "rows": grid.rows}),
        json.dumps({"passed": PASSED[:40], "defective": defective("3C", "missing")[:43], "origin": "training answers"}),
        learn_forms(references, vocabulary, grid).to_json(),
    )  # fmt: skip
    rows: list[object] = [product, *samples]
    rows += [
        TruthRow("default", s.sample_id, 1, verdict, findings, reference, "reference", NOW)  # type: ignore[arg-type]
        for s, (verdict, findings, reference) in zip(samples, truths, strict=True)
    ]
    rows += [ModelRow("base", "base", "tiny", None, None, None, NOW)]
    rows += [ConditionRow("n0", "engine", "canonical", "{}", "clean", "{}")]
    rows += [_answer("base", s, _base_text(n), 0.5) for n, s in enumerate(samples)]
    cycle_ids = [f"c{place:04d}" for place in range(1, len(speakers) + 1)]
    for place, (cycle_id, speaker) in enumerate(zip(cycle_ids, speakers, strict=True)):
        rows += _cycle(cycle_id, place, samples, config.model_dump_json())
        rows += [
            _answer(cycle_id, s, *speaker(n, reference))
            for n, (s, reference) in enumerate(zip(samples, references, strict=True))
        ]
    with ledger.writing() as connection:
        for kind in dict.fromkeys(type(row) for row in rows):
            write.insert(connection, [row for row in rows if type(row) is kind])
    for cycle_id in cycle_ids:
        for role in read.roles(ledger, cycle_id).values():
            score_role(ledger, read.cycle(ledger, cycle_id), product, role)
        compare_roles(ledger, cycle_id, "base")
        judge_cycle(ledger, cycle_id, config.targets, incumbent=None)
    return ledger


def add_lots(ledger: Ledger, cycle_id: str, lots: Sequence[tuple[str, int, int, int, int]]) -> None:
    """Watched lots of a cycle by their counts alone: (name, passed, defective, misses, false rejects)."""
    rows = [
        LotRow("default", cycle_id, cycle_id, "engine", name, number, "[]", passed, bad, misses, rejects, 0, 0,
               1, False, [], NOW + timedelta(days=number))
        for number, (name, passed, bad, misses, rejects) in enumerate(lots, start=1)
    ]  # fmt: skip
    with ledger.writing() as connection:
        write.replace(connection, "lots", rows, cycle_id=cycle_id)


def _truth(number: int) -> tuple[str, tuple[dict[str, str | None], ...], str]:
    if number % 2:
        return "passed", (), PASSED
    cell, name = f"{number % 9 + 1}{'UCD'[number % 3]}", ("missing", "stain", "rotated")[number % 4 // 2]
    return "defective", ({"location": cell, "defect": name},), defective(cell, name)


def _sample(runs: Path, number: int) -> SampleRow:
    picture = Image.new("RGB", (120, 90), (240, 240, 236))
    draw = ImageDraw.Draw(picture)
    for panel in (0, 1):
        draw.rectangle((8, 6 + 44 * panel, 112, 40 + 44 * panel), fill=(60 + 6 * number, 120, 200 - 5 * number))
    path = runs / "pool" / "images" / f"{number:02d}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
    facts = fingerprint_picture(path.read_bytes())
    return SampleRow(
        "default", sample_id(facts.image_id, QUESTION), facts.image_id, f"images/{number:02d}.png", 120, 90, QUESTION,
        f"part {number}", 0.5, "drawn", "test" if number < TEST else "validation", "c0001", NOW,
    )  # fmt: skip


def _base_text(number: int) -> str:
    return HOSTILE[number] if number < len(HOSTILE) else "I cannot tell."


def _answer(model: str, sample: SampleRow, text: str, p: float) -> AnswerRow:
    return AnswerRow(model, sample.sample_id, "n0", 0, "engine", text, p, 100, 12, "stop", 0.01, NOW)


def _cycle(cycle_id: str, place: int, samples: list[SampleRow], config: str) -> list[object]:
    began = NOW + timedelta(hours=place)
    size = 50 * (place + 1)
    manifests = {
        "define": {
            "sources": [{"name": "<b>photos</b>", "kind": "folder", "revision": None, "rows": 90, "added": 90,
                         "corrected": 0, "known": 0, "dropped": []}],
            "splits": {"train": {"passed": 20, "defective": 20}, "test": {"passed": 12, "defective": 12}},
            "split_id": "split-1", "vocabulary": {"missing": ["欠品"]}, "question": QUESTION,
            "openings": {"passed": "passed", "defective": "defective", "origin": "default"},
            "charter": {"purpose": "</script>try me"}, "targets": {"miss_rate": 0.02}, "kept_back": {}, "notes": [],
        },
        "measure": {"audit": [{"section": "balance", "severity": "warning", "message": "few", "count": 3,
                               "examples": ["row 1"], "hint": "add"}], "answered": 28, "reused": 28 * place},
        "analyze": {"notes": ["misses most: stain"]},
        "improve": {"trainable_parameters": 1000, "trainable_share": 0.01, "steps": 8, "epochs": 4.0, "best_step": 8,
                    "best_eval_loss": 0.5, "adapter": f"{cycle_id}/improve/adapter", "model_id": cycle_id,
                    "logit_change": 0.7, "answered": 28, "reused": 0, "incumbent": None, "notes": []},
        "control": {"overall": "fail", "incumbent": None, "notes": []},
        "share": {"notes": []},
    }  # fmt: skip
    return [
        CycleRow(cycle_id, "default", "done", began, began + timedelta(minutes=5), "0.1.0", "tiny", 42, config, "[]",
                 None, "split-1", size, size - 10, 10, TEST, "tiny", "cpu", 1000, 0.01),
        *(MembershipRow(cycle_id, s.sample_id, "test" if n < TEST else "validation", 1) for n, s in enumerate(samples)),
        ModelRow(cycle_id, "cycle", "tiny", None, f"hash {cycle_id}", f"{cycle_id}/improve/adapter", began),
        RoleRow(cycle_id, "base", "base", "engine", 28 * place, 28 - 28 * place),
        RoleRow(cycle_id, "finetuned", cycle_id, "engine", 0, 28),
        *(TrainingLogRow(cycle_id, step, step / 2, 2.0 / step, None, 1e-3, 1.0, float(step)) for step in range(1, 9)),
        TrainingLogRow(cycle_id, 8, 4.0, None, 0.5, None, None, 8.0),
        *(StageRow(cycle_id, stage, began + timedelta(seconds=i), began, 1.5, None, 0.4, json.dumps(manifest))
          for i, (stage, manifest) in enumerate(manifests.items())),
    ]  # fmt: skip
