"""The cycle on one GPU: ours against the seed's loop and TRL's SFTTrainer, on a Phi-3-vision of random weights.

    python benchmarks/cycle_gpu.py --hub FOLDER --out FILE [--crops 16] [--variants trl,trl-tuned,seed,ours]
    python benchmarks/cycle_gpu.py --dry --train 24 --validation 4 --test 4 --steps 2 --answers 2 --new-tokens 4

`trl`, `trl-tuned` and `seed`, in the order asked for, train for `--steps` steps, ours before and after each (A-B-A) on
the same records with as many a step; the first `--warmup` steps are not counted. `seed` also answers `--answers`
records with either model, one by one; its whole cycle is extrapolated from these, to the sizes that --train,
--validation, --test and --epochs name. `ours`, last, runs the cycle through: loading, features, the base's answers,
training, the fine-tuned model's answers, with `--cycle-share` of the records (1.0: nothing is extrapolated); `--set
key=value` changes our recipe. Files come from the page cache, not from a cold disk. A crash is kept in the JSON, and
the rest goes on.
"""

from __future__ import annotations

import contextlib
import logging
import math
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks import gpu, rivals
from benchmarks.floors import compute_floors, lengths
from benchmarks.gpu import Book, Clock, now, say
from benchmarks.gpu_tables import Stages, Tables
from harness.answer.condition import Condition, Decoding
from harness.answer.generate import answer_batches
from harness.records import Sample
from harness.train.collate import InspectionCollator
from harness.train.log import TrainingRow
from harness.train.lora import lora_targets
from harness.train.recipe import TrainRecipe
from harness.train.run import TrainResult, train_adapter
from harness.vlm.adapters import detach_adapters, load_adapter, use_adapter
from harness.vlm.features import open_features, prepare_features
from harness.vlm.load import Vlm, load_vlm

VARIANTS = ("seed", "trl", "trl-tuned", "ours")
A_STEP = {"seed": rivals.SEED_STEP, "trl": rivals.TRL_STEP[False], "trl-tuned": rivals.TRL_STEP[True]}


@dataclass(slots=True)
class Place:
    """What every part needs at hand."""

    arguments: Any
    vlm: Vlm
    checkpoint: Path
    train: list[Sample]
    validation: list[Sample]
    test: list[Sample]
    recipe: TrainRecipe
    answer_batch: int

    def features(self, name: str) -> None:
        """An empty feature cache."""
        self.vlm.features = open_features(self.vlm, self.arguments.work / "features" / name, limit=2**40)


def train_ours(
    place: Place, train: Sequence[Sample], validation: Sequence[Sample], recipe: TrainRecipe
) -> tuple[TrainResult, Clock, float]:
    """Harness's own training; the seconds are those of the whole call, evaluations left out."""
    clock = Clock()

    def on_log(row: TrainingRow) -> None:
        if row.loss is not None:
            clock.step(row.loss, row.step - len(clock.steps))
        else:
            clock.mark(clock.evaluations)

    def tell(line: str) -> None:
        if "loss" not in line:  # what was chosen, not how far it is
            say(f"    {line}")

    start = now()
    result = train_adapter(
        place.vlm, train, validation, recipe, Path(tempfile.mkdtemp(dir=place.arguments.work)),
        seed=place.arguments.seed, on_log=on_log, say=tell,
    )  # fmt: skip
    return result, clock, now() - start - sum(clock.evaluations)


def compared(place: Place, a_step: int) -> dict[str, Any]:
    """Ours on the records that the other variant trains on, with the settings that both share."""
    batch = place.recipe.batch_size if a_step % place.recipe.batch_size == 0 else a_step
    recipe = replace(
        place.recipe, epochs=1, batch_size=batch, accumulation=a_step // batch, learning_rate=1e-4, weight_decay=0.01,
        schedule="constant", shuffle=False, evaluate_every="epoch", save_every=None, best_by="last", log_every=1,
    )  # fmt: skip
    result, clock, seconds = train_ours(place, place.train[: a_step * place.arguments.steps], [], recipe)
    summary = clock.summary(place.arguments.warmup)
    facts = {"variant": "ours", "records_a_step": a_step, "batch_size": batch, "peak_gib": result.peak_memory_gib}
    return facts | {"seconds_with_setup": seconds} | summary


def other(place: Place, variant: str) -> dict[str, Any]:
    """A rival's run, with our model out of the device's way."""
    arguments, records = place.arguments, place.train[: A_STEP[variant] * place.arguments.steps]
    targets = lora_targets(place.vlm.base, place.recipe.lora_targets)
    with away(place.vlm), tempfile.TemporaryDirectory(dir=arguments.work) as folder:
        common = {"folder": Path(folder), "steps": arguments.steps, "warmup": arguments.warmup, "seed": arguments.seed}
        if variant != "seed":
            tuned = variant == "trl-tuned"
            return rivals.trl_loop(place.checkpoint, records, place.recipe, targets, tuned=tuned, **common)
        return rivals.seed_loop(
            place.checkpoint, records, place.validation[: arguments.evaluated], place.test[: arguments.answers],
            place.recipe, targets, new_tokens=arguments.new_tokens, **common,
        )  # fmt: skip


