"""What the options of several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path


def trusting(parser: argparse.ArgumentParser, what: str) -> None:
    """The flag by which a person says that code which a file names may run."""
    text = f"import and run modules that {what} names; names on the command line are trusted"
    parser.add_argument("--trust-code", "--trust_code", action="store_true", help=text)


def overwriting(parser: argparse.ArgumentParser) -> None:
    """The flag by which a person gives up files that are not ours."""
    text = "write among files of others, and replace those of equal names; without it they are refused"
    parser.add_argument("--overwrite", action="store_true", help=text)


def place(text: str) -> Path:
    """Where to write. An empty name would be the working directory."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the name is empty; give that of a folder or file, such as runs/first")
    return Path(text)


def listed(text: str) -> list[str]:
    """The items of an option with commas."""
    return [item.strip() for item in text.split(",") if item.strip()]
