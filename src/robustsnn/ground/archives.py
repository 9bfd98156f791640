"""Arrays of npz files that anyone may have sent: their sizes are known, and compared, before a byte is unpacked."""

from __future__ import annotations

import tokenize
import warnings
import zipfile
import zlib
from math import prod
from pathlib import Path

import numpy as np

from robustsnn.ground.memory import available, size

_MEMBERS, _BYTES = 1000, 1 << 30
BROKEN = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    TypeError,
    AttributeError,
    zipfile.BadZipFile,
    zlib.error,
    tokenize.TokenError,
    RuntimeError,  # an encrypted member
    SyntaxError,  # of header text
    MemoryError,
    RecursionError,
)
"""What reading a damaged archive, or an array in it, ends in."""


def read_arrays(path: Path | str) -> dict[str, np.ndarray]:
    """The arrays of an npz file by name, as numpy's loader has them; nothing is unpickled.

    OSError where the file cannot be opened, and ValueError, which says what is wrong, for a file that is no such
    archive, is encrypted or damaged, holds more than 1 GiB (or half of what is free), or says other sizes than it has.
    """
    with open(path, "rb") as stream:
        try:
            with zipfile.ZipFile(stream) as archive:
                _check(archive)
            stream.seek(0)
            with warnings.catch_warnings(), np.load(stream, allow_pickle=False) as arrays:
                warnings.simplefilter("ignore")  # numpy warns of odd headers that it can read
                found = {name: arrays[name] for name in arrays.files}
            for array in found.values():
                if array.dtype.kind == "U":  # texts that no page can hold: a ValueError
                    np.char.encode(array, "utf-8")
            return found
        except BROKEN as error:
            raise ValueError(what_numpy_says(error)) from None


def what_numpy_says(error: BaseException) -> str:
    """Why its loader does not read a file, in short; its advice to unpickle is left out."""
    said = " ".join(str(error).split())[:200] or type(error).__name__
    return "it holds pickled objects" if "pickle" in said else said


def _check(archive: zipfile.ZipFile) -> None:
    """ValueError unless the members of an archive are arrays of the sizes that their headers say."""
    members = archive.infolist()
    whole, most = sum(member.file_size for member in members), min(_BYTES, available() // 2)
    if len(members) > _MEMBERS:
        raise ValueError(f"it has {len(members)} members; at most {_MEMBERS} are allowed")
    if whole > most:
        raise ValueError(f"it unpacks to {size(whole)}; at most {size(most)} are allowed")
    for member in members:
        if member.flag_bits & 1:
            raise ValueError(f"{member.filename} in it is encrypted")
        with archive.open(member) as content:
            version = np.lib.format.read_magic(content)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                shape, _, kind = read(content)
            said = prod(shape) * kind.itemsize
            if kind.hasobject or min(shape, default=0) < 0 or said != member.file_size - content.tell():
                raise ValueError(f"{member.filename} in it says that it is {kind} {list(shape)}, and holds other bytes")
