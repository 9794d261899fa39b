"""Answering on one GPU: batch-1 `generate` against harness, by batch size, for the base and a fine-tuned model.

    python benchmarks/scoring_gpu.py --hub FOLDER --out FILE [--crops 16] [--batches 1,16,64]
    python benchmarks/scoring_gpu.py --dry --test 6 --alone 3 --batches 1,2 --new-tokens 4

Ours answers every test record with both models, P(defective) included; `generate` (no P) and our batch 1 answer
`--alone` records, extrapolated. `generate` runs before and after ours. The adapter is trained for some steps, so that
its answers are its own. Texts are compared with those of batch-1 `generate`, record by record: in bf16 rounding differs
with the batch, and random weights, whose logits lie close together, show it more than trained ones.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import gpu, rivals
from benchmarks.floors import Floors, compute_floors, lengths
from benchmarks.gpu import Book, now, say
from benchmarks.record import record
from harness.answer.condition import Condition, Decoding
from harness.answer.generate import answer_batches
from harness.records import RawAnswer, Sample
from harness.train.run import train_adapter
from harness.vlm.adapters import check_adapter, detach_adapters, load_adapter, use_adapter
from harness.vlm.features import open_features, prepare_features
from harness.vlm.load import Vlm, load_vlm

#: model -> the adapter that answers
MODELS = {"base": None, "finetuned": "tuned"}


def answer(vlm: Vlm, samples: Sequence[Sample], adapter: str | None, *, batch: int, new_tokens: int) -> dict[str, Any]:
    """Ours: answers with P(defective), in seconds."""
    condition = Condition("n0", Decoding(max_new_tokens=new_tokens))
    found: list[RawAnswer] = []
    with gpu.forced_length(vlm), use_adapter(vlm, adapter), gpu.peak_memory() as peak:
        start = now()
        for some in answer_batches(
            vlm, samples, model_id="m", condition=condition, batch_size=batch, openings=gpu.OPENINGS, say=say
        ):
            found += some
        seconds = now() - start
    assert all(one.new_tokens == new_tokens for one in found), "forced length"
    return {
        "batch": batch,
        "records": len(samples),
        "seconds": seconds,
        "peak_gib": peak(),
        "texts": {one.sample_id: one.text for one in found},
        "p_defective": {one.sample_id: one.p_defective for one in found},
    }


def alone(vlm: Vlm, samples: Sequence[Sample], adapter: str | None, *, new_tokens: int) -> dict[str, Any]:
    """Batch-1 `generate`, pictures and all."""
    with use_adapter(vlm, adapter), gpu.peak_memory() as peak:
        found = rivals.answer_alone(
            vlm.base, vlm.processor, samples, new_tokens=new_tokens, never=gpu.never_written(vlm)
        )
        texts = dict(zip([sample.sample_id for sample in samples], found["texts"], strict=True))
        return found | {"batch": 1, "peak_gib": peak(), "texts": texts}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, append."""
    parser = gpu.shared_arguments(__doc__)
    parser.add_argument("--test", type=int, default=400, help="records, answered by both models")
    parser.add_argument("--alone", type=int, default=24, help="records that are answered one by one")
    parser.add_argument("--batches", default="1,16,32,64,128", help="ours: records a batch, in order")
    parser.add_argument("--steps", type=int, default=8, help="of the adapter's training")
    arguments = parser.parse_args(argv)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    book = gpu.opened(arguments)
    book.put("arguments", {name: str(value) for name, value in vars(arguments).items()})
    machine = gpu.measure_machine(dry=arguments.dry)
    book.put("machine", asdict(machine))
    tests = gpu.draw_samples(
        arguments.work / "pictures", arguments.test, seed=arguments.seed + 3, crops=arguments.crops
    )
    checkpoint = arguments.work / ("checkpoint-dry" if arguments.dry else "checkpoint")
    gpu.build_checkpoint(arguments.hub, checkpoint, crops=arguments.crops, seed=arguments.seed, dry=arguments.dry)
    vlm = load_vlm(str(checkpoint))
    book.put("model", vlm.describe())
    tokens = lengths(vlm, tests)
    floors = compute_floors(vlm, machine, tokens, crops=arguments.crops, new_tokens=arguments.new_tokens)
    book.put("tokens", asdict(tokens))
    book.put("floors", asdict(floors))
    measure(arguments, vlm, tests, book)
    rows = table(arguments, book, floors)
    columns = ["way", "records a batch", "answered", "answers/s", "seconds for all answers", "with features",
               "times faster", "times the floor", "peak GiB", "texts that differ, base", "fine-tuned",
               "largest change of P"]  # fmt: skip
    note = (
        f"Random weights, {arguments.crops} crops, {tokens.prompt} tokens a prompt, {arguments.new_tokens} new tokens "
        f"forced, {2 * arguments.test} answers of two models; where fewer were answered, extrapolated. Limits "
        f"measured: {machine.matmul / 1e12:.0f} TFLOP/s, {machine.copy / 1e12:.2f} TB/s. Texts are compared with the "
        f"first run of `generate` on {min(arguments.alone, arguments.test)} records, P with our first batch size. "
        f"{arguments.note}"
    ).strip()
    record("Answering on one GPU", columns, rows, packages=gpu.PACKAGES, note=note, keep=not arguments.dry)


