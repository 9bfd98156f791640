"""Blocks as a page shows them: charts and bars that follow one another side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from robustsnn.draw.bars import bars_view
from robustsnn.draw.chart import chart_view
from robustsnn.draw.pictures import pictures_view
from robustsnn.draw.table import table_view
from robustsnn.records.exhibit import Bars, Block, Chart, Pictures, Table, Words

_VIEWS: dict[type, tuple[str, Callable[[Any, str], Any]]] = {
    Table: ("table", table_view),
    Chart: ("figures", chart_view),
    Bars: ("figures", bars_view),
    Pictures: ("wide", pictures_view),
    Words: ("words", lambda words, stem: words),
}


@dataclass(frozen=True)
class Part:
    """What the template blocks.html.j2 shows at one place: views of one kind, several only of figures."""

    kind: str
    views: list[Any]


def parts(blocks: Sequence[Block], stem: str) -> list[Part]:
    """The blocks in order; files are named `stem`-1.pdf and so on, by their place."""
    found: list[Part] = []
    for place, block in enumerate(blocks, 1):
        kind, view = _VIEWS[type(block)]
        shown = view(block, f"{stem}-{place}")
        if kind == "figures" and found and found[-1].kind == kind:
            found[-1].views.append(shown)
        else:
            found.append(Part(kind, [shown]))
    return found
