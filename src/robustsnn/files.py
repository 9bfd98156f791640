"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any


def write_atomic(path: Path | str, content: bytes | str) -> None:
    """Write `content` under a temporary name beside `path`, flush it to disk, then rename.

    Whoever reads `path` sees the old content or the new, also after SIGKILL or on a full disk.
    The parent folder is made if it is missing. Raises `OSError`; then `path` is untouched and the
    temporary file is gone.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as indented JSON, atomically; NaN and infinity are refused (they are not JSON)."""
    write_atomic(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_arrays(path: Path | str, **arrays: Any) -> None:
    """Write arrays (and what numpy makes arrays of) as a compressed npz file, atomically."""
    import numpy as np

    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    write_atomic(path, stream.getvalue())
