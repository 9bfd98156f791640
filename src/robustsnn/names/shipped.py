"""The configs that come with the package, each a YAML file with a name: `robustsnn train cifar10_vgg11_sr`."""

from __future__ import annotations

from pathlib import Path

from robustsnn.ground.errors import UserError
from robustsnn.names import near
from robustsnn.names.values import shown

FOLDER = Path(__file__).parent / "configs"


def shipped() -> dict[str, Path]:
    """By name, in the order of the alphabet."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}


def headline(path: Path) -> str:
    """What a config says of itself: the comment in its first line."""
    return path.read_text("utf-8").partition("\n")[0].removeprefix("# ")


def config_file(said: Path | str) -> Path:
    """The file that is meant: one of that path, or else one that comes with the package; UserError for neither."""
    path = Path(said)
    try:
        there = path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        there = False
    if there:
        return path
    known = shipped()
    if str(said) in known:
        return known[str(said)]
    what = f"config file {shown(str(said))[1:-1]} does not exist, and no config of the package has that name"
    raise UserError(f"{what}, see `robustsnn list configs`{near(path.stem, known)}")
