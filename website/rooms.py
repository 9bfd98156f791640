"""The pages of the Python reference: of each public room, all that its own namespace shows."""

from __future__ import annotations

import inspect
from importlib import import_module

ROOMS = (
    "robustsnn",
    "attacks",
    "evaluation",
    "objectives",
    "models",
    "neurons",
    "encoders",
    "losses",
    "data",
    "studies",
    "interop",
)


def page_of(room: str) -> str:
    """The markdown of a room's page: its docstring, and an entry for each public function and class."""
    name = "robustsnn" if room == "robustsnn" else f"robustsnn.{room}"
    module = import_module(name)
    shown = []
    for word in sorted(dir(module), key=str.lower):
        thing = getattr(module, word)
        if word.startswith("_") or not (inspect.isfunction(thing) or inspect.isclass(thing)):
            continue
        if getattr(thing, "__module__", "").startswith("robustsnn"):
            shown.append(f"::: {thing.__module__}.{thing.__qualname__}\n    options:\n      heading: {word}\n")
    doc = inspect.getdoc(module) or ""
    first, _, rest = doc.partition("\n\n")
    more = f"```text\n{rest}\n```\n\n" if rest else ""
    return f"# {name}\n\n{first}\n\n{more}" + "\n".join(shown)
