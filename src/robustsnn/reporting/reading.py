"""Run folders, read and checked; and the models in them, in the order and colour the page shows."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robustsnn import names
from robustsnn.ground.archives import read_arrays
from robustsnn.ground.errors import UserError
from robustsnn.ground.files import from_json, own_name, tensors_digest
from robustsnn.names.documents import read_document
from robustsnn.names.values import nested
from robustsnn.records.metrics import Epoch, read_metrics
from robustsnn.records.result import Result, Results
from robustsnn.records.samples import Samples
from robustsnn.records.typed import remedy
from robustsnn.reporting.saved import read_studies


@dataclass(frozen=True)
class Run:
    """What one run folder holds; whatever was not saved is empty or None. `studies`: see `read_studies`."""

    folder: Path
    config: dict[str, Any]
    epochs: list[Epoch]
    results: Results
    samples: Samples | None
    studies: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)

    def setting(self, *keys: str) -> Any:
        """The value under `config[keys[0]][keys[1]]...`, or None where any of them is missing."""
        return nested(self.config, *keys)

    def entry(self, kind: str, option: str) -> names.Entry:
        """What was saved of what that option names, or is known of the name; an empty entry for what is neither."""
        name = self.setting(*option.split("."))
        return names.told(self.setting("about", option)) or names.known(kind, name) or names.Entry()


@dataclass(frozen=True)
class Model:
    """A model of the page. `trained_here`: its run's training, samples and settings are its own."""

    name: str
    colour: int
    run: Run
    result: Result | None
    trained_here: bool


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """Read run folders. Raises `UserError` for none, one twice, one without config, a corrupt file."""
    if not folders:
        raise UserError("no run folder was given; name at least one folder that holds a config.yaml")
    twice = [str(folder) for folder, times in Counter(map(os.path.realpath, folders)).items() if times > 1]
    if twice:
        raise UserError(f"the run {twice[0]} was given more than once; name each run folder once")
    return [_read_run(folder) for folder in folders]


def models_of(runs: Sequence[Run]) -> list[Model]:
    """The models in the order of the runs; a name that occurs twice gets its folder's name appended."""
    found: list[tuple[str, Run, Result | None, bool]] = []
    for run in runs:
        own = str(run.config.get("name") or own_name(run.folder))
        results = run.results.models
        if not results:
            found.append((own, run, None, True))
        trained = own if own in results else next(iter(results), own)
        found += [(name, run, result, name == trained) for name, result in results.items()]
    names = _distinct([(name, own_name(run.folder)) for name, run, _, _ in found])
    return [
        Model(name, colour, run, result, here)
        for colour, (name, (_, run, result, here)) in enumerate(zip(names, found, strict=True))
    ]


def _distinct(pairs: Sequence[tuple[str, str]]) -> list[str]:
    once = Counter(name for name, _ in pairs)
    longer = [name if once[name] == 1 else f"{name} ({folder})" for name, folder in pairs]
    taken: set[str] = set()
    for position, name in enumerate(longer):
        number = 1
        while longer[position] in taken:
            number += 1
            longer[position] = f"{name} #{number}"
        taken.add(longer[position])
    return longer


def _read_run(folder: Path) -> Run:
    path = folder / "config.yaml"
    if not path.is_file():
        raise UserError(f"{folder} is not a run folder: it holds no config.yaml; give a folder made by training")
    config = read_document(path, "a config")
    metrics, results, samples = folder / "metrics.jsonl", folder / "results.json", folder / "samples.npz"
    _check_weights(folder, results, samples, *sorted((folder / "analysis").glob("*.*")))
    return Run(
        folder=folder,
        config=config,
        epochs=read_metrics(metrics) if metrics.exists() else [],
        results=Results.load(results) if results.exists() else Results(),
        samples=Samples.load(samples) if samples.exists() else None,
        studies=read_studies(folder / "analysis"),
    )


def _check_weights(folder: Path, *files: Path) -> None:
    """Refuse figures and pictures that were made with other weights than the folder holds now."""
    weights = folder / "weights.safetensors"
    if not weights.is_file():
        return
    digest = tensors_digest(weights)
    for path in files:
        if path.is_file() and any(found != digest for found in _made_with(path)):
            raise UserError(f"{path} was made with other weights than {weights}; {remedy(str(path))}")


def _made_with(path: Path) -> list[str]:
    """The digests of the weights that a file names; none if it names none."""
    try:
        if path.suffix == ".json":
            content = from_json(path.read_text(encoding="utf-8"))
            if "made_with" in content:
                return [content["made_with"]]
            return [entry["weights"] for entry in content["models"].values() if "weights" in entry]
        arrays = read_arrays(path)
        return [str(arrays["weights"])] if "weights" in arrays else []
    except Exception:  # whatever is wrong with the file, its own reader says so
        return []
