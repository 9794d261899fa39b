"""The tiny model: Phi-3-vision's architecture small enough for a laptop, on the same native class and code path.

checkpoint/   the checkpoint that the package carries, weights included
build.py      its configuration, tokenizer and processor; checkpoints with random weights
pretrain/     how its weights were made
README.md     what it was trained on, and what it can do
"""

from pathlib import Path

from harness.vlm.tiny.build import FOLDER, random_checkpoint

__all__ = ["checkpoint", "random_checkpoint"]


def checkpoint() -> Path:
    """The folder of the embedded checkpoint."""
    return FOLDER
