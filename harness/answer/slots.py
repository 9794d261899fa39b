"""Places for the keys and values of a batch: prompts, verdict openings and answers are written where they stay.

Enters: what each of the decoder's layers computed, through the call that it makes of a cache. Leaves: what it attends
to. A batch of the same shape takes over the places of the one before, and the step recorded over them (decode.py).
Cost: memory for the longest continuation that is allowed, from the first pass to the last batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

#: Attention kernels take masks of this many places, or copy them in every layer.
ALIGNED = 16


class Slots:
    """Keys and values of each layer, [B, 2, heads, places, head_dim]; the first `used` places are the prompts'.

    A pass of `rows` is written behind them, over what the one before left there. To the model it is a cache, as far as
    layers and masks ask for one. `step` is decode.py's, recorded over these very tensors.
    """

    def __init__(self) -> None:
        self.shape = (0, 0)
        self.layers: list[Tensor] = []
        self.used = 0
        self.rows = slice(None)
        self.step: Any = None

    def prepare(self, rows: int, places: int) -> None:
        """Have at least so many places, none of them used; the batch before is over."""
        shape = rows, -(-places // ALIGNED) * ALIGNED
        if shape != self.shape:
            self.shape, self.layers, self.step = shape, [], None
        self.used = 0

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Put a pass's keys and values in their places; gives those of the prompts and the pass."""
        if layer == len(self.layers):
            rows, places = self.shape
            self.layers.append(keys.new_empty(rows, 2, keys.shape[1], places, keys.shape[3]))
        held, end = self.layers[layer][self.rows], self.used + keys.shape[2]
        held[:, 0, :, self.used : end] = keys
        held[:, 1, :, self.used : end] = values
        held[..., end:, :] = 0  # hidden by masks, but no mask hides what is no number
        return (held[:, 0, :, :end], held[:, 1, :, :end]) if self.used else (keys, values)

    def get_seq_length(self) -> int:
        """Tokens that a pass may look back at."""
        return self.used

    def get_query_offset(self, _layer: int) -> int:
        """The place of a pass's first token."""
        return self.used

    def get_mask_sizes(self, length: int, _layer: int) -> tuple[int, int]:
        """How many places a pass of this length attends to, and the first of them."""
        return self.used + length, 0
