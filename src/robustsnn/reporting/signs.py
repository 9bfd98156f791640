"""What the evaluation says about itself: flags that were raised and all checks that were made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from robustsnn.reporting.fields import items, mapping, number, text, truth


@dataclass(frozen=True)
class Flag:
    """A check that raised. `masking`: robustness may be an artefact; else a note on the evaluation."""

    name: str
    masking: bool
    message: str
    why: str
    todo: str


@dataclass(frozen=True)
class Check:
    """A check that was made: what it found in words, whether and when it raises, and which kind of flag."""

    name: str
    masking: bool
    found: str
    raised: bool
    raised_if: str


def read_flags(value: Any, where: str) -> list[Flag]:
    """The flags of a model. A flag that does not say what kind it is counts as masking."""
    entries = [mapping(entry, where) for entry in items(value, where)]
    return [
        Flag(
            text(entry, "name"),
            truth(entry.get("masking", True), f"{where}.masking"),
            text(entry, "message"),
            text(entry, "why"),
            text(entry, "todo"),
        )
        for entry in entries
    ]


def read_checks(value: Any, where: str) -> list[Check]:
    """The checks of a model, in the order they were made."""
    checks = []
    for entry in (mapping(entry, where) for entry in items(value, where)):
        measured = number(entry.get("value"), f"{where}.value")
        found = text(entry, "text") or text(entry, "message") or ("" if measured is None else f"{measured:.4g}")
        raised = truth(entry.get("raised", False), f"{where}.raised")
        masking = truth(entry.get("masking", True), f"{where}.masking")
        checks.append(Check(text(entry, "name"), masking, found, raised, text(entry, "raised_if")))
    return checks
