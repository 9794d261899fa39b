"""Pictures -> token embeddings of the decoder's width. Names of modules and parameters are those of the checkpoints.

    crops [N, 3, 336, 336] -> CLIP ViT-L/14, 23 of its 24 layers -> patches [N, 576, 1024]
        -> 2 x 2 neighbours merged -> [N, 12, 12, 4096] -> tiles laid out as one picture, a separator after every row
        -> MLP -> [tokens, 3072] a picture

Enters: pixel_values [pictures, crops, 3, 336, 336] (the overview, the tiles row by row, padding) and image_sizes
[pictures, 2]. Leaves: one [tokens, 3072] a picture; tokens = (rows * cols + 1) * 144 + 1 + (rows + 1) * 12.
The crops of all pictures go through the tower in one call, padding crops not at all. Cost without gradients: about
40 MiB of activations a crop in bf16; `max_crops` bounds how many run at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers.models.clip.modeling_clip import CLIPEncoder, CLIPPreTrainedModel, CLIPVisionEmbeddings

from harness.vlm.phi3v.configuration import Phi3VConfig, Phi3VVisionConfig


class Phi3VVisionModel(CLIPPreTrainedModel):  # type: ignore[misc]  # transformers is untyped
    """The CLIP tower. Its last layer and `post_layernorm` are loaded and saved, but never run."""

    config_class = Phi3VVisionConfig
    main_input_name = "pixel_values"

    def __init__(self, config: Phi3VVisionConfig, depth: int) -> None:
        super().__init__(config)
        self.depth = depth
        self.embeddings = CLIPVisionEmbeddings(config)
        # The checkpoints, like transformers, spell it so.
        self.pre_layrnorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.encoder = CLIPEncoder(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """None: with one, enable_input_require_grads would make a frozen tower keep its activations for nothing."""
        raise NotImplementedError("pictures are no tokens")

    def forward(self, pixel_values: Tensor) -> Tensor:
        """[N, 3, H, W] -> [N, patches, C]: the output of the layer at `depth`, without the class token."""
        hidden: Tensor = self.pre_layrnorm(self.embeddings(pixel_values))
        for layer in self.encoder.layers[: self.depth]:
            hidden = layer(hidden, None)
        return hidden[:, 1:]


class Phi3VImageProcessorModule(nn.Module):
    """The level `img_processor.` of the published names."""

    def __init__(self, config: Phi3VConfig) -> None:
        super().__init__()
        self.vision_model = Phi3VVisionModel(config.vision_config, config.tower_depth)


class Phi3VImageEmbedding(nn.Module):
    """The level `vision_embed_tokens.` of the published names: tower, separators, projection.

    `max_crops` is how many crops the tower takes at once; it may be changed at any time, None is all of them.
    """

    max_crops: int | None = 128

    def __init__(self, config: Phi3VConfig) -> None:
        super().__init__()
        tower = config.vision_config
        self.merge = config.merge_size
        self.tile = int(tower.image_size)
        self.order = (config.embd_layer or {}).get("hd_transform_order", "sub_glb")
        width = self.merge**2 * tower.hidden_size
        self.img_processor = Phi3VImageProcessorModule(config)
        self.glb_GN = nn.Parameter(torch.zeros(1, 1, width))
        self.sub_GN = nn.Parameter(torch.zeros(1, 1, 1, width))
        self.img_projection = nn.Sequential(
            nn.Linear(width, config.hidden_size), nn.GELU(), nn.Linear(config.hidden_size, config.hidden_size)
        )

    def forward(self, pixel_values: Tensor | Sequence[Tensor], image_sizes: Tensor | None) -> list[Tensor]:
        """The features of each picture.

        Args:
            pixel_values: [pictures, crops, 3, H, W]: the overview, then the tiles row by row, then padding; or one
                [crops, 3, H, W] a picture.
            image_sizes: [pictures, 2], (height, width) of the padded picture in pixels, multiples of the tile; (0, 0)
            for
                an overview without tiles.

        Returns:
            One [tokens, hidden] a picture.

        Raises:
            ValueError: sizes and crops do not fit.
        """
        if image_sizes is None:
            raise ValueError("pixel_values need image_sizes beside them")
        grids = self._grids(pixel_values, image_sizes)
        if not grids:
            return []
        used = [1 + rows * cols for rows, cols in grids]
        crops = torch.cat([picture[:count] for picture, count in zip(pixel_values, used, strict=True)])
        tower = self.img_processor.vision_model
        at_once = self.max_crops or len(crops)
        patches = torch.cat([tower(some.to(self.glb_GN.dtype)) for some in crops.split(at_once)])
        merged = merge_patches(patches, self.merge)
        pictures = [self._lay_out(own, rows, cols) for own, (rows, cols) in zip(merged.split(used), grids, strict=True)]
        lengths = [len(picture) for picture in pictures]
        projected: Tensor = self.img_projection(torch.cat(pictures))
        return list(projected.split(lengths))

    def _grids(self, pixel_values: Tensor | Sequence[Tensor], image_sizes: Tensor) -> list[tuple[int, int]]:
        """(rows, cols) of tiles of each picture; (0, 0) where it is its overview alone."""
        sizes = [(int(height), int(width)) for height, width in image_sizes.tolist()]
        if len(sizes) != len(pixel_values):
            raise ValueError(f"{len(pixel_values)} pictures in pixel_values, {len(sizes)} in image_sizes")
        for number, ((height, width), crops) in enumerate(zip(sizes, pixel_values, strict=True), start=1):
            if height % self.tile or width % self.tile or (height == 0) != (width == 0):
                raise ValueError(f"picture {number} of {height} x {width} pixels is no whole number of {self.tile}")
            if len(crops) <= (height // self.tile) * (width // self.tile):
                raise ValueError(f"picture {number} of {height} x {width} pixels has only {len(crops)} crops")
        return [(height // self.tile, width // self.tile) for height, width in sizes]

    def _lay_out(self, tiles: Tensor, rows: int, cols: int) -> Tensor:
        """[1 + rows * cols, side, side, C] -> [tokens, C]: the tiles as one picture, and the overview."""
        side, width = tiles.shape[1], tiles.shape[3]
        whole = tiles[1:].view(rows, cols, side, side, width).permute(0, 2, 1, 3, 4)
        parts = [
            self._with_separators(whole.reshape(rows * side, cols * side, width)),
            self.glb_GN[0],
            self._with_separators(tiles[0]),
        ]
        return torch.cat(parts if self.order == "sub_glb" else parts[::-1])

    def _with_separators(self, picture: Tensor) -> Tensor:
        """[rows, cols, C] -> [rows * (cols + 1), C]: a separator after each row."""
        separators = self.sub_GN[0].expand(picture.shape[0], 1, -1)
        return torch.cat([picture, separators], dim=1).flatten(0, 1)


def merge_patches(patches: Tensor, size: int) -> Tensor:
    """[N, side * side, C] -> [N, side / size, side / size, size * size * C], neighbours row by row."""
    count, places, width = patches.shape
    side = round(places**0.5) // size
    grid = patches.view(count, side, size, side, size, width).permute(0, 1, 3, 2, 4, 5)
    return grid.reshape(count, side, side, size * size * width)
