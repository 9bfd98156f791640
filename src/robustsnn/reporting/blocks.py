"""Blocks as the page shows them: each kind by a view of its own, charts that follow one another side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from robustsnn.records.exhibit import Block, Chart, Pictures, Table, Words
from robustsnn.reporting.block_chart import chart_view
from robustsnn.reporting.block_pictures import pictures_view
from robustsnn.reporting.block_table import table_view


@dataclass(frozen=True)
class Part:
    """What the template blocks.html.j2 shows at one place: views of one kind, several only of charts."""

    kind: str
    views: list[Any]


def parts(blocks: Sequence[Block], stem: str) -> list[Part]:
    """The blocks in order; files are named `stem`-1.pdf and so on, by their place."""
    found: list[Part] = []
    for place, block in enumerate(blocks, 1):
        name = f"{stem}-{place}"
        if isinstance(block, Table):
            found.append(Part("table", [table_view(block, name)]))
        elif isinstance(block, Pictures):
            found.append(Part("pictures", [pictures_view(block, name)]))
        elif isinstance(block, Words):
            found.append(Part("words", [block]))
        elif place > 1 and isinstance(blocks[place - 2], Chart):
            found[-1].views.append(chart_view(block, name, half=True))
        else:
            beside = place < len(blocks) and isinstance(blocks[place], Chart)
            found.append(Part("charts", [chart_view(block, name, half=beside)]))
    return found
