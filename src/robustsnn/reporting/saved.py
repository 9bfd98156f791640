"""What studies left in a run's folder `analysis`.

A registered study reads its own file. Of any other the file holds the blocks to show: nothing is imported.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustsnn import names
from robustsnn.ground.errors import UserError
from robustsnn.ground.files import from_json
from robustsnn.records.exhibit import Block, Words, read_blocks


@dataclass(frozen=True)
class Saved:
    """A study that is known by its file alone."""

    title: str
    brief: str = ""
    card: None = None

    def blocks(self, shown: Sequence[tuple[Any, tuple[Block, ...]]]) -> list[Block]:
        """The blocks of each model, below its name if there are several."""
        several = len(shown) > 1
        return [block for model, own in shown for block in ([Words((), model.name)] if several else []) + list(own)]


def read_studies(folder: Path, only: Collection[str] | None = None) -> dict[str, tuple[Any, Any]]:
    """By the name of its file each study, or only these, and what it found, in the order of the page.

    UserError for what makes no sense.
    """
    found = {}
    registered = names.registered("study")
    files = {path.stem: path for path in sorted(folder.glob("*.json")) if only is None or path.stem in only}
    for name in [name for name in registered if name in files]:
        study = names.load(registered[name])
        found[name] = study, study.read(files.pop(name))
    for name, path in files.items():
        saved = _saved(path)
        if saved is not None:
            found[name] = saved
    return found


def _saved(path: Path) -> tuple[Saved, tuple[Block, ...]] | None:
    """Title and blocks in a file; None where it holds none."""
    try:
        content = from_json(path.read_text(encoding="utf-8"))
        if not isinstance(content, Mapping) or "blocks" not in content:
            return None
        return Saved(str(content["title"])), read_blocks(content["blocks"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} holds no blocks that can be shown ({error}); analyse the run again") from error
