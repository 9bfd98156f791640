"""`robustsnn completion`: what a shell reads to complete commands and options."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from robustsnn.cli.options import path
from robustsnn.ground.errors import UserError
from robustsnn.names.parsing import Parser


def run(arguments: list[str]) -> None:
    """Print it."""
    parser = Parser(prog="robustsnn completion", description="Completion of this program in a shell, made by shtab.")
    parser.add_argument("shell", choices=["bash", "zsh", "tcsh"])
    shell = parser.parse_args(arguments).shell
    try:
        import shtab  # type: ignore[import-not-found]
    except ImportError:
        raise UserError("completion needs shtab; install robustsnn[completion], or pip install shtab") from None
    from robustsnn.cli.commands import TABLE

    whole = argparse.ArgumentParser("robustsnn")
    commands = whole.add_subparsers()
    for command in TABLE:
        options = parser if command.name == "completion" else _options(command)
        for action in options._actions:
            if action.type is path:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
        commands.add_parser(command.name, parents=[options], add_help=False, help=command.text.replace("%", "%%"))
    print(shtab.complete(whole, shell=shell))


class _Built(Exception):
    """Carries the parser that a command was about to use."""


def _options(command: Any) -> argparse.ArgumentParser:
    """The parser of a command, which makes it when it is run."""

    def stop(parser: argparse.ArgumentParser, *_: Any, **__: Any) -> NoReturn:
        raise _Built(parser)

    parse = Parser.parse_known_args
    Parser.parse_known_args = stop  # type: ignore[method-assign]
    try:
        command.run([])
    except _Built as built:
        return built.args[0]
    finally:
        Parser.parse_known_args = parse  # type: ignore[method-assign]
    raise AssertionError(f"{command.name} reads its arguments by no parser")
