"""What the options of several commands share."""

from __future__ import annotations

import argparse


def trusting(parser: argparse.ArgumentParser, what: str) -> None:
    """The flag by which a person says that code which a file names may run."""
    text = f"import and run modules that {what} names; names on the command line are trusted"
    parser.add_argument("--trust-code", "--trust_code", action="store_true", help=text)


def listed(text: str) -> list[str]:
    """The items of an option with commas."""
    return [item.strip() for item in text.split(",") if item.strip()]
