"""Command lines and YAML files to `Config`, strictly: an unknown key is an error with its name."""

from __future__ import annotations

from typing import Any, NoReturn

from jsonargparse import ArgumentError, ArgumentParser, Namespace

from robustsnn.config import Config
from robustsnn.errors import UserError


class Parser(ArgumentParser):
    """An argument parser whose errors are one line, `UserError`, instead of a usage page and an exit."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise UserError(_one_line(message)) from ex


def _one_line(message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return " ".join(lines[:4]).replace("typing.Literal", "one of ").replace("Parser key", "option")


def config_parser() -> Parser:
    """A parser for every option of `Config`, each also settable as `--group.option value`."""
    parser = Parser(exit_on_error=True)
    parser.add_class_arguments(Config, None)
    return parser


def to_config(parser: Parser, namespace: Namespace) -> Config:
    """The dataclasses of a parsed namespace."""
    made = parser.instantiate_classes(namespace)
    names = Config.__dataclass_fields__
    return Config(**{name: made[name] for name in names})


def parse_config(document: dict[str, Any], source: str) -> Config:
    """A mapping as read from YAML, checked: types, allowed values, no unknown keys. Missing keys get defaults."""
    parser = config_parser()
    unknown = document.keys() - Config.__dataclass_fields__.keys()
    if unknown:
        allowed = ", ".join(Config.__dataclass_fields__)
        raise UserError(f"{source}: unknown key {sorted(unknown)[0]!r}; allowed are {allowed}")
    try:
        return to_config(parser, parser.parse_object(document))
    except (UserError, ArgumentError, TypeError) as error:
        raise UserError(f"{source}: {_one_line(str(error))}") from None
