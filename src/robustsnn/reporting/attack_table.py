"""What every single attack found and cost, in the order they ran; long suites with the idle ones apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from robustsnn.records.result import AttackResult, Result
from robustsnn.reporting.reading import Model

LONG = 12  # of more attacks, those that broke nothing are folded away


@dataclass(frozen=True)
class AttackRow:
    """One attack: its place in the order of execution, and its gain per thousand passes."""

    place: int
    name: str
    attack: AttackResult
    gain: float | None
    per: str


@dataclass(frozen=True)
class AttackTable:
    """The rows shown and those folded away. `broken`: by all together, None where columns may break the same."""

    model: Model
    result: Result
    shown: list[AttackRow]
    folded: list[AttackRow]
    broken: float | None
    black_boxes: int
    several: bool  # columns


def attack_tables(models: Sequence[Model]) -> list[AttackTable]:
    """A table per model whose single attacks were saved."""
    return [_table(model, model.result) for model in models if model.result is not None and model.result.attacks]


def _table(model: Model, result: Result) -> AttackTable:
    rows = [
        AttackRow(place, name, one, *_gain(one)) for place, (name, one) in enumerate(result.attacks.items(), start=1)
    ]
    idle = [row for row in rows if not row.attack.broken]
    folded = idle if len(rows) > LONG else []
    shown = [row for row in rows if row not in folded]
    fell = sum(attack.broken or 0 for attack in result.attacks.values())
    black = sum(attack.black_box for attack in result.attacks.values())
    several = len({attack.column for attack in result.attacks.values()}) > 1
    return AttackTable(model, result, shown, folded, fell if result.survivors_only else None, black, several)


def _gain(attack: AttackResult) -> tuple[float | None, str]:
    """Broken images per 1000 gradient evaluations; per 1000 forwards for an attack without gradients."""
    for way, name in ((attack.backwards, "gradients"), (attack.forwards, "forwards")):
        passes = (way or 0.0) * (attack.attacked or 0)  # the file holds means per image
        if passes > 0:
            return 1000 * (attack.broken or 0) / passes, name
    return None, ""
