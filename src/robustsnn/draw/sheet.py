"""A figure of matplotlib's, measured in pixels of the page: it becomes inline SVG, and the same as PDF.

Colours are those of the light page. In SVG they become its variables, so that the dark page shows its own.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

from markupsafe import Markup, escape

from robustsnn.draw.colours import LIGHT

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

WIDTH = 460
LETTER = 6.3
"""Mean width of a letter in pixels."""
MARKS = "os^D"
_KEYS = ("M7 3a4 4 0 1 1-.01 0z", "M3 3h8v8H3z", "M7 2 12 11H2z", "M7 2 12 7 7 12 2 7z")
INK, MUTED, RULE, PAPER = (LIGHT[name] for name in ("ink", "muted", "rule", "paper"))
Scale: TypeAlias = tuple[float, float, bool]
"""First and last value of an axis, and whether it is logarithmic."""
_FONT = re.compile(r"font-family: [^;\"]*")
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def colour(number: int) -> str:
    """One of eight."""
    return LIGHT[f"c{number % 8}"]


def mark(number: int) -> str:
    """A marker that changes with the colour, for those who do not see it."""
    return MARKS[(number + number // 8) % len(MARKS)]


def legend_mark(number: int) -> Markup:
    """The marker as a small `<svg>`, to stand before a name."""
    path = _KEYS[MARKS.index(mark(number))]
    size = 'viewBox="0 0 14 14" width="14" height="14" aria-hidden="true"'
    return Markup(f'<svg class="key c{number % 8}" {size}><path d="{path}"/></svg>')


@contextmanager
def _settings(salt: str = "") -> Iterator[None]:
    from matplotlib import rc_context

    made: dict[Any, Any] = {"text.parse_math": False, "font.family": "DejaVu Sans", "image.composite_image": False}
    made |= {"svg.fonttype": "none", "svg.hashsalt": salt, "pdf.fonttype": 3, "pdf.compression": 9}
    with rc_context(made), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a letter the font lacks is drawn as a box
        yield


@dataclass(frozen=True)
class Sheet:
    """A figure of this size; places are in pixels from its lower left. `alt` is for those who do not see it."""

    width: float
    height: float
    alt: str

    @cached_property
    def figure(self) -> Any:
        from matplotlib.figure import Figure

        return Figure(figsize=(self.width / 72, self.height / 72), dpi=72)

    @cached_property
    def tips(self) -> list[str | Sequence[str]]:
        """What is said where the mouse is, by number of the place."""
        return []

    def axes(self, left: float, bottom: float, right: float, top: float, x: Scale, y: Scale) -> Axes:
        """Bare axes with these margins."""
        width, height = self.width - left - right, self.height - bottom - top
        box = (left / self.width, bottom / self.height, width / self.width, height / self.height)
        with _settings():
            axes = self.figure.add_axes(box, frameon=False)
            axes.axis("off")
            for way, (low, high, log) in (("x", x), ("y", y)):
                axes.set(**{f"{way}scale": "log" if log else "linear"})
                axes.set(**{f"{way}lim": (low, high)})
            axes.set_autoscale_on(False)
        return axes

    def text(self, x: float, y: float, words: str, size: float = 11, colour: str = MUTED, **more: Any) -> None:
        """Words whose baseline begins, or ends or is centred (`ha`), at x, y."""
        with _settings():
            words = _NO_XML.sub("", " ".join(words.split()))
            more = {"va": "baseline", **more}
            self.figure.text(x / self.width, y / self.height, words, fontsize=size, color=colour, **more)

    def line(self, xs: Sequence[float], ys: Sequence[float], **look: Any) -> None:
        """A line, or marks, through places."""
        from matplotlib.lines import Line2D
        from matplotlib.transforms import IdentityTransform

        self.figure.add_artist(Line2D(list(xs), list(ys), transform=IdentityTransform(), **look))

    def box(self, x: float, y: float, width: float, height: float, **look: Any) -> Artist:
        """A rectangle."""
        from matplotlib.patches import Rectangle
        from matplotlib.transforms import IdentityTransform

        made = Rectangle((x, y), width, height, transform=IdentityTransform(), **{"linewidth": 0, **look})
        return self.figure.add_artist(made)

    def tip(self, artist: Artist, said: str | Sequence[str], kind: str = "at") -> None:
        """Say this where the artist is, or that at each of its marks in turn."""
        artist.set_gid(f"{kind}-{len(self.tips)}")
        self.tips.append(said)

    def place(self, x: float, y: float, width: float, height: float, said: str) -> None:
        """Say this inside of an unseen rectangle."""
        self.tip(self.box(x, y, width, height, facecolor=INK, alpha=0.004), said, "at hit")

    def svg(self, salt: str) -> Markup:
        """To stand in a page; equal figures of an equal salt are equal."""
        stream = io.StringIO()
        with _settings(salt):
            self.figure.savefig(stream, format="svg", metadata={"Date": None}, transparent=True)
        text = stream.getvalue()
        body = text[text.index('<g id="figure_1">') : text.rindex("</svg>")]
        body = re.sub(r"<defs>\s*<clipPath.*?</defs>", "", body, flags=re.S)
        body = re.sub(r'<g id="dots-(\d+)">(.*?</g>)\s*</g>', self._dots, body, flags=re.S)
        body = re.sub(r'<g id="(\w+(?: \w+)?)-(\d+)">', self._group, body)
        body = re.sub(r"<[^>]*>", _tag, body).replace("\n", " ")
        size = f'viewBox="0 0 {self.width:g} {self.height:g}" width="{self.width:g}" height="{self.height:g}"'
        return Markup(_NO_XML.sub("", f'<svg {size} role="img" aria-label="{escape(self.alt)}">{body}</svg>'))

    def _group(self, found: re.Match[str]) -> str:
        kind, number = found[1], int(found[2])
        if kind == "bar":
            return f'<g class="bar" data-part="{number}">'
        said = f"<title>{escape(self.tips[number])}</title>" if kind.startswith("at") else ""
        return f'<g class="{kind}">{said}'

    def _dots(self, found: re.Match[str]) -> str:
        tips = iter(self.tips[int(found[1])])
        shown = re.sub(
            r"<use[^>]*>", lambda use: f'<g class="at"><title>{escape(next(tips))}</title>{use[0]}</g>', found[2]
        )
        return f"<g>{shown}</g>"

    def pdf(self, title: str) -> bytes:
        """A file with the figure; its letters are text, and equal figures are equal files."""
        stream = io.BytesIO()
        with _settings():
            self.figure.savefig(stream, format="pdf", metadata={"CreationDate": None, "Title": title or None})
        return stream.getvalue()


def _tag(found: re.Match[str]) -> str:
    """An element as the page needs it: its own fonts and colours, two decimals, and no names that are used twice."""
    text = re.sub(r' clip-path="[^"]*"| transform="rotate\(-0 [^"]*"|(?<=<g) id="[^"]*"', "", found[0])
    if "base64," in text:
        return text.replace("xlink:href", "href")
    text = _FONT.sub("", re.sub(r"(\.\d\d)\d+", r"\1", text)).replace("xlink:href", "href")
    return re.sub(r"#[0-9a-f]{6}\b", lambda hex: _VARIABLES.get(hex[0], hex[0]), text)


_VARIABLES = {value: f"var(--{name})" for name, value in LIGHT.items()}
