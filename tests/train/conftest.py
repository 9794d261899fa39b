"""The fixtures of tests/vlm, which run a model."""

from tests.vlm.conftest import _one_thread, idefics3, llava, samples, vlm

__all__ = ["_one_thread", "idefics3", "llava", "samples", "vlm"]
