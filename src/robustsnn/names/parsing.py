"""Command lines and YAML files to the dataclasses of options, strictly: an unknown key is an error with its name.

What a file or a flag says is data. A value becomes a number, a text, a truth value, or a list or mapping of these,
and nothing else. A name that leads outside the registry (see `names`) is code, which runs once something is made of the
config. On a command line a person typed it. In a file anyone may have written it: there it is refused, unless the
person says that it is trusted. Every config of a file comes through `parse_config`.
"""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Collection, Mapping
from copy import deepcopy
from dataclasses import MISSING, Field, asdict, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

from robustsnn.ground.annotations import alternatives
from robustsnn.ground.errors import UserError
from robustsnn.names import Entry, find, near
from robustsnn.names.config import Config, names
from robustsnn.names.documents import check_plain, plain, read_document
from robustsnn.names.helping import HelpfulParser
from robustsnn.names.values import allowed, fitted, shown

T = TypeVar("T")
FREE = "options"
"""Fields of this name are mappings whose keys are known when what they are options of is made."""


class Parser(HelpfulParser):
    """An argument parser whose errors are one line, `UserError`, instead of a usage page and an exit."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """As argparse does it; UserError for an argument that there is no place for."""
        found, rest = self.parse_known_args(args, namespace)
        if rest:
            self.refuse(rest[0])
        return found

    def refuse(self, argument: str) -> NoReturn:
        """UserError about an argument that there is no place for."""
        name = argument.partition("=")[0]
        if not name.startswith("-"):
            raise UserError(f"{shown(argument)} is one argument too many; see {self.prog} --help")
        hint = near(name, self._option_string_actions) or f"; see {self.prog} --help"
        raise UserError(f"{shown(name)[1:-1]} is no option of {self.prog}{hint}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            choices = [str(choice) for choice in action.choices]
            said = f"{shown(value)}: allowed are {', '.join(choices)}{near(str(value), choices) or _without(action)}"
            raise argparse.ArgumentError(action, said)

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        try:
            return super()._get_value(action, arg_string)
        except argparse.ArgumentError as error:
            error.message += _without(action)
            raise

    def error(self, message: str) -> NoReturn:
        """Argparse's words in ours."""
        said, missing = _one_line(message), "the following arguments are required: "
        if said.startswith(missing):
            wanted = [self._meaning(name) for name in said.removeprefix(missing).split(", ")]
            raise UserError(f"{self.prog} needs {' and '.join(wanted)}; see {self.prog} --help")
        said = re.sub(r"^argument (\S+?)(?:/\S+)?: ", r"\1 ", said)
        said = re.sub(r" expected (one|at least one) argument$", r" needs \1 value behind it", said)
        said = re.sub(r" expected (\d+) arguments$", r" needs \1 values behind it", said)
        raise UserError(f"{said}; see {self.prog} --help" if "allowed" not in said else said)

    def _meaning(self, name: str) -> str:
        """A required argument with the words of its help: "--out (folder of the runs)"."""
        action = next((a for a in self._actions if name in (*a.option_strings, a.dest, a.metavar)), None)
        return f"{name} ({action.help})" if action is not None and action.help else name


def _without(action: argparse.Action) -> str:
    """What holds without an argument, as the end of an error about its value."""
    if not action.option_strings or action.required:
        return "; give one of them" if action.choices else "; give one"
    usual = action.default
    known = isinstance(usual, int | float | str) and usual != ""
    return f"; leave it out for {_yaml(usual)}" if known else "; give one, or leave it out"


def _one_line(message: str) -> str:
    return " ".join(message.split())[:500]


# ---------------------------------------------------------------------------------------------- values


