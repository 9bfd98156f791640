"""How each model was trained: its settings side by side, its objective in words, what it cost."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robustsnn.ground.files import own_name
from robustsnn.reporting.reading import Model, Run
from robustsnn.reporting.wording import count


@dataclass(frozen=True)
class SettingsTable:
    """Keys down, models across: the rows whose values differ, and the rows that agree."""

    models: list[Model]
    different: list[tuple[str, list[str]]]
    same: list[tuple[str, list[str]]]


def sheet(models: Sequence[Model], parts: Mapping[str, Mapping[str, Any]]) -> SettingsTable:
    """Lay out `parts` (model name -> nested values) with dotted keys; a value that is missing is a dash."""
    flat = {model.name: _flat(parts[model.name]) for model in models}
    keys = dict.fromkeys(key for values in flat.values() for key in values)
    rows = [(key, [flat[model.name].get(key, "\N{EN DASH}") for model in models]) for key in keys]
    return SettingsTable(
        list(models),
        [row for row in rows if len(set(row[1])) > 1],
        [row for row in rows if len(set(row[1])) == 1],
    )


def config_sheet(models: Sequence[Model]) -> SettingsTable:
    """The configuration, without name, provenance and what is told about its names."""
    hidden = ("name", "about", "provenance")
    return sheet(
        models,
        {m.name: {key: value for key, value in m.run.config.items() if key not in hidden} for m in models},
    )


def provenance_sheet(models: Sequence[Model]) -> SettingsTable:
    """What was saved about when and with what each run was made and evaluated, and its seeds."""
    parts = {}
    for model in models:
        saved = model.run.config.get("provenance")
        seeds = {"data": model.run.setting("data", "seed"), "train": model.run.setting("train", "seed")}
        evaluated = dict(model.run.results.versions)
        if model.result is not None and model.result.seed is not None:
            evaluated["seed"] = model.result.seed
        if model.result is not None and model.result.precision.crafting:
            evaluated["attacks"] = f"crafted in {model.result.precision.crafting}, judged in float32"
        parts[model.name] = {
            "folder": own_name(model.run.folder),
            **(saved if isinstance(saved, Mapping) else {}),
            "seed": {key: seed for key, seed in seeds.items() if seed is not None},
            "evaluated": evaluated,
        }
    return sheet(models, parts)


def objective_words(run: Run) -> str:
    """What the run's objective is, in words; only what its settings say."""
    name = str(run.setting("objective", "name") or "")
    if not name:
        return "The objective was not saved."
    entry, options = run.entry("objective", "objective.name"), run.setting("objective", "options")
    options = dict(options) if isinstance(options, Mapping) else {}
    attack, retraction = run.setting("objective", "attack"), run.setting("objective", "retraction")
    form = str(options.pop("form", next(iter(entry.forms)))) if entry.forms else ""
    given = {"λ": run.setting("objective", "lam"), **options}
    values = "".join(f"; {key}\u00a0=\u00a0{_value(value)}" for key, value in given.items() if value is not None)
    text = entry.text or f"objective “{name}”"
    words = (attack and entry.attacked) or entry.words or f"{text[0].upper()}{text[1:]}{{attack}}{{values}}."
    parts = {"{form}": str(entry.forms.get(form, f"form “{form}”")), "{attack}": _attack(attack), "{values}": values}
    for mark, part in parts.items():
        words = words.replace(mark, part)
    gamma = run.setting("objective", "perturbation")
    awp = "" if gamma is None else f" Each step at adversarially perturbed weights, by {gamma} of their norm (AWP)."
    after = "" if retraction is None else f" After each step orthogonal retraction, β = {retraction} (SNN-RAT)."
    return words + awp + after


def cost_words(run: Run) -> str:
    """Parameters, epochs and time, as far as they were saved."""
    seconds = [epoch.seconds for epoch in run.epochs if epoch.seconds == epoch.seconds]
    parameters = run.setting("provenance", "parameters")
    parts = [f"{parameters:,} parameters".replace(",", " ")] if isinstance(parameters, int) else []
    parts += [count(len(run.epochs), "epoch")] if run.epochs else []
    if seconds:
        parts.append(f"median {_duration(statistics.median(seconds))} per epoch, {_duration(sum(seconds))} in all")
    return "; ".join(parts)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"


def _attack(attack: Any) -> str:
    if not isinstance(attack, Mapping):
        return ""
    return f" ({', '.join(f'{key} {value}' for key, value in attack.items())})"


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = _value(value)
    return flat


def _value(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(_value(part) for part in value)
    return str(value)
