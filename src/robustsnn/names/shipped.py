"""What comes with the package by name: configs, `robustsnn train cifar10_vgg11_sr`, and entries of the zoo."""

from __future__ import annotations

import os
from pathlib import Path

from robustsnn.ground.errors import UserError
from robustsnn.names import near
from robustsnn.names.values import shown

FOLDER = Path(__file__).parent
_ENDINGS = {"configs": "yaml", "zoo": "json"}


def shipped(what: str = "configs") -> dict[str, Path]:
    """By name, in the order of the alphabet."""
    return {path.stem: path for path in sorted((FOLDER / what).glob(f"*.{_ENDINGS[what]}"))}


def headline(path: Path) -> str:
    """What a config says of itself: the comment in its first line."""
    return path.read_text("utf-8").partition("\n")[0].removeprefix("# ")


def config_file(said: Path | str) -> Path:
    """The config that is meant, see `shipped_file`."""
    return shipped_file(said, "configs")


def shipped_file(said: Path | str, what: str) -> Path:
    """The file that is meant: one of that path, or else one that comes with the package; UserError for neither."""
    path = Path(said)
    try:
        if path.is_file():
            return path
        wrong = "is no file" if os.path.lexists(path) else "does not exist"
    except PermissionError:
        raise
    except (OSError, ValueError):  # a name that no file can have
        wrong = "does not exist"
    known = shipped(what)
    if str(said) in known:
        return known[str(said)]
    kind, see = {"configs": ("config", "list configs"), "zoo": ("entry", "zoo list")}[what]
    said = f"{kind} file {shown(str(said))[1:-1]} {wrong}, and no {kind} of the package has that name"
    raise UserError(f"{said}, see `robustsnn {see}`{near(path.stem, known)}")
