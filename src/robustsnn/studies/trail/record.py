"""The gradient trail of a run, `analysis/trail.json`, read and checked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustsnn.ground.errors import UserError
from robustsnn.reporting.fields import items, mapping, number, refuse, whole

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
class WeightZeros:
    """A weight tensor: share of exact zeros of one sample's gradient at it, over n samples."""

    name: str
    entries: int
    n: int
    zeros: Estimate


@dataclass(frozen=True)
class TrailFile:
    """A trail: what was differentiated over how many images, the operations in forward order, pixels, weights."""

    n: int
    loss: str
    attack: str
    rule: str
    steps: list[Step]
    pixels: Step
    weights: list[WeightZeros]


def read_trail(path: Path) -> TrailFile:
    """Read `analysis/trail.json`. UserError, naming the entry, where it makes no sense."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error}); analyse the run again") from error
    value = mapping(value, str(path))
    loss, attack, rule = (_string(value, key, str(path)) for key in ("loss", "attack", "rule"))
    return TrailFile(
        _positive(value.get("n"), f"{path}: n"),
        loss,
        attack,
        rule,
        [_step(entry, where) for entry, where in _list(value, "operations", path)],
        _step({"name": "pixels", "path": "", "kind": "pixels", "input": value.get("input")}, str(path)),
        [_weight(entry, where) for entry, where in _list(value, "weights", path)],
    )


def _list(value: dict[str, Any], key: str, path: Path) -> Iterator[tuple[Any, str]]:
    """The entries under `key`, each with its place in the file."""
    if value.get(key) is None:
        raise refuse(f"{path}: {key}", None, "a list")
    for place, entry in enumerate(items(value[key], f"{path}: {key}")):
        yield entry, f"{path}: {key}[{place}]"


def _string(entry: dict[str, Any], key: str, where: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str):
        raise refuse(f"{where}: {key}", value, "a string")
    return value


def _positive(value: Any, where: str) -> int:
    if whole(value, where) < 1:
        raise refuse(where, value, "an integer of at least 1")
    return value


def _step(value: Any, where: str) -> Step:
    """An operation; without an output it is the pixels."""
    entry = mapping(value, where)
    name, path, kind = (_string(entry, key, where) for key in ("name", "path", "kind"))
    side = mapping(entry.get("input"), f"{where}.input")
    zeros = _share(side.get("zeros"), f"{where}.input.zeros")
    norm = _estimate(side.get("l2"), f"{where}.input.l2")
    if norm.mean < 0:
        raise refuse(f"{where}.input.l2.mean", norm.mean, "at least 0")
    entries = _positive(side.get("entries"), f"{where}.input.entries")
    if kind == "pixels":
        return Step(name, path, kind, entries, zeros, norm, None)
    parts = None
    if all(entry.get(origin) is not None for origin in ORIGINS):
        parts = {origin: _share(entry[origin], f"{where}.{origin}").mean for origin in ORIGINS}
        if abs(sum(parts.values()) - zeros.mean) > 1e-6:
            raise refuse(f"{where}.input.zeros.mean", zeros.mean, f"the sum of {', '.join(ORIGINS)}")
    arrived = _share(mapping(entry.get("output"), f"{where}.output").get("zeros"), f"{where}.output.zeros").mean
    return Step(name, path, kind, entries, zeros, norm, parts, arrived)


def _weight(value: Any, where: str) -> WeightZeros:
    entry = mapping(value, where)
    zeros = _share(entry.get("zeros"), f"{where}.zeros")
    n = _positive(entry["zeros"].get("n"), f"{where}.zeros.n")
    return WeightZeros(_string(entry, "name", where), _positive(entry.get("entries"), f"{where}.entries"), n, zeros)


def _share(value: Any, where: str) -> Estimate:
    found = _estimate(value, where)
    if not 0 <= found.mean <= 1:
        raise refuse(f"{where}.mean", found.mean, "a share")
    return found


def _estimate(value: Any, where: str) -> Estimate:
    entry = mapping(value, where)
    mean = _number(entry.get("mean"), f"{where}.mean")
    if entry.get("interval") is None:
        return Estimate(mean, None)
    ends = [_number(end, f"{where}.interval") for end in items(entry["interval"], f"{where}.interval")]
    slack = 1e-9 * abs(mean)  # where all samples are alike the three differ by rounding
    if len(ends) != 2 or not ends[0] - slack <= mean <= ends[1] + slack:
        raise refuse(f"{where}.interval", ends, f"a lower and an upper end around {mean}")
    return Estimate(mean, (ends[0], ends[1]))


def _number(value: Any, where: str) -> float:
    found = number(value, where)
    if found is None:
        raise refuse(where, None, "a number")
    return found
