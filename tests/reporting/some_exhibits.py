"""Exhibits with every kind of block, invented."""

from __future__ import annotations

import math

import numpy as np

from robustsnn.draw.png import png
from robustsnn.records.exhibit import (
    Bar,
    Bars,
    Block,
    Cell,
    Chart,
    Claim,
    Exhibit,
    Line,
    Picture,
    Pictures,
    Row,
    Table,
    Verdict,
    Words,
)

VERDICTS: tuple[Verdict, ...] = ("holds", "does not hold", "undecided")


def table(text: str = "model") -> Table:
    cells = (Cell(56.84, (52.0, 61.25), 360, 30.54), Cell(None, None, None, 9.0), Cell(-0.01))
    rows = (Row("SR*", cells, "CIFAR-10"), Row(text, cells[:1], "CIFAR-100"))
    return Table(f"{text}: white box", ("PGD10", "APGD10", text), rows, head="model")


def chart(text: str = "vanilla", **more: bool) -> Chart:
    x = (1e-3, 1e-2, 0.1, 1.0)
    solid = Line(text, x, (0.9, math.nan, 0.5, 0.1), ((0.8, 0.95), None, (0.4, 0.6), (0.0, 0.2)))
    dots = Line("images", x, (0.1, 0.2, 0.3, 0.4), style="points")
    return Chart(f"{text}: accuracy", "eps", "accuracy", (solid, dots), **more, x_names=((0.1, text),))


def bars(text: str = "vanilla") -> Bars:
    rows = (Bar(text, (2.0, 1.0), (Cell(0.5, (0.4, 0.6), 9),), (0,), text), Bar("b", (0.0, 3.0), (Cell(None),), (0, 1)))
    return Bars(f"{text}: bars", "images", rows, ("first", text), ("mean",), (text, "other"), caption=text)


def pictures(text: str = "image") -> Pictures:
    ramp = png(np.linspace(0, 1, 48).reshape(3, 4, 4))
    tall = png(np.linspace(0, 1, 32).reshape(1, 8, 4))
    return Pictures(f"{text}: heatmaps", ("image", text), ((text, (Picture(ramp, text), Picture(tall))),), text)


def exhibits(count: int = 3, text: str = "SR*") -> list[Exhibit]:
    """So many exhibits; `text` is in every place where text can be."""
    blocks: tuple[Block, ...] = (Words((text, "56.8 % [52.0, 61.3] of it"), text), table(text), chart(text))
    blocks += (pictures(text), bars(text), chart(text, percent=True), chart(text, x_log=True, y_log=True))
    return [
        Exhibit(
            f"p1-table{k}",
            f"{text}, exhibit {k}",
            f"table {k} of {text}",
            "digits",
            blocks,
            tuple(Claim(f"{text} claim {j}", VERDICTS[(k + j) % 3], f"because of {text}") for j in range(k)),
            (f"note of {text}",),
            (("command", text), ("seeds", "0, 1, 2")),
        )
        for k in range(count)
    ]
