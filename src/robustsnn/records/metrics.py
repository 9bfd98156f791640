"""The training log of a run, `metrics.jsonl`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robustsnn.ground.errors import UserError, in_words
from robustsnn.ground.files import from_json
from robustsnn.records.typed import is_number, record_of


@dataclass(frozen=True)
class Epoch:
    """One line of the log; a figure that is not a finite number is NaN."""

    epoch: int
    epochs: Any = None
    seconds: Any = math.nan
    train: dict[str, Any] = field(default_factory=dict)
    validation: dict[str, Any] = field(default_factory=dict)

    @property
    def planned(self) -> int | None:
        """Of how many."""
        return self.epochs if isinstance(self.epochs, int) else None

    def __post_init__(self) -> None:
        for name in ("train", "validation"):
            object.__setattr__(self, name, {key: _number(value) for key, value in getattr(self, name).items()})
        object.__setattr__(self, "seconds", _number(self.seconds))


def _number(value: Any) -> float:
    return float(value) if is_number(value) else math.nan


def read_metrics(path: Path) -> list[Epoch]:
    """The epochs in order; of an epoch logged twice (a resumed run) the later line counts.

    Raises `UserError`, naming the file and the line, where a line is not a JSON object with an epoch.
    """
    epochs: dict[int, Epoch] = {}
    try:
        for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
            if line.strip():
                epoch = record_of(Epoch, from_json(line), f"{path}, line {number}")
                epochs[epoch.epoch] = epoch
    except OSError as error:
        raise UserError(in_words(error)) from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} cannot be read as lines of JSON ({error}); train the run again") from error
    return [epochs[number] for number in sorted(epochs)]
