"""A picture as the address of an inline PNG."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np


def png(picture: np.ndarray) -> bytes:
    """The file of a picture [C, H, W] in [0, 1], C = 1 (grey) or 3 (RGB).

    Values outside are clipped. The bytes depend on the picture alone.
    """
    levels = np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    channels, height, width = levels.shape
    lines = levels.transpose(1, 2, 0).reshape(height, width * channels)
    return _file(lines, width, {1: 0, 3: 2}[channels], b"")


def png_address(picture: np.ndarray) -> str:
    """The same as `data:image/png;base64,...`."""
    return address(png(picture))


def address(file: bytes) -> str:
    """The address of a file of `png`."""
    return "data:image/png;base64," + base64.b64encode(file).decode()


def indexed_address(index: np.ndarray, palette: np.ndarray) -> str:
    """The same of colours by number: `index` [H, W] of rows of `palette` [n <= 256, 3] in [0, 1]; small files."""
    colours = np.round(np.clip(palette, 0, 1) * 255).astype(np.uint8)
    return address(_file(index.astype(np.uint8), index.shape[1], 3, _chunk(b"PLTE", colours.tobytes())))


def _file(lines: np.ndarray, width: int, colour_type: int, palette: bytes) -> bytes:
    # Each line starts with its filter: 0, none.
    raw = np.concatenate([np.zeros((len(lines), 1), np.uint8), lines], axis=1).tobytes()
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, len(lines), 8, colour_type, 0, 0, 0))
        + palette
        + _chunk(b"IDAT", zlib.compress(raw, 9))
        + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
