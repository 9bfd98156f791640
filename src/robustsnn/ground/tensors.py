"""Tensors on disk: safetensors files, written atomically, checked when read, never pickled."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from robustsnn.ground.errors import UserError, in_words
from robustsnn.ground.files import from_json, write_atomic

_ENTRY = "robustsnn"
_HEADER = 8 << 20


def write_tensors(path: Path | str, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    """Write tensors with metadata (plain values) to one file; equal contents are equal bytes.

    The metadata are one entry of sorted JSON, since safetensors writes several in the order of a seeded hash map.
    """
    dense = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomic(path, save(dense, {_ENTRY: json.dumps(metadata, sort_keys=True)}))


def _check_header(path: Path | str) -> None:
    """ValueError if the header of a safetensors file is larger than that of any network: its reader would labour."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > _HEADER:
        raise ValueError(f"its header has {length} bytes; at most {_HEADER} are allowed")


@contextmanager
def _readable(path: Path | str, advice: str) -> Iterator[None]:
    """UserError, ending in the advice, for what goes wrong with a safetensors file inside the block."""
    try:
        _check_header(path)
        yield
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; {advice}") from None
    except (PermissionError, IsADirectoryError) as error:
        raise UserError(in_words(error)) from None
    except (SafetensorError, ValueError, OSError, RecursionError) as error:  # the last: JSON of many brackets
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is not a readable safetensors file ({reason}); {advice}") from None


def read_tensors(path: Path | str, advice: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata that `write_tensors` wrote; UserError, ending in the advice, for anything else."""
    with _readable(path, advice), safe_open(path, framework="pt") as file:
        metadata = {key: from_json(value) for key, value in (file.metadata() or {}).items()}
        if list(metadata) == [_ENTRY]:  # older files have an entry for each value
            metadata = metadata[_ENTRY]
        if not isinstance(metadata, dict):
            raise ValueError(f"its metadata are {type(metadata).__name__}")
        return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118


def any_tensors(path: Path | str, advice: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file of anybody, whatever its metadata say; UserError as above."""
    with _readable(path, advice), safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def map_arrays(path: Path | str, advice: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors of any safetensors file as arrays that stay on disk, and its metadata; UserError as above.

    The library's own mapping is one for writing, of which systems refuse more than there is memory; numpy's is not.
    Kinds that numpy has not (bfloat16) are left out.
    """
    with _readable(path, advice):
        with safe_open(path, framework="np") as file:  # which checks that tensors lie in the file and do not overlap
            metadata = file.metadata() or {}
        with open(path, "rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = from_json(stream.read(length))
        arrays = {}
        for name, entry in header.items():
            if name != "__metadata__" and entry["dtype"] in _KINDS and 0 not in entry["shape"]:
                start = 8 + length + entry["data_offsets"][0]
                arrays[name] = np.memmap(path, _KINDS[entry["dtype"]], "r", start, tuple(entry["shape"]))
        return arrays, metadata


_KINDS = {"U8": "<u1", "I8": "<i1", "I16": "<i2", "U16": "<u2", "I32": "<i4", "U32": "<u4", "I64": "<i8", "U64": "<u8"}
_KINDS |= {"F16": "<f2", "F32": "<f4", "F64": "<f8"}
