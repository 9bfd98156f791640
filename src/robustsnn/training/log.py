"""What training writes down: one entry per epoch, means over its images, TensorBoard event files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

from robustsnn.ground.errors import UserError

History: TypeAlias = list[dict[str, Any]]
"""One entry per epoch: epoch, epochs, seconds, learning_rate, lam (if the objective has one), train {loss, accuracy,
terms}, validation {accuracy, n, robust}, validation_attack {attack, threat, n}."""


class Means:
    """Means by name over all images seen; a name that only some updates have is a mean over those."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def add(self, name: str, total: float, n: int) -> None:
        """A sum over n images."""
        self._sums[name] = self._sums.get(name, 0.0) + total
        self._counts[name] = self._counts.get(name, 0) + n

    def __call__(self) -> dict[str, float]:
        return {name: total / self._counts[name] for name, total in self._sums.items()}


def checked(history: Any, path: Path, epochs: int, validated: bool) -> History:
    """The history that a state holds; UserError where it is none, of so many epochs at most."""
    try:
        for number, entry in enumerate(history, 1):
            rates = [entry["validation"][name] for name in ("accuracy", "n")] if validated else []
            numbers = [*rates, *entry["train"].values()] if not isinstance(entry["train"], list) else [None]
            fits = entry["epoch"] == number <= epochs and isinstance(history, list)
            if not fits or any(type(value) not in (int, float, dict) for value in numbers):
                raise ValueError(f"its epoch {number} is none")
        if not history:
            raise ValueError("it has no epoch")
        return history  # type: ignore[no-any-return]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        said = f"its history is damaged: {' '.join(str(error).split())[:100]}"
        raise UserError(f"{path} is not a state of this training ({said}); train into another folder") from None


def tensorboard(run: Path, epoch: int) -> Any:
    """A TensorBoard writer into `run/tensorboard` that drops what an interrupted run wrote after `epoch` epochs."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError("tensorboard is not installed; pip install 'robustsnn[tensorboard]'") from None
    return SummaryWriter(run / "tensorboard", purge_step=epoch + 1)


def write(writer: Any, entry: dict[str, Any]) -> None:
    """The figures of one epoch."""
    figures = {f"{part}/{k}": v for part in ("train", "validation") for k, v in entry.get(part, {}).items() if k != "n"}
    figures |= {name: entry[name] for name in ("learning_rate", "lam") if name in entry}
    for name, value in figures.items():
        writer.add_scalar(name, value, entry["epoch"])
