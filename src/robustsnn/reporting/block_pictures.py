"""A grid of pictures as one drawing: a row per subject, a column per view, words below each."""

from __future__ import annotations

import base64
import struct
import textwrap
from dataclasses import dataclass

from markupsafe import Markup, escape

from robustsnn.ground.errors import UserError
from robustsnn.records.exhibit import Picture, Pictures
from robustsnn.reporting.downloads import Figure
from robustsnn.reporting.tables import Table

_LABELS, _GAP, _LINE = 110, 12, 14


@dataclass(frozen=True)
class PicturesView:
    """The drawing of a grid and its files."""

    pictures: Pictures
    svg: Markup
    figure: Figure


def pictures_view(pictures: Pictures, stem: str) -> PicturesView:
    """The drawing of `pictures`; the CSV under the name `stem` says what each shows. UserError for what is no PNG."""
    svg = _grid(pictures)
    return PicturesView(pictures, svg, Figure(stem, [svg], _captions(pictures), pictures.title))


def _captions(pictures: Pictures) -> Table:
    rows = []
    for subject, shots in pictures.rows:
        for place, shot in enumerate(shots):
            view = pictures.columns[place] if place < len(pictures.columns) else ""
            rows.append([subject, view, shot.caption, *_size(shot, pictures.title)])
    return Table(["subject", "view", "caption", "width", "height"], rows)


def _size(picture: Picture, title: str) -> tuple[int, int]:
    """Width and height in pixels, from the head of the file."""
    head = picture.png[:24]
    if (
        len(head) < 24
        or head[:8] != b"\x89PNG\r\n\x1a\n"
        or head[12:16] != b"IHDR"
        or 0 in struct.unpack(">II", head[16:])
    ):
        raise UserError(f"a picture of {title!r} is no PNG file; make the exhibit again")
    return struct.unpack(">II", head[16:])


def _grid(pictures: Pictures) -> Markup:
    columns = max([len(pictures.columns), *(len(shots) for _, shots in pictures.rows), 1])
    side = min(150, max(84, (1000 - _LABELS) // columns - _GAP))
    width = _LABELS + columns * (side + _GAP)
    letters = max(8, side // 6)
    parts: list[str] = []
    heads = [textwrap.wrap(name, letters)[:2] for name in pictures.columns]
    for place, lines in enumerate(heads):
        parts += _lines(lines, _LABELS + place * (side + _GAP), 14, "said")
    y = 8 + _LINE * max((len(lines) for lines in heads), default=0) + (6 if any(heads) else 0)
    for subject, shots in pictures.rows:
        parts += _lines(textwrap.wrap(subject, _LABELS // 7)[:4], 0, y + 14, "said")
        below = 0
        for place, shot in enumerate(shots):
            x = _LABELS + place * (side + _GAP)
            parts.append(_image(shot, x, y, side, pictures.title))
            lines = textwrap.wrap(shot.caption, letters + 1)[:3]
            parts += _lines(lines, x, y + side + 14, "small")
            below = max(below, len(lines))
        y += side + _LINE * below + 14
    alt = f"{pictures.title}. {'; '.join(subject for subject, _ in pictures.rows)}"
    size = f'viewBox="0 0 {width} {y}" width="{width}" height="{y}"'
    return Markup(f'<svg class="grid-of-images" {size} role="img" aria-label="{escape(alt)}">{"".join(parts)}</svg>')


def _lines(lines: list[str], x: float, y: float, kind: str) -> list[str]:
    places = enumerate(lines)
    return [f'<text class="{kind}" x="{x}" y="{y + _LINE * k}">{escape(line)}</text>' for k, line in places]


def _image(shot: Picture, x: float, y: float, side: float, title: str) -> str:
    wide, high = _size(shot, title)
    width, height = side * min(1.0, wide / high), side * min(1.0, high / wide)
    x, y = x + (side - width) / 2, y + (side - height) / 2
    box = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    address = f"data:image/png;base64,{base64.b64encode(shot.png).decode()}"
    return f'<image {box} href="{address}" preserveAspectRatio="none"/><rect class="frame" {box}/>'
