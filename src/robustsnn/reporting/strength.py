"""Which attacks were the strong ones, in words: by column, or by what broke images first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from robustsnn.records.result import Accuracy, AttackResult, Result
from robustsnn.reporting.reading import Model
from robustsnn.reporting.wording import count, listing, percent


def by_attack(group: Sequence[tuple[Model, Result]], everyone: bool) -> list[str]:
    """Sentences about models of the same test; strongest and weakest are said only of columns that start anew.

    `everyone`: the group is all models of the page.
    """
    if group[0][1].survivors_only:
        return [_first(model.name, list(result.attacks.values())) for model, result in group if result.attacks]
    return _columns([(model.name, result.columns) for model, result in group if result.columns], everyone)


def _first(name: str, attacks: Sequence[AttackResult]) -> str:
    """What fell to which attack, where each met only what those before it left."""
    fell = sorted((attack for attack in attacks if _broken(attack)), key=_broken, reverse=True)
    if not fell:
        return f"Against {name} none of {count(len(attacks), 'attack')} broke an image."
    first = [f"{_broken(attack)} to {attack.label}" for attack in fell[:2]]
    if len(fell) > 2:
        others = "another attack" if len(fell) == 3 else f"{len(fell) - 2} other attacks"
        first.append(f"{sum(map(_broken, fell[2:]))} to {others}")
    idle = len(attacks) - len(fell)
    none = f"; {count(idle, 'attack')} broke no image that stood" if idle else ""
    return f"Of {name}, {count(sum(map(_broken, fell)), 'image')} fell: {listing(first)}{none}."


def _broken(attack: AttackResult) -> int:
    return attack.broken or 0


def _columns(models: Sequence[tuple[str, Mapping[str, Accuracy]]], everyone: bool) -> list[str]:
    said: dict[str, list[str]] = {}
    left: dict[str, str] = {}
    for name, columns in models:
        text, left[name] = _extremes(columns)
        said.setdefault(text, []).append(name)
    if everyone and len(said) == 1 and len(models) > 1:
        return [f"Against every model {text}." for text in said]
    return [
        f"Against {listing(names)} {text}{f' ({left[names[0]]})' if len(names) == 1 else ''}."
        for text, names in said.items()
    ]


def _extremes(columns: Mapping[str, Accuracy]) -> tuple[str, str]:
    """Which columns leave least and most, and how much that is."""
    shares = sorted({rate.accuracy for rate in columns.values()})
    strongest = [column for column, rate in columns.items() if rate.accuracy == shares[0]]
    weakest = [column for column, rate in columns.items() if rate.accuracy == shares[-1]]
    if len(columns) == 1:
        return f"only {strongest[0]} was run", f"{percent(shares[0])} left"
    if len(shares) == 1:
        return f"all {len(columns)} attack columns are equally strong", f"{percent(shares[0])} left"
    left = f"{percent(shares[0])} and {percent(shares[-1])} left"
    return f"the strongest column is {listing(strongest)}, the weakest {listing(weakest)}", left