def _fill(kind: type, values: dict[str, Any], prefix: str) -> Any:
    """A dataclass from a mapping; missing keys keep their defaults."""
    kinds, made = _kinds(kind), {}
    usual = {f.name: f"leave it out for {_default(f)}" for f in fields(kind) if _has_default(f)}
    for key, value in values.items():
        if key not in kinds:
            raise UserError(_unknown(f"{prefix}{key}", key, kinds, prefix))
        made[key] = _read(kinds[key], value, f"{prefix}{key}", usual.get(key, "give one"))
    missing = [f.name for f in fields(kind) if f.name not in made and not _has_default(f)]
    if missing:
        wanted = f"{prefix}{missing[0]}"
        raise UserError(f"{wanted} is needed and not given; give it, allowed is {allowed(kinds[missing[0]])}")
    return kind(**made)


def _unknown(said: str, word: str, among: Collection[str], prefix: str) -> str:
    """The error about an option that there is not."""
    return f"{shown(said)[1:-1]} is no option; allowed{_inside(prefix)} are {', '.join(among)}{near(word, among)}"


def _inside(prefix: str) -> str:
    group = prefix.strip("-.")
    return f" in {group}" if group else ""


def _has_default(field: Field[Any]) -> bool:
    return field.default is not MISSING or field.default_factory is not MISSING


@cache
def _kinds(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in fields(kind)}


def _group(kind: Any) -> tuple[type | None, bool]:
    """The dataclass that a field holds, if it holds one, and whether it may be absent."""
    choices = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    groups = [choice for choice in choices if is_dataclass(choice)]
    return (groups[0] if groups else None), NoneType in choices  # type: ignore[return-value]


def _read(kind: Any, value: Any, name: str, remedy: str) -> Any:
    group, absent = _group(kind)
    if group is not None or get_origin(kind) is dict:
        if value is None and absent:
            return None
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            what = f"a mapping with {', '.join(_kinds(group))}" if group is not None else "a mapping of options"
            how = f"allowed is {what}; write them below it, or leave it out"
            raise UserError(f"{name}={shown(value)}: {how}")
        return value if group is None else _fill(group, value, f"{name}.")
    try:
        return fitted(value, kind)
    except ValueError:
        raise UserError(f"{name}={shown(value)}: allowed is {allowed(kind, value)}; {remedy}") from None


def parse_config(
    document: dict[str, Any],
    source: str,
    given: Mapping[str, str] | None = None,
    *,
    trust_code: bool | Collection[str] = False,
) -> Config:
    """A mapping as read from YAML, checked: types, allowed values, no unknown keys. Missing keys get defaults.

    Args:
        source: the file, for errors.
        given: options of the command line that override it, as for `overridden`. What they name is trusted.
        trust_code: the names that may lead outside the registry; True is all. UserError for another one.
    """
    given = given or {}
    try:
        check_plain(document)
    except ValueError as error:
        raise UserError(f"{source}: {error}") from None
    document = deepcopy(document)
    try:
        config = _fill(Config, document, "")
    except UserError as error:
        raise UserError(f"{source}: {_one_line(str(error))}") from None
    for key, text in given.items():
        _set(Config, document, key, text)
    if given:
        config = _fill(Config, document, "")
    typed = tuple(f"{key}." for key in given)
    sent = {option for option, *_ in names(config) if not f"{option}.".startswith(typed)}
    found = _settled(config, sent, source)
    code = {option: entry for option, entry in found.items() if option in sent and entry.outside}
    if trust_code is not True:
        code = {option: entry for option, entry in code.items() if entry.name not in (trust_code or ())}
        if code:
            said = ", ".join(f"{option}={entry.name}" for option, entry in code.items())
            modules = ", ".join(dict.fromkeys(entry.target.partition(":")[0] for entry in code.values()))
            how = "read that code, and add --trust-code (in Python trust_code=True) if you trust it"
            raise UserError(f"{source}: {said} would import and run {modules}; {how}")
    return config


def _settled(config: Any, sent: Collection[str] = (), source: str = "") -> dict[str, Entry]:
    """Put full names in the place of short ones; returns their entries, by option.

    UserError for a name that there is not; it says the source of those that were sent.
    """
    found = {}
    for option, kind, group, key in names(config):
        name, where = getattr(group, key), f"{source}: " if option in sent else ""
        try:
            found[option] = find(kind, name, option)
        except UserError as error:
            raise UserError(f"{where}{error}") from None
        if kind == "objective" and name.endswith("*") and group.attack is None:
            raise UserError(f"{where}{option}={name} trains on attacked images; it needs objective.attack.eps")
        setattr(group, key, found[option].name)
    return found


