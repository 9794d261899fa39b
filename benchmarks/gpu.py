"""What the GPU benchmarks share: the machine's limits, a random Phi-3-vision, drawn records, the clock, the book.

Enters: a folder with the published configuration and tokenizer (no weights), and how many crops a picture has. Leaves:
a checkpoint of random weights, since speed and memory do not need trained ones, and figures that outlive a crash.
`--dry` scales the model down so far that a CPU runs everything in seconds; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import math
import shutil
import time
import tomllib
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from itertools import repeat
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoProcessor

from benchmarks.record import ROOT
from harness.answer.verdict import VerdictOpenings
from harness.dataset.cubes import draw_record
from harness.records import Sample
from harness.train.recipe import TrainRecipe
from harness.vlm.load import Vlm
from harness.vlm.phi3v import register
from harness.vlm.phi3v.configuration import Phi3VConfig
from harness.vlm.phi3v.modeling import Phi3VForConditionalGeneration

PACKAGES = ("torch", "transformers", "peft", "accelerate")
OPENINGS = VerdictOpenings("The product in the bottom image is passed", "The product in the bottom image is defective")
#: pixels (width, height) that the preprocessor cuts into so many tiles
PICTURES = {4: (672, 540), 16: (1344, 1080)}
TINY = ROOT / "harness" / "vlm" / "tiny" / "checkpoint"
_SMALL: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "clip_config": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2,
                    "image_size": 56, "patch_size": 14},
}  # fmt: skip


def shared_arguments(about: str | None) -> argparse.ArgumentParser:
    """A parser with what both benchmarks take."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hub", type=Path, default=TINY, help="config.json, tokenizer and preprocessor as published")
    parser.add_argument("--work", type=Path, default=Path("/tmp/harness-gpu"), help="checkpoint, pictures, features")
    parser.add_argument("--out", type=Path, help="JSON, written anew after every part")
    parser.add_argument("--crops", type=int, choices=sorted(PICTURES), default=4)
    parser.add_argument("--new-tokens", type=int, default=40, help="of every answer; random weights never stop")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--note", default="", help="what else the machine was doing")
    parser.add_argument("--dry", action="store_true", help="a scaled-down model: tries the script out, on a CPU too")
    return parser


def opened(arguments: argparse.Namespace) -> Book:
    """Check the arguments, and open the book."""
    if not arguments.dry and arguments.hub == TINY:
        raise SystemExit("--hub FOLDER names the published files; --dry does without")
    if not arguments.dry and not torch.cuda.is_available():
        raise SystemExit("torch sees no CUDA device; --dry tries the script out on the CPU")
    arguments.work.mkdir(parents=True, exist_ok=True)
    for left in ("features", "runs"):  # of an earlier run: nothing may be known already
        shutil.rmtree(arguments.work / left, ignore_errors=True)
    return Book(arguments.out)


class Book:
    """The figures so far. Every entry is on disk before the next part begins."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.facts: dict[str, Any] = {}
        self.start = time.perf_counter()

    def put(self, name: str, fact: Any) -> None:
        """Keep a figure, and say it."""
        self.facts[name] = fact
        short = fact
        if isinstance(fact, dict):
            short = {k: v for k, v in fact.items() if not isinstance(v, list) and k not in ("texts", "p_defective")}
        say(f"[{time.perf_counter() - self.start:.0f} s] {name}: {json.dumps(short, default=str)}")
        if self.path is not None:
            self.path.write_text(json.dumps(self.facts, indent=1, default=str), "utf-8")

    def run(self, name: str, part: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
        """Do a part and keep what it gives; a crash is kept too, and the others go on."""
        say(f"[{time.perf_counter() - self.start:.0f} s] {name} ...")
        fact: dict[str, Any] | None = None
        try:
            fact = part()
            self.put(name, fact)
        except Exception as error:
            traceback.print_exc()
            self.put(name, {"error": f"{type(error).__name__}: {error}"})
        gc.collect()
        torch.cuda.empty_cache()
        return fact


def say(line: str) -> None:
    """Print at once."""
    print(line, flush=True)


def now() -> float:
    """Seconds, when the device has done all it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


@contextlib.contextmanager
def peak_memory() -> Iterator[Callable[[], float | None]]:
    """GiB allocated at most within the block so far, what was held before included; None without a CUDA device."""
    if not torch.cuda.is_available():
        yield lambda: None
        return
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    yield lambda: round(torch.cuda.max_memory_allocated() / 2**30, 2)


class Clock:
    """What a training run did when: seconds of each step, evaluation and save, and the loss of each step."""

    def __init__(self) -> None:
        self.steps: list[float] = []
        self.losses: list[float] = []
        self.evaluations: list[float] = []
        self.saves: list[float] = []
        self.restart()

    def restart(self) -> None:
        """The first step begins now."""
        self._last = now()

    def mark(self, seconds: list[float]) -> None:
        """What has just ended took the time since the last mark."""
        time_now = now()
        seconds.append(time_now - self._last)
        self._last = time_now

    def step(self, loss: float, count: int = 1) -> None:
        """A step has just ended, or several that were not told one by one."""
        spent: list[float] = []
        self.mark(spent)
        self.steps += [spent[0] / count] * count
        self.losses.append(loss)

    def summary(self, warmup: int) -> dict[str, Any]:
        """Seconds a step after the warm-up, and the losses."""
        counted = self.steps[warmup:] or self.steps
        last = self.losses[-3:]
        return {
            "steps": len(self.steps),
            "steps_counted": len(counted),
            "seconds_a_step": sum(counted) / len(counted),
            "first_loss": self.losses[0],
            "last_loss": sum(last) / len(last),
            "losses": self.losses,
            "step_seconds": self.steps,
        }


