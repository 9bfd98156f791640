"""What attacks did to every sample, as arrays; accuracies and intervals follow from them. No torch."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from robustsnn.errors import UserError
from robustsnn.files import write_arrays


def clopper_pearson(hits: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Exact binomial confidence interval for a share of `hits` in `n` (Clopper and Pearson 1934)."""
    from scipy.stats import beta

    tail = (1 - level) / 2
    low = float(beta.ppf(tail, hits, n - hits + 1)) if hits else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, n - hits)) if hits < n else 1.0
    return low, high


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
    forward passes, `distance` how far it is from the clean one in the norm of the threat.
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

    @staticmethod
    def empty(attacks: int, n: int) -> Outcomes:
        """All zero; clean margins are infinite, so that nothing counts as correct yet."""
        kinds = {"attacked": bool, "broken": bool, "zero_gradient": bool, "nan_gradient": bool}
        kinds |= {"margin": np.float32, "distance": np.float64, "forwards": np.int64, "backwards": np.int64}
        return Outcomes(
            label=np.zeros(n, np.int64),
            predicted=np.zeros(n, np.int64),
            clean_margin=np.full(n, np.inf, np.float32),
            **{name: np.zeros((attacks, n), kind) for name, kind in kinds.items()},
        )

    @staticmethod
    def join(parts: list[Outcomes]) -> Outcomes:
        """Batches one after the other."""
        names = [field.name for field in fields(Outcomes)]
        return Outcomes(**{name: np.concatenate([getattr(p, name) for p in parts], axis=-1) for name in names})

    @property
    def correct(self) -> NDArray[np.bool_]:
        """`[N]`: the clean image is classified correctly (NaN margins are errors)."""
        return self.clean_margin < 0

    def standing(self, rows: list[int] | None = None) -> NDArray[np.bool_]:
        """`[N]`: correct and not broken by any of these attacks (all, if none are named)."""
        broken = self.broken if rows is None else self.broken[rows]
        return self.correct & ~broken.any(0)

    def save(self, path: Path, done: int) -> None:
        """Write as npz, atomically; `done` attacks are complete."""
        write_arrays(path, done=done, **{f.name: getattr(self, f.name) for f in fields(self)})

    @staticmethod
    def load(path: Path) -> tuple[Outcomes, int]:
        """Read what `save` wrote."""
        try:
            with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
                arrays = {field.name: file[field.name] for field in fields(Outcomes)}
                return Outcomes(**arrays), int(file["done"])
        except (BadZipFile, ValueError, KeyError, EOFError, OSError) as error:
            raise UserError(f"{path} is damaged ({error}); delete it, its batch will be attacked again") from None


def tabulate(outcomes: Outcomes, members: list[tuple[str, str]], eps: float) -> dict[str, Any]:
    """Columns and single attacks of a suite in the form of `results.json`.

    `members` names the rows of `outcomes` as (column, repr of the attack). The accuracy of an attack is
    what still stands in its column after it and those before it; `forwards` and `backwards` are means per
    attacked image.
    """
    columns: dict[str, list[int]] = {}
    attacks: dict[str, Any] = {}
    for row, (column, text) in enumerate(members):
        columns.setdefault(column, []).append(row)
        attacked = outcomes.attacked[row]
        count = max(1, int(attacked.sum()))
        attacks[text] = {
            "column": column,
            "eps": eps,
            **rate(outcomes.standing(columns[column])),
            "attacked": int(attacked.sum()),
            "broken": int(outcomes.broken[row].sum()),
            "forwards": round(int(outcomes.forwards[row].sum()) / count, 3),
            "backwards": round(int(outcomes.backwards[row].sum()) / count, 3),
            "zero_gradients": int(outcomes.zero_gradient[row].sum()),
            "nan_gradients": int(outcomes.nan_gradient[row].sum()),
        }
    return {
        "columns": {column: rate(outcomes.standing(rows)) for column, rows in columns.items()},
        "attacks": attacks,
    }
