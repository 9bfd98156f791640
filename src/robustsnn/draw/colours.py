"""The colours of a page by name, light and dark: the style sheet and the PDF files take them from here alone."""

from __future__ import annotations

LIGHT = {
    "paper": "#fdfdfb",
    "ink": "#1c1e22",
    "muted": "#5a616c",
    "rule": "#dcdfe4",
    "soft": "#f2f3f1",
    "mark": "#fff0c9",
    "best": "#cfe5f3",
    "close": "#eaf3f9",
    "warn": "#a23b00",
    # Eight colours of models and lines, told apart by colour-blind readers (after Okabe and Ito), darkened for text.
    "c0": "#0072b2",
    "c1": "#d55e00",
    "c2": "#009e73",
    "c3": "#b8578f",
    "c4": "#b67c00",
    "c5": "#3d9bd1",
    "c6": "#5b6068",
    "c7": "#86653a",
}
DARK = {
    "paper": "#15171b",
    "ink": "#e7e8eb",
    "muted": "#a5acb7",
    "rule": "#343941",
    "soft": "#1e2126",
    "mark": "#4a3d12",
    "best": "#1b435c",
    "close": "#1a2b37",
    "warn": "#ffa46b",
    "c0": "#4ba6e0",
    "c1": "#f28c38",
    "c2": "#2cc49a",
    "c3": "#e39bc5",
    "c4": "#efc04a",
    "c5": "#9ad4f7",
    "c6": "#b8bcc4",
    "c7": "#c9a973",
}


def variables(colours: dict[str, str]) -> str:
    """The colours as CSS variables: '--paper: #fdfdfb; --ink: ...'."""
    return " ".join(f"--{name}: {colour};" for name, colour in colours.items())
