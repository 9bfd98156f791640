"""The training log of a run, `metrics.jsonl`, read and checked."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustsnn.ground.errors import UserError


@dataclass(frozen=True)
class Epoch:
    """One line of the log; a figure that is not a finite number is NaN."""

    epoch: int
    planned: int | None
    seconds: float
    train: dict[str, float]
    validation: dict[str, float]


def read_metrics(path: Path) -> list[Epoch]:
    """The epochs in order; of an epoch logged twice (a resumed run) the later line counts.

    Raises `UserError`, naming the file and the line, where a line is not a JSON object with an epoch.
    """
    epochs: dict[int, Epoch] = {}
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); train the run again") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            epoch = _epoch(line, f"{path}, line {number}")
            epochs[epoch.epoch] = epoch
    return [epochs[number] for number in sorted(epochs)]


def _epoch(line: str, where: str) -> Epoch:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} is not JSON ({error}); delete this line or train the run again") from error
    number = value.get("epoch") if isinstance(value, dict) else None
    if not isinstance(number, int):
        raise UserError(f"{where} has no integer 'epoch'; delete this line or train the run again")
    planned = value.get("epochs")
    return Epoch(
        epoch=number,
        planned=planned if isinstance(planned, int) else None,
        seconds=_number(value.get("seconds")),
        train=_numbers(value.get("train"), f"{where}: train"),
        validation=_numbers(value.get("validation"), f"{where}: validation"),
    )


def _numbers(value: Any, where: str) -> dict[str, float]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UserError(f"{where} is {type(value).__name__}, not a table; delete this line or train again")
    return {str(key): _number(number) for key, number in value.items()}


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return math.nan
    return float(value)
