"""Figures of cycle_gpu.py -> tables for people: training run by run, and the cycle stage by stage beside its floor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import gpu, rivals
from benchmarks.floors import Floors, Lengths
from benchmarks.gpu import Book, Machine
from benchmarks.record import record

Run = tuple[str, dict[str, Any]]
#: stage -> (seconds, done, wanted): what it took, for how many units, of how many
Stages = Mapping[str, tuple[float, int, int]]


@dataclass(frozen=True, slots=True)
class Tables:
    """What all tables of a run share."""

    arguments: Any
    machine: Machine
    tokens: Lengths
    floors: Floors
    book: Book

    def _record(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], note: str) -> None:
        about = (
            f"Random weights, {self.arguments.crops} crops, {self.tokens.whole} tokens a record with its answer, "
            f"{self.arguments.new_tokens} new tokens forced. Measured limits: {self.machine.matmul / 1e12:.0f} TFLOP/s "
            f"(product of 8192 x 8192, bf16), {self.machine.copy / 1e12:.2f} TB/s (copy). "
        )
        packages = [*gpu.PACKAGES, *(["trl", "datasets"] if rivals.trl_version() else [])]
        note = f"{about}{note} {self.arguments.note}".strip()
        record(title, columns, rows, packages=packages, note=note, keep=not self.arguments.dry)

    def training(self, runs: Sequence[Run]) -> None:
        """A row a run; into the book, how many times faster ours is, and how far the losses lie apart."""
        features, epochs = self.book.facts.get("features_seconds_a_record", 0.0), self.arguments.epochs
        rows = []
        for name, run in runs:
            rate, peak = run["records_a_step"] / run["seconds_a_step"], run["peak_gib"]
            rows.append([
                name, run["records_a_step"], f"{rate:.2f}", f"{_whole_rate(run, features, epochs):.2f}",
                f"{rate * self.tokens.whole:,.0f}", f"{rate * self.floors.training_flops / self.machine.matmul:.1%}",
                f"{1 / rate / self.floors.training:.2f}", "" if peak is None else f"{peak:.1f}",
                f"{run['first_loss']:.3f}", f"{run['last_loss']:.3f}",
            ])  # fmt: skip
        columns = ["run", "records a step", "samples/s", "with features", "tokens/s", "share of peak",
                   "times the floor", "peak GiB", "first loss", "last loss (mean of 3)"]  # fmt: skip
        ratios = compare_runs(runs, features, epochs)
        self.book.put("ratios", ratios)
        faster = "; ".join(
            f"ours is {one['times_faster']:.2f} times as fast as {name}, the losses of a step at most "
            f"{one['loss_difference']:.1e} apart (between runs of ours {one['loss_difference_between_ours']:.1e})"
            for name, one in ratios.items()
        )
        note = (
            f"With features, {faster}. Share of peak: 4 x parameters of the decoder's linear layers x tokens without "
            f"padding. 'With features' spreads a picture's one pass through the tower over {epochs} epochs; the others "
            f"make it each time. The first {self.arguments.warmup} of {self.arguments.steps} steps are not counted. "
            f"Tokens and targets of all runs are {'the same' if self.book.facts['same_targets'] else 'NOT THE SAME'}."
        )
        if rows:
            self._record("Training on one GPU", columns, rows, note)

    def cycles(self, cycles: Mapping[str, Stages]) -> None:
        """A row a stage and one for all; the totals, in seconds, into the book."""
        peaks = self.book.facts.get("ours, whole cycle", {}).get("peaks_gib", {})
        floor = self._floor()
        totals = {"floor": sum(floor.values()), **dict.fromkeys(cycles, 0.0)}
        rows: list[list[str]] = []
        for stage, least in floor.items():
            row = [stage, f"{least:.1f}"]
            for name, stages in cycles.items():
                seconds, done, wanted = stages.get(stage, (0.0, 1, 1))
                totals[name] += (whole := seconds * wanted / done)
                extrapolated = "" if done == wanted else f" ({done} of {wanted})"
                row.append(f"{whole:.1f}{extrapolated}" if stage in stages else "")
            rows.append([*row, "" if (peak := peaks.get(stage)) is None else f"{peak:.1f}"])
        rows.append(["all", *(f"{total:.1f}" for total in totals.values()), ""])
        rows.append(["times the floor", *(f"{total / totals['floor']:.2f}" for total in totals.values()), ""])
        if {"ours", "seed"} <= set(totals):
            totals["times_faster_than_seed"] = totals["seed"] / totals["ours"]
            rows.append(["times ours", "", *(f"{totals[name] / totals['ours']:.1f}" for name in cycles), ""])
        self.book.put("cycles", totals)
        sizes = self.arguments
        note = (
            f"{sizes.train} training records x {sizes.epochs} epochs, {sizes.validation} validation and {sizes.test} "
            "test records, two models. In brackets how much of a stage was run; the rest is extrapolated."
        )
        if step := self.book.facts.get("ours, whole cycle", {}).get("seconds_a_step"):
            records = self.book.facts["ours, whole cycle"]["records_a_step"]
            share = records * self.floors.training_flops / step / self.machine.matmul
            note += f" A training step of ours, of {records} records: {1000 * step:.0f} ms, {share:.1%} of the peak."
        if cycles:
            columns = ["stage", "floor, s", *(f"{name}, s" for name in cycles), "ours, peak GiB"]
            self._record("The whole cycle on one GPU", columns, rows, note)

    def _floor(self) -> dict[str, float]:
        """Seconds a stage; features once a picture, an evaluation an epoch."""
        sizes, floors = self.arguments, self.floors
        scoring = sizes.test * (floors.prefill + floors.decoding)
        return {
            "loading": 0.0,
            "features": (sizes.train + sizes.validation + sizes.test) * floors.features,
            "scoring base": scoring,
            "training": sizes.train * sizes.epochs * floors.training,
            "evaluation": sizes.validation * sizes.epochs * floors.forward,
            "saving": 0.0,
            "scoring fine-tuned": scoring,
        }


def compare_runs(runs: Sequence[Run], features: float, epochs: int) -> dict[str, Any]:
    """Per rival: ours' samples/s with features over its own, and the largest difference of a step's loss."""
    found: dict[str, Any] = {}
    for name, run in runs:
        if run["variant"] == "ours":
            continue
        ours = [one for _, one in runs if one["variant"] == "ours" and one["records_a_step"] == run["records_a_step"]]
        if not ours:
            continue
        rates = [_whole_rate(one, features, epochs) for one in ours]
        found[name] = {
            "times_faster": sum(rates) / len(rates) / _whole_rate(run, features, epochs),
            "ours_samples_a_second": rates,
            "loss_difference": max(_apart(one, run) for one in ours),
            "loss_difference_between_ours": max(_apart(one, ours[0]) for one in ours),
        }
    return found


def _whole_rate(run: dict[str, Any], features: float, epochs: int) -> float:
    """Records a second; for ours with the features' share of an epoch."""
    seconds = run["seconds_a_step"] / run["records_a_step"]
    return float(1 / (seconds + (features / epochs if run["variant"] == "ours" else 0.0)))


def _apart(one: dict[str, Any], two: dict[str, Any]) -> float:
    return max(abs(a - b) for a, b in zip(one["losses"], two["losses"], strict=True))
