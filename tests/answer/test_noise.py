"""Noise levels do to a picture what they say, the same each time, and nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image, ImageDraw

from harness.answer.noise import disturb, paraphrase
from harness.score.noise_plan import FACTORS, NoiseLevels, noise_plan

PLACES = {factor.name: place for place, factor in enumerate(FACTORS)}
CLEAN = (0,) * len(FACTORS)


def _only(name: str, code: int) -> NoiseLevels:
    codes = list(CLEAN)
    codes[PLACES[name]] = code
    return NoiseLevels(tuple(codes))


def _flat(grey: int = 120, size: tuple[int, int] = (200, 160)) -> Image.Image:
    return Image.new("RGB", size, (grey, grey, grey))


def _drawn() -> Image.Image:
    picture = Image.new("RGB", (200, 160), (235, 235, 230))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((60, 40, 100, 80), fill=(40, 90, 160))
    draw.ellipse((120, 90, 150, 120), fill=(190, 60, 50))
    return picture


def _values(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture, dtype=float)


def _all_levels() -> Iterator[NoiseLevels]:
    yield from noise_plan()
    for factor, code in itertools.product(FACTORS, (1, 2)):
        yield _only(factor.name, code)


@pytest.mark.parametrize("levels", list(_all_levels()), ids=lambda levels: levels.condition_id)
def test_same_size_same_bytes_and_the_original_stays(levels: NoiseLevels) -> None:
    picture = _drawn()
    before = picture.tobytes()
    one, two = disturb(picture, levels, "a"), disturb(picture, levels, "a")
    assert (one.size, one.mode) == (picture.size, "RGB")
    assert one.tobytes() == two.tobytes()
    assert picture.tobytes() == before
    assert one is not picture


@pytest.mark.parametrize(
    "levels",
    [NoiseLevels(CLEAN), *(_only(name, 1) for name in ("gaussian_noise", "shift", "blur", "prompt"))],
    ids=lambda levels: levels.condition_id,
)
def test_what_is_clean_changes_no_pixel(levels: NoiseLevels) -> None:
    assert disturb(_drawn(), levels, "a").tobytes() == _drawn().tobytes()


def test_brightness_is_20_percent() -> None:
    assert (_values(disturb(_flat(100), _only("brightness", 1), "a")) == 80).all()
    assert (_values(disturb(_flat(100), _only("brightness", 2), "a")) == 120).all()
    assert (_values(disturb(_flat(250), _only("brightness", 2), "a")) == 255).all(), "clipped, not wrapped round"


def test_gaussian_noise_has_sigma_10_and_is_the_records_own() -> None:
    noisy = _values(disturb(_flat(), _only("gaussian_noise", 2), "a"))
    # 96,000 draws: the standard error of sigma is 10 / sqrt(2 n) = .023
    assert noisy.std() == pytest.approx(10, abs=0.12)
    assert noisy.mean() == pytest.approx(120, abs=0.15)
    other = _values(disturb(_flat(), _only("gaussian_noise", 2), "b"))
    assert abs(np.corrcoef(noisy.ravel(), other.ravel())[0, 1]) < 0.02
    # the pattern is that of the record, whatever else is changed
    darker = _values(disturb(_flat(), NoiseLevels((1, 2, 0, 0, 0, 0, 0)), "a"))
    assert np.corrcoef(noisy.ravel(), darker.ravel())[0, 1] > 0.99


def test_jpeg_is_jpeg() -> None:
    drawn = _values(_drawn())
    fine, coarse = (_values(disturb(_drawn(), _only("jpeg_quality", code), "a")) for code in (1, 2))
    assert 0 < np.abs(fine - drawn).mean() < np.abs(coarse - drawn).mean() < 5


def test_shift_is_2_percent_along_a_diagonal_that_the_record_draws() -> None:
    seen = set()
    for sample_id in map(str, range(24)):
        moved = _values(disturb(_drawn(), _only("shift", 2), sample_id))
        found = [
            (right, down)
            for right, down in itertools.product((-4, 4), (-3, 3))  # 2 % of 200, and of 160 rounded
            if (moved[20:140, 20:180] == np.roll(_values(_drawn()), (down, right), (0, 1))[20:140, 20:180]).all()
        ]
        assert len(found) == 1
        seen.add(found[0])
    assert len(seen) == 4


def test_blur_smears_an_edge_and_keeps_the_mean() -> None:
    drawn, blurred = _values(_drawn()), _values(disturb(_drawn(), _only("blur", 2), "a"))
    assert np.abs(np.diff(blurred, axis=1)).max() < 0.6 * np.abs(np.diff(drawn, axis=1)).max()
    assert blurred.mean() == pytest.approx(drawn.mean(), abs=0.5)


def test_rotation_is_one_degree_either_way() -> None:
    """The centre of the far block moves by its distance from the picture's centre times sin 1 degree."""
    picture = Image.new("RGB", (400, 400), (255, 255, 255))
    ImageDraw.Draw(picture).rectangle((340, 190, 359, 209), fill=(0, 0, 0))
    rows = np.arange(400)[:, None]

    def height(shown: Image.Image) -> float:
        dark = 255 - _values(shown)[:, :, 0]
        return float((rows * dark).sum() / dark.sum())

    still = height(picture)
    for code, direction in ((1, 1), (2, -1)):  # anticlockwise is up, and rows count downwards
        turned = height(disturb(picture, _only("rotation", code), "a"))
        assert turned - still == pytest.approx(direction * 150 * np.sin(np.radians(1)), abs=0.15)


def test_what_comes_in_at_an_edge_repeats_it() -> None:
    """No black corners: a model must not learn of the noise from them."""
    noisy = _values(disturb(_flat(200, (240, 120)), NoiseLevels((0, 0, 0, 2, 0, 2, 0)), "a"))
    assert (noisy == 200).all()


def test_questions_in_other_words() -> None:
    question = "Is the product in the bottom image passed?"
    assert paraphrase(question, None) != question
    assert paraphrase(question, None).endswith(question)
    assert paraphrase("下の製品は合格ですか。", None).startswith("検査用の画像")
    assert paraphrase(question, "Passed or not?") == "Passed or not?"
    assert paraphrase(question, "Judge. {question} {x}") == f"Judge. {question} {{x}}"
