"""A grid of pictures as one drawing: a row per subject, a column per view, words below each."""

from __future__ import annotations

import io
import struct
import textwrap

import numpy as np

from robustsnn.draw.files import Figure
from robustsnn.draw.sheet import INK, RULE, Sheet
from robustsnn.draw.tables import TextTable
from robustsnn.ground.errors import UserError
from robustsnn.records.exhibit import Picture, Pictures

_LABELS, _GAP, _LINE = 110, 12, 14


def pictures_view(pictures: Pictures, stem: str) -> Figure:
    """The figure of `pictures`; the CSV says what each shows. UserError for what is no PNG."""
    rows = []
    for subject, shots in pictures.rows:
        for place, shot in enumerate(shots):
            view = pictures.columns[place] if place < len(pictures.columns) else ""
            rows.append([subject, view, shot.caption, *_size(shot, pictures.title)])
    table = TextTable(["subject", "view", "caption", "width", "height"], rows)
    return Figure(stem, _drawn(pictures), table, pictures.title, pictures.caption)


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


def _drawn(pictures: Pictures) -> Sheet:
    columns = max([len(pictures.columns), *(len(shots) for _, shots in pictures.rows), 1])
    side = min(150, max(84, (1000 - _LABELS) // columns - _GAP))
    letters = max(8, side // 6)
    heads = [textwrap.wrap(name, letters)[:2] for name in pictures.columns]
    below = [[textwrap.wrap(shot.caption, letters + 1)[:3] for shot in shots] for _, shots in pictures.rows]
    heights = [side + _LINE * max(map(len, lines), default=0) + 14 for lines in below]
    head = 14 + _LINE * max((len(lines) for lines in heads), default=0)
    size = (_LABELS + columns * (side + _GAP), head + sum(heights))
    sheet = Sheet(*size, f"{pictures.title}. {'; '.join(subject for subject, _ in pictures.rows)}")
    canvas = sheet.axes(0, 0, 0, 0, (0, size[0], False), (0, size[1], False))

    def write(lines: list[str], x: float, y: float, colour: str = INK) -> None:
        for k, line in enumerate(lines):
            sheet.text(x, y - _LINE * k, line, 11, colour)

    for place, lines in enumerate(heads):
        write(lines, _LABELS + place * (side + _GAP), size[1] - 14)
    top = size[1] - head
    for (subject, shots), captions, height in zip(pictures.rows, below, heights, strict=True):
        write(textwrap.wrap(subject, _LABELS // 7)[:4], 0, top - 14)
        for place, (shot, lines) in enumerate(zip(shots, captions, strict=True)):
            wide, high = _size(shot, pictures.title)
            width, tall = side * min(1.0, wide / high), side * min(1.0, high / wide)
            x, y = _LABELS + place * (side + _GAP) + (side - width) / 2, top - (side + tall) / 2
            extent = (x, x + width, y, y + tall)
            canvas.imshow(_pixels(shot, pictures.title), extent=extent, interpolation="none", aspect="auto")
            sheet.box(x, y, width, tall, facecolor="none", edgecolor=RULE, linewidth=1)
            write(lines, _LABELS + place * (side + _GAP), top - side - 14)
        top -= height
    canvas.set(xlim=(0, size[0]), ylim=(0, size[1]))
    return sheet


def _pixels(shot: Picture, title: str) -> np.ndarray:
    from PIL import Image

    try:
        return np.asarray(Image.open(io.BytesIO(shot.png)).convert("RGBA"))
    except Exception as error:  # whatever a damaged file makes of the reader
        raise UserError(f"a picture of {title!r} is no PNG file ({error}); make the exhibit again") from error
