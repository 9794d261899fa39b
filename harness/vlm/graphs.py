"""A pass recorded as a CUDA graph: replayed, it costs the host one launch instead of hundreds.

Enters: a function without arguments that reads and writes tensors which stay where they are. Leaves: the graph and what
the function gave; each replay computes it anew in the same memory.
Cost: the memory that the pass takes, for as long as the graph lives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

Outputs = TypeVar("Outputs")


def record(run: Callable[[], Outputs]) -> tuple[torch.cuda.CUDAGraph, Outputs]:
    """Record a pass on the current device; its outputs hold nothing before the first replay.

    Raises:
        RuntimeError: an operation that no graph can hold.
        torch.OutOfMemoryError: the memory does not hold the pass beside what is there.
    """
    import torch

    # Before it is recorded the pass runs once aside, where libraries set themselves up.
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        run()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    stream = torch.cuda.current_stream()
    try:
        # Thread-local: what other threads ask of CUDA meanwhile (pinned memory, events) does not break it.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            outputs = run()
    finally:
        torch.cuda.set_stream(stream)  # a capture that fails leaves its own behind
    return graph, outputs
