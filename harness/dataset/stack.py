"""Photo pairs -> records: what one does first with one's own photos.

Enters: a CSV with a line a pair, or a folder of photos (pairs.py reads both). Leaves: a folder that
`datasets.load_dataset` loads, of sheets with the grid's coordinates drawn at two panels, answers written from a
template, a group a part; beside it contact.png to look at, and a data card. Rows that cannot be used are all named, by
line and with the reason, before anything is written; the folder appears whole or not at all.
Cost: photos shrink to panels of `cell` pixels a cell (44: a 9 x 3 tray becomes 396 x 132); what is smaller than a pixel
there is gone, so look at contact.png, and take larger cells for finer defects and a larger model.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError

from harness.dataset.folder import write_dataset
from harness.dataset.pairs import BadRow, Pair, read_pairs
from harness.dataset.sheet import CELL, Layout, draw_sheet
from harness.errors import DataError
from harness.records import Finding, Grid, SourceRecord

__all__ = ["ENGLISH", "JAPANESE", "Align", "StackReport", "Wording", "stack_pairs"]

Align = Literal["resize", "crop", "register"]

#: photos narrower or lower than this share of the panel would be blown up to mush
_SMALLEST = 0.25
_CONTACTS = 40


@dataclass(frozen=True, slots=True)
class Wording:
    """Question and answers. `{first}`, `{last}` (columns) and `{rows}` in the question; `{findings}` in `defective`;
    `{location}` and `{defect}` in `finding`; `joint` stands between findings."""

    question: str
    passed: str
    defective: str
    finding: str
    joint: str

    def answer(self, findings: Sequence[Finding]) -> str:
        """The reference answer to a pair."""
        if not findings:
            return self.passed
        parts = (self.finding.format(location=one.location, defect=one.defect) for one in findings)
        return self.defective.format(findings=self.joint.join(parts))

    def ask(self, grid: Grid) -> str:
        """The question."""
        return self.question.format(first=grid.columns[0], last=grid.columns[-1], rows=", ".join(grid.rows))


ENGLISH = Wording(
    question=(
        "Referenced image has two images inside. Compare the two images and find the differences. The two images have "
        "coordinate letters {first} to {last} horizontally and {rows} vertically to find position. You should compare "
        "the condition of the product at each position one by one. The top image is one of passed product. You should "
        "evaluate whether the product in the bottom image is passed or defective. If you find differences in the "
        "bottom image, explain its location and defect name."
    ),
    passed="The product in the bottom image is passed. No difference is found.",
    defective="The product in the bottom image is defective. {findings}.",
    finding="Location: {location}, Defect: {defect}",
    joint="; ",
)
JAPANESE = Wording(
    question=(
        "この画像には上下二枚の写真があります。二枚を比べて違いを見つけてください。位置を示すために、横に{first}から{last}、"
        "縦に{rows}の文字があります。位置ごとに一つずつ製品の状態を比べてください。上の写真は良品です。下の写真の"
        "製品が良品か不良品かを判定し、違いがあれば位置と不良名を述べてください。"
    ),
    passed="下の写真の製品は良品です。違いはありません。",
    defective="下の写真の製品は不良品です。{findings}。",
    finding="位置：{location}、不良：{defect}",
    joint="；",
)
WORDINGS = {"en": ENGLISH, "ja": JAPANESE}


@dataclass(frozen=True, slots=True)
class StackReport:
    """What was written: the folder, its number of records, and the rows left out (empty unless asked to skip)."""

    out: Path
    records: int
    left_out: tuple[BadRow, ...]


def stack_pairs(
    source: Path,
    out: Path,
    *,
    grid: Grid | None = None,
    cell: int = CELL,
    align: Align = "resize",
    language: Literal["en", "ja"] = "en",
    wording: Wording | None = None,
    skip_bad: bool = False,
    name: str | None = None,
) -> StackReport:
    """Turn photo pairs into a data set.

    Args:
        source: a CSV or a folder, see pairs.py.
        out: the folder to make; must not exist.
        grid: the coordinates; 9 columns and the rows U, C, D where None.
        cell: pixels of a cell's side.
        align: "resize" stretches each photo to the panel; "crop" cuts it to the panel's shape around its middle first;
            "register" crops, then moves the test photo by whole pixels (a quarter of a cell at most) onto the other.
        wording: in place of the language's own.
        skip_bad: leave rows out that cannot be used, and name them in the report, rather than refuse them all.
        name: the `source` column and the card's title; the source's name where None.

    Raises:
        DataError: the folder exists, the source cannot be read, or rows cannot be used (all of them are named).
    """
    if out.exists():
        raise DataError(f"{out} exists already", hint="name a new folder: --out DIR")
    if align not in ("resize", "crop", "register"):
        raise DataError(f"no alignment {align!r}", hint="one of: resize, crop, register")
    layout = Layout(grid or Grid(), cell)
    words = wording or WORDINGS[language]
    title = name or source.stem
    pairs, bad = read_pairs(source, layout.grid)
    made: list[tuple[Pair, Image.Image]] = []
    for pair in pairs:
        try:
            made.append((pair, _sheet(pair, layout, align)))
        except DataError as error:
            bad.append(BadRow(pair.line, error.message))
    bad.sort(key=lambda row: row.line)
    if bad and not (skip_bad and made):
        listed = "\n".join(f"  {row}" for row in bad)
        raise DataError(
            f"{source}: {len(bad)} of {len(pairs) + sum(row.line not in {p.line for p in pairs} for row in bad)} rows "
            f"cannot be used, nothing was written:\n{listed}",
            hint="correct them, or leave them out with --skip-bad",
        )
    question = words.ask(layout.grid)
    records = [_record(pair, sheet, question, words, f"{source.name} line {pair.line}", title) for pair, sheet in made]
    about = (
        f"Photo pairs stacked by `harness data stack` from {source.name}, cells of {cell} px, alignment {align}; "
        f"{len(bad)} rows were left out.\nLook at `contact.png`: the cells named in the truth are framed there, and "
        "only there."
    )
    write_dataset(out, records, title=title, about=about, files={"contact.png": _contact_sheet(made, layout)})
    return StackReport(out, len(records), tuple(bad))


def _record(pair: Pair, sheet: Image.Image, question: str, words: Wording, where: str, source: str) -> SourceRecord:
    data = io.BytesIO()
    sheet.save(data, "PNG")
    return SourceRecord(
        where=where,
        image=data.getvalue(),
        question=question,
        answer=words.answer(pair.findings),
        verdict=pair.verdict,
        locations=tuple(str(one.location) for one in pair.findings),
        defects=tuple(str(one.defect) for one in pair.findings),
        group=pair.group,
        severity=pair.severity,
        source=source,
    )


def _sheet(pair: Pair, layout: Layout, align: Align) -> Image.Image:
    """Two photos -> the sheet."""
    top, bottom = _open(pair.passed, layout), _open(pair.test, layout)
    if align == "resize":
        top, bottom = (photo.resize(layout.panel, Image.Resampling.LANCZOS) for photo in (top, bottom))
    else:
        top, bottom = (ImageOps.fit(photo, layout.panel, Image.Resampling.LANCZOS) for photo in (top, bottom))
    if align == "register":
        bottom = _registered(bottom, top, reach=layout.cell // 4)
    return draw_sheet(top, bottom, layout)


def _open(path: Path, layout: Layout) -> Image.Image:
    try:
        with Image.open(path) as photo:
            upright = ImageOps.exif_transpose(photo).convert("RGB")
    except FileNotFoundError as error:
        raise DataError(f"no photo {path}", hint="paths count from the CSV's folder") from error
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise DataError(f"{path.name} cannot be read as a picture ({error})", hint="save it as JPEG or PNG") from error
    width, height = layout.panel
    if upright.width < width * _SMALLEST or upright.height < height * _SMALLEST:
        raise DataError(
            f"{path.name} is too small: {upright.width} x {upright.height} pixels for a panel of {width} x {height}",
            hint="take the photo itself, not its thumbnail",
        )
    return upright


def _registered(moving: Image.Image, still: Image.Image, *, reach: int) -> Image.Image:
    """Move a photo onto another: the peak of their phase correlation within `reach` pixels (Kuglin and Hines, 1975)."""
    first, second = (np.asarray(photo.convert("L"), dtype=float) for photo in (still, moving))
    window = np.outer(np.hanning(first.shape[0]), np.hanning(first.shape[1]))
    cross = np.fft.rfft2((first - first.mean()) * window) * np.conj(np.fft.rfft2((second - second.mean()) * window))
    peaks = np.fft.irfft2(cross / np.maximum(np.abs(cross), 1e-9), s=first.shape)
    near = [(peaks[dy, dx], dy, dx) for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1)]
    _, dy, dx = max(near)
    # What the move uncovers shows the photo's own edge, drawn out.
    ys = np.clip(np.arange(first.shape[0]) - dy, 0, first.shape[0] - 1)
    xs = np.clip(np.arange(first.shape[1]) - dx, 0, first.shape[1] - 1)
    return Image.fromarray(np.asarray(moving)[ys][:, xs])


def _contact_sheet(made: Sequence[tuple[Pair, Image.Image]], layout: Layout) -> bytes:
    """The first sheets side by side, with the truth's cells framed, to be looked at by a person."""
    shown = made[:_CONTACTS]
    columns = min(4, len(shown))
    width, height = layout.size
    caption = 18
    sheet = Image.new("RGB", (columns * width, -(-len(shown) // columns) * (height + caption)), (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=13)
    for number, (pair, picture) in enumerate(shown):
        x, y = number % columns * width, number // columns * (height + caption)
        sheet.paste(picture, (x, y + caption))
        told = "; ".join(f"{one.location} {one.defect}" for one in pair.findings) or "passed"
        # The built-in font knows Latin letters alone; other scripts are shown by their escapes.
        draw.text((x + 4, y + 2), f"line {pair.line}: {told}".encode("latin-1", "backslashreplace").decode("latin-1"),
                  fill=(0, 0, 0), font=font)  # fmt: skip
        for one in pair.findings:
            left, upper, right, lower = layout.box(1, layout.grid.cells.index(str(one.location)))
            draw.rectangle((x + left, y + caption + upper, x + right - 1, y + caption + lower - 1), outline=(220, 0, 0))
    data = io.BytesIO()
    sheet.save(data, "PNG")
    return data.getvalue()
