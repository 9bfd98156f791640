"""Street View House Numbers (Netzer et al., 2011) from the official .mat files of 32x32 pixels."""

from __future__ import annotations

import io
import warnings
import zlib
from pathlib import Path

import numpy as np

from robustsnn.data.arrange import ImagePart, arrange
from robustsnn.data.batches import Splits
from robustsnn.data.pixels import pixels, whole_labels
from robustsnn.data.reading import MOST_BYTES, content_of
from robustsnn.ground.errors import UserError
from robustsnn.ground.memory import available

_HEAD, _TAG, _COMPRESSED = 128, 8, 15


def svhn(root: Path | str, *, validation: int | None = None, seed: int = 0) -> Splits:
    """Images uint8 [N, 3, 32, 32] of `train_32x32.mat` and `test_32x32.mat`, in the classes "0".."9".

    The files say 10 for the digit 0. `seed` draws `validation` of the training images (a tenth), stratified by class.
    `UserError`, with the file's name, for a file that is missing, damaged or holds something else.
    """
    parts = {}
    for part in ("train", "test"):
        path = Path(root) / f"{part}_32x32.mat"
        x, y = _arrays(path)
        labels = whole_labels(y, str(path))
        if len(labels) and not 1 <= int(labels.min()) <= int(labels.max()) <= 10:
            raise UserError(
                f"{path}: labels from {int(labels.min())} to {int(labels.max())} are not 1 to 10; get it again"
            )
        parts[part] = ImagePart(pixels(x.transpose(3, 0, 1, 2), str(path)).contiguous(), labels % 10, str(path))
    return arrange(parts, "svhn", classes=[str(digit) for digit in range(10)], validation=validation, seed=seed)


def _arrays(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """X uint8 [H, W, 3, N] and y uint8 [N, 1] of a MATLAB 5 file."""
    from scipy.io import loadmat, whosmat

    content = _unpacked(content_of(path), path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of names that are there twice
            said = {name: (shape, kind) for name, shape, kind in whosmat(io.BytesIO(content))}
            (shape, kind), (label_shape, label_kind) = said.get("X", ((), "")), said.get("y", ((), ""))
            if len(shape) != 4 or shape[2] != 3 or kind != "uint8" or label_shape != (shape[3], 1):
                needed = "X uint8 [H, W, 3, N] and y [N, 1]"
                raise UserError(
                    f"{path} holds X {kind} {list(shape)}, y {label_kind} {list(label_shape)}; needed: {needed}"
                )
            arrays = loadmat(io.BytesIO(content), variable_names=["X", "y"])
        return arrays["X"], arrays["y"]
    except UserError:
        raise
    except Exception as error:  # whatever a damaged file makes of the reader
        said = " ".join(str(error).split())[:120]
        raise UserError(f"{path} is no readable MATLAB 5 file ({said}); get it again") from None


def _unpacked(content: bytes, path: Path) -> bytes:
    """The same file with none of its variables compressed, so that nothing in it is longer than it looks."""
    order = {b"IM": "<u4", b"MI": ">u4"}.get(content[126:_HEAD])
    if order is None:
        raise UserError(f"{path} is no MATLAB 5 file; get it again")
    most, at, pieces = min(MOST_BYTES, available() // 2), _HEAD, [content[:_HEAD]]
    while at < len(content):
        kind, length = (int(number) for number in np.frombuffer(content[at : at + _TAG].ljust(_TAG, b"\0"), order))
        piece = content[at + _TAG : at + _TAG + length]
        if len(piece) < length or at + _TAG > len(content):
            raise UserError(f"{path} ends within a variable; it is truncated, get it again")
        if kind == _COMPRESSED:
            stream = zlib.decompressobj()
            try:
                piece = stream.decompress(piece, most)
            except zlib.error as error:
                raise UserError(f"{path} is damaged ({error}); get it again") from None
            if not stream.eof:
                raise UserError(f"{path} is truncated, or unpacks to more than {most} bytes; get it again")
            most -= len(piece)
        else:
            piece = content[at : at + _TAG] + piece
        pieces.append(piece)
        at += _TAG + length
    return b"".join(pieces)
