"""The evaluation of a run, `results.json`, read and checked into plain records."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robustsnn.ground.errors import UserError
from robustsnn.names import Entry, known, told, untwinned
from robustsnn.reporting.breaks import Breaks, read_breaks
from robustsnn.reporting.depth import Depth, read_depth
from robustsnn.reporting.fields import items, mapping, number, refuse, text, truth, whole
from robustsnn.reporting.rates import Rate, read_rate, read_share
from robustsnn.reporting.signs import Check, Flag, read_checks, read_flags

SCHEMA = 2
SPACES = ("pixel", "encoded")


@dataclass(frozen=True)
class Attack:
    """One member of the suite: what it met (`attacked`), what it broke, what stood after it, its cost."""

    name: str
    label: str
    black_box: bool
    column: str
    standing: Rate | None
    numbers: dict[str, float]


@dataclass(frozen=True)
class Draws:
    """Accuracy of a stochastic model at its worst points, over `n` fresh draws."""

    n: int
    mean: float
    std: float
    least: float
    most: float


@dataclass(frozen=True)
class Result:
    """Everything measured on one model. `space`: 'pixel', 'encoded' or '' (not saved).

    `survivors_only`: every attack met only what all before it left; else every column starts anew.
    `levels`: of a threat on grey levels. `rounded`: how many of how many broken images stand again on 8 bits.
    `crafting`: the precision that attacks were crafted in, '' where it was not saved. `about`: the suite.
    """

    clean: Rate | None = None
    suite: str = ""
    norm: str = ""
    eps: float | None = None
    space: str = ""
    survivors_only: bool = False
    columns: dict[str, Rate] = field(default_factory=dict)
    attacks: tuple[Attack, ...] = ()
    breaks: Breaks | None = None
    worst_case: Rate | None = None
    curve: tuple[tuple[float, Rate], ...] = ()
    flags: tuple[Flag, ...] = ()
    checks: tuple[Check, ...] = ()
    draws: Draws | None = None
    cost: dict[str, float] = field(default_factory=dict)
    seed: float | None = None
    crafting: str = ""
    levels: int | None = None
    rounded: tuple[int, int] | None = None
    depth: Depth | None = None
    about: Entry = field(default_factory=Entry)


@dataclass(frozen=True)
class Results:
    """The models of one `results.json` and the versions they were measured with."""

    models: dict[str, Result]
    versions: dict[str, Any]


def read_results(path: Path) -> Results:
    """Read `path`. Raises `UserError`, naming the file and the entry, where it is not a results file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error}); evaluate the run again") from error
    content = mapping(content, str(path))
    if content.get("schema") != SCHEMA:
        raise UserError(
            f"{path}: schema = {content.get('schema')!r}, but this report reads schema {SCHEMA}; "
            "evaluate the run again with this version of robustsnn"
        )
    models = mapping(content.get("models", {}), f"{path}: models")
    return Results(
        {str(name): _result(value, f"{path}: models.{name}") for name, value in models.items()},
        mapping(content.get("versions") or {}, f"{path}: versions"),
    )


def _result(value: Any, where: str) -> Result:
    value = mapping(value, where)
    columns = mapping(value.get("columns") or {}, f"{where}.columns")
    attacks = mapping(value.get("attacks") or {}, f"{where}.attacks")
    space = value.get("space")
    if space is not None and space not in SPACES:
        raise refuse(f"{where}.space", space, " or ".join(map(repr, SPACES)))
    rates = {name: read_rate(entry, f"{where}.columns.{name}") for name, entry in columns.items()}
    return Result(
        clean=read_rate(value.get("clean"), f"{where}.clean"),
        suite=text(value, "suite"),
        norm=text(value, "norm"),
        eps=number(value.get("eps"), f"{where}.eps"),
        space=space or "",
        survivors_only=truth(value.get("survivors_only", False), f"{where}.survivors_only"),
        columns={name: rate for name, rate in rates.items() if rate is not None},
        attacks=tuple(_attack(name, entry, f"{where}.attacks.{name}") for name, entry in attacks.items()),
        breaks=read_breaks(value.get("breaks"), f"{where}.breaks"),
        worst_case=read_rate(value.get("worst_case"), f"{where}.worst_case"),
        curve=_curve(value.get("curve"), f"{where}.curve"),
        flags=tuple(read_flags(value.get("flags"), f"{where}.flags")),
        checks=tuple(read_checks(value.get("checks"), f"{where}.checks")),
        draws=_draws(value.get("draws"), f"{where}.draws"),
        cost=_numbers(value.get("cost") or {}, ("forwards", "backwards"), f"{where}.cost"),
        seed=number(value.get("seed"), f"{where}.seed"),
        crafting=text(mapping(value.get("precision") or {}, f"{where}.precision"), "crafting"),
        levels=None if value.get("levels") is None else whole(value["levels"], f"{where}.levels"),
        rounded=_rounded(value.get("rounded"), f"{where}.rounded"),
        depth=read_depth(value.get("depth"), f"{where}.depth"),
        about=told(value.get("about")) or known("suite", untwinned(text(value, "suite"))) or Entry(),
    )


def _attack(name: str, value: Any, where: str) -> Attack:
    value = mapping(value, where)
    keys = ("attacked", "broken", "forwards", "backwards", "zero_gradients", "nan_gradients")
    return Attack(
        name=name,
        label=text(value, "label") or name,
        black_box=truth(value.get("black_box", False), f"{where}.black_box"),
        column=text(value, "column"),
        standing=read_rate(value, where) if "accuracy" in value else None,
        numbers=_numbers(value, keys, where),
    )


def _draws(value: Any, where: str) -> Draws | None:
    if value is None:
        return None
    value = mapping(value, where)
    mean, std, least, most = (read_share(value.get(key), f"{where}.{key}") for key in ("mean", "std", "least", "most"))
    return Draws(whole(value.get("n"), f"{where}.n"), mean, std, least, most)


def _rounded(value: Any, where: str) -> tuple[int, int] | None:
    if value is None:
        return None
    value = mapping(value, where)
    standing, of = (whole(value.get(key), f"{where}.{key}") for key in ("standing", "of"))
    return standing, of


def _curve(value: Any, where: str) -> tuple[tuple[float, Rate], ...]:
    points: dict[float, Rate] = {}
    for entry in items(value, where):
        eps, rate = number(mapping(entry, where).get("eps"), f"{where}.eps"), read_rate(entry, where)
        if eps is None or rate is None:
            raise UserError(f"{where}: the point {entry!r} has no eps; evaluate the run again")
        points[eps] = rate
    return tuple(sorted(points.items()))


def _numbers(value: Any, keys: tuple[str, ...], where: str) -> dict[str, float]:
    value = mapping(value, where)
    found = {key: number(value.get(key), f"{where}.{key}") for key in keys}
    return {key: figure for key, figure in found.items() if figure is not None}
