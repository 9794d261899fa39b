"""Where the tiny tower starts: weights that can compare two panels from the first step.

Enters: a model with transformers' default weights, and some pictures. Leaves: the same model with
    patch embedding    cosine waves of light and color over the patch, each scaled to unit variance on those pictures,
    so
                       that edges count as much as the mean brightness
    positions          the place within its panel, as sines and cosines, and a sign that says which panel
    two heads a layer  queries and keys that match the same place of the other panel
All of it is learned further. Without it the tower stays blind to changes for thousands of steps; random positions do
not know which patch lies above which. Cost: it favours the house's sheet (two panels, one above the other).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from harness.dataset.sheet import Layout
from harness.vlm.tiny.pretrain.dense import PATCH, TILE, Geometry
from harness.vlm.tiny.pretrain.scenes import HEIGHT

_SIDE = TILE // PATCH
_WAVES = (8, 7)  # frequencies along x and y; with a sign for the panel they fill a head of 32 channels but one
_MATCHING_HEADS = 2


@torch.no_grad()
def begin(model: Any, pictures: Tensor) -> None:
    """Set the starting weights.

    Args:
        model: Phi3VForConditionalGeneration of the tiny configuration.
        pictures: [B, 3, 336, 336], normalised, for the scale of the patch embedding.
    """
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2 and "embed" not in name:
            nn.init.normal_(parameter, std=(2 / sum(parameter.shape)) ** 0.5)
    nn.init.normal_(model.model.embed_tokens.weight, std=0.05)
    vision = model.model.vision_embed_tokens
    for separator in (vision.glb_GN, vision.sub_GN):
        nn.init.normal_(separator, std=0.5)
    tower = vision.img_processor.vision_model
    places = _places(pictures.device)
    positions = tower.embeddings.position_embedding.weight
    nn.init.normal_(positions, std=0.05)
    positions[1:, : places.shape[1]] = places
    kernel = tower.embeddings.patch_embedding
    nn.init.zeros_(kernel.weight)
    waves = _waves(kernel.out_channels - places.shape[1], kernel.weight)
    kernel.weight[places.shape[1] :] = waves
    spread = kernel(pictures).transpose(0, 1)[places.shape[1] :].flatten(1).std(1)
    kernel.weight[places.shape[1] :] /= spread.clamp(min=1e-3)[:, None, None, None]
    width = tower.config.hidden_size // tower.config.num_attention_heads
    matched = places.shape[1]
    assert matched <= width
    for layer in tower.encoder.layers[:3]:
        for head in range(_MATCHING_HEADS):
            rows = slice(head * width, (head + 1) * width)
            for linear, sign in ((layer.self_attn.q_proj, -1.0), (layer.self_attn.k_proj, 1.0)):
                linear.weight[rows] = 0.02 * torch.randn_like(linear.weight[rows])
                for channel in range(matched):
                    is_panel = channel == matched - 1
                    linear.weight[head * width + channel, channel] = 2.5 * sign if is_panel else 1.5


def _places(device: torch.device) -> Tensor:
    """[576, 31]: waves over x, waves over y counted from the panel's upper edge, +-2 for the panel (0 outside)."""
    at = Geometry()
    line = (torch.arange(_SIDE, device=device) + 0.5) * PATCH
    y, x = (one.flatten() for one in torch.meshgrid(line, line, indexing="ij"))
    scale = at.height / 308
    panel = torch.zeros_like(y)
    inner = y / PATCH
    for sign, (_, upper) in zip((1.0, -1.0), Layout().corners, strict=True):
        top = at.upper + upper * scale
        inside = (y > top - PATCH / 2) & (y < top + HEIGHT * scale + PATCH / 2)
        panel = torch.where(inside, 2.0 * sign, panel)
        inner = torch.where(inside, (y - top) / PATCH, inner)
    channels = []
    for value, count in ((x / PATCH, _WAVES[0]), (inner, _WAVES[1])):
        lengths = torch.logspace(math.log10(5.0), math.log10(48.0), count, device=device)
        angle = 2 * math.pi * value[:, None] / lengths
        channels += [1.5 * angle.sin(), 1.5 * angle.cos()]
    return torch.cat([*channels, panel[:, None]], 1)


def _waves(count: int, like: Tensor) -> Tensor:
    """[count, 3, 14, 14]: cosine waves over a patch, three quarters of light, the rest of color, low ones first."""
    line = (torch.arange(PATCH, device=like.device) + 0.5) / PATCH
    pairs = sorted(((u, v) for u in range(PATCH) for v in range(PATCH)), key=lambda w: (w[0] + w[1], w))
    colors = torch.tensor([[1.0, 1.0, 1.0], [1.0, -1.0, 0.0], [0.5, 0.5, -1.0]], device=like.device)
    of_color = min(len(pairs), count // 8)
    chosen = [(c, w) for c in (1, 2) for w in pairs[:of_color]]
    chosen = [(0, w) for w in pairs[: count - len(chosen)]] + chosen
    waves = [
        colors[c][:, None, None] * (torch.cos(math.pi * v * line)[:, None] * torch.cos(math.pi * u * line)[None])
        for c, (u, v) in chosen
    ]
    return torch.stack(waves).to(like.dtype)
