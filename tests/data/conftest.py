"""Pickles as Python 2 wrote them: the true form of the CIFAR files, which Python 3 cannot write."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest


class _Python2Pickler:
    """cPickle of Python 2, protocol 2, for the types in the CIFAR files."""

    def __init__(self) -> None:
        self.puts = 0

    def put(self) -> bytes:
        self.puts += 1
        return b"q" + bytes([self.puts]) if self.puts < 256 else b"r" + struct.pack("<I", self.puts)

    def save(self, value: Any) -> bytes:
        match value:
            case bool():
                return b"\x88" if value else b"\x89"
            case None:
                return b"N"
            case int():
                if 0 <= value < 256:
                    return b"K" + bytes([value])
                return b"M" + struct.pack("<H", value) if 0 <= value < 65536 else b"J" + struct.pack("<i", value)
            case bytes():
                head = b"U" + bytes([len(value)]) if len(value) < 256 else b"T" + struct.pack("<i", len(value))
                return head + value + self.put()
            case tuple():
                items = b"".join(map(self.save, value))
                close = {1: b"\x85", 2: b"\x86", 3: b"\x87"}.get(len(value))
                return (items + close if close else b"(" + items + b"t") + self.put()
            case list():
                parts = [b"]" + self.put()]
                for start in range(0, len(value), 1000):
                    parts.append(b"(" + b"".join(map(self.save, value[start : start + 1000])) + b"e")
                return b"".join(parts)
            case dict():
                head = b"}" + self.put() + b"("
                return head + b"".join(self.save(key) + self.save(item) for key, item in value.items()) + b"u"
            case np.ndarray():
                head = self.name("numpy.core.multiarray", "_reconstruct") + self.name("numpy", "ndarray")
                blank = head + b"K\x00\x85" + self.put() + b"U\x01b" + self.put() + b"\x87" + self.put()
                code = value.dtype.str[1:].encode()
                dtype = self.name("numpy", "dtype") + self.save(code) + b"K\x00K\x01\x87" + self.put()
                dtype += b"R" + self.put() + self.save((3, value.dtype.str[:1].encode(), *[None] * 3, -1, -1, 0)) + b"b"
                state = b"(K\x01" + self.save(value.shape) + dtype + b"\x89" + self.save(value.tobytes()) + b"t"
                return blank + b"R" + self.put() + state + self.put() + b"b"
        raise TypeError(type(value))

    def name(self, module: str, name: str) -> bytes:
        return f"c{module}\n{name}\n".encode() + self.put()


@pytest.fixture(scope="session")
def python2_pickle() -> Callable[[Any], bytes]:
    return lambda value: b"\x80\x02" + _Python2Pickler().save(value) + b"."
