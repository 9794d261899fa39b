"""A training step's records in one row without padding, each of them blind to the others.

Enters: a padded batch with labels. Leaves: the same tokens as one row [1, T], with positions that begin anew at every
record, and the records' borders by the names that transformers' flash-attention takes. Three kinds of attention read
it, the first that runs here is taken: flash-attn where the model runs on it, `torch.nn.attention.varlen` (CUDA, half
precision), and PyTorch's sdpa record by record.
Cost: none; a padded batch computes every row as long as its longest. For the native Phi-3-vision alone: it takes a
picture's place by its ids, and turns each record of a row by its own length (rope.py).
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from harness.vlm.batch import IGNORED

if TYPE_CHECKING:
    from torch import Tensor

    from harness.vlm.load import Vlm

VARLEN = "packed_varlen"
BLOCKS = "packed_blocks"


def takes_packed(vlm: Vlm) -> bool:
    """Whether the model keeps the records of a row apart; the native Phi-3-vision does."""
    return hasattr(vlm.base, "takes_image_features")


def pack_rows(batch: Mapping[str, Any]) -> dict[str, Any]:
    """Lay the rows of a batch behind each other.

    Args:
        batch: `input_ids`, `attention_mask` and `labels` [B, L], padded on the right, and the pictures row by row.

    Returns:
        `input_ids`, `position_ids` and `labels` [1, T], T the tokens of all rows; `cu_seq_lens_q` and `cu_seq_lens_k`
        int32 [B + 1], the borders; `max_length_q` and `max_length_k`, the longest row; the pictures as they are.
        A record's first label is IGNORED: the place before it is another record's end.
    """
    import torch

    mask = batch["attention_mask"].bool()
    lengths = mask.sum(dim=1)
    borders = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]).to(torch.int32)
    labels = batch["labels"].clone()
    labels[:, 0] = IGNORED
    positions = torch.arange(mask.shape[1]).expand_as(mask)
    packed = {name: value for name, value in batch.items() if name not in ("input_ids", "attention_mask", "labels")}
    packed |= {
        name: value[mask].unsqueeze(0)
        for name, value in (("input_ids", batch["input_ids"]), ("position_ids", positions), ("labels", labels))
    }
    longest = int(lengths.max())
    packed |= {"cu_seq_lens_q": borders, "cu_seq_lens_k": borders, "max_length_q": longest, "max_length_k": longest}
    return packed


def unmasked_rows(batch: Mapping[str, Any]) -> dict[str, Any]:
    """Rows padded on the right without their mask: no token looks behind itself, so none sees the padding.

    For a pass under `running`, which leaves causal attention to the kernel; a mask would cost it a slower one.

    Args:
        batch: as for pack_rows.

    Returns:
        The batch with `position_ids` [B, L] in place of `attention_mask`; padding has its neighbour's.
    """
    positions = (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    return {name: value for name, value in batch.items() if name != "attention_mask"} | {"position_ids": positions}


def packed_attention(vlm: Vlm) -> str:
    """The attention for packed rows, by the name that `running` takes; varlen is tried on the device before."""
    from transformers import AttentionInterface

    if vlm.attention == "flash_attention_2":
        return vlm.attention
    attentions: Any = AttentionInterface
    for name, attend in ((VARLEN, _varlen), (BLOCKS, _blocks)):
        attentions.register(name, _or_sdpa(attend))
    return VARLEN if vlm.device.type == "cuda" and _varlen_runs(vlm) else BLOCKS


@contextlib.contextmanager
def running(model: Any, attention: str) -> Iterator[None]:
    """Within the block the model's decoder attends by the named implementation."""
    config = model.config
    before = config._attn_implementation
    config._attn_implementation = attention
    try:
        yield
    finally:
        config._attn_implementation = before


def _or_sdpa(attend: Any) -> Any:
    """`attend` where records are packed, sdpa elsewhere: a vision tower takes its attention from the same name."""

    def attention(module: Any, *tensors: Tensor | None, **settings: Any) -> tuple[Tensor, None]:
        if "cu_seq_lens_q" in settings:
            attended: tuple[Tensor, None] = attend(module, *tensors, **settings)
            return attended
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        attended = sdpa_attention_forward(module, *tensors, **settings)
        return attended

    return attention


def _blocks(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **settings: Any
) -> tuple[Tensor, None]:
    """Causal sdpa of each record by itself: query, key and value [1, heads, T, head_dim] to [1, T, heads, head_dim]."""
    import torch
    import torch.nn.functional as F

    borders = settings["cu_seq_lens_q"].tolist()
    groups = getattr(module, "num_key_value_groups", 1)
    parts = [
        F.scaled_dot_product_attention(
            query[:, :, start:end],
            key[:, :, start:end],
            value[:, :, start:end],
            dropout_p=settings.get("dropout", 0.0),
            scale=settings.get("scaling"),
            is_causal=True,
            enable_gqa=groups > 1,
        )
        for start, end in itertools.pairwise(borders)
    ]
    return torch.cat(parts, dim=2).transpose(1, 2), None


def _varlen(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **settings: Any
) -> tuple[Tensor, None]:
    """Causal attention of all records in one kernel; shapes as for _blocks."""
    from torch.nn.attention.varlen import varlen_attn

    attend: Any = varlen_attn
    known = inspect.signature(attend).parameters
    # torch 2.10 has a flag for it, later ones a window of any number of tokens before and none behind.
    causal: dict[str, Any] = {"is_causal": True} if "is_causal" in known else {"window_size": (-1, 0)}
    scale = {"scale": settings.get("scaling")} if "scale" in known else {}
    query, key, value = (part[0].transpose(0, 1) for part in (query, key, value))
    borders, longest = settings["cu_seq_lens_q"], settings["max_length_q"]
    attended = attend(query, key, value, borders, borders, longest, longest, **causal, **scale)
    return attended.unsqueeze(0), None


def _varlen_runs(vlm: Vlm) -> bool:
    """Whether varlen and sdpa agree, forward and backward, on two short records of this model's heads and dtype."""
    import torch

    config = vlm.base.config.get_text_config()
    heads, width = config.num_attention_heads, config.hidden_size // config.num_attention_heads
    if config.num_key_value_heads != heads or getattr(config, "attention_dropout", 0.0):
        return False
    made = torch.Generator().manual_seed(0)
    drawn = [torch.randn(1, heads, 48, width, generator=made).to(vlm.device, vlm.dtype) for _ in range(4)]
    borders = torch.tensor([0, 20, 48], dtype=torch.int32, device=vlm.device)
    settings = {"scaling": width**-0.5, "cu_seq_lens_q": borders, "max_length_q": 28}
    found = []
    attends: tuple[Any, ...] = (_varlen, _blocks)
    for attend in attends:
        parts = [part.clone().requires_grad_() for part in drawn[:3]]
        try:
            out, _ = attend(None, *parts, None, **settings)
            (out.transpose(1, 2) * drawn[3]).sum().backward()
        except (ImportError, RuntimeError, TypeError, ValueError):  # an older torch, or a chip without the kernel
            return False
        found.append([out, *(part.grad for part in parts)])
    return all(
        bool(torch.cosine_similarity(one.flatten().float(), other.flatten().float(), dim=0) > 0.999)
        for one, other in zip(*found, strict=True)
    )
