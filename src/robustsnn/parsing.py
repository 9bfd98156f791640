"""Command lines and YAML files to the dataclasses of options, strictly: an unknown key is an error with its name.

What a file or a flag says is data. A value becomes a number, a text, a truth value, or a list or mapping of these,
and nothing else: no name in it is imported, and nothing that it names is called.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Collection, Mapping
from dataclasses import MISSING, Field, asdict, fields, is_dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from robustsnn.config import Config
from robustsnn.errors import UserError

FREE = "options"
"""Fields of this name are mappings whose keys are known when what they are options of is made."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, `UserError`, instead of a usage page and an exit."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        raise UserError(_one_line(message))


def _one_line(message: str) -> str:
    return " ".join(message.split())[:500]


# ---------------------------------------------------------------------------------------------- values


def fitted(value: Any, kind: Any) -> Any:
    """A plain value as an annotation of plain types has it: an int where a float is needed becomes one.

    ValueError where it does not fit. An annotation of other types takes every value.
    """
    misfit = ValueError(f"{value!r} is not of {kind}")
    if get_origin(kind) is Literal:
        if any(value == choice and type(value) is type(choice) for choice in get_args(kind)):
            return value
        raise misfit
    if get_origin(kind) in (Union, UnionType):
        for choice in sorted(get_args(kind), key=lambda choice: choice is str):  # text last: it takes numbers too
            try:
                return fitted(value, choice)
            except ValueError:
                pass
        raise misfit
    if kind is float:
        if type(value) not in (int, float, str):
            raise misfit
        try:
            return float(value)  # of text too: YAML reads 1e-3 as one
        except (ValueError, OverflowError):
            raise misfit from None
    if kind in (int, str, bool, NoneType, dict, list) and type(value) is not kind:
        raise misfit
    return value


def _allowed(kind: Any) -> str:
    """An annotation in words."""
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(_allowed(choice) for choice in get_args(kind))
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", NoneType: "null"}
    return names.get(kind) or str(kind)


def _check_plain(value: Any) -> None:
    """ValueError unless a value of YAML is numbers, texts, truth values, lists and mappings, of a sane size."""
    left, count = [(value, 0)], 0
    while left:
        here, depth = left.pop()
        count += 1
        if depth > 20 or count > 10_000:  # also what refers to itself
            raise ValueError("it is nested too deeply or too large for a config")
        if isinstance(here, dict):
            if not all(isinstance(key, str) for key in here):
                raise ValueError("a name in it is no text")
            left += [(inner, depth + 1) for inner in here.values()]
        elif isinstance(here, list):
            left += [(inner, depth + 1) for inner in here]
        elif not isinstance(here, int | float | str | NoneType):
            raise ValueError(f"{here!r} is neither a number, a text, true, false, null, a list nor a mapping")


def _fill(kind: type, values: dict[str, Any], prefix: str) -> Any:
    """A dataclass from a mapping; missing keys keep their defaults."""
    kinds, made = _kinds(kind), {}
    for key, value in values.items():
        if key not in kinds:
            raise UserError(f"unknown key {prefix}{key}; allowed{_inside(prefix)} are {', '.join(kinds)}")
        made[key] = _read(kinds[key], value, f"{prefix}{key}")
    missing = [f.name for f in fields(kind) if f.name not in made and not _has_default(f)]
    if missing:
        raise UserError(f"{prefix}{missing[0]} is needed")
    return kind(**made)


def _inside(prefix: str) -> str:
    return f" in {prefix[:-1]}" if prefix else ""


def _has_default(field: Field[Any]) -> bool:
    return field.default is not MISSING or field.default_factory is not MISSING


@cache
def _kinds(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}


def _group(kind: Any) -> tuple[type | None, bool]:
    """The dataclass that a field holds, if it holds one, and whether it may be absent."""
    choices = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    groups = [choice for choice in choices if is_dataclass(choice)]
    return (groups[0] if groups else None), NoneType in choices  # type: ignore[return-value]


def _read(kind: Any, value: Any, name: str) -> Any:
    group, absent = _group(kind)
    if group is not None or get_origin(kind) is dict:
        if value is None and absent:
            return None
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise UserError(f"{name} is {value!r}; give its options below it, or leave it out")
        return value if group is None else _fill(group, value, f"{name}.")
    try:
        return fitted(value, kind)
    except ValueError:
        raise UserError(f"{name}={value!r}: needed is {_allowed(kind)}") from None


def parse_config(document: dict[str, Any], source: str) -> Config:
    """A mapping as read from YAML, checked: types, allowed values, no unknown keys. Missing keys get defaults."""
    try:
        return _fill(Config, document, "")  # type: ignore[no-any-return]
    except UserError as error:
        raise UserError(f"{source}: {_one_line(str(error))}") from None


def read_config(path: Path) -> dict[str, Any]:
    """A config file's content, without the provenance that a run's own has."""
    try:
        document = yaml.safe_load(path.read_text())
        if not isinstance(document, dict):
            raise ValueError("it is not a mapping of options")
        _check_plain({key: value for key, value in document.items() if key != "provenance"})
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read as a config: {_one_line(str(error))}") from None
    return {key: value for key, value in document.items() if key != "provenance"}