@contextlib.contextmanager
def away(vlm: Vlm) -> Iterator[None]:
    """Within the block the model lies in the host's memory."""
    vlm.base.to("cpu")
    torch.cuda.empty_cache()
    try:
        yield
    finally:
        vlm.base.to(vlm.device)


def whole_cycle(place: Place, loading: float) -> dict[str, Any]:
    """Ours from the model loaded to both models' answers."""
    arguments, vlm = place.arguments, place.vlm
    share = arguments.cycle_share
    train, validation, test = (
        records[: math.ceil(len(records) * share)] for records in (place.train, place.validation, place.test)
    )
    place.features("cycle")
    recipe = replace(place.recipe, epochs=arguments.epochs)
    a_step = recipe.batch_size * recipe.accumulation
    stages: Stages = {"loading": (loading, 1, 1)}
    peaks: dict[str, float | None] = {}
    start = now()
    with gpu.peak_memory() as peak:
        prepare_features(vlm, [*train, *validation, *test])
        peaks["features"] = peak()
    wanted = len(place.train) + len(place.validation) + len(place.test)
    stages["features"] = (now() - start, len(train) + len(validation) + len(test), wanted)
    seconds, peaks["scoring base"] = _score(place, test, None)
    stages["scoring base"] = (seconds, len(test), len(place.test))
    result, clock, seconds = train_ours(place, train, validation, recipe)
    peaks["training"] = result.peak_memory_gib
    stages["training"] = (seconds, result.steps, gpu.steps_of(len(place.train), a_step, arguments.epochs))
    done = len(clock.evaluations) * len(validation)
    stages["evaluation"] = (sum(clock.evaluations), done, arguments.epochs * len(place.validation))
    start = now()
    load_adapter(vlm, result.adapter, "tuned")
    loaded = now() - start
    seconds, peaks["scoring fine-tuned"] = _score(place, test, "tuned")
    stages["scoring fine-tuned"] = (loaded + seconds, len(test), len(place.test))
    detach_adapters(vlm)
    facts = {"variant": "ours", "answer_batch": place.answer_batch, "records_a_step": a_step}
    return facts | {"stages": stages, "peaks_gib": peaks} | clock.summary(arguments.warmup)


def _score(place: Place, test: Sequence[Sample], adapter: str | None) -> tuple[float, float | None]:
    """Seconds and peak memory of answering; the base's answers include no adapter."""
    condition = Condition("n0", Decoding(max_new_tokens=place.arguments.new_tokens))
    start = now()
    with gpu.forced_length(place.vlm), use_adapter(place.vlm, adapter), gpu.peak_memory() as peak:
        for batch in answer_batches(
            place.vlm, test, model_id="m", condition=condition, batch_size=place.answer_batch, openings=gpu.OPENINGS,
            say=say,
        ):  # fmt: skip
            assert all(answer.new_tokens == place.arguments.new_tokens for answer in batch), "forced length"
        return now() - start, peak()


def seed_cycle(fact: dict[str, Any], place: Place) -> Stages:
    """The seed's whole cycle, extrapolated from its bounded run."""
    arguments, tests = place.arguments, len(place.test)
    steps = gpu.steps_of(len(place.train), rivals.SEED_STEP, arguments.epochs)
    rounds = steps // rivals.SEED_EVERY
    answers, evaluated = min(arguments.answers, tests), min(arguments.evaluated, len(place.validation))
    counted, evaluations = fact["steps_counted"], fact["evaluations"]
    return {
        "loading": (fact["loading_seconds"], 1, 1),
        "scoring base": (fact["base_seconds_an_answer"] * answers, answers, tests),
        "training": (fact["seconds_a_step"] * counted, counted, steps),
        "evaluation": (
            fact["evaluation_seconds_a_record"] * evaluated * evaluations,
            evaluated * evaluations,
            rounds * len(place.validation),
        ),
        "saving": (fact["seconds_a_save"] * evaluations, evaluations, rounds),
        "scoring fine-tuned": (fact["finetuned_seconds_an_answer"] * answers, answers, tests),
    }


