"""The evaluation of a run, `results.json`, read and checked into plain records."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustsnn.errors import UserError


@dataclass(frozen=True)
class Rate:
    """A share of `n` images classified correctly, with its 95 % interval where one was saved."""

    accuracy: float
    interval: tuple[float, float] | None
    n: int | None


@dataclass(frozen=True)
class Attack:
    """One member of the suite: what it met (`attacked`), what it broke, what stood after it, its cost."""

    name: str
    column: str
    eps: float | None
    standing: Rate | None
    numbers: dict[str, float]


@dataclass(frozen=True)
class Result:
    """Everything measured on one model."""

    clean: Rate | None
    suite: str
    norm: str
    eps: float | None
    columns: dict[str, Rate]
    attacks: list[Attack]
    worst_case: Rate | None
    curve: list[tuple[float, Rate]]
    flags: list[tuple[str, str]]
    seconds: float | None
    seed: float | None = None


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
    content = _mapping(content, str(path))
    if content.get("schema") != 1:
        raise UserError(
            f"{path}: schema = {content.get('schema')!r}, but this report reads schema 1; "
            "evaluate the run again with this version of robustsnn"
        )
    models = _mapping(content.get("models", {}), f"{path}: models")
    return Results(
        {str(name): _result(value, f"{path}: models.{name}") for name, value in models.items()},
        _mapping(content.get("versions") or {}, f"{path}: versions"),
    )


def _result(value: Any, where: str) -> Result:
    value = _mapping(value, where)
    worst = value.get("worst_case")
    columns = _mapping(value.get("columns") or {}, f"{where}.columns")
    attacks = _mapping(value.get("attacks") or {}, f"{where}.attacks")
    eps, norm = value.get("eps"), value.get("norm")
    if isinstance(worst, dict):
        eps, norm = worst.get("eps", eps), worst.get("norm", norm)
    return Result(
        clean=_rate(value.get("clean"), f"{where}.clean"),
        suite=str(value.get("suite") or ""),
        norm=str(norm or ""),
        eps=_number(eps, f"{where}.eps"),
        columns={
            name: rate
            for name, entry in columns.items()
            if (rate := _rate(entry, f"{where}.columns.{name}")) is not None
        },
        attacks=[_attack(name, entry, f"{where}.attacks.{name}") for name, entry in attacks.items()],
        worst_case=_rate(worst, f"{where}.worst_case"),
        curve=_curve(value.get("curve") or [], f"{where}.curve"),
        flags=[
            (str(flag.get("name", "")), str(flag.get("message", "")))
            for flag in (_mapping(flag, f"{where}.flags") for flag in _list(value.get("flags") or [], f"{where}.flags"))
        ],
        seconds=_number(value.get("seconds"), f"{where}.seconds"),
        seed=_number(value.get("seed"), f"{where}.seed"),
    )


def _attack(name: str, value: Any, where: str) -> Attack:
    value = _mapping(value, where)
    keys = ("attacked", "broken", "forwards", "backwards", "zero_gradients", "nan_gradients")
    numbers = {key: _number(value.get(key), f"{where}.{key}") for key in keys}
    return Attack(
        name=name,
        column=str(value.get("column") or ""),
        eps=_number(value.get("eps"), f"{where}.eps"),
        standing=_rate(value, where) if "accuracy" in value else None,
        numbers={key: number for key, number in numbers.items() if number is not None},
    )


def _curve(value: Any, where: str) -> list[tuple[float, Rate]]:
    points: dict[float, Rate] = {}
    for entry in _list(value, where):
        eps, rate = _number(_mapping(entry, where).get("eps"), f"{where}.eps"), _rate(entry, where)
        if eps is None or rate is None:
            raise UserError(f"{where}: the point {entry!r} has no eps; evaluate the run again")
        points[eps] = rate
    return sorted(points.items())


def _rate(value: Any, where: str) -> Rate | None:
    if value is None:
        return None
    value = _mapping(value, where)
    accuracy, n = _number(value.get("accuracy"), f"{where}.accuracy"), _number(value.get("n"), f"{where}.n")
    pair = value.get("interval")
    interval = None
    if pair is not None:
        ends = [_number(end, f"{where}.interval") for end in _list(pair, f"{where}.interval")]
        if len(ends) != 2 or ends[0] is None or ends[1] is None or not 0 <= ends[0] <= ends[1] <= 1:
            raise UserError(f"{where}.interval = {pair!r} is not [low, high] in [0, 1]; evaluate the run again")
        interval = (ends[0], ends[1])
    if accuracy is None or not 0 <= accuracy <= 1:
        raise UserError(f"{where}.accuracy = {accuracy!r} is not a share in [0, 1]; evaluate the run again")
    return Rate(accuracy, interval, None if n is None else int(n))


def _number(value: Any, where: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise UserError(f"{where} = {value!r} is not a finite number; evaluate the run again")
    return value


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{where} is {type(value).__name__}, not a table of entries; evaluate the run again")
    return value


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise UserError(f"{where} is {type(value).__name__}, not a list; evaluate the run again")
    return value
