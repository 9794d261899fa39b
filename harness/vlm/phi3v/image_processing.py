"""Pictures -> crops, as the published processor cuts them, on PIL and torch (no torchvision).

Enters: PIL pictures or arrays. Leaves: pixel_values [pictures, num_crops + 1, 3, tile, tile] (the overview, the tiles
row by row, zeros), image_sizes [pictures, 2] = (height, width) after padding, num_img_tokens [pictures].
A picture is enlarged or reduced until its tiles fill k columns with k * ceil(k / ratio) <= num_crops; a tall one is
transposed for that and back. Cost: resizing and normalising, about 25 ms a picture at 4 crops and 90 ms at 16.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import BatchFeature
from transformers.image_processing_base import ImageProcessingMixin
from transformers.image_processing_utils import BaseImageProcessor

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class Phi3VImageProcessor(BaseImageProcessor):  # type: ignore[misc]  # transformers is untyped
    """The image processor of Phi-3-vision.

    `num_crops` bounds the tiles of a picture (the published default is 16, Microsoft advises 4 for several pictures);
    `tile_size` in pixels and `tile_tokens` along a tile's side are 336 and 12 in the published models.
    """

    model_input_names = ("pixel_values", "image_sizes", "num_img_tokens")

    def __init__(
        self,
        num_crops: int = 1,
        image_mean: Sequence[float] = CLIP_MEAN,
        image_std: Sequence[float] = CLIP_STD,
        do_convert_rgb: bool = True,
        tile_size: int = 336,
        tile_tokens: int = 12,
        num_img_tokens: int = 144,
        **kwargs: Any,
    ) -> None:
        # Not BaseImageProcessor's own: its pipeline of resize, crop and rescale has no place here.
        ImageProcessingMixin.__init__(self, **kwargs)
        self.num_crops = num_crops
        self.image_mean = list(image_mean)
        self.image_std = list(image_std)
        self.do_convert_rgb = do_convert_rgb
        self.tile_size = tile_size
        self.tile_tokens = tile_tokens
        self.num_img_tokens = num_img_tokens

    def __call__(self, images: Any, **kwargs: Any) -> BatchFeature:
        """See preprocess."""
        return self.preprocess(images, **kwargs)

    def preprocess(
        self, images: Any, num_crops: int | None = None, return_tensors: str | None = "pt", **kwargs: Any
    ) -> BatchFeature:
        """Cut pictures into crops.

        Args:
            images: one picture or a sequence of them: PIL, or arrays of [H, W], [H, W, 3] uint8.
            num_crops: in place of the processor's own.

        Raises:
            ValueError: a picture is empty, or so long that a tile would have no height.
        """
        pictures = images if isinstance(images, list | tuple) else [images]
        crops = self.num_crops if num_crops is None else num_crops
        made = [self._crops(_as_picture(picture), crops) for picture in pictures]
        values = torch.zeros(len(made), crops + 1, 3, self.tile_size, self.tile_size)
        for row, (tiles, _) in enumerate(made):
            values[row, : len(tiles)] = tiles
        sizes = torch.tensor([size for _, size in made], dtype=torch.long).reshape(-1, 2)
        tokens = torch.tensor([self.tokens_of_size(h, w) for h, w in sizes.tolist()], dtype=torch.long)
        return BatchFeature(
            {"pixel_values": values, "image_sizes": sizes, "num_img_tokens": tokens}, tensor_type=return_tensors
        )

    def tokens_of_size(self, height: int, width: int) -> int:
        """Tokens of a picture whose padded size is (height, width)."""
        rows, cols = height // self.tile_size, width // self.tile_size
        return (rows * cols + 1) * self.tile_tokens**2 + 1 + (rows + 1) * self.tile_tokens

    def calc_num_image_tokens(self, images: Any) -> list[int]:
        """Tokens of pictures, without resizing them."""
        pictures = images if isinstance(images, list | tuple) else [images]
        return [self.calc_num_image_tokens_from_image_size(*_as_picture(picture).size) for picture in pictures]

    def calc_num_image_tokens_from_image_size(self, width: int, height: int) -> int:
        """Tokens of a picture of this size."""
        _, (padded_height, padded_width) = self.padded_size(width, height)
        return self.tokens_of_size(padded_height, padded_width)

    def padded_size(
        self, width: int, height: int, num_crops: int | None = None
    ) -> tuple[tuple[int, int], tuple[int, int]]:
        """((width, height) after resizing, (height, width) after padding), in pixels.

        Raises:
            ValueError: the picture is so long that nothing of its height would be left.
        """
        crops = self.num_crops if num_crops is None else num_crops
        tall = width < height
        if tall:
            width, height = height, width
        ratio = width / height
        columns = 1
        while columns * math.ceil(columns / ratio) <= crops:
            columns += 1
        columns -= 1
        new_width = columns * self.tile_size
        new_height = int(new_width / ratio)
        if new_height < 1:
            raise ValueError(f"a picture of {width} x {height} pixels is too long for tiles of {self.tile_size}")
        padded = math.ceil(new_height / self.tile_size) * self.tile_size
        if tall:
            return (new_height, new_width), (new_width, padded)
        return (new_width, new_height), (padded, new_width)

    def _crops(self, picture: Image.Image, num_crops: int) -> tuple[Tensor, tuple[int, int]]:
        tile = self.tile_size
        (new_width, new_height), (height, width) = self.padded_size(*picture.size, num_crops)
        tall = picture.width < picture.height
        if tall:
            # The original turns tall pictures over, resizes, pads and turns back; the order of roundings matters.
            picture = picture.transpose(Image.Transpose.TRANSPOSE)
            new_width, new_height, height, width = new_height, new_width, width, height
        resized = picture.resize((new_width, new_height), Image.Resampling.BILINEAR)
        sheet = Image.new("RGB", (width, height), (255, 255, 255))
        sheet.paste(resized, (0, (height - new_height) // 2))
        if tall:
            sheet = sheet.transpose(Image.Transpose.TRANSPOSE)
        pixels = torch.from_numpy(np.array(sheet)).permute(2, 0, 1).float().div(255)
        mean, std = torch.tensor(self.image_mean)[:, None, None], torch.tensor(self.image_std)[:, None, None]
        pixels = (pixels - mean) / std
        overview = torch.nn.functional.interpolate(pixels[None], size=(tile, tile), mode="bicubic")
        rows, cols = sheet.height // tile, sheet.width // tile
        tiles = pixels.view(3, rows, tile, cols, tile).permute(1, 3, 0, 2, 4).reshape(-1, 3, tile, tile)
        return torch.cat([overview, tiles]), (sheet.height, sheet.width)


def _as_picture(picture: Any) -> Image.Image:
    if isinstance(picture, Image.Image):
        return picture.convert("RGB")
    array = picture.numpy() if isinstance(picture, Tensor) else np.asarray(picture)
    if array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[2] not in (1, 3):
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.dtype != np.uint8:
        array = (array * 255).round().clip(0, 255).astype(np.uint8)
    return Image.fromarray(array).convert("RGB")
