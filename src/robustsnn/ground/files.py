"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import secrets
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from robustsnn.ground.errors import UserError, in_short


def write_atomic(path: Path | str, content: bytes | str) -> None:
    """Write `content` under a temporary name beside `path`, flush it to disk, then rename.

    Whoever reads `path` sees the old content or the new, also after SIGKILL or on a full disk, and the rename is on
    disk when the call returns. The temporary name is random: processes of several machines may share the folder, and
    their numbers may be equal. The parent folder is made if it is missing. Raises `OSError`; then `path` is untouched
    and the temporary file is gone.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    # A name may have 255 bytes; a cut one keeps the temporary file writable where the file itself is.
    temporary = path.with_name(f".{path.name[:40]}.{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename, error.filename2 = str(path), None  # a full disk names no file, and nobody knows the other
        raise
    _sync_folder(path.parent)


def path_of(name: str, value: Any) -> Path:
    """The file or folder that a value names; UserError, with the argument's name, if it names none."""
    if not isinstance(value, str | Path) or not str(value).strip() or "\0" in str(value):
        raise UserError(f"{name}={in_short(value)}: the name of a file or a folder is needed, such as 'runs/mine'")
    return Path(value)


def own_name(folder: Path | str) -> str:
    """The name of a folder, also of "." and of a link; `Path.resolve` raises for links that lead in a circle."""
    return os.path.basename(os.path.realpath(folder))


_TEMPORARY = re.compile(r"\.(.{1,40})\.[0-9a-f]{16}\.tmp", re.S)


def remove_leftovers(folder: Path, within: Collection[str] = (), of: str | None = None) -> None:
    """Delete the temporary files that killed processes left in `folder` and in these folders of it; links stay.

    Only for one who knows that no other process writes there; or, with `of`, the file of that name.
    """
    for top in (folder, *(folder / name for name in within)):
        for here, folders, names in os.walk(top):
            for name in names:
                found = _TEMPORARY.fullmatch(name)
                if found and (of is None or of[:40] == found[1]):
                    (Path(here) / name).unlink(missing_ok=True)
            if top == folder:
                folders.clear()


def _sync_folder(folder: Path) -> None:
    """Put the folder's entries on disk, where the system can (Windows and some network drives cannot)."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def tensors_digest(path: Path | str) -> str:
    """SHA-256 of the tensors of a safetensors file: names, kinds, shapes and values, in the order of their names.

    Metadata and the order in the file do not count, so files of equal weights have equal digests whatever wrote them.
    Of a file of another kind it is the digest of its bytes.
    """
    content = Path(path).read_bytes()
    try:
        start = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(content[8:start])
        tensors = sorted((name, entry) for name, entry in header.items() if name != "__metadata__")
        digest = hashlib.sha256()
        for name, entry in tensors:
            first, end = (start + offset for offset in entry["data_offsets"])
            digest.update(json.dumps([name, entry["dtype"], entry["shape"]]).encode())
            digest.update(content[first:end])
        return digest.hexdigest()
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return hashlib.sha256(content).hexdigest()


def from_json(text: str | bytes) -> Any:
    """What JSON text says; ValueError for what is none, and for text in it that no file and no page can hold."""
    value = json.loads(text)
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("a text in it holds half of a character (a lone surrogate)") from None
    return value


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as indented JSON, atomically; NaN and infinity are refused (they are not JSON)."""
    write_atomic(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_arrays(path: Path | str, **arrays: Any) -> None:
    """Write arrays (and what numpy makes arrays of) as a compressed npz file, atomically."""
    import numpy as np

    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    write_atomic(path, stream.getvalue())
