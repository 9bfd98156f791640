"""Two measurements beside each other: what both hold, and what became faster or slower."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from robustsnn.ground.errors import UserError, in_short, in_words
from robustsnn.ground.files import from_json
from robustsnn.records.typed import is_number

Figure: TypeAlias = float | dict[str, float]
"""A number, or {"min", "median", "max"}."""

_RANGE = ("min", "median", "max")
_NO_FIGURE = ("preemptions_per_round", "units", "published_over_vanilla", "images", "spikes_equal")
_MACHINE = ("cpu", "cores", "threads", "clock", "device")
_VERSIONS = ("torch", "python", "spikingjelly")


@dataclass(frozen=True)
class ComparedRow:
    """A figure that both files hold; `verdict` is empty where the ranges overlap or there are none."""

    name: str
    old: Figure
    new: Figure
    ratio: float
    verdict: str


def read(path: Path) -> dict[str, Any]:
    """A document of `bench`; UserError if the file is none."""
    try:
        document = from_json(path.read_text("utf-8"))
    except OSError as error:
        raise UserError(in_words(error)) from None
    except (ValueError, RecursionError) as error:
        said = f"{path} cannot be read as a measurement ({error})"
        raise UserError(f"{said}; give a file that `robustsnn bench --json` wrote") from None
    if (
        not isinstance(document, dict)
        or not isinstance(document.get("results"), dict)
        or not isinstance(document.get("machine"), dict)
    ):
        raise UserError(f"{path} is no measurement of `robustsnn bench --json`; give files that it wrote")
    for name, figure in _figures(document["results"]):
        if not all(map(is_number, (figure[end] for end in _RANGE) if isinstance(figure, dict) else (figure,))):
            raise UserError(
                f"{path}: {name}={in_short(figure)}: allowed is a number, or a min, a median and a max; measure again"
            )
    return document


def compare(old: dict[str, Any], new: dict[str, Any]) -> list[ComparedRow]:
    """Every figure that both hold, in the order of the new one: ratio of medians new / old, and a verdict."""
    before = dict(_figures(old["results"]))
    rows = []
    for name, figure in _figures(new["results"]):
        if name in before and median(before[name]) != 0:
            ratio = median(figure) / median(before[name])
            rows.append(ComparedRow(name, before[name], figure, ratio, _verdict(name, before[name], figure)))
    return rows


def alone(old: dict[str, Any], new: dict[str, Any]) -> tuple[int, int]:
    """How many figures only the old holds, and how many only the new."""
    names = [{name for name, _ in _figures(document["results"])} for document in (old, new)]
    return len(names[0] - names[1]), len(names[1] - names[0])


def differences(old: dict[str, Any], new: dict[str, Any]) -> str:
    """What else differs, in one line; empty if nothing does."""
    pairs = [(name, old["machine"].get(name), new["machine"].get(name)) for name in _MACHINE]
    pairs += [(name, old.get(name), new.get(name)) for name in _VERSIONS]
    return "; ".join(f"{name}: {a} -> {b}" for name, a, b in pairs if a != b)


def median(figure: Figure) -> float:
    """Of a range its median, of a number itself."""
    return figure["median"] if isinstance(figure, dict) else figure


def _figures(node: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, Figure]]:
    """("part / case / figure", value) of every figure below a node."""
    for name, value in node.items():
        here = (*path, name)
        if name in _NO_FIGURE:
            continue
        if isinstance(value, dict) and not {*_RANGE} <= value.keys():
            yield from _figures(value, here)
        elif isinstance(value, dict | int | float) and not isinstance(value, bool):
            yield " / ".join(here), value


def _verdict(name: str, old: Figure, new: Figure) -> str:
    """A word for ranges that do not overlap: faster or slower of times and rates, else lower or higher."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return ""
    if new["max"] < old["min"]:
        lower = True
    elif new["min"] > old["max"]:
        lower = False
    else:
        return ""
    figure = name.split(" / ")
    if figure[-1].endswith("_per_s"):
        return "slower" if lower else "faster"
    if figure[-1].endswith("ms") or figure[-1].endswith("_s") or "ms_at" in figure:
        return "faster" if lower else "slower"
    return "lower" if lower else "higher"
