"""The package nir, loaded when a graph is read or written."""

from __future__ import annotations

from typing import Any

from robustsnn.ground.errors import UserError


def library() -> Any:
    """The module, of which nothing else here knows."""
    try:
        import nir  # type: ignore[import-not-found]
    except ImportError:
        raise UserError("NIR needs the package nir; install it, pip install nir") from None
    return nir
