"""Pictures and questions under a noise level: what a camera, a line or a colleague changes, and not the product.

Enters: a picture as RGB, the levels, the record's id. Leaves: a new picture of the same size; the pool stays untouched.
The order is that of the light: pose (rotation, shift), lens (blur), lighting (brightness), sensor (Gaussian noise),
file (JPEG). The whole record is changed, both panels alike. Everything drawn is drawn from the record's id and the
factor's name, so that a picture under a level is the same for every model, in every run and on every machine with the
same libraries.
"""

from __future__ import annotations

import hashlib
import io
import re
from typing import TYPE_CHECKING

from harness.score.noise_plan import NoiseLevels

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

#: Goes up whenever the same level gives another picture; stored probabilities are then not reused.
NOISE_VERSION = 1

#: Put around a question where the settings name no paraphrase: {question} stands for the record's own.
PARAPHRASE = "You are shown a picture to inspect. Look at it closely before you answer. {question}"
PARAPHRASE_JA = "検査用の画像を1枚示します。よく見てから、次の問いに答えてください。{question}"

_JAPANESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")


def disturb(picture: Image, levels: NoiseLevels, sample_id: str) -> Image:
    """The picture under the noise levels.

    Args:
        picture: RGB; left as it is.
        sample_id: seeds what is drawn: the direction of the shift, and the Gaussian noise.

    Returns:
        An RGB picture of the same size. What a rotation or a shift uncovers at an edge repeats the edge's pixels.
    """
    from PIL import Image as Images
    from PIL import ImageFilter

    noisy = _posed(picture, levels.value("rotation"), levels.value("shift") / 100, sample_id)
    if radius := levels.value("blur"):
        noisy = noisy.filter(ImageFilter.GaussianBlur(radius))
    if (gain := levels.value("brightness")) or levels.value("gaussian_noise"):
        noisy = Images.fromarray(_exposed(noisy, 1 + gain / 100, levels.value("gaussian_noise"), sample_id))
    if (quality := levels.value("jpeg_quality")) < 100:
        buffer = io.BytesIO()
        noisy.save(buffer, "JPEG", quality=int(quality))
        noisy = Images.open(buffer).convert("RGB")
    return noisy


def paraphrase(question: str, template: str | None) -> str:
    """The question in other words.

    Args:
        template: the user's own words, where {question} stands for the record's question (it may be left out); None
            takes PARAPHRASE, or PARAPHRASE_JA for a question in Japanese.
    """
    if template is None:
        template = PARAPHRASE_JA if _JAPANESE.search(question) else PARAPHRASE
    return template.replace("{question}", question)


def _posed(picture: Image, degrees: float, shift: float, sample_id: str) -> Image:
    """Turned about its centre and moved along a diagonal, by `shift` of its width and of its height."""
    import numpy as np
    from PIL import Image as Images

    if not degrees and not shift:
        return picture.copy()
    right, down = _generator(sample_id, "shift").choice([-1, 1], size=2) * shift
    width, height = picture.size
    # Room on every side for what the turn and the move bring in: tan(1 degree) is 1.75 %, a shift 2 %.
    margin = int(np.ceil(0.06 * max(width, height))) + 2
    padded = np.pad(np.asarray(picture), ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    wide = Images.fromarray(padded).rotate(
        degrees, Images.Resampling.BICUBIC, translate=(round(right * width), round(down * height))
    )
    return wide.crop((margin, margin, margin + width, margin + height))


def _exposed(
    picture: Image, gain: float, sigma: float, sample_id: str
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Grey values times `gain`, plus Gaussian noise of `sigma` grey levels of 255, each channel on its own."""
    import numpy as np

    values = np.asarray(picture, dtype=np.float32) * np.float32(gain)
    if sigma:
        values += sigma * _generator(sample_id, "gaussian_noise").standard_normal(values.shape, dtype=np.float32)
    exposed: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return exposed


def _generator(sample_id: str, factor: str) -> np.random.Generator:
    import numpy as np

    digest = hashlib.sha256(f"noise {NOISE_VERSION}\n{factor}\n{sample_id}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8]))
