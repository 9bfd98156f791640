"""What speaks for and against the figures: flags and checks, the same ones of several models together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from robustsnn.records.result import CheckResult
from robustsnn.reporting.reading import Model


@dataclass(frozen=True)
class Sign:
    """A flag, and which models it was raised for with which message."""

    flag: CheckResult
    messages: list[tuple[Model, str]]


@dataclass(frozen=True)
class Trust:
    """The signs, those that mask first; all checks, a row each with the models' cells; who has no warning."""

    signs: list[Sign]
    models: list[Model]
    rows: list[tuple[CheckResult, list[CheckResult | None]]]
    clear: list[Model]


def trust(models: Sequence[Model]) -> Trust | None:
    """Flags and checks of the evaluated models; None where none were saved."""
    evaluated = [(model, model.result) for model in models if model.result is not None]
    signs: dict[tuple[object, ...], Sign] = {}
    for model, result in evaluated:
        for flag in result.flags:
            key = (flag.name, flag.masking, flag.why, flag.todo)
            signs.setdefault(key, Sign(flag, [])).messages.append((model, flag.message))
    checked = [(model, result.checks) for model, result in evaluated if result.checks]
    rows: dict[tuple[str, str], CheckResult] = {}
    for _, checks in checked:
        for check in checks:
            rows.setdefault((check.name, check.raised_if), check)
    if not signs and not rows:
        return None
    cells = [
        (check, [next((c for c in checks if (c.name, c.raised_if) == key), None) for _, checks in checked])
        for key, check in rows.items()
    ]
    warned = {model.name for model, result in evaluated if any(flag.masking for flag in result.flags)}
    clear = [model for model, _ in checked if model.name not in warned]
    ordered = sorted(signs.values(), key=lambda sign: not sign.flag.masking)
    return Trust(ordered, [model for model, _ in checked], cells, clear)
