"""How a part of a figure looks on paper: the rules of figures.css.j2 with the light colours put in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from robustsnn.reporting.colours import LIGHT

# On paper there is no page colour behind a figure.
PAPER = LIGHT | {"paper": "#ffffff"}
_PASSED_ON = (
    "--c",
    "fill",
    "stroke",
    "stroke-width",
    "stroke-dasharray",
    "stroke-linecap",
    "stroke-linejoin",
    "font-size",
    "font-weight",
    "text-anchor",
)


@dataclass(frozen=True)
class Element:
    """What selectors see of an element: its name and its classes."""

    name: str
    classes: frozenset[str]


@dataclass(frozen=True)
class Rule:
    """Declarations for elements that match the last part of a selector, inside of ones that match the others."""

    selector: tuple[Element, ...]
    declared: tuple[tuple[str, str], ...]

    @property
    def weight(self) -> tuple[int, int]:
        """Of two rules the one with more classes wins, then the one with more names of elements."""
        return sum(len(part.classes) for part in self.selector), sum(bool(part.name) for part in self.selector)

    def matches(self, path: Sequence[Element]) -> bool:
        """Whether the last element of `path` is meant; the others are around it, outermost first."""
        *around, last = self.selector
        if not _is(path[-1], last):
            return False
        outer = iter(path[:-1])
        return all(any(_is(element, part) for element in outer) for part in around)


def _is(element: Element, part: Element) -> bool:
    return part.name in ("", element.name) and part.classes <= element.classes


@lru_cache
def rules() -> tuple[Rule, ...]:
    """The rules of the figures, weakest first."""
    text = (Path(__file__).parent / "figures.css.j2").read_text(encoding="utf-8")
    found = []
    for selectors, body in re.findall(r"([^{}]+)\{([^{}]*)\}", re.sub(r"/\*.*?\*/", "", text, flags=re.S)):
        pairs = (part.split(":", 1) for part in body.split(";") if part.strip())
        declared = tuple((name.strip(), value.strip()) for name, value in pairs)
        for selector in selectors.split(","):
            if ":" not in selector:
                found.append(Rule(tuple(_part(part) for part in selector.split()), declared))
    return tuple(sorted(found, key=lambda rule: rule.weight))


def _part(text: str) -> Element:
    name, *classes = text.strip().split(".")
    return Element(name, frozenset(classes))


@lru_cache(maxsize=4096)
def look(path: tuple[Element, ...]) -> Mapping[str, str]:
    """The properties of the last element of `path`, with colours as '#rrggbb'."""
    found = {name: value for name, value in look(path[:-1]).items() if name in _PASSED_ON} if len(path) > 1 else {}
    for rule in rules():
        if rule.matches(path):
            for name, value in rule.declared:
                size = re.match(r"([\d.]+)px", value) if name == "font" else None
                found |= {name: value} if size is None else {"font-size": size[1]}
    variables = {f"--{name}": colour for name, colour in PAPER.items()} | {"--c": found.get("--c", PAPER["ink"])}
    return {name: _known(value, variables) for name, value in found.items()}


def _known(value: str, variables: Mapping[str, str]) -> str:
    """`value` with each variable in it replaced, and theirs."""
    while "var(" in value:
        value = re.sub(r"var\((--\w+)\)", lambda found: variables[found[1]], value)
    return value
