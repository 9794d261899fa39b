"""Contexts -> HTML files that open from anywhere: a browser, a mail, an archive. No request leaves the page.

    reports/index.html                       all cycles
    reports/c0001/index.html                 one cycle
    reports/c0001/pictures/<sample>.jpg      its gallery
    reports/assets/plotly-<version>.min.js   shared by all pages

Enters: a Ledger. Leaves: files, each there whole or not at all. Standalone pages carry pictures and script in
themselves (about 5 MB each). Cost: half a second a cycle, most of it for the pictures.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from harness import __version__
from harness.report.contexts import cycle_page, index_page
from harness.report.lookalikes import PicturePlaced
from harness.report.page import CyclePage
from harness.store import Ledger, read

#: pixels along the longer side of a picture in the gallery
PICTURE = 840


def render_reports(
    ledger: Ledger, cycle_ids: Sequence[str] | None, reports: Path, *, standalone: bool = False
) -> list[Path]:
    """Render the pages of some cycles, of all where None, and the index page.

    Returns:
        The files written, the index last.

    Raises:
        UnknownCycle: a cycle is not in the ledger.
        LedgerError: there is no ledger.
    """
    chosen = [read.cycle(ledger, cycle_id).cycle_id for cycle_id in cycle_ids or ()]
    if cycle_ids is None:
        with ledger.reading():  # raises where there is no ledger
            pass
        chosen = [row.cycle_id for row in read.cycles(ledger)]
    now = datetime.now(UTC)
    written = []
    for cycle_id in chosen:
        with ledger.reading():
            page = cycle_page(ledger, cycle_id, made_at=now, version=__version__)
        page = _with_pictures(page, ledger.runs / "pool", reports / cycle_id, standalone=standalone)
        html = _template("cycle.html").render(
            page=page, plotly=_plotly(reports, "../", standalone=standalone), home="../index.html"
        )
        written.append(_write(reports / cycle_id / "index.html", html))
    with ledger.reading():
        index = index_page(ledger, made_at=now, version=__version__)
    html = _template("index.html").render(page=index, plotly=_plotly(reports, "", standalone=standalone), home="")
    written.append(_write(reports / "index.html", html))
    return written


@cache
def _template(name: str) -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("harness.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def _trusted(text: str) -> Any:
    """The one place that marks HTML as safe: our own style sheet and scripts, and plotly's."""
    from markupsafe import Markup

    return Markup(text)  # never called with data


def _plotly(reports: Path, up: str, *, standalone: bool) -> dict[str, Any]:
    """Style and scripts of a page: plotly.js beside the pages, or inside them."""
    templates = resources.files("harness.report").joinpath("templates")
    style = _trusted(templates.joinpath("page.css").read_text("utf-8"))
    script = _trusted(templates.joinpath("page.js").read_text("utf-8"))
    library = resources.files("plotly").joinpath("package_data", "plotly.min.js").read_text("utf-8")
    if standalone:
        return {"style": style, "script": script, "src": "", "inline": _trusted(library)}
    name = f"plotly-{metadata.version('plotly')}.min.js"
    if not (reports / "assets" / name).is_file():
        _write(reports / "assets" / name, library)
    return {"style": style, "script": script, "src": f"{up}assets/{name}", "inline": ""}


def _with_pictures(page: CyclePage, pool: Path, folder: Path, *, standalone: bool) -> CyclePage:
    """The page with its pictures where it finds them; a picture whose file is gone is said to be missing."""

    def place(sample_id: str, image_file: str) -> PicturePlaced | None:
        source = pool / image_file
        if not source.is_file():
            return None
        found = f"pictures/{sample_id}.jpg"
        if standalone or not (folder / found).is_file():
            data = _downsized(source)
            width, height = _size(io.BytesIO(data))
            if standalone:
                return PicturePlaced(f"data:image/jpeg;base64,{base64.b64encode(data).decode()}", width, height)
            _write_bytes(folder / found, data)
        else:
            width, height = _size(folder / found)
        return PicturePlaced(found, width, height)

    return replace(
        page,
        gallery=tuple(replace(item, picture=place(item.sample_id, item.image_file)) for item in page.gallery),
        lookalikes_shown=tuple(
            replace(
                pair,
                picture=place(pair.sample_id, pair.image_file),
                test_picture=place(pair.test_id, pair.test_file),
            )
            for pair in page.lookalikes_shown
        ),
    )


def _size(picture: Path | io.BytesIO) -> tuple[int, int]:
    from PIL import Image

    with Image.open(picture) as opened:  # reads the header alone
        return opened.size


def _downsized(source: Path) -> bytes:
    from PIL import Image, ImageOps

    with Image.open(source) as opened:
        picture = ImageOps.exif_transpose(opened).convert("RGB")
    picture.thumbnail((PICTURE, PICTURE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def _write(path: Path, text: str) -> Path:
    _write_bytes(path, text.encode())
    return path


def _write_bytes(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_bytes(data)
    part.replace(path)
