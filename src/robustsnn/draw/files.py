"""Files inside a page: each figure as PDF, its data as CSV, tables as text; nothing is fetched from elsewhere."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

from markupsafe import Markup

from robustsnn.draw.sheet import Sheet
from robustsnn.draw.tables import TextTable

_MIME = {"csv": "text/csv", "md": "text/markdown", "tex": "application/x-tex", "pdf": "application/pdf"}


@dataclass(frozen=True)
class Download:
    """A link: the name of the file, and the file itself as an address."""

    name: str
    address: str

    @property
    def kind(self) -> str:
        """What the link says: 'PDF', 'CSV'."""
        return {"tex": "LaTeX", "md": "Markdown"}.get(
            self.name.rpartition(".")[2], self.name.rpartition(".")[2].upper()
        )


def download(name: str, content: str | bytes) -> Download:
    """The file `name`; its ending says what it is."""
    mime = _MIME[name.rpartition(".")[2]]
    if isinstance(content, str):
        mime, content = f"{mime};charset=utf-8", content.encode()
    return Download(name, f"data:{mime};base64,{base64.b64encode(content).decode()}")


def stem(text: str) -> str:
    """`text` as part of a file name or address: lower-case letters, digits and hyphens."""
    return re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")


@dataclass(frozen=True)
class Figure:
    """A drawing with its name, its data, a title and a caption; None where there is nothing to draw."""

    name: str
    drawing: Sheet | None
    data: TextTable
    title: str
    caption: str = ""

    @property
    def svg(self) -> Markup:
        """For the page."""
        return Markup("") if self.drawing is None else self.drawing.svg(self.name)

    @property
    def files(self) -> list[Download]:
        """PDF, unless nothing is drawn, and CSV."""
        files = [] if self.drawing is None else [download(f"{self.name}.pdf", self.drawing.pdf(self.title))]
        return [*files, download(f"{self.name}.csv", self.data.csv())]
