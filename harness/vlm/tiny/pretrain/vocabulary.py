"""Words that no lesson used get places of their own in the vocabulary.

Enters: a pretrained model. Leaves: the same model, with other embeddings for the pieces that its lessons never held.
The softmax pushes all of those the same way, and after a few minutes they lie in one place, too close together for an
adapter to tell "passed" from "defective" (measured: fine-tuning stays at 5 nats for each such piece). Here each gets a
random direction of the usual length, and keeps a part of the common place, so that the model goes on avoiding them.
"""

from __future__ import annotations

import random
from typing import Any

import torch

from harness.vlm.tiny.pretrain.scenes import CELLS, COLORS, KINDS, SHAPES
from harness.vlm.tiny.pretrain.words import Told, talk

#: how much of the common place is kept
KEPT = 0.4


def draw_told(dice: random.Random) -> Told:
    """Any scene's facts, for texts without a picture."""
    family = dice.randrange(3)
    kinds = (range(1, 10), range(10, len(KINDS) - 1), (len(KINDS) - 1,))[family]
    kind = [dice.choice(kinds) if dice.random() < 0.04 else 0 for _ in range(CELLS)]
    shape, color = (
        tuple([dice.randrange(names) for _ in range(CELLS)] for _ in (0, 1)) for names in (len(SHAPES), len(COLORS))
    )
    return Told(family, kind, (shape[0], shape[1]), (color[0], color[1]), (1.0, dice.uniform(0.7, 1.3)))


def used_pieces(tokenizer: Any, talks: int = 12_000) -> list[int]:
    """The ids of the pieces that the lessons' questions and answers hold, in order."""
    dice = random.Random(5)
    used: set[int] = set()
    for _ in range(talks):
        question, answer = talk(draw_told(dice), dice)
        used.update(tokenizer(f"\n{question}<|end|>\n<|assistant|>\n").input_ids)
        used.update(tokenizer(f"{answer}<|end|>", add_special_tokens=False).input_ids)
    return sorted(used)


@torch.no_grad()
def spread_unused(model: Any, tokenizer: Any, seed: int = 11) -> None:
    """Give each piece that no lesson used an embedding of its own; head and embedding are one matrix."""
    table = model.get_input_embeddings().weight
    used = used_pieces(tokenizer)
    unused = sorted(set(range(len(table))) - set(used))
    length = (table[used] - table[used].mean(0)).norm(dim=1).mean()
    noise = torch.randn(len(unused), table.shape[1], generator=torch.Generator().manual_seed(seed)).to(table)
    table[unused] = KEPT * table[unused].mean(0) + length * noise / noise.norm(dim=1, keepdim=True)
