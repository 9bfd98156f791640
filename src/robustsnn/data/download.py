"""Fetch one file of known checksum."""

from __future__ import annotations

import hashlib
import http.client
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO
from urllib.error import HTTPError
from urllib.request import urlopen

from robustsnn.ground.errors import UserError

Progress = Callable[[int, int | None], None]
"""Called with the bytes received so far and their total, None if the server does not tell."""

_CHUNK = 1 << 20
_TIMEOUT = 60.0  # seconds without a byte


def fetch(url: str, target: Path, md5: str, progress: Progress | None = None) -> None:
    """Fetch `url` to `target`, which appears only when it is whole and its MD5 is right.

    Until then it is a hidden file beside it, which goes away on any error. `UserError`, if the network,
    the disk or the checksum fails, says what to place where by hand.
    """
    by_hand = f"; download {url} by other means and place it as {target}"
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb") as stream:
                found = _copy(url, stream, progress)
                stream.flush()
                os.fsync(stream.fileno())
            if found != md5:
                raise UserError(f"{url} gave a file with MD5 {found}, expected {md5}{by_hand}")
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, HTTPError):
            error.close()  # it holds the connection
        raise UserError(f"cannot download {url}: {error or type(error).__name__}{by_hand}") from error


def md5_of(stream: IO[bytes]) -> str:
    """MD5 (hex) of what is left in `stream`. It tells a damaged file, not a forged one."""
    digest = hashlib.md5(usedforsecurity=False)
    while chunk := stream.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def _copy(url: str, stream: IO[bytes], progress: Progress | None) -> str:
    """Copy `url` to `stream`; the MD5 of what came."""
    digest = hashlib.md5(usedforsecurity=False)
    received = 0
    with urlopen(url, timeout=_TIMEOUT) as response:
        length = response.headers.get("Content-Length")
        total = int(length) if length and length.isdecimal() else None
        while chunk := response.read(_CHUNK):
            stream.write(chunk)
            digest.update(chunk)
            received += len(chunk)
            if progress is not None:
                progress(received, total)
    if total is not None and received != total:
        raise http.client.HTTPException(f"the connection ended after {received} of {total} bytes")
    return digest.hexdigest()
