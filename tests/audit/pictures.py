"""Drawn pictures and copies of them, as files, for the tests of this room."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance

from harness.audit import Picture
from harness.dataset.cubes import draw_record
from harness.dataset.fingerprint import fingerprint_picture

Copy = Callable[[Image.Image], bytes]


def encoded(picture: Image.Image, quality: int = 85) -> bytes:
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=quality)
    return data.getvalue()


def resized(picture: Image.Image, scale: float) -> Image.Image:
    return picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS)


def shifted(picture: Image.Image, right: int, down: int) -> Image.Image:
    """Moved over a black ground, as a camera that moved would not, but as a careless script does."""
    moved = Image.new("RGB", picture.size)
    moved.paste(picture, (right, down))
    return moved


def brighter(picture: Image.Image, gain: float) -> Image.Image:
    return ImageEnhance.Brightness(picture).enhance(gain)


COPIES: dict[str, Copy] = {
    "quality 60": lambda p: encoded(p, 60),
    "shifted": lambda p: encoded(shifted(p, 3, -2)),
    "98 %": lambda p: encoded(resized(p, 0.98)),
    "half size": lambda p: encoded(resized(p, 0.5)),
    "twice the size": lambda p: encoded(resized(p, 2.0)),
    "brighter": lambda p: encoded(brighter(p, 1.08)),
    "darker": lambda p: encoded(brighter(p, 0.93)),
    "cropped": lambda p: encoded(p.crop((5, 4, p.width - 5, p.height - 4))),
    "half size, shifted, brighter": lambda p: encoded(brighter(shifted(resized(p, 0.5), 1, 1), 1.05)),
}


def store(folder: Path, name: str, data: bytes) -> Picture:
    path = folder / f"{name}.img"
    path.write_bytes(data)
    return Picture(fingerprint_picture(data).phash, path)


def drawn(folder: Path, count: int, seed: int) -> dict[str, Picture]:
    """Records of the demo: each another tray."""
    found = {}
    for number in range(count):
        data = draw_record(number, seed).image
        assert data is not None
        found[f"{seed}-{number}"] = store(folder, f"{seed}-{number}", data)
    return found


def two_level(seed: int) -> Image.Image:
    """Copper and ground, as a scan of a circuit board shows them."""
    rng = np.random.default_rng(seed)
    picture = Image.new("RGB", (420, 308), (250, 250, 250))
    draw = ImageDraw.Draw(picture)
    for _ in range(40):
        x, y = (int(v) for v in rng.integers(10, (400, 290)))
        if rng.random() < 0.5:
            draw.line((x, y, x + int(rng.integers(20, 160)), y), fill=(0, 0, 0), width=int(rng.integers(4, 9)))
        else:
            draw.ellipse((x, y, x + 18, y + 18), fill=(0, 0, 0))
    return picture