def read_config(path: Path) -> dict[str, Any]:
    """The options that a config file says."""
    return options_of(read_document(path, "a config"))


def options_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """A config without what a run's own adds to it: where it comes from, and about its names."""
    return {key: value for key, value in document.items() if key not in ("provenance", "about")}


# ----------------------------------------------------------------------------------------------- flags


def overridden(base: T, given: Mapping[str, str], prefix: str = "") -> T:
    """A dataclass with options such as {"train.lr": "0.1"}, read as on the command line; errors add a prefix."""
    document: dict[str, Any] = asdict(base)  # type: ignore[call-overload]
    for key, text in given.items():
        _set(type(base), document, key, text)
    made = _fill(type(base), document, prefix)
    _settled(made)
    return made  # type: ignore[no-any-return]


def _set(kind: type, document: dict[str, Any], key: str, text: str) -> None:
    *above, last = key.split(".")
    here = document
    for depth, name in enumerate(above):
        group, free = None, kind is dict
        if not free:
            if name not in _kinds(kind):
                raise UserError(f"--{_unknown(key, name, _kinds(kind), '.'.join([*above[:depth], '']))}")
            group, _ = _group(_kinds(kind)[name])
            free = get_origin(_kinds(kind)[name]) is dict
        if group is None and not free:
            raise UserError(f"--{key}: {'.'.join(above[: depth + 1])} has no options below it")
        if not isinstance(here.get(name), dict):
            here[name] = {}
        here, kind = here[name], group or dict
    if kind is not dict and last not in _kinds(kind):
        raise UserError(f"--{_unknown(key, last, _kinds(kind), '.'.join([*above, '']))}")
    here[last] = _plain(text, f"--{key}", Any if kind is dict else _kinds(kind)[last])


def _plain(text: str, name: str, kind: Any) -> Any:
    """What a flag's text says, read as YAML, or letter by letter where that is no other value of a kind with texts."""
    lettered = str in alternatives(kind)
    try:
        value = plain(text)
        if lettered:
            fitted(value, kind)
        return text if kind is str else value
    except ValueError as error:
        if lettered:
            return text
        raise UserError(f"{name}={shown(text)}: {_one_line(str(error))}; allowed is {_words(kind)}") from None


def _words(kind: Any) -> str:
    return "a plain value" if kind is Any else allowed(kind)


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
        text = f"{texts.get(field.name, '')} ({_default(field)})"
        parser.spans[name] = _span(of).replace("%", "%%")
        group.add_argument(
            f"--{name}", metavar=field.name.upper(), default=argparse.SUPPRESS, help=text.replace("%", "%%")
        )
    for inner, name in within:
        add_options(parser, inner, name)


def _span(kind: Any) -> str:
    """What help says of the allowed values, where the type alone says too little."""
    kinds = [kind, *get_args(kind)]
    return allowed(kind) if any(get_origin(one) in (Literal, Annotated) for one in kinds) else ""


def _default(field: Field[Any]) -> str:
    """As a YAML file would have it."""
    if not _has_default(field):
        return "needed"
    return _yaml(field.default_factory() if field.default_factory is not MISSING else field.default)


def _yaml(value: Any) -> str:
    return "null" if value is None else str(value).lower() if type(value) is bool else str(value)


@cache
def _explained(kind: type) -> dict[str, str]:
    """{field: its text} of the part "Args:" of a docstring; under "" its first line."""
    first, _, part = (inspect.getdoc(kind) or "").partition("Args:\n")  # indented alike in every Python
    found = {"": first.strip().split("\n\n")[0]}
    names: list[str] = []
    for line in part.splitlines():
        begun = re.match(r" {4}(\w+(?:, \w+)*): (.*)", line)
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
            parser.refuse(argument)
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
