"""What the scripts of this folder share: options that are refused in one line, and the context of a result."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any, NoReturn

import torch

from robustsnn.bench import machine

THREADS_HELP = "of torch; 1 also counts processor time, which other programs disturb little, not wall time"


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line and exits with 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{Path(self.prog).name}: {message}\n")


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number >= 1")
    return int(text)


def output(text: str) -> Path:
    path = Path(text)
    if path.is_dir() or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not a file name in an existing folder")
    return path


def context(device: torch.device) -> dict[str, Any]:
    """Command, machine and versions of a result of the script that runs."""
    return machine.context(device, shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]))
