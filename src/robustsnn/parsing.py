"""Command lines and YAML files to `Config`, strictly: an unknown key is an error with its name."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace

from robustsnn.config import Config
from robustsnn.errors import UserError


class Parser(ArgumentParser):
    """An argument parser whose errors are one line, `UserError`, instead of a usage page and an exit."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise UserError(_one_line(message)) from ex


def _one_line(message: str) -> str:
    """What went wrong, in the library's first words; of a choice of types, why the first did not fit."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    reasons = [line[2:] for line in lines if line.startswith("- ")]
    text = " ".join([lines[0], reasons[0]] if reasons else lines[:4])
    return text.replace("typing.Literal", "one of ").replace("Parser key", "option")


def config_parser(defaults: Config | None = None) -> Parser:
    """A parser for every option of `Config`, as `--group.option value`, with these defaults."""
    parser = Parser(exit_on_error=True)
    parser.add_class_arguments(Config, None)
    if defaults is not None:
        parser.set_defaults(_leaves(asdict(defaults)))
    return parser


def _leaves(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values as {"group.option": value}; an attack that may be absent and free options are one value each."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        nested = isinstance(value, dict) and key not in ("attack", "validation_attack", "options")
        found |= _leaves(value, f"{prefix}{key}.") if nested else {prefix + key: value}
    return found


def read_config(path: Path) -> dict[str, Any]:
    """A config file's content, without the provenance that a run's own has."""
    try:
        document = yaml.safe_load(path.read_text())
        if not isinstance(document, dict):
            raise ValueError("it is not a mapping of options")
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read as a config: {_one_line(str(error))}") from None
    return {key: value for key, value in document.items() if key != "provenance"}


def to_config(parser: Parser, namespace: Namespace) -> Config:
    """The dataclasses of a parsed namespace."""
    made = parser.instantiate(namespace)
    names = Config.__dataclass_fields__
    return Config(**{name: made[name] for name in names})


def parse_config(document: dict[str, Any], source: str) -> Config:
    """A mapping as read from YAML, checked: types, allowed values, no unknown keys. Missing keys get defaults."""
    parser = config_parser()
    unknown = document.keys() - Config.__dataclass_fields__.keys()
    if unknown:
        allowed = ", ".join(Config.__dataclass_fields__)
        raise UserError(f"{source}: unknown key {sorted(unknown)[0]!r}; allowed are {allowed}")
    _check_groups(document, asdict(Config()), source)
    try:
        return to_config(parser, parser.parse_object(document))
    except (UserError, ArgumentError, TypeError) as error:
        raise UserError(f"{source}: {_one_line(str(error))}") from None


def _check_groups(values: dict[str, Any], defaults: dict[str, Any], source: str, prefix: str = "") -> None:
    """UserError where a group of options is something else, such as a group whose lines are all commented out."""
    for key, default in defaults.items():
        if isinstance(default, dict) and key in values:
            value = values[key]
            if not isinstance(value, dict):
                raise UserError(f"{source}: {prefix}{key} is {value!r}; give its options below it, or leave it out")
            _check_groups(value, default, source, f"{prefix}{key}.")
