"""Parts of an evaluation: which batches are in one, where they lie, and how parts are put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from robustsnn.ground.errors import UserError
from robustsnn.ground.fields import check_fields
from robustsnn.ground.files import write_atomic
from robustsnn.records.outcome import Outcomes


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count`: the batches index - 1, index - 1 + count, ... of an evaluation."""

    index: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        check_fields(self)
        if not 1 <= self.index <= self.count:
            raise UserError(f"shard {self.index}/{self.count}: the first number is 1 to the second, for example 2/4")

    def takes(self, batch: int) -> bool:
        """Whether that batch (from 0) is in it."""
        return batch % self.count == self.index - 1


def batch_path(folder: Path, number: int) -> Path:
    """Where the outcomes of a batch lie in the folder of an evaluation."""
    return folder / f"batch-{number:05d}.npz"


def collect(folder: Path, others: Sequence[Path], batches: int, attacks: int) -> None:
    """Copy the batches of other shards into a folder of outcomes.

    UserError if any of the `batches` is missing, has fewer than all attacks complete, or differs between folders.
    """
    for other in others:
        if not other.is_dir():
            raise UserError(f"--merge: {other} is no folder; give other copies of the run, in which shards are done")
        if not (other / folder.name).is_dir():
            raise UserError(
                f"{other} holds no outcomes named {folder.name}: its shards are of another model, data, suite, eps, "
                f"batch size, seed or version; evaluate all shards by the same command but for --shard"
            )
    missing = []
    for number in range(batches):
        mine = batch_path(folder, number)
        kept, done = Outcomes.load(mine, attacks) if mine.exists() else (None, -1)
        for path in (other / folder.name / mine.name for other in others):
            if not path.exists():
                continue
            found, complete = Outcomes.load(path, attacks)
            if kept is None or done < complete:
                write_atomic(mine, path.read_bytes())
                kept, done = found, complete
            elif complete == attacks and not kept.equals(found):
                raise UserError(f"{path} and {mine} differ; delete the one that is not to be trusted")
        if done < attacks:
            missing.append(mine.name)
    if missing:
        raise UserError(
            f"{len(missing)} of {batches} batches are missing or incomplete in {folder}, the first is {missing[0]}; "
            f"evaluate the shards that are missing, or continue them with --resume"
        )
