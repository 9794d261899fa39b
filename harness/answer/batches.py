"""Work in batches that shrink where the memory does not hold one.

Enters: items, and what is done with a batch of them. Leaves: the results, batch by batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from harness.errors import ConfigError, ModelError
from harness.records import Sample

if TYPE_CHECKING:
    from harness.vlm.load import Vlm

Result = TypeVar("Result")


def in_batches(
    vlm: Vlm,
    samples: Sequence[Sample],
    work: Callable[[Sequence[Sample]], list[Result]],
    *,
    batch_size: int,
    say: Callable[[str], None],
) -> Iterator[list[Result]]:
    """Do the work, a batch at a time, in the order of the samples.

    Args:
        work: gives one result a sample.
        batch_size: samples a batch, at most; halved for good when the memory does not hold one.
        say: told, in one line, when the batch is halved.

    Raises:
        ConfigError: batch_size is below 1.
        ModelError: one sample alone does not fit the memory.
    """
    import torch

    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, got {batch_size}", hint="--set answer.batch_size=8")
    vlm.model.eval()
    done = 0
    while done < len(samples):
        batch = samples[done : done + batch_size]
        results: list[Result] = []
        try:
            results = work(batch)
        except torch.OutOfMemoryError as error:
            if len(batch) == 1:
                raise ModelError(
                    f"record {batch[0].sample_id} alone does not fit the memory of {vlm.device}",
                    hint="free the device (nvidia-smi lists who holds it), or --set answer.max_new_tokens=64",
                ) from error
            batch_size = len(batch) // 2
            say(f"out of memory with {len(batch)} records a batch: going on with {batch_size}")
        if not results:
            torch.cuda.empty_cache()  # only here, where the error and the tensors that its traceback holds are gone
            continue
        done += len(batch)
        yield results
