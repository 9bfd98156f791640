"""What the options of several commands share: the flag of trust, lists, and values of a type and range."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from robustsnn.ground.errors import UserError
from robustsnn.ground.ranges import Radius
from robustsnn.names.values import allowed, fitted, shown


def trusting(parser: argparse.ArgumentParser, what: str) -> None:
    """The flag by which a person says that code which a file names may run."""
    text = f"import and run modules that {what} names; names on the command line are trusted"
    parser.add_argument("--trust-code", "--trust_code", action="store_true", help=text)


def overwriting(parser: argparse.ArgumentParser) -> None:
    """The flag by which a person gives up files that are not ours."""
    text = "write among files of others, and replace those of equal names; without it they are refused"
    parser.add_argument("--overwrite", action="store_true", help=text)


def listed(text: str) -> list[str]:
    """The items of an option with commas."""
    return [item.strip() for item in text.split(",") if item.strip()]


def value(kind: Any) -> Callable[[str], Any]:
    """The `type` of a flag whose value an annotation describes, its range included (see `ground.ranges`)."""

    def read(text: str) -> Any:
        try:
            return fitted(_number(text), kind)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{shown(text)}: allowed is {allowed(kind)}") from None

    return read


def _number(text: str) -> int | float | str:
    """The number that a text says, or else the text; "1e3" is no whole number, as in a config."""
    for kind in (int, float):
        try:
            number = kind(text.strip())
        except ValueError:  # also of more digits than Python reads
            continue
        return number if math.isfinite(number) else text
    return text


def radius(text: str) -> str:
    """The `type` of a flag that is a radius, kept as it is written, 8/255."""
    value(Radius)(text)
    return text


def radii(text: str) -> list[str]:
    """The `type` of a flag with several radii, with commas."""
    return [radius(item) for item in listed(text)]


def path(text: str) -> Path:
    """The `type` of a flag that is a file or a folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"{text!r}: allowed is the name of a file or a folder, as . for this folder")
    return Path(text)


def check_text(arguments: list[str]) -> None:
    """UserError for an argument that is no UTF-8, which no page and no config can hold."""
    for argument in arguments:
        try:
            argument.encode("utf-8")
        except UnicodeEncodeError:
            said = f"the argument {shown(argument)} is no UTF-8 text"
            raise UserError(f"{said}; rename the file or folder, or correct the value") from None
