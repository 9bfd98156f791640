"""A picture as the address of an inline PNG."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np


def png_address(picture: np.ndarray) -> str:
    """`data:image/png;base64,...` of a picture [C, H, W] in [0, 1], C = 1 (grey) or 3 (RGB).

    Values outside are clipped. The bytes depend on the picture alone.
    """
    levels = np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    channels, height, width = levels.shape
    lines = levels.transpose(1, 2, 0).reshape(height, width * channels)
    # Each line starts with its filter: 0, none.
    raw = np.concatenate([np.zeros((height, 1), np.uint8), lines], axis=1).tobytes()
    colour_type = {1: 0, 3: 2}[channels]
    content = (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0))
        + _chunk(b"IDAT", zlib.compress(raw, 9))
        + _chunk(b"IEND", b"")
    )
    return "data:image/png;base64," + base64.b64encode(content).decode()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
