"""The gradient trail of a run, `analysis/trail.json`, read and checked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustsnn.errors import UserError
from robustsnn.report.fields import items, mapping, number, refuse, text, whole

ORIGINS = ("passed", "architectural", "natural", "other")


@dataclass(frozen=True)
class Estimate:
    """A mean over samples and its 95 % interval, where there are enough samples for one."""

    mean: float
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Step:
    """An operation: share of exact zeros and l2 norm of the gradient at its input.

    `parts` splits the share by origin; None where the file does not say. `entries` are those of one sample.
    `arrived` is the share of zeros at its output.
    """

    name: str
    path: str
    kind: str
    entries: int
    zeros: Estimate
    norm: Estimate
    parts: dict[str, float] | None
    arrived: float = 0.0

    @property
    def added(self) -> float | None:
        """The share of entries that are zero and were added here."""
        return None if self.parts is None else sum(self.parts.values()) - self.parts["passed"]


@dataclass(frozen=True)
class TrailFile:
    """A trail: what was differentiated over how many images, the operations in forward order, and the pixels."""

    n: int
    loss: str
    attack: str
    rule: str
    steps: list[Step]
    pixels: Step


def read_trail(path: Path) -> TrailFile:
    """Read `analysis/trail.json`. UserError, naming the entry, where it makes no sense."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error}); analyse the run again") from error
    value = mapping(value, str(path))
    pixels = {"name": "pixels", "kind": "pixels", "input": value.get("input"), "output": value.get("input")}
    return TrailFile(
        whole(value.get("n"), f"{path}: n"),
        text(value, "loss"),
        text(value, "attack"),
        text(value, "rule"),
        [_step(entry, f"{path}: operations") for entry in items(value.get("operations"), f"{path}: operations")],
        _step(pixels, str(path)),
    )


def _step(value: Any, where: str) -> Step:
    entry = mapping(value, where)
    side = mapping(entry.get("input"), f"{where}.input")
    zeros = _estimate(side.get("zeros"), f"{where}.zeros")
    if not 0 <= zeros.mean <= 1:
        raise refuse(f"{where}.zeros", zeros.mean, "a share")
    parts = None
    if all(entry.get(origin) is not None for origin in ORIGINS):
        parts = {origin: _estimate(entry[origin], f"{where}.{origin}").mean for origin in ORIGINS}
    entries = whole(side.get("entries"), f"{where}.entries")
    norm = _estimate(side.get("l2"), f"{where}.l2")
    arrived = _estimate(mapping(entry.get("output"), f"{where}.output").get("zeros"), f"{where}.output").mean
    return Step(text(entry, "name"), text(entry, "path"), text(entry, "kind"), entries, zeros, norm, parts, arrived)


def _estimate(value: Any, where: str) -> Estimate:
    entry = mapping(value, where)
    mean = number(entry.get("mean"), f"{where}.mean")
    if mean is None:
        raise refuse(f"{where}.mean", mean, "a number")
    ends = [number(end, f"{where}.interval") for end in items(entry.get("interval"), f"{where}.interval")]
    low, high = [end for end in ends if end is not None][:2] if len(ends) == 2 else (mean, mean)
    return Estimate(mean, (low, high) if len(ends) == 2 else None)
