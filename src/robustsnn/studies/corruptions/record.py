"""What `analysis/corruptions.json` holds, and corruptions.npz beside it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from robustsnn.records.arrays import beside
from robustsnn.records.typed import SOME, plain, read_record
from robustsnn.studies.shared.medians import Mean, ShareRight


@dataclass(frozen=True)
class OfKind:
    """Under one kind: the mean over strengths, and each strength. `amounts` are of what `of` says, see `Kind`."""

    name: str
    family: str
    of: str
    amounts: tuple[float, ...]
    mean: Mean
    strengths: tuple[ShareRight, ...]


@dataclass(frozen=True)
class Corruptions:
    """What `corruptions` found. Means are over images, of the share of its corrupted versions that each is right in.

    Versions of one image are not independent, so a mean over kinds or strengths has a t-interval over images; the
    accuracy at one kind and strength has that of Clopper and Pearson.

    Args:
        lost: clean less the mean.
        strengths: means over kinds.
        pictures: the first image at all strengths, `[kinds, 1 + strengths, ...]`, if it was kept.
    """

    n: int
    clean: ShareRight
    mean: Mean
    lost: Mean
    strengths: tuple[Mean, ...]
    kinds: Annotated[tuple[OfKind, ...], SOME]
    pictures: NDArray[np.float32] | None = field(default=None, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return plain({name: value for name, value in vars(self).items() if name != "pictures"})


def read(path: Path) -> Corruptions:
    """What was written, with its pictures if they are there. UserError, with the entry, where it makes no sense."""
    found = read_record(Corruptions, path)
    arrays = beside(path, {"pictures": ("f", f"{len(found.kinds)} 6 ...")})
    return replace(found, pictures=arrays.get("pictures"))
