"""A model card of a run in Markdown: what it is, what was measured, what was not. From its saved files alone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from robustsnn.ground import errors
from robustsnn.ground.claim import claimed
from robustsnn.ground.errors import UserError
from robustsnn.ground.files import own_name, write_atomic
from robustsnn.ground.ours import check_files
from robustsnn.records.metrics import Epoch
from robustsnn.records.result import Accuracy, Result
from robustsnn.reporting import wording
from robustsnn.reporting.card_limits import limits
from robustsnn.reporting.citations import citations
from robustsnn.reporting.reading import Model, Run, models_of, read_runs
from robustsnn.reporting.settings import objective_words
from robustsnn.reporting.studies import in_words

NAME = "card.md"


def write_cards(runs: Sequence[Path], *, overwrite: bool = False) -> list[Path]:
    """Write `card.md` into each run folder and return where. UserError as `write_report` raises it."""
    check_cards(runs, overwrite)
    cards = {run.folder / NAME: card(run) for run in read_runs([Path(folder) for folder in runs])}
    for path, text in cards.items():
        try:
            with claimed(path.parent, overwrite=True):
                write_atomic(path, text)
        except OSError as error:
            raise UserError(errors.in_words(error)) from error
    return list(cards)


def check_cards(runs: Sequence[Path], overwrite: bool = False) -> None:
    """UserError if there is a `card.md` of somebody else in a run."""
    check_files([Path(folder) / NAME for folder in runs], overwrite)


def card(run: Run) -> str:
    """The card as Markdown. Every value from a file is escaped: it cannot become markup or a link."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: value if isinstance(value, Markup) else escaped(value),
    )
    environment.filters |= {"code": code, "percent": wording.percent, "threat": wording.threat_text}
    return environment.get_template("card.md.j2").render(_content(run))


def escaped(value: Any) -> str:
    """`value` as text in one line of Markdown: no markup, no HTML, no link of its own."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(value)).split())
    line = re.sub(r"([\\`*_{}\[\]<>|~&$#@])", r"\\\1", line)
    line = re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", line)  # else a list
    line = re.sub(r"^([-+=])", r"\\\1", line)  # else a list or a heading
    return line.replace("://", ":\\/\\/").replace("www.", "www\\.")


def code(value: Any) -> Markup:
    """`value` as a code span, whatever backticks it holds."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(value)).split())
    fence = "`" * (1 + max((len(ticks) for ticks in re.findall("`+", line)), default=0))
    return Markup(f"{fence} {line} {fence}" if "`" in line or not line else f"{fence}{line}{fence}")


def _content(run: Run) -> dict[str, Any]:
    models = models_of([run])
    evaluated = [(model.name, model.result) for model in models if model.result is not None]
    saved = run.setting("provenance")
    saved = saved if isinstance(saved, Mapping) else {}
    return {
        "name": run.setting("name") or own_name(run.folder),
        "folder": own_name(run.folder),
        "trained": (run.folder / "weights.safetensors").is_file(),
        "model": _model(run, saved),
        "data": _data(run, saved),
        "objective": objective_words(run) if "source" not in saved else "It was trained elsewhere.",
        "adopted": "source" in saved,
        "training": _flat(run.setting("train")),
        "progress": _progress(run),
        "evaluated": [(name, result, _rates(result)) for name, result in evaluated],
        "eps": wording.eps_text,
        "cells": _cells,
        "studies": in_words(next(model for model in models if model.trained_here)),
        "limits": limits(run, [result for _, result in evaluated]),
        "citations": citations(run),
        "software": saved.get("robustsnn"),
        "git": saved.get("git"),
        "made": [(key, saved[key]) for key in ("started", "platform", "device", "python", "torch") if saved.get(key)],
        "measured": [(key, value) for key, value in run.results.versions.items() if key in ("robustsnn", "torch")],
        "command": saved.get("command"),
        "again": [_again(run, model) for model in models if model.result is not None and model.result.suite],
    }


