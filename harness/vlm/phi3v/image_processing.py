"""Pictures -> crops, as the published processor cuts them, on PIL and torch (no torchvision).

Enters: PIL pictures or arrays. Leaves: pixel_values float32 [pictures, num_crops + 1, 3, tile, tile] (the overview, the
tiles row by row, zeros), image_sizes int64 [pictures, 2] = (height, width) after padding, num_img_tokens [pictures].
A picture is enlarged or reduced until its tiles fill k columns, the largest k with k * ceil(k / ratio) <= num_crops,
and padded with white above and below; a tall one is transposed for that and back. Each value is the original's, bit for
bit. Cost: about 30 ms a picture at 4 crops and 110 ms at 16, on one core; 23 MiB a picture at 16 crops.

Tokens of a picture at 4 / 16 crops: square 757 / 2,509, 4:3 757 / 1,921, 2:1 457 / 2,353, 1:2 469 / 2,377.

What is taken: every PIL mode of 8 bits (grey, palette, CMYK, YCbCr, with or without alpha: transparency is dropped, the
colour beneath it shows), of an animation the frame it stands at, the first if it was just opened. EXIF orientation is
not applied, as in the original. What is refused: 16-bit, 32-bit and float modes, whose white nobody here knows.
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
from transformers.image_processing_utils import BaseImageProcessor

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

_EIGHT_BITS = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB")


class Phi3VImageProcessor(BaseImageProcessor):  # type: ignore[misc]  # transformers is untyped
    """The image processor of Phi-3-vision.

    `num_crops` bounds the tiles of a picture (16 in Phi-3-vision, 4 in Phi-3.5-vision; 0, which no published model has,
    leaves the overview alone: half the work where one tile would show the very same); `tile_size` in pixels and
    `tile_tokens` along a tile's side are 336 and 12 in the published models, and must fit the model's configuration.
    `num_img_tokens` is kept from the published files and used nowhere.
    """

    model_input_names = ("pixel_values", "image_sizes", "num_img_tokens")

    def __init__(
        self,
        num_crops: int = 16,
        image_mean: Sequence[float] = CLIP_MEAN,
        image_std: Sequence[float] = CLIP_STD,
        do_convert_rgb: bool = True,
        tile_size: int = 336,
        tile_tokens: int = 12,
        num_img_tokens: int = 144,
        **kwargs: Any,
    ) -> None:
        kwargs.pop("auto_map", None)  # names remote code
        super().__init__(**kwargs)
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

    def preprocess(self, images: Any, num_crops: int | None = None, return_tensors: str | None = "pt") -> BatchFeature:
        """Cut pictures into crops.

        Args:
            images: one picture or a sequence of them: PIL, or arrays and tensors of [H, W], [H, W, C] or [C, H, W] with
                1, 3 or 4 channels, uint8 or float in [0, 1].
            num_crops: in place of the processor's own; 0 leaves the overview alone, and a padded size of (0, 0).
            return_tensors: "pt", "np", or None, which leaves torch tensors.

        Raises:
            ValueError: a picture is of a kind that is refused, or so long that nothing of its height would be left.
        """
        pictures = images if isinstance(images, list | tuple) else [images]
        crops = self.num_crops if num_crops is None else num_crops
        if crops < 0:
            raise ValueError(f"num_crops is {crops}: it is the number of tiles, or 0 for the overview alone")
        made = [self._crops(as_picture(picture), crops) for picture in pictures]
        values = torch.zeros(len(made), crops + 1, 3, self.tile_size, self.tile_size)
        for row, (tiles, _) in enumerate(made):
            values[row, : len(tiles)] = tiles
        sizes = torch.tensor([size for _, size in made], dtype=torch.long).reshape(-1, 2)
        tokens = torch.tensor([self.tokens_of_size(h, w) for h, w in sizes.tolist()], dtype=torch.long)
        return BatchFeature(
            {"pixel_values": values, "image_sizes": sizes, "num_img_tokens": tokens}, tensor_type=return_tensors
        )

    def tokens_of_size(self, height: int, width: int) -> int:
        """Tokens of a picture whose padded size in pixels is (height, width)."""
        rows, cols = height // self.tile_size, width // self.tile_size
        return (rows * cols + 1) * self.tile_tokens**2 + 1 + (rows + 1) * self.tile_tokens

    def calc_num_image_tokens(self, images: Any) -> list[int]:
        """Tokens of pictures, without cutting them."""
        pictures = images if isinstance(images, list | tuple) else [images]
        return [self.calc_num_image_tokens_from_image_size(*as_picture(picture).size) for picture in pictures]

    def calc_num_image_tokens_from_image_size(self, width: int, height: int) -> int:
        """Tokens of a picture of this size in pixels."""
        _, (padded_height, padded_width) = self.padded_size(width, height)
        return self.tokens_of_size(padded_height, padded_width)

    def padded_size(
        self, width: int, height: int, num_crops: int | None = None
    ) -> tuple[tuple[int, int], tuple[int, int]]:
        """((width, height) after resizing, (height, width) after padding), in pixels; (0, 0) with num_crops 0.

        Raises:
            ValueError: the picture is so long that nothing of its height would be left.
        """
        crops = self.num_crops if num_crops is None else num_crops
        if crops == 0:
            resized, _ = self.padded_size(width, height, 1)
            return resized, (0, 0)
        tall = width < height
        long, short = (height, width) if tall else (width, height)
        ratio = long / short
        columns = 1
        while (columns + 1) * math.ceil((columns + 1) / ratio) <= crops:
            columns += 1
        new_long = columns * self.tile_size
        new_short = int(new_long / ratio)
        if new_short < 1:
            raise ValueError(
                f"a picture of {width} x {height} pixels is too long: {columns} tiles of {self.tile_size} pixels along "
                "it leave nothing of its other side"
            )
        padded = math.ceil(new_short / self.tile_size) * self.tile_size
        if tall:
            return (new_short, new_long), (new_long, padded)
        return (new_long, new_short), (padded, new_long)

    def _crops(self, picture: Image.Image, num_crops: int) -> tuple[Tensor, tuple[int, int]]:
        """([1 + tiles, 3, tile, tile], (height, width) after padding)."""
        tile = self.tile_size
        if num_crops == 0:
            crops, _ = self._crops(picture, 1)
            return crops[:1], (0, 0)
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
        pixels = (
            torch.from_numpy(np.array(sheet)).permute(2, 0, 1).to(torch.float32, memory_format=torch.contiguous_format)
        )
        mean, std = torch.tensor(self.image_mean)[:, None, None], torch.tensor(self.image_std)[:, None, None]
        pixels = pixels.div_(255).sub_(mean).div_(std)
        overview = torch.nn.functional.interpolate(pixels[None], size=(tile, tile), mode="bicubic")
        rows, cols = sheet.height // tile, sheet.width // tile
        tiles = pixels.view(3, rows, tile, cols, tile).permute(1, 3, 0, 2, 4).reshape(-1, 3, tile, tile)
        return torch.cat([overview, tiles]), (sheet.height, sheet.width)


def as_picture(picture: Any) -> Image.Image:
    """A picture as 8-bit RGB.

    Raises:
        ValueError: it is neither a PIL picture nor an array, or of a kind whose white is unknown.
    """
    if isinstance(picture, Image.Image):
        return _from_pil(picture)
    if isinstance(picture, Tensor):
        picture = picture.detach().cpu().numpy()
    if not isinstance(picture, np.ndarray):
        raise ValueError(f"a {type(picture).__name__} is no picture: give a PIL picture or an array")
    return _from_array(picture)


def _from_pil(picture: Image.Image) -> Image.Image:
    if picture.mode == "RGB":
        return picture
    if picture.mode not in _EIGHT_BITS:
        raise ValueError(
            f"a picture of mode {picture.mode} has more than 8 bits a channel, and its white is unknown: "
            "scale it to 8 bits first"
        )
    if "transparency" in picture.info:
        # By way of RGBA, because PIL warns of what it drops on the straight way. The colours are the same.
        picture = picture.convert("RGBA")
    return picture.convert("RGB")


def _from_array(array: np.ndarray[Any, Any]) -> Image.Image:
    shape = array.shape
    if array.ndim == 3 and shape[2] not in (1, 3, 4) and shape[0] in (1, 3, 4):
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if not array.size or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise ValueError(f"an array of shape {shape} is no picture: [H, W], [H, W, C] or [C, H, W], C of 1, 3 or 4")
    if np.issubdtype(array.dtype, np.floating):
        if not (array.min() >= 0 and array.max() <= 1):  # false for NaN too
            raise ValueError(
                f"a picture of {array.dtype} values must lie in [0, 1], not {array.min()} to {array.max()}"
            )
        array = (array * 255).round().astype(np.uint8)
    elif array.dtype != np.uint8:
        raise ValueError(f"a picture of {array.dtype} values has an unknown white: scale it to uint8 first")
    return Image.fromarray(np.ascontiguousarray(array)).convert("RGB")
