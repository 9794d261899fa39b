"""Pictures of every kind: taken as documented, or refused by name."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from harness.vlm.phi3v.image_processing import CLIP_MEAN, CLIP_STD, Phi3VImageProcessor, as_picture
from tests.vlm.phi3v.build import pictures

WHITE = [(1 - mean) / std for mean, std in zip(CLIP_MEAN, CLIP_STD, strict=True)]


@pytest.fixture(scope="module")
def rgb() -> Image.Image:
    return pictures(1)[0].resize((40, 30))


def _stored(picture: Image.Image, form: str, **how: Any) -> Image.Image:
    """The picture as a file of this form gives it back."""
    file = io.BytesIO()
    picture.save(file, form, **how)
    found = Image.open(io.BytesIO(file.getvalue()))
    found.load()
    return found


def test_eight_bit_modes_are_converted_as_pil_converts_them(rgb: Image.Image) -> None:
    for mode in ("1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "HSV"):
        picture = rgb.convert(mode)
        assert as_picture(picture).tobytes() == picture.convert("RGB").tobytes(), mode


def test_files_of_many_kinds(rgb: Image.Image) -> None:
    cmyk = _stored(rgb.convert("CMYK"), "JPEG")
    assert cmyk.mode == "CMYK"
    palette = _stored(rgb.quantize(16), "PNG")
    assert palette.mode == "P"
    clear = _stored(rgb.quantize(16), "PNG", transparency=bytes(range(16)))
    assert clear.mode == "P"
    assert isinstance(clear.info["transparency"], bytes)
    for picture in (cmyk, palette):
        assert as_picture(picture).tobytes() == picture.convert("RGB").tobytes()
    # Transparency is dropped: the palette's own colours show.
    assert as_picture(clear).tobytes() == as_picture(palette).tobytes()


def test_of_an_animation_the_frame_it_stands_at(rgb: Image.Image) -> None:
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "blue")]
    for form in ("GIF", "WEBP"):
        options: dict[str, Any] = {"lossless": True} if form == "WEBP" else {}
        file = io.BytesIO()
        frames[0].save(file, form, save_all=True, append_images=frames[1:], duration=100, **options)
        with Image.open(io.BytesIO(file.getvalue())) as animation:
            assert getattr(animation, "n_frames", 1) == 2
            assert as_picture(animation).getpixel((0, 0)) == (255, 0, 0)
            animation.seek(1)
            assert as_picture(animation).getpixel((0, 0)) == (0, 0, 255)


def test_more_than_eight_bits_are_refused() -> None:
    deep = np.arange(1200, dtype=np.uint16).reshape(30, 40)
    sixteen = _stored(Image.fromarray(deep), "PNG")
    assert sixteen.mode.startswith("I")
    for picture in (sixteen, Image.new("I", (9, 9)), Image.new("F", (9, 9))):
        with pytest.raises(ValueError, match=f"of mode {picture.mode} has more than 8 bits a channel"):
            Phi3VImageProcessor()(picture)


def test_arrays_and_tensors_equal_the_picture(rgb: Image.Image) -> None:
    array = np.asarray(rgb)
    wanted = Phi3VImageProcessor(num_crops=4)(rgb)["pixel_values"]
    for same in (
        array,
        array.transpose(2, 0, 1),
        np.dstack([array, np.full(array.shape[:2], 9, np.uint8)]),
        array.astype(np.float32) / 255,
        torch.from_numpy(array.copy()),
        torch.from_numpy(array.copy()).permute(2, 0, 1).double() / 255,
    ):
        assert torch.equal(Phi3VImageProcessor(num_crops=4)(same)["pixel_values"], wanted)
    grey = np.asarray(rgb.convert("L"))
    for same in (grey, grey[..., None], grey[None], grey.astype(np.float64) / 255):
        assert as_picture(same).tobytes() == rgb.convert("L").convert("RGB").tobytes()


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (np.zeros((9, 9), np.uint16), "uint16 values has an unknown white"),
        (np.zeros((9, 9), bool), "bool values has an unknown white"),
        (np.full((9, 9, 3), 255.0), r"values must lie in \[0, 1\], not 255.0 to 255.0"),
        (np.full((9, 9, 3), np.nan), r"values must lie in \[0, 1\], not nan to nan"),
        (np.zeros((9, 9, 2), np.uint8), r"an array of shape \(9, 9, 2\) is no picture"),
        (np.zeros((2, 9, 9, 3), np.uint8), r"an array of shape \(2, 9, 9, 3\) is no picture"),
        (np.zeros((0, 9, 3), np.uint8), r"an array of shape \(0, 9, 3\) is no picture"),
        ("photo.png", "a str is no picture"),
        (b"", "a bytes is no picture"),
    ],
)
def test_what_is_no_picture_is_named(thing: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Phi3VImageProcessor()(thing)


@pytest.mark.parametrize("size", [(3000, 1), (1, 3000)])
def test_a_picture_too_long(size: tuple[int, int]) -> None:
    processor = Phi3VImageProcessor(num_crops=4)
    with pytest.raises(ValueError, match=f"a picture of {size[0]} x {size[1]} pixels is too long"):
        processor(Image.new("RGB", size))
    with pytest.raises(ValueError, match="is too long"):
        processor.calc_num_image_tokens_from_image_size(*size)


def test_no_crops_at_all(rgb: Image.Image) -> None:
    with pytest.raises(ValueError, match="num_crops is -1"):
        Phi3VImageProcessor()(rgb, num_crops=-1)


def test_padding_is_white_above_and_below() -> None:
    # 2:1 at 4 crops: 2 tiles of 56 pixels wide, 56 high: nothing to pad. 3:1: 3 tiles wide. 2.5:1: 112 x 44, padded.
    processor = Phi3VImageProcessor(num_crops=2, tile_size=56, tile_tokens=2)
    made = processor(Image.new("RGB", (250, 101), "black"))
    assert made["image_sizes"].tolist() == [[56, 112]]
    tile = made["pixel_values"][0, 1]
    # int(112 / (250 / 101)) = 45 rows of picture, 5 of the 11 white ones above.
    white = (tile - torch.tensor(WHITE)[:, None, None]).abs().amax((0, 2)) < 1e-5
    assert white.nonzero().flatten().tolist() == [*range(5), *range(50, 56)]


def test_a_tall_picture_is_the_transposed_wide_one() -> None:
    processor = Phi3VImageProcessor(num_crops=4, tile_size=56, tile_tokens=2)
    wide = pictures(3)[2]
    tall = wide.transpose(Image.Transpose.TRANSPOSE)
    of_wide, of_tall = processor(wide), processor(tall)
    assert of_wide["image_sizes"].tolist()[0] == of_tall["image_sizes"].tolist()[0][::-1]
    assert torch.equal(of_wide["pixel_values"][0, 1], of_tall["pixel_values"][0, 1].transpose(1, 2))


def test_pictures_of_several_sizes_in_one_call() -> None:
    processor = Phi3VImageProcessor(num_crops=4, tile_size=56, tile_tokens=2)
    made = processor(pictures())
    assert made["pixel_values"].shape == (5, 5, 3, 56, 56)
    assert made["num_img_tokens"].tolist() == processor.calc_num_image_tokens(pictures())
    for row, picture in enumerate(pictures()):
        assert torch.equal(processor(picture)["pixel_values"][0], made["pixel_values"][row])
    assert isinstance(processor(pictures(1), return_tensors="np")["pixel_values"], np.ndarray)


def test_saved_and_loaded(tmp_path: Path) -> None:
    processor = Phi3VImageProcessor(num_crops=3, tile_size=56, tile_tokens=2, image_mean=(0.1, 0.2, 0.3))
    processor.save_pretrained(tmp_path)
    again = Phi3VImageProcessor.from_pretrained(tmp_path)
    assert again.to_dict() == processor.to_dict()
    assert json.loads((tmp_path / "preprocessor_config.json").read_text("utf-8"))["num_crops"] == 3
    assert torch.equal(again(pictures(1))["pixel_values"], processor(pictures(1))["pixel_values"])


@pytest.mark.parametrize("size", [(420, 308), (300, 400)])
def test_no_crops_leave_the_overview_of_one_crop(size: tuple[int, int]) -> None:
    picture = Image.effect_noise(size, 60).convert("RGB")
    processor = Phi3VImageProcessor()
    alone, beside = processor(picture, num_crops=0), processor(picture, num_crops=1)
    assert alone["pixel_values"].shape == (1, 1, 3, 336, 336)
    assert torch.equal(alone["pixel_values"][0, 0], beside["pixel_values"][0, 0])
    assert alone["image_sizes"].tolist() == [[0, 0]]
    assert alone["num_img_tokens"].tolist() == [12 * 12 + 1 + 12]
