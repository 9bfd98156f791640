"""The figures of a page as PDF: the same SVG, drawn again by matplotlib with the page's own rules for its look."""

from __future__ import annotations

import base64
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from robustsnn.reporting.look import PAPER, Element, look

if TYPE_CHECKING:
    from matplotlib.backend_bases import GraphicsContextBase, RendererBase
    from matplotlib.path import Path as Outline

_POINTS = 0.75  # points per pixel of the page
# DejaVu Sans, which comes with matplotlib, is wider than the fonts of a page.
_FONT_SCALE = 0.9
_MARGIN, _HEADING = 8.0, 30.0
_UNSEEN = ("none", "transparent")


@lru_cache(maxsize=256)
def pdf(figures: tuple[str, ...], heading: str = "") -> bytes:
    """A PDF file with a page per `<svg>` and `heading` above each; its text is text. Equal input, equal bytes."""
    from matplotlib import rc_context
    from matplotlib.artist import Artist
    from matplotlib.backends.backend_pdf import FigureCanvasPdf, PdfPages
    from matplotlib.figure import Figure

    class Drawn(Artist):
        """A figure of matplotlib's that holds nothing but one SVG."""

        def __init__(self, root: ElementTree.Element, height: float) -> None:
            super().__init__()
            self.root, self.height = root, height

        def draw(self, renderer: RendererBase) -> None:
            pen = _Pen(renderer, self.height)
            pen.text(" ".join(heading.split()), _MARGIN, _MARGIN + 12, {"font-size": "14", "font-weight": "600"})
            top = _MARGIN + (_HEADING if heading else 0.0)
            pen.draw(self.root, (), _Place(_MARGIN, top))

    stream = io.BytesIO()
    settings: dict[Any, Any] = {"pdf.fonttype": 3, "pdf.compression": 9}
    with rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a letter the font lacks is drawn as a box
        with PdfPages(stream, metadata={"CreationDate": None}) as pages:
            for figure in figures:
                root = _parsed(figure)
                width, height = (float(size) for size in root.attrib["viewBox"].split()[2:])
                width, height = width + 2 * _MARGIN, height + 2 * _MARGIN + (_HEADING if heading else 0.0)
                sheet = Figure(figsize=(width * _POINTS / 72, height * _POINTS / 72))
                FigureCanvasPdf(sheet)
                sheet.add_artist(Drawn(root, height))
                pages.savefig(sheet)
    return stream.getvalue()


def _parsed(figure: str) -> ElementTree.Element:
    """The elements of an SVG of ours; letters that XML does not know are left out."""
    return ElementTree.fromstring(re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "", figure))


@dataclass(frozen=True)
class _Place:
    """Where the origin of an element lies on the sheet, in pixels from its upper left, and how it is turned."""

    x: float
    y: float
    angle: float = 0.0

    def moved(self, transform: str) -> _Place:
        """After translate(x y), or rotate(degrees x y) of what stands at (x, y)."""
        kind, _, rest = transform.partition("(")
        values = [float(value) for value in re.findall(r"-?[\d.]+", rest)]
        if kind == "translate":
            return _Place(self.x + values[0], self.y + values[1], self.angle)
        return _Place(self.x, self.y, -values[0]) if kind == "rotate" else self


