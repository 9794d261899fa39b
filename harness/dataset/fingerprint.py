"""What identifies a picture: a hash of its decoded pixels, and a perceptual hash that lookalikes share.

Enters: encoded bytes. Leaves: PictureFacts, with a reason in place of the hashes where the bytes are no usable picture.
Decoding is the cost (about 4 ms a picture of 420 x 308); it runs in threads, because Pillow and hashlib let go of the
interpreter while they work, and a process pool would cost seconds to start.
"""

from __future__ import annotations

import hashlib
import io
import os
import struct
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from PIL import Image, ImageOps, UnidentifiedImageError

#: pixels; a larger picture is refused before it is decoded
LARGEST = 64_000_000

# Pillow warns from 89 million pixels on; ours is the stricter limit and an error of its own.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """What is known of a picture.

    `image_id` is 24 hex digits of the SHA-256 of size and RGB pixels, after EXIF rotation; `phash` 16 hex digits (64
    bits, by DCT); `extension` that of its format; width and height in pixels. `problem` says why it cannot be used, and
    then the others are empty.
    """

    image_id: str
    phash: str
    width: int
    height: int
    extension: str
    problem: str | None = None


def fingerprint_picture(data: bytes) -> PictureFacts:
    """The facts of one picture."""
    import imagehash

    try:
        with Image.open(io.BytesIO(data)) as opened:
            if opened.width * opened.height > LARGEST:
                return _unusable(f"huge: {opened.width} x {opened.height} pixels, more than {LARGEST:,}")
            extension = (opened.format or "bin").lower().replace("jpeg", "jpg")
            picture = ImageOps.exif_transpose(opened).convert("RGB")
    except UnidentifiedImageError:
        return _unusable(f"no picture: {len(data)} bytes of no known format")
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError) as error:
        return _unusable(f"damaged: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
    digest = hashlib.sha256(b"RGB" + struct.pack(">II", *picture.size) + picture.tobytes()).hexdigest()[:24]
    return PictureFacts(digest, str(imagehash.phash(picture)), *picture.size, extension)


def fingerprint_many(items: Sequence[bytes]) -> list[PictureFacts]:
    """The facts of many pictures, in order."""
    if len(items) < 8:
        return [fingerprint_picture(item) for item in items]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as threads:
        return list(threads.map(fingerprint_picture, items))


def sample_id(image_id: str, question: str) -> str:
    """The identity of a record: 24 hex digits of the SHA-256 of its picture's identity and its question."""
    return hashlib.sha256(f"{image_id}\n{question}".encode()).hexdigest()[:24]


def _unusable(problem: str) -> PictureFacts:
    return PictureFacts("", "", 0, 0, "", problem)
