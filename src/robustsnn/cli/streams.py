"""What a command prints reaches who reads it, or its end says so; Python's own end would say it by a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import TextIO

from robustsnn.ground.errors import in_words
from robustsnn.ground.progress import to_stderr


@contextmanager
def printing() -> Iterator[None]:
    """Letters that a terminal lacks are printed as numbers; what is still held when a stream is full is let go of."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        _let_go(sys.stdout)
        _let_go(sys.stderr)


def heard(code: int) -> int:
    """The exit code, once all that was printed is out; 2 if it cannot be.

    Who reads no further misses nothing: the work is done.
    """
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        return code
    except OSError as error:
        error.filename = "the output"
        to_stderr(f"robustsnn: error: {in_words(error)}")
        return 2
    return code


def printable(text: str) -> str:
    """A line with words of a file that anyone may have sent, without what would be an order to the terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _let_go(stream: TextIO | None) -> None:
    if stream is None:  # closed before the start
        return
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
