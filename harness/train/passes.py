"""How many records a forward and backward pass takes, and whether it keeps its activations: as much as memory allows.

Enters: a recipe, the model, its records. Leaves: Passes. An optimizer step has batch_size x accumulation records
whatever the passes, and its gradient is the mean over their answer tokens, so that only rounding and the draws of
dropout differ between them.
Tried on the device with the longest records before training; training itself can still turn to smaller passes.
"""

from __future__ import annotations

import contextlib
import gc
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.errors import ModelError
from harness.records import Sample
from harness.train.collate import InspectionCollator
from harness.train.recipe import TrainRecipe
from harness.vlm.batch import by_length, to_device
from harness.vlm.packing import running

if TYPE_CHECKING:
    import torch

    from harness.vlm.load import Vlm

#: Share of a device's memory that a first pass may take: the optimizer's state and fragments need the rest.
FULL = 0.92


@dataclass(frozen=True, slots=True)
class Passes:
    """`records` a pass, `a_step` passes an optimizer step; `checkpointing`: activations are computed again."""

    records: int
    a_step: int
    checkpointing: bool

    def __str__(self) -> str:
        return f"{self.records} records a pass{', activations computed again' * self.checkpointing}"


def first_passes(recipe: TrainRecipe) -> Passes:
    """What is tried first: a packed step in one pass, a padded one as the recipe splits it."""
    checkpointing = recipe.gradient_checkpointing is True
    if recipe.packing:
        return Passes(recipe.batch_size * recipe.accumulation, 1, checkpointing)
    return Passes(recipe.batch_size, recipe.accumulation, checkpointing)


def passes_that_fit(
    vlm: Vlm, collator: InspectionCollator, samples: Sequence[Sample], recipe: TrainRecipe, say: Callable[[str], None]
) -> Passes:
    """The largest passes that the device holds, tried with the longest samples; on the CPU the first ones.

    Raises:
        ModelError: none fit.
    """
    import torch

    passes = first_passes(recipe)
    if vlm.device.type != "cuda":
        return passes
    asked = passes
    while (share := memory_share(vlm, collator, samples, passes, computes_in(vlm, recipe))) > FULL:
        try:
            passes = smaller_passes(vlm, passes, recipe)
        except ModelError:
            if share <= 1:  # it ran, and nothing smaller exists
                break
            raise
    if passes != asked:
        say(f"{asked} do not fit the memory of {vlm.device}: training with {passes}")
    torch.cuda.reset_peak_memory_stats(vlm.device)
    return passes


def smaller_passes(vlm: Vlm, passes: Passes, recipe: TrainRecipe, error: Exception | None = None) -> Passes:
    """What takes less memory: about half the records; for a single one activations computed again.

    Raises:
        ModelError: nothing does, from `error`.
    """
    step = passes.records * passes.a_step
    for records in range(passes.records // 2, 0, -1):
        if step % records == 0:
            return Passes(records, step // records, passes.checkpointing)
    if not passes.checkpointing and recipe.gradient_checkpointing == "auto":
        return Passes(1, step, True)
    raise ModelError(
        f"training does not fit the memory of {vlm.device} with {passes}",
        hint="--set train.gradient_checkpointing=true, or a smaller lora.r; nvidia-smi lists who holds the memory",
    ) from error


def memory_share(
    vlm: Vlm, collator: InspectionCollator, samples: Sequence[Sample], passes: Passes, half: torch.dtype | None
) -> float:
    """What a pass over the longest of the samples takes of the device's memory; infinite where it runs out.

    Leaves no gradient behind. 0 on the CPU.

    Args:
        half: what autocast computes in, None for the model's own dtype.
    """
    import torch

    if vlm.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(vlm.device)
    longest = sorted(samples, key=by_length(vlm.processor), reverse=True)[: passes.records]
    was_training = vlm.model.training
    vlm.model.train()
    try:
        devices = [vlm.device] if vlm.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), recomputing(vlm.base, passes.checkpointing):
            _pass(vlm, collator, longest, half)
    except torch.OutOfMemoryError:
        return math.inf
    finally:
        vlm.model.zero_grad(set_to_none=True)
        vlm.model.train(was_training)
        gc.collect()
        torch.cuda.empty_cache()
    if vlm.device.type != "cuda":
        return 0.0
    total = torch.cuda.get_device_properties(vlm.device).total_memory
    return float(torch.cuda.max_memory_allocated(vlm.device) / total)


def _pass(
    vlm: Vlm, collator: InspectionCollator, samples: Sequence[Sample], half: torch.dtype | None
) -> None:  # a function of its own, whose tensors are gone when it has returned or raised
    import torch

    batch = to_device(collator(samples), device=vlm.device, dtype=vlm.dtype)
    attention = collator.attention or vlm.base.config._attn_implementation
    with running(vlm.base, attention), torch.autocast(vlm.device.type, half, enabled=half is not None):
        vlm.model(**batch, use_cache=False).loss.backward()


def computes_in(vlm: Vlm, recipe: TrainRecipe) -> torch.dtype | None:
    """The half precision of a pass, None for the model's own."""
    import torch

    half = vlm.dtype if recipe.precision == "auto" else {"bf16": torch.bfloat16, "fp32": None}[recipe.precision]
    return None if half == torch.float32 else half


@contextlib.contextmanager
def recomputing(model: Any, on: bool) -> Iterator[None]:
    """Within the block, where it is on, time is traded for memory: the backward pass computes activations again.

    Non-reentrant, because the reentrant kind drops the gradients of parts whose inputs need none, without a word.
    transformers 5.24 renamed this; Trainer's own argument would warn there, and its new name is unknown to 5.17.
    """
    if not on:
        yield
        return
    settings = {"use_reentrant": False}
    renamed = hasattr(model, "activation_checkpointing_enable")
    if renamed:
        model.activation_checkpointing_enable(activation_checkpointing_kwargs=settings)
    else:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=settings)
    try:
        yield
    finally:
        if renamed:
            model.activation_checkpointing_disable()
        else:
            model.gradient_checkpointing_disable()