def teach(arguments: Any, vlm: Vlm, samples: Sequence[Sample]) -> dict[str, Any]:
    """Train an adapter for some steps, and load it."""
    changes = ["epochs=1", "shuffle=false", 'schedule="constant"', 'best_by="last"']
    recipe, _ = gpu.recipe("default", [*changes, *(["workers=0"] if arguments.dry else [])])
    some = samples[: recipe.batch_size * recipe.accumulation * arguments.steps]
    trained = train_adapter(
        vlm, some, [], recipe, arguments.work / "runs", seed=arguments.seed, say=lambda _: None
    )  # fmt: skip
    load_adapter(vlm, trained.adapter, "tuned")
    return {"steps": trained.steps, "logit_change": check_adapter(vlm, samples[0], "tuned")}


def measure(arguments: Any, vlm: Vlm, tests: list[Sample], book: Book) -> None:
    """`generate`, ours at each batch size, `generate` again; everything into the book."""
    few, new_tokens = tests[: arguments.alone], arguments.new_tokens
    # The bare base first: with an adapter on board, though off, every layer takes a little longer.
    book.run("generate before, base", lambda: alone(vlm, few, None, new_tokens=new_tokens))
    vlm.features = open_features(vlm, arguments.work / "features" / "scoring", limit=2**40)

    def features() -> dict[str, Any]:
        start = now()
        prepare_features(vlm, tests)
        return {"seconds": now() - start, "records": len(tests)}

    book.run("features", features)
    book.run("adapter", lambda: teach(arguments, vlm, tests))
    book.run("generate before, finetuned", lambda: alone(vlm, few, "tuned", new_tokens=new_tokens))
    for batch in map(int, arguments.batches.split(",")):
        samples = few if batch == 1 else tests
        book.run(  # or a compilation; not counted
            f"warm-up {batch}",
            lambda: answer(vlm, tests[:batch], "tuned", batch=batch, new_tokens=new_tokens),  # noqa: B023  called at once
        )
        for model, adapter in MODELS.items():
            book.run(
                f"ours {batch}, {model}",
                lambda: answer(vlm, samples, adapter, batch=batch, new_tokens=new_tokens),  # noqa: B023
            )
    book.run("generate after, finetuned", lambda: alone(vlm, few, "tuned", new_tokens=new_tokens))
    detach_adapters(vlm)
    book.run("generate after, base", lambda: alone(vlm, few, None, new_tokens=new_tokens))


def table(arguments: Any, book: Book, floors: Floors) -> list[list[str]]:
    """A row a way of answering; the figures behind it go into the book."""
    facts, tests = book.facts, arguments.test
    features = facts.get("features", {}).get("seconds")
    least = 2 * tests * (floors.prefill + floors.decoding) + tests * floors.features
    rows, kept = [], []
    slow: float | None = None
    first: dict[str, dict[str, float]] = {}
    for way in ["generate before", *(f"ours {batch}" for batch in arguments.batches.split(",")), "generate after"]:
        both = {model: facts.get(f"{way}, {model}", {}) for model in MODELS}
        if not all("seconds" in one for one in both.values()):
            continue
        seconds = sum(one["seconds"] / one["records"] * tests for one in both.values())
        ours = way.startswith("ours")
        whole = seconds + (features or 0.0 if ours else 0.0)
        slow = slow or whole
        differ = {model: _differing(facts.get(f"generate before, {model}"), one) for model, one in both.items()}
        change = _change(first, both) if ours else None
        peaks = [one["peak_gib"] for one in both.values() if one["peak_gib"] is not None]
        kept.append({"way": way, "seconds": seconds, "seconds_with_features": whole, "times_faster": slow / whole,
                     "share_differing": differ, "largest_change_of_p": change})  # fmt: skip
        one = both["base"]
        rows.append([
            way.split()[0] if ours else way, str(one["batch"]), f"2 x {one['records']}", f"{2 * tests / seconds:.2f}",
            f"{seconds:.1f}", f"{whole:.1f}", f"{slow / whole:.1f}", f"{whole / least:.2f}",
            f"{max(peaks):.1f}" if peaks else "", *("" if d is None else f"{d:.1%}" for d in differ.values()),
            "" if change is None else f"{change:.1e}",
        ])  # fmt: skip
    book.put("answering", {"rows": kept, "floor_seconds": least})
    return rows


def _differing(reference: dict[str, Any] | None, one: dict[str, Any]) -> float | None:
    """The share of the reference's answers that have another text here."""
    texts = (reference or {}).get("texts")
    return sum(one["texts"][name] != text for name, text in texts.items()) / len(texts) if texts else None


def _change(first: dict[str, dict[str, float]], both: dict[str, dict[str, Any]]) -> float:
    """The largest change of P(defective) against the first batch size, which is kept in `first`."""
    found = [0.0]
    for model, one in both.items():
        known = first.setdefault(model, one["p_defective"])
        found += [abs(p - known[name]) for name, p in one["p_defective"].items() if name in known]
    return max(found)


if __name__ == "__main__":
    main()