@dataclass(frozen=True, slots=True)
class Machine:
    """`matmul` in FLOP/s of a large product, `copy` in bytes/s read and written: what the floors divide by."""

    name: str
    matmul: float
    copy: float


def measure_machine(*, dry: bool) -> Machine:
    """A bf16 product of two random square matrices (fp32 on a CPU), and a copy within the device's memory."""
    cuda = torch.cuda.is_available()
    device, dtype = ("cuda", torch.bfloat16) if cuda else ("cpu", torch.float32)
    side, times = (512, 2) if dry else (8192, 50)
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    source = torch.ones(2**22 if dry else 2**30, device=device, dtype=torch.uint8)
    target = torch.empty_like(source)

    def seconds(work: Callable[[], Any]) -> float:
        for _ in range(3):
            work()
        start = now()
        for _ in range(times):
            work()
        return (now() - start) / times

    matmul = 2 * side**3 / seconds(lambda: a @ b)
    copy = 2 * source.numel() / seconds(lambda: target.copy_(source))
    return Machine(torch.cuda.get_device_name() if cuda else "CPU", matmul, copy)


def build_checkpoint(hub: Path, folder: Path, *, crops: int, seed: int, dry: bool) -> None:
    """Random weights in the published configuration; the processor cuts pictures into `crops` tiles."""
    register()
    auto: Any = AutoProcessor
    processor = auto.from_pretrained(hub)
    processor.image_processor.num_crops = crops
    settings = json.loads((hub / "config.json").read_text("utf-8"))
    if dry:
        processor.image_processor.tile_size, processor.image_processor.tile_tokens = 56, 2
        settings |= _SMALL
        half = _SMALL["hidden_size"] // _SMALL["num_attention_heads"] // 2
        for factors in ("short_factor", "long_factor"):
            if factors in (rope := settings.get("rope_scaling") or {}):
                rope[factors] = rope[factors][:half]
    if not list(folder.glob("model*.safetensors")):
        cuda = torch.cuda.is_available()
        before = torch.get_default_dtype()
        torch.manual_seed(seed)
        torch.set_default_dtype(torch.bfloat16 if cuda else torch.float32)
        try:
            with torch.device("cuda" if cuda else "cpu"):
                model = Phi3VForConditionalGeneration(Phi3VConfig.from_dict(settings))
        finally:
            torch.set_default_dtype(before)
        with torch.no_grad():  # a token that is never written, to stand for the end of an answer
            model.get_output_embeddings().weight[-1].zero_()
        model.save_pretrained(folder, max_shard_size="5GB")
        del model
        torch.cuda.empty_cache()
    processor.save_pretrained(folder)


def never_written(vlm: Vlm) -> int:
    """The token whose logit is 0 and so never the largest."""
    return int(vlm.base.config.vocab_size) - 1


@contextlib.contextmanager
def forced_length(vlm: Vlm) -> Iterator[None]:
    """Within the block no answer ends before its budget."""
    own = vlm.stop_token_ids
    vlm.stop_token_ids = (never_written(vlm),)
    try:
        yield
    finally:
        vlm.stop_token_ids = own


def draw_samples(folder: Path, count: int, *, seed: int, crops: int) -> list[Sample]:
    """demo:cubes, enlarged to what the preprocessor cuts into `crops` tiles."""
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor() as threads:
        return list(threads.map(_draw, range(count), repeat(seed), repeat(PICTURES[crops]), repeat(folder)))


def _draw(number: int, seed: int, size: tuple[int, int], folder: Path) -> Sample:
    record = draw_record(number, seed)
    assert record.image is not None
    name = f"{seed}-{number:05d}-{size[0]}"
    path = folder / f"{name}.jpg"
    if not path.exists():
        Image.open(BytesIO(record.image)).resize(size, Image.Resampling.BICUBIC).save(path, quality=90)
    return Sample(name, name, path, record.question or "", record.answer or "", None, 1, group=name)


def recipe(name: str, changes: Sequence[str]) -> tuple[TrainRecipe, int]:
    """A shipped recipe with changes (key=value, JSON), and its batch size for answering."""
    settings = tomllib.loads((ROOT / "harness" / "recipes" / f"{name}.toml").read_text("utf-8"))
    train = settings["train"] | {f"lora_{key}": value for key, value in settings["lora"].items()}
    for change in changes:
        key, _, value = change.partition("=")
        try:
            train[key] = json.loads(value)
        except json.JSONDecodeError:
            train[key] = value
    return TrainRecipe(**train), int(settings["answer"]["batch_size"])


def steps_of(records: int, a_step: int, epochs: int) -> int:
    """Optimizer steps of a whole run."""
    return math.ceil(records / a_step) * epochs