class _Pen:
    """Draws elements on a renderer, whose y axis points up and whose unit is the point."""

    def __init__(self, renderer: RendererBase, height: float) -> None:
        self.renderer, self.height = renderer, height

    def draw(self, element: ElementTree.Element, around: tuple[Element, ...], place: _Place) -> None:
        """Draw `element` and what is in it."""
        path = (*around, Element(_name(element), frozenset(element.get("class", "").split())))
        place = place.moved(element.get("transform", ""))
        seen = look(path)
        kind = path[-1].name
        if kind == "title" or float(seen.get("opacity", 1)) == 0:
            return
        if kind == "text":
            words = " ".join((element.text or "").split())
            self.text(words, place.x + _at(element, "x"), place.y + _at(element, "y"), seen, place.angle)
        elif kind == "image":
            self.image(element, place)
        elif kind in ("svg", "g"):
            for part in element:
                self.draw(part, path, place)
        else:
            self.shape(element, kind, place, seen)

    def shape(self, element: ElementTree.Element, kind: str, place: _Place, seen: Any) -> None:
        """A line, path, rectangle, polygon or circle."""
        from matplotlib.colors import to_rgb
        from matplotlib.transforms import Affine2D

        fill, stroke = seen.get("fill", PAPER["ink"]), seen.get("stroke", "none")
        fill = None if fill in _UNSEEN or kind == "line" else to_rgb(fill)
        if fill is None and stroke in _UNSEEN:
            return
        pen: GraphicsContextBase = self.renderer.new_gc()
        width = float(seen.get("stroke-width", 1)) * _POINTS if stroke not in _UNSEEN else 0.0
        pen.set_linewidth(width)
        pen.set_foreground(stroke if width else PAPER["ink"])
        pen.set_alpha(float(seen.get("opacity", 1)))
        pen.set_capstyle(seen.get("stroke-linecap", "butt"))
        pen.set_joinstyle(seen.get("stroke-linejoin", "miter"))
        dashes = [float(length) * _POINTS for length in seen.get("stroke-dasharray", "").split()]
        if dashes:
            pen.set_dashes(0, dashes)
        to_sheet = Affine2D().translate(place.x, place.y).scale(_POINTS, -_POINTS)
        self.renderer.draw_path(pen, _outline(element, kind), to_sheet.translate(0, self.height * _POINTS), fill)
        pen.restore()

    def text(self, words: str, x: float, y: float, seen: Any, angle: float = 0.0) -> None:
        """One line of text with its baseline, or its end or middle, at (x, y)."""
        from math import cos, radians, sin

        from matplotlib import get_data_path
        from matplotlib.colors import to_rgb
        from matplotlib.font_manager import FontProperties

        if not words:
            return
        kind = "DejaVuSans-Bold" if float(seen.get("font-weight", 400)) >= 600 else "DejaVuSans"
        size = float(seen.get("font-size", "12").removesuffix("px")) * _POINTS * _FONT_SCALE
        # The file itself, so that equal figures are equal files whatever fonts a machine has.
        font = FontProperties(fname=f"{get_data_path()}/fonts/ttf/{kind}.ttf", size=size)
        length, _, _ = self.renderer.get_text_width_height_descent(words, font, False)
        back = {"end": length, "middle": length / 2}.get(seen.get("text-anchor", ""), 0.0)
        pen = self.renderer.new_gc()
        pen.set_foreground(to_rgb(seen.get("fill", PAPER["ink"])), isRGBA=False)
        left = x * _POINTS - back * cos(radians(angle))
        low = (self.height - y) * _POINTS - back * sin(radians(angle))
        self.renderer.draw_text(pen, left, low, words, font, angle)
        pen.restore()

    def image(self, element: ElementTree.Element, place: _Place) -> None:
        """A picture from a data address, its pixels as they are."""
        import numpy as np
        from matplotlib.transforms import Affine2D
        from PIL import Image

        data = base64.b64decode(element.attrib["href"].partition(",")[2])
        pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))[::-1]
        width, height = (_at(element, side) * _POINTS for side in ("width", "height"))
        left = (place.x + _at(element, "x")) * _POINTS
        low = (self.height - place.y - _at(element, "y")) * _POINTS - height
        pen = self.renderer.new_gc()
        self.renderer.draw_image(pen, left, low, pixels, Affine2D().scale(width, height))
        pen.restore()


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _at(element: ElementTree.Element, name: str) -> float:
    return float(element.get(name, 0))


def _outline(element: ElementTree.Element, kind: str) -> Outline:
    from matplotlib.path import Path as Outline

    if kind == "circle":
        return Outline.circle((_at(element, "cx"), _at(element, "cy")), _at(element, "r"))
    if kind == "path":
        steps = list(_steps(element.get("d", "")))
        return Outline([point for _, point in steps] or [(0, 0)], [code for code, _ in steps] or [Outline.MOVETO])
    if kind == "rect":
        x, y, width, height = (_at(element, name) for name in ("x", "y", "width", "height"))
        corners: Sequence[tuple[float, float]] = [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
    elif kind == "polygon":
        values = [float(value) for value in element.get("points", "").replace(",", " ").split()]
        corners = list(zip(values[::2], values[1::2], strict=True))
    else:
        return Outline([(_at(element, "x1"), _at(element, "y1")), (_at(element, "x2"), _at(element, "y2"))])
    return Outline([*corners, corners[0]], closed=True)


def _steps(data: str) -> Iterator[tuple[Any, tuple[float, float]]]:
    """The steps of a path of M, L, h, v and z."""
    from matplotlib.path import Path as Outline

    x = y = 0.0
    for letter, rest in re.findall(r"([MLhvz])([^MLhvz]*)", data):
        values = [float(value) for value in re.findall(r"-?[\d.]+(?:e-?\d+)?", rest)]
        if letter == "z":
            yield Outline.CLOSEPOLY, (x, y)
            continue
        if letter in "ML":
            x, y = values
        else:
            x, y = (x + values[0], y) if letter == "h" else (x, y + values[0])
        yield Outline.MOVETO if letter == "M" else Outline.LINETO, (x, y)
