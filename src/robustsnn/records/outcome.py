"""What attacks did to every sample, as arrays; accuracies and intervals follow from them. No torch."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustsnn.ground.archives import read_arrays
from robustsnn.ground.errors import UserError
from robustsnn.ground.files import write_arrays
from robustsnn.statistics.binomial import clopper_pearson


def rate(hits: NDArray[np.bool_]) -> dict[str, Any]:
    """Share of true entries as `{"accuracy", "interval", "n"}`, the interval 95 % Clopper-Pearson."""
    n = len(hits)
    return {"accuracy": float(hits.mean()), "interval": list(clopper_pearson(int(hits.sum()), n)), "n": n}


@dataclass
class Outcomes:
    """N samples under A attacks. `[N]` arrays describe the clean images, `[A, N]` arrays the attacked.

    `margin` is the largest other logit minus the true one (negative: correct). An attack is run only on
    samples that were correct and that earlier attacks of its column left standing (`attacked`); the other
    entries of its row are zero or false. `broken` says that the attacked image is misclassified by fresh
    forward passes, `distance` how far it is from the clean one in the norm of the threat. `images` are the
    worst ones, `[N, ...]`, where they were asked for.
    """

    label: NDArray[np.int64]
    predicted: NDArray[np.int64]
    clean_margin: NDArray[np.float32]
    attacked: NDArray[np.bool_]
    broken: NDArray[np.bool_]
    margin: NDArray[np.float32]
    distance: NDArray[np.float64]
    forwards: NDArray[np.int64]
    backwards: NDArray[np.int64]
    zero_gradient: NDArray[np.bool_]
    nan_gradient: NDArray[np.bool_]
    images: NDArray[np.float32] | None = None

    @staticmethod
    def empty(attacks: int, n: int, image: tuple[int, ...] | None = None) -> Outcomes:
        """All zero; clean margins are infinite, so none counts as correct yet. `image`: their shape, to keep them."""
        kinds = {"attacked": bool, "broken": bool, "zero_gradient": bool, "nan_gradient": bool}
        kinds |= {"margin": np.float32, "distance": np.float64, "forwards": np.int64, "backwards": np.int64}
        return Outcomes(
            label=np.zeros(n, np.int64),
            predicted=np.zeros(n, np.int64),
            clean_margin=np.full(n, np.inf, np.float32),
            **{name: np.zeros((attacks, n), kind) for name, kind in kinds.items()},
            images=None if image is None else np.zeros((n, *image), np.float32),
        )

    @staticmethod
    def join(parts: list[Outcomes]) -> Outcomes:
        """Batches one after the other."""
        names = [field.name for field in fields(Outcomes) if field.name != "images"]
        images = [part.images for part in parts if part.images is not None]
        return Outcomes(
            **{name: np.concatenate([getattr(p, name) for p in parts], axis=-1) for name in names},
            images=np.concatenate(images) if images else None,
        )

    @property
    def correct(self) -> NDArray[np.bool_]:
        """`[N]`: the clean image is classified correctly (NaN margins are errors)."""
        return self.clean_margin < 0

    def standing(self, rows: list[int] | None = None) -> NDArray[np.bool_]:
        """`[N]`: correct and not broken by any of these attacks (all, if none are named)."""
        broken = self.broken if rows is None else self.broken[rows]
        return self.correct & ~broken.any(0)

    def equals(self, other: Outcomes) -> bool:
        """Whether all arrays are the same; NaN equals NaN."""
        pairs = ((getattr(self, field.name), getattr(other, field.name)) for field in fields(self))
        return all(mine is theirs or _same(mine, theirs) for mine, theirs in pairs)

    def save(self, path: Path, done: int) -> None:
        """Write as npz, atomically; `done` attacks are complete."""
        # No images are written as an array too, so that a file which has lost its images does not pass for one without.
        images = np.zeros(0, np.float32) if self.images is None else self.images
        write_arrays(path, **{**vars(self), "images": images, "done": done})

    @staticmethod
    def load(path: Path, attacks: int | None = None, n: int | None = None) -> tuple[Outcomes, int]:
        """Read what `save` wrote: the outcomes, and how many attacks are complete.

        UserError unless every array is there with its dtype and a shape that fits the others, and, where they are
        given, the file holds this many attacks (complete or not) and samples.
        """
        try:
            arrays = read_arrays(path)
            done = _check(arrays, attacks, n)
            return Outcomes(**arrays), done
        except Exception as error:  # whatever zipfile, zlib and numpy raise for damaged bytes; no list of it exists
            reason = " ".join((str(error) or type(error).__name__).split())[:200]
            raise UserError(f"{path} is damaged ({reason}); delete it, its batch will be attacked again") from None


def _check(arrays: dict[str, NDArray[Any]], attacks: int | None, n: int | None) -> int:
    """Take `done` out of the arrays of a file and return it; ValueError unless the others make up Outcomes."""
    names = {"done", *(field.name for field in fields(Outcomes))}
    if arrays.keys() != names:
        raise ValueError(f"it lacks or adds {', '.join(sorted(arrays.keys() ^ names))}")
    done, shape = arrays.pop("done"), np.shape(arrays["attacked"])
    if len(shape) != 2:
        raise ValueError(f"attacked has shape {shape} where attacks times samples are needed")
    for what, wanted, found in (("attacks", attacks, shape[0]), ("samples", n, shape[1])):
        if wanted is not None and wanted != found:
            raise ValueError(f"it holds {found} {what} where {wanted} are needed")
    if np.shape(arrays["images"]) == (0,):
        del arrays["images"]
    blank = Outcomes.empty(*shape, arrays["images"].shape[1:] if "images" in arrays else None)
    for name, mine in arrays.items():
        like = getattr(blank, name)
        # What has lost its header is read as plain bytes.
        if not isinstance(mine, np.ndarray) or (mine.dtype, mine.shape) != (like.dtype, like.shape):
            raise ValueError(f"{name} is not an array of {like.dtype} {list(like.shape)}")
    if not isinstance(done, np.ndarray) or done.shape or done.dtype.kind != "i" or not 0 <= done <= shape[0]:
        raise ValueError(f"done is not a number of attacks between 0 and {shape[0]}")
    return int(done)


def _same(mine: Any, theirs: Any) -> bool:
    real = isinstance(mine, np.ndarray) and mine.dtype.kind == "f"
    return np.array_equal(mine, theirs, equal_nan=real)


def tabulate(
    outcomes: Outcomes, members: list[tuple[str, Any]], eps: float, survivors_only: bool = False
) -> dict[str, Any]:
    """Columns and single attacks of a suite in the form of `results.json`.

    `members` names the rows of `outcomes` as (column, attack). The accuracy of an attack is what still stands
    after it and those before it: of its column, or of the suite with `survivors_only`. `forwards` and
    `backwards` are means per attacked image.
    """
    columns: dict[str, list[int]] = {}
    attacks: dict[str, Any] = {}
    for row, (column, attack) in enumerate(members):
        columns.setdefault(column, []).append(row)
        before = list(range(row + 1)) if survivors_only else list(columns[column])
        attacked = outcomes.attacked[row]
        count = max(1, int(attacked.sum()))
        attacks[repr(attack)] = {
            "column": column,
            "label": attack.label,
            "black_box": attack.black_box,
            "eps": eps,
            **rate(outcomes.standing(before)),
            "attacked": int(attacked.sum()),
            "broken": int(outcomes.broken[row].sum()),
            "forwards": round(int(outcomes.forwards[row].sum()) / count, 3),
            "backwards": round(int(outcomes.backwards[row].sum()) / count, 3),
            "zero_gradients": int(outcomes.zero_gradient[row].sum()),
            "nan_gradients": int(outcomes.nan_gradient[row].sum()),
        }
        if survivors_only:
            columns[column] = before
    return {
        "columns": {column: rate(outcomes.standing(rows)) for column, rows in columns.items()},
        "attacks": attacks,
        "cost": {"forwards": int(outcomes.forwards.sum()), "backwards": int(outcomes.backwards.sum())},
    }


def breaks(sets: dict[str, NDArray[np.bool_]], what: str) -> dict[str, Any]:
    """How many samples each combination of sets broke: `{"what", "sets", "n", "groups": [{"members", "count"}]}`.

    `sets` gives per name which of n samples it broke; members are positions in `sets`.
    """
    names = list(sets)
    table = np.stack([sets[name] for name in names], axis=1)
    combinations, counts = np.unique(table, axis=0, return_counts=True)
    groups = [
        {"members": np.flatnonzero(row).tolist(), "count": int(count)}
        for row, count in zip(combinations, counts, strict=True)
    ]
    groups.sort(key=lambda group: -group["count"])
    return {"what": what, "sets": names, "n": len(table), "groups": groups}