def _model(run: Run, saved: Mapping[str, Any]) -> list[tuple[str, Any]]:
    name = str(run.setting("model", "name") or "")
    text = run.entry("model", "model.name").text.split(";")[0]
    about = f" ({text})" if text else ""
    neuron = run.setting("model", "neuron") or {}
    tau = neuron.get("tau") if isinstance(neuron, Mapping) else None
    kind = "" if tau is None else "integrate-and-fire" if tau == 1 else "leaky integrate-and-fire"
    surrogate = run.setting("model", "surrogate") or {}
    encoder = run.setting("model", "encoder")
    events = run.entry("data", "data.name").event
    chosen = encoder.get("name") if isinstance(encoder, Mapping) else None
    parameters = saved.get("parameters")
    adopted = "source" in saved  # see runs.adopt
    file = saved.get("source") or {}
    rows = [
        ("architecture", f"{name}{about}"),
        ("options", _values(run.setting("model", "options"))),
        ("parameters", f"{parameters:,}".replace(",", " ") if isinstance(parameters, int) else None),
        ("neuron", ", ".join(part for part in (kind, _values(neuron)) if part)),
        ("surrogate gradient", _values(surrogate)),
        ("time steps T", run.setting("model", "steps")),
        ("encoder", chosen or ("" if adopted else "frames" if events else "direct")),
        ("encoder options", _values({k: v for k, v in (encoder or {}).items() if k != "name"})),
        ("source file", _values(file)),
        ("frameworks", _values(saved.get("frameworks"))),
        ("file of its weights", saved.get("weights")),
    ]
    return [(key, value) for key, value in rows if value not in (None, "")]


def _data(run: Run, saved: Mapping[str, Any]) -> list[tuple[str, Any]]:
    name = str(run.setting("data", "name") or "")
    text = run.entry("data", "data.name").text
    rows = [
        ("data set", f"{name}: {text}" if text else name),
        ("splits", saved.get("data_note")),
        ("seed of the split", run.setting("data", "seed")),
    ]
    return [(key, value) for key, value in rows if value not in (None, "")]


def _progress(run: Run) -> list[str]:
    """What the log says about the epochs, and about the one whose weights these are."""
    if not run.epochs:
        return []
    planned = run.epochs[-1].planned
    said = [f"{wording.count(len(run.epochs), 'epoch')} of {planned or 'an unknown number'} were run."]
    if planned is None or len(run.epochs) < planned:
        return [*said, "Training is not complete."]
    last, select = run.epochs[-1], run.setting("train", "select")
    kept = _selected(run.epochs, str(select)) if select not in (None, "last") else last
    how = "the last" if kept is last else f"selected by {select}"
    rates = {"accuracy": "accuracy on validation images", "robust": "accuracy on attacked validation images"}
    found = [f"{text} {wording.percent(kept.validation[key])}" for key, text in rates.items() if key in kept.validation]
    n = kept.validation.get("n")
    images = f" (n = {n:.0f}; no interval was saved)" if found and n else ""
    return [
        *said,
        f"The weights are of epoch {kept.epoch}, {how}" + (f": {', '.join(found)}{images}." if found else "."),
    ]


def _selected(epochs: Sequence[Epoch], select: str) -> Epoch:
    """The first of the best epochs, as training chooses it."""
    names = ("robust", "accuracy") if select == "validation-robust" else ("accuracy",)
    return max(epochs, key=lambda e: (*(e.validation.get(name, -1.0) for name in names), -e.epoch))


def _rates(result: Result) -> list[tuple[str, str, str, str]]:
    columns = [(name, rate) for name, rate in result.columns.items() if name != "worst case"]
    named = [("clean", result.clean), *columns, ("worst case", result.worst_case)]
    return [(name, *_cells(rate)) for name, rate in named if rate is not None]


def _cells(rate: Accuracy) -> tuple[str, str, str]:
    return (
        wording.accuracy_text(rate),
        wording.interval_text(rate) or "not saved",
        "not saved" if rate.n is None else str(rate.n),
    )


def _again(run: Run, model: Model) -> str:
    result = model.result
    assert result is not None
    eps = "" if result.eps is None else f" --eps {wording.eps_text(result.eps)}"
    norm = f" --norm {quote(result.norm)}" if result.norm not in ("", "Linf", "L0") else ""
    seed = "" if result.seed is None else f" --seed {result.seed:.0f}"
    source = " --source RUN" if any("Transfer(" in name for name in result.attacks) else ""
    images = None if result.clean is None else result.clean.n
    limit = "" if images is None else f" --limit {images}"
    return f"robustsnn evaluate AGAIN --suite {quote(result.suite)}{eps}{norm}{limit}{seed}{source}"


def _flat(values: Any) -> list[tuple[str, str]]:
    if not isinstance(values, Mapping):
        return []
    return [
        (str(key), _values(value) if isinstance(value, Mapping) else _plain(value)) for key, value in values.items()
    ]


def _values(values: Any) -> str:
    """'tau = 1.0, reset = hard'; what is None or empty is left out."""
    if not isinstance(values, Mapping):
        return "" if values is None else _plain(values)
    return ", ".join(f"{key} = {_plain(value)}" for key, value in values.items() if value not in (None, {}, []))


def _plain(value: Any) -> str:
    return {True: "yes", False: "no", None: "none"}[value] if isinstance(value, bool | None) else str(value)
