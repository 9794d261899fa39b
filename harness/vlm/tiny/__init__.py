"""The tiny model: Phi-3-vision's architecture small enough for a laptop, on the same native class and code path.

    build.py   the checkpoint, made in seconds from a seed; its weights are random, so that it talks without sense

`checkpoint()` gives its folder. Until the project ships trained weights it shows that everything runs, not that a small
model can inspect: read the figures of a cycle on it as a test of the tool.
"""

from harness.vlm.tiny.build import build, checkpoint

__all__ = ["build", "checkpoint"]
