"""All combinations of some values of some options of a config, each with a name for its folder."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from robustsnn.ground.errors import UserError
from robustsnn.names.config import Config, TrainingAttackConfig
from robustsnn.names.parsing import overridden
from robustsnn.names.values import shown

LONGEST = 150
"""Letters of a folder's name."""


@dataclass(frozen=True)
class Point:
    """One run of a grid: the folder's name, the options that are its own, and all options."""

    name: str
    overrides: Mapping[str, Any]
    config: Config


def axes(over: Sequence[str]) -> dict[str, list[str]]:
    """`objective.lam=0,0.1` and the like as values, still text, by option. A comma in brackets separates nothing.

    UserError for anything else, an unknown option, one given twice, or no value.
    """
    found: dict[str, list[str]] = {}
    for text in over:
        key, equals, given = text.partition("=")
        if not equals:
            raise UserError(f"--over {shown(text)}: write it as OPTION=VALUE,VALUE, for example objective.lam=0,0.002")
        _check_option(key)
        if key in found:
            raise UserError(f"--over {key} is given twice; give all its values at once")
        found[key] = _split(given)
        if not all(found[key]):
            raise UserError(f"--over {shown(text)}: a value is empty; write it as {key}=VALUE,VALUE")
    if not found:
        raise UserError("a sweep needs --over OPTION=VALUE,VALUE, for example --over objective.lam=0,0.002")
    return found


def grid(base: Config, over: Mapping[str, Sequence[str]]) -> list[Point]:
    """All combinations of the values, the last option varying fastest; values are read as by `robustsnn train`.

    A point's name depends on its own options alone, so that a grid may grow. UserError for a value of the wrong
    kind, and for two points that are the same run.
    """
    points: list[Point] = []
    for values in itertools.product(*over.values()):
        given = dict(zip(over, values, strict=True))
        config = overridden(base, given)
        name = point_name(given)
        for point in points:
            if replace(point.config, name=config.name) == config:
                raise UserError(f"{point.name} and {name} are the same run; give each value once")
        overrides = {key: _value(asdict(config), key) for key in given}
        title = " ".join([config.title(), *_parts(given)])
        points.append(Point(name, overrides, replace(config, name=title)))
    return points


def point_name(given: Mapping[str, str]) -> str:
    """A folder's name such as `lam=0.002_seed=1`, another one for each combination of values of these options."""
    name = "_".join(_parts(given))
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 9]}~{_digest(name)}"


def _parts(given: Mapping[str, str]) -> list[str]:
    """`lam=0.002`: the last word of an option is enough where no other option has it."""
    last = [key.rpartition(".")[2] for key in given]
    short = [key if last.count(name) > 1 else name for key, name in zip(given, last, strict=True)]
    return [f"{key}={_plain(value)}" for key, value in zip(short, given.values(), strict=True)]


def _plain(value: str) -> str:
    """A value in letters that are safe in file names; a digest tells apart what they cannot."""
    if re.fullmatch(r"[A-Za-z0-9_.+-]{1,30}", value):
        return value
    if re.fullmatch(r"[0-9]{1,9}/[0-9]{1,9}", value):
        return value.replace("/", "~")
    letters = re.sub(r"[^A-Za-z0-9_.+]+", "-", value).strip("-")[:20]
    return f"{letters}~{_digest(value)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _split(text: str) -> list[str]:
    """At the commas that are in no brackets."""
    found, depth = [""], 0
    for letter in text:
        depth += (letter in "[{") - (letter in "]}")
        if letter == "," and depth == 0:
            found.append("")
        else:
            found[-1] += letter
    return [value.strip() for value in found]


def _value(options: Any, key: str) -> Any:
    """What a config, as nested mappings, says of an option; None below a group that it has not."""
    for name in key.split("."):
        options = options.get(name) if isinstance(options, dict) else None
    return options


def _check_option(key: str) -> None:
    """UserError for what is no option of a config, with those there are."""
    here: Any = asdict(Config())
    names = key.split(".")
    for depth, name in enumerate(names):
        above = names[depth - 1] if depth else ""
        if above == "options":
            return  # what it allows is known when the network or objective is made
        if above in ("attack", "validation_attack"):
            here = dict.fromkeys(TrainingAttackConfig.__dataclass_fields__)
        where = ".".join(names[:depth])
        if not isinstance(here, dict):
            raise UserError(f"--over {key}: {where} has no options below it; give --over {where}=VALUE,VALUE")
        if name not in here:
            inside = f" in {where}" if where else ""
            raise UserError(f"--over {key}: no such option; allowed{inside} are {', '.join(here)}")
        here = here[name]
    if isinstance(here, dict) and names[-1] != "options":
        raise UserError(f"--over {key} is a group of options; give one of {', '.join(f'{key}.{n}' for n in here)}")