# ----------------------------------------------------------------------------------------------- flags


T = TypeVar("T")


def overridden(base: T, given: Mapping[str, str]) -> T:
    """A dataclass with options such as {"train.lr": "0.1"} read as on the command line."""
    document: dict[str, Any] = asdict(base)  # type: ignore[call-overload]
    for key, text in given.items():
        _set(type(base), document, key, text)
    return _fill(type(base), document, "")  # type: ignore[no-any-return]


def _set(kind: type, document: dict[str, Any], key: str, text: str) -> None:
    *above, last = key.split(".")
    here = document
    for depth, name in enumerate(above):
        group, free = None, kind is dict
        if not free:
            if name not in _kinds(kind):
                raise UserError(f"--{key}: no such option; allowed are {', '.join(_kinds(kind))}")
            group, _ = _group(_kinds(kind)[name])
            free = get_origin(_kinds(kind)[name]) is dict
        if group is None and not free:
            raise UserError(f"--{key}: {'.'.join(above[: depth + 1])} has no options below it")
        if not isinstance(here.get(name), dict):
            here[name] = {}
        here, kind = here[name], group or dict
    if kind is not dict and last not in _kinds(kind):
        inside = _inside(f"{'.'.join(above)}.") if above else ""
        raise UserError(f"--{key}: no such option; allowed{inside} are {', '.join(_kinds(kind))}")
    here[last] = _plain(text, f"--{key}", Any if kind is dict else _kinds(kind)[last])


def _plain(text: str, name: str, kind: Any) -> Any:
    """What a flag's text says, read as YAML, or letter by letter where that is no other value of a kind with texts."""
    lettered = kind is str or str in get_args(kind)
    try:
        value = yaml.safe_load(text)
        _check_plain(value)
        if lettered:
            fitted(value, kind)
        return text if kind is str else value
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if lettered:
            return text
        raise UserError(f"{name} {text}: {_one_line(str(error))}") from None


def add_options(parser: Parser, kind: type, prefix: str = "", skip: Collection[str] = ()) -> None:
    """A flag for every option of a dataclass and of those in it, with the line of its docstring."""
    texts = _explained(kind)
    group = parser.add_argument_group(prefix[:-1], texts.get("", "")) if prefix else parser
    within = []
    for field in fields(kind):
        name, of = prefix + field.name, _kinds(kind)[field.name]
        inner, _ = _group(of)
        if field.name in skip:
            continue
        if inner is not None:
            within.append((inner, f"{name}."))
            continue
        text = (
            f"{texts.get(field.name, '')} ({_default(field)}{f'; {_allowed(of)}' if get_origin(of) is Literal else ''})"
        )
        group.add_argument(
            f"--{name}", metavar=field.name.upper(), default=argparse.SUPPRESS, help=text.replace("%", "%%")
        )
    for inner, name in within:
        add_options(parser, inner, name)


def _default(field: Field[Any]) -> str:
    """As a YAML file would have it."""
    if not _has_default(field):
        return "needed"
    value = field.default_factory() if field.default_factory is not MISSING else field.default
    return "null" if value is None else str(value).lower() if type(value) is bool else str(value)


def _explained(kind: type) -> dict[str, str]:
    """{field: its text} of the part "Args:" of a docstring; under "" its first line."""
    first, _, part = (kind.__doc__ or "").partition("Args:\n")
    found = {"": first.strip().split("\n\n")[0]}
    names: list[str] = []
    for line in part.splitlines():
        begun = re.match(r" {8}(\w+(?:, \w+)*): (.*)", line)
        if begun:
            names = begun[1].split(", ")
            found |= dict.fromkeys(names, begun[2])
        elif line.strip():
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
        else:
            break
    return found


def taken(
    parser: Parser, kind: type, arguments: list[str], prefix: str = ""
) -> tuple[argparse.Namespace, dict[str, str]]:
    """(the flags of `parser` itself, {"group.option": text} of the flags of `add_options`).

    Options of a network or objective are flags too, `--model.options.width 0.5`, and known when it is made.
    """
    options, rest = parser.parse_known_args(_joined(arguments))
    given = {name: value for name, value in vars(options).items() if "." in name or name in _kinds(kind)}
    for name in given:
        delattr(options, name)
    for argument in rest:
        name, equal, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or not equal or FREE not in name.split(".")[:-1]:
            name = argument.partition("=")[0]
            near = get_close_matches(name, parser._option_string_actions, 1)
            hint = f"did you mean {near[0]}?" if near else f"see {parser.prog} --help"
            raise UserError(f"unknown option {name}; {hint}")
        given[name] = value
    return options, {name.removeprefix(prefix): value for name, value in given.items()}


def _joined(arguments: list[str]) -> list[str]:
    """`--model.options.width 0.5` as one word, `--model.options.width=0.5`, which needs no flag of its own."""
    found: list[str] = []
    for argument in arguments:
        before = found[-1] if found else ""
        if before.startswith("--") and "=" not in before and FREE in before.split(".")[:-1]:
            found[-1] = f"{before}={argument}"
        else:
            found.append(argument)
    return found
