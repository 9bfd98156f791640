"""Bytes of a file that anyone may have made, and never more of them than such a file has."""

from __future__ import annotations

from pathlib import Path

from robustsnn.ground.errors import UserError

MOST_BYTES = 1 << 30
"""Of one file that is read whole."""


def content_of(path: Path, most: int = MOST_BYTES) -> bytes:
    """What a file holds; `UserError`, with its name, if it cannot be read or is larger than `most`."""
    try:
        with open(path, "rb") as stream:
            content = stream.read(most + 1)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}; check the file and its permissions") from error
    if len(content) > most:
        raise UserError(f"{path} has more than {most} bytes, no file of this kind does; get it again")
    return content
