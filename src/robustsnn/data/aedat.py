"""The two forms in which recordings of a DVS128 camera are passed on: AEDAT 2.0, and npz arrays made of it."""

from __future__ import annotations

import io
import tokenize
import zipfile
import zlib
from math import prod
from typing import Final

import numpy as np

from robustsnn.data.events import Events, in_order
from robustsnn.ground.errors import UserError

SENSOR: Final = (128, 128)
"""Height and width of the DVS128."""

_MAGIC = b"#!AER-DAT2.0"
_EXTERNAL = 1 << 15  # address bit of a pulse on the camera's synchronisation input, which is no event of a pixel
_MOST_BYTES = 1 << 28  # of one array; 33 million events


def read_aedat(content: bytes, name: str) -> Events:
    """The events of an AEDAT 2.0 file of a DVS128, turned as in the npz files that common loaders make of CIFAR10-DVS.

    Lines that begin with "#", the first of them "#!AER-DAT2.0", then records of 8 bytes: big-endian uint32
    address and uint32 time in microseconds, which starts again from 0 after 2^32. Bit 0 of an address is the
    polarity (1 = off), bits 1-7 (a) and 8-14 (b) are the pixel: its column is 127 - b and its row 127 - a.

    `UserError`, with `name`: another format, a truncated header or record, an address outside the sensor, time
    that runs backwards.
    """
    if not content.startswith(_MAGIC):
        raise UserError(f"{name} does not begin with {_MAGIC.decode()!r}; give an AEDAT 2.0 file")
    start = 0
    while content[start : start + 1] == b"#":
        start = content.find(b"\n", start) + 1
        if not start:
            raise UserError(f"{name} ends within its header; it is truncated, get it again")
    if (len(content) - start) % 8:
        raise UserError(f"{name} ends within an event (8 bytes each); it is truncated, get it again")
    records = np.frombuffer(content, ">u4", offset=start).reshape(-1, 2).astype(np.int64)
    records = records[records[:, 0] & _EXTERNAL == 0]
    address, clock = records.T
    if (address >= _EXTERNAL).any():
        raise UserError(f"{name}: address {address.max():#x} is no pixel of a DVS128; give a recording of that camera")
    # The clock fell by more than half its range: it has started again.
    rounds = np.cumsum(np.diff(clock, prepend=clock[:1]) < -(1 << 31))
    t = clock + (rounds << 32)
    order = in_order(t, name)
    address = address[order]
    column, row = 127 - (address >> 8 & 127), 127 - (address >> 1 & 127)
    return Events(t[order], column, row, 1 - (address & 1), SENSOR, name)


def read_npz_events(content: bytes, name: str) -> Events:
    """The events of an npz file with integer arrays t, x, y and p [n], see `Events`."""
    t, x, y, p = read_npz(content, ("t", "x", "y", "p"), name)
    if t.ndim != 1 or t.dtype.kind not in "iu" or not t.shape == x.shape == y.shape == p.shape:
        raise no_columns(name, t, x, y, p)
    order = in_order(t, name)
    return Events(t[order], x[order], y[order], p[order], SENSOR, name)


def no_columns(name: str, *arrays: np.ndarray) -> UserError:
    """The error of a file whose t, x, y and p are no columns of events."""
    found = ", ".join(f"{array.dtype}{list(array.shape)}" for array in arrays)
    return UserError(f"{name}: t, x, y and p ({found}) are not integers of one shape [n]; write it again")


def read_npz(content: bytes, members: tuple[str, ...], name: str) -> list[np.ndarray]:
    """These arrays of an npz file, numbers only: nothing is unpickled, and no array may exceed 2^28 bytes."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return [_array(archive, member, name) for member in members]
    except UserError:
        raise
    except KeyError as error:
        raise UserError(f"{name} does not hold the arrays {', '.join(members)}; give another file") from error
    # What zipfile and numpy raise on damaged files; RuntimeError is for encryption and unknown compression.
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError, RuntimeError, tokenize.TokenError) as error:
        raise UserError(f"{name} is not a readable npz file: {error}; write it again") from error


def _array(archive: zipfile.ZipFile, member: str, name: str) -> np.ndarray:
    with archive.open(f"{member}.npy") as stream:
        content = stream.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        said = f"{name}: {member} has more than {_MOST_BYTES} bytes"
        raise UserError(f"{said}; no recording of this kind is so long: cut it, or write it again")
    head = io.BytesIO(content)
    version = np.lib.format.read_magic(head)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, by_columns, dtype = read(head)
    values = content[head.tell() :]
    if dtype.kind not in "iubf" or prod(shape) * dtype.itemsize != len(values):
        said = f"{name}: {member} ({dtype}{list(shape)}, {len(values)} bytes)"
        raise UserError(f"{said} is not an array of numbers of the shape that it tells; write it again")
    return np.frombuffer(values, dtype).reshape(shape, order="F" if by_columns else "C")