def same_targets(place: Place) -> bool:
    """Whether the rivals' collator makes the very tokens and targets that ours does."""
    samples, vlm = place.train[:3], place.vlm
    collator = InspectionCollator(vlm.processor, stop_token_ids=vlm.stop_token_ids, pad_token_id=vlm.pad_token_id)
    ours, theirs = collator(samples), rivals.PictureCollator(vlm.processor)(rivals.rows_of(samples))
    return all(torch.equal(ours[name], theirs[name]) for name in ("input_ids", "attention_mask", "labels"))


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, append."""
    parser = gpu.shared_arguments(__doc__)
    parser.add_argument("--variants", default="trl,trl-tuned,seed,ours", help=f"of {', '.join(VARIANTS)}")
    for name, number in (("train", 800), ("validation", 200), ("test", 400), ("epochs", 4)):
        parser.add_argument(f"--{name}", type=int, default=number)
    parser.add_argument("--steps", type=int, default=20, help="of each compared training run")
    parser.add_argument("--warmup", type=int, default=3, help="steps at the start that are not counted")
    parser.add_argument("--answers", type=int, default=8, help="batch-1 answers of either model")
    parser.add_argument("--evaluated", type=int, default=20, help="records of each of the seed's evaluations")
    parser.add_argument("--cycle-share", type=float, default=1.0, help="share of the records that ours runs through")
    parser.add_argument("--answer-batch", type=int, help="records a batch of answers; default: the recipe's")
    parser.add_argument("--recipe", default="default", help="ours: a shipped recipe")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="ours: settings of TrainRecipe")
    arguments = parser.parse_args(argv)
    variants = arguments.variants.split(",")
    if unknown := set(variants) - set(VARIANTS):
        parser.error(f"no variant {', '.join(unknown)}; there are {', '.join(VARIANTS)}")
    if (
        least := arguments.steps * max([A_STEP[one] for one in variants if one != "ours"], default=0)
    ) > arguments.train:
        parser.error(f"--steps {arguments.steps} needs --train {least} at least, got {arguments.train}")
    logging.getLogger("transformers").setLevel(logging.ERROR)
    book = gpu.opened(arguments)
    book.put("arguments", {name: str(value) for name, value in vars(arguments).items()})
    machine = gpu.measure_machine(dry=arguments.dry)
    book.put("machine", asdict(machine))
    place, loading = prepare(arguments, book)
    tokens = lengths(place.vlm, place.train)
    floors = compute_floors(place.vlm, machine, tokens, crops=arguments.crops, new_tokens=arguments.new_tokens)
    book.put("tokens", asdict(tokens))
    book.put("floors", asdict(floors))
    book.put("same_targets", same_targets(place))
    runs = compare(place, book, [variant for variant in variants if variant != "ours"])
    tables = Tables(arguments, machine, tokens, floors, book)
    tables.training(runs)
    cycles: dict[str, Stages] = {}
    if "ours" in variants and (fact := book.run("ours, whole cycle", lambda: whole_cycle(place, loading))):
        cycles["ours"] = fact["stages"]
    if seed := dict(runs).get("seed"):
        cycles["seed"] = seed_cycle(seed, place)
    tables.cycles(cycles)


def prepare(arguments: Any, book: Book) -> tuple[Place, float]:
    """Draw, build, load; and the seconds of loading."""
    start = now()
    sizes = (("train", 1), ("validation", 2), ("test", 3))
    drawn = {
        name: gpu.draw_samples(
            arguments.work / "pictures", getattr(arguments, name), seed=arguments.seed + number, crops=arguments.crops
        )
        for name, number in sizes
    }
    checkpoint = arguments.work / ("checkpoint-dry" if arguments.dry else "checkpoint")
    gpu.build_checkpoint(arguments.hub, checkpoint, crops=arguments.crops, seed=arguments.seed, dry=arguments.dry)
    book.put("preparing_seconds", now() - start)
    start = now()
    vlm = load_vlm(str(checkpoint))
    loading = now() - start
    recipe, answer_batch = gpu.recipe(arguments.recipe, arguments.set)
    book.put("model", {"loading_seconds": loading, "described": vlm.describe(), "recipe": asdict(recipe)})
    return Place(
        arguments, vlm, checkpoint, **drawn, recipe=recipe, answer_batch=arguments.answer_batch or answer_batch
    ), loading


def compare(place: Place, book: Book, variants: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
    """Ours, the other, ours; a run of ours between two others of as many records a step serves both."""
    runs: list[tuple[str, dict[str, Any]]] = []
    if not variants:
        return runs
    place.features("compared")
    records = place.train[: max(A_STEP[variant] for variant in variants) * place.arguments.steps]
    start = now()
    prepare_features(place.vlm, records)
    book.put("features_seconds_a_record", (now() - start) / len(records))

    def ours(name: str, a_step: int) -> None:
        if (fact := book.run(name, lambda: compared(place, a_step))) is not None:
            runs.append((name, fact))

    last = 0
    for variant in variants:
        if variant != "seed" and rivals.trl_version() is None:
            say(f"{variant} is left out: TRL is not installed here (pip install trl datasets)")
            book.put(variant, {"error": "trl is not installed"})
            continue
        if last != A_STEP[variant]:
            ours(f"ours before {variant}", A_STEP[variant])
        if (fact := book.run(variant, lambda variant=variant: other(place, variant))) is not None:
            runs.append((variant, fact))
        ours(f"ours after {variant}", A_STEP[variant])
        last = A_STEP[variant]
    return runs


if __name__ == "__main__":
    main()
