"""The look of a model in every figure: its colour, its marker, its shortened name."""

from __future__ import annotations

COLOURS = 8


def style(colour: int) -> str:
    """The CSS class that carries the model's colour."""
    return f"c{colour % COLOURS}"


def marker(colour: int, x: float, y: float, *, hollow: bool = False, cloud: bool = False, size: float = 4.0) -> str:
    """An SVG mark at (x, y): its shape changes with `colour`, for those who do not see the colour.

    `hollow` marks what is a variant of something else, `cloud` is one of many points.
    """
    kind = f'class="{"cloud" if cloud else "mark"}{" hollow" if hollow else ""}"'
    a, b = round(size, 1), round(1.3 * size, 1)
    shape = (colour + colour // COLOURS) % 4
    if shape == 0:
        return f'<circle {kind} cx="{x}" cy="{y}" r="{a}"/>'
    outline = {
        1: f"M{-a},{-a}h{2 * a}v{2 * a}h{-2 * a}z",
        2: f"M0,{-b}L{b},{a}L{-b},{a}z",
        3: f"M0,{-b}L{b},0L0,{b}L{-b},0z",
    }[shape]
    return f'<path {kind} transform="translate({x} {y})" d="{outline}"/>'


def legend_mark(colour: int) -> str:
    """A small `<svg>` with the mark alone, to stand before the model's name."""
    mark = marker(colour, 7, 7)
    box = 'viewBox="0 0 14 14" width="14" height="14" aria-hidden="true"'
    return f'<svg class="key {style(colour)}" {box}>{mark}</svg>'


def short(name: str, most: int = 14) -> str:
    """`name` cut to `most` characters, for places in a figure."""
    return name if len(name) <= most else name[: most - 1] + "…"
