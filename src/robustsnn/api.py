"""The public functions: what the command line does, with a run's folder, a name or an object in each place."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from robustsnn import evaluation
from robustsnn.attacks import Source, Suite
from robustsnn.data.batches import ImageSet
from robustsnn.data.given import labelled
from robustsnn.evaluation import Effort, Evaluation, pictures
from robustsnn.evaluation.crafting import Precision
from robustsnn.evaluation.masking import Checking
from robustsnn.ground.claim import claimed
from robustsnn.ground.door import check_callable, check_list, check_model, check_progress
from robustsnn.ground.errors import UserError
from robustsnn.ground.files import path_of, write_atomic
from robustsnn.ground.modes import undisturbed
from robustsnn.ground.ours import check_files
from robustsnn.ground.progress import Callback, Progress, displayed, silent
from robustsnn.ground.units import fraction
from robustsnn.names.config import Config
from robustsnn.names.parsing import parse_config, read_config
from robustsnn.names.shipped import config_file
from robustsnn.records.result import Results
from robustsnn.reporting.card import check_cards, write_cards
from robustsnn.reporting.page import write_report
from robustsnn.runs import build
from robustsnn.runs.analyses import analyze as analyze
from robustsnn.runs.folder import (
    evaluated_with,
    keep_images,
    load_run,
    load_source,
    train_run,
    weights_digest,
    write_results,
)
from robustsnn.runs.listed import listed
from robustsnn.training.folder import check_mapping, settle


def train(
    config: Config | Mapping[str, Any] | Path | str,
    out: Path | str,
    *,
    resume: bool = False,
    overwrite: bool = False,
    trust_code: bool | Collection[str] = False,
    progress: Progress = silent,
) -> Path:
    """Train as a config says into the folder `out`, as `robustsnn train` does; returns the folder.

    `config` is a YAML file or the name of one that comes with the package, a mapping as a YAML file has it, or a
    `Config`. Names that lead outside the registry are trusted if they are given here; in a file they need
    `trust_code`: True, or the names. With `overwrite` the folder may hold files of others, and those of equal names are
    replaced.
    """
    path_of("out", out)
    if isinstance(config, Path | str):
        config = parse_config(read_config(config_file(config)), str(config), trust_code=trust_code)
    elif isinstance(config, Mapping):
        config = parse_config(dict(config), "config", trust_code=True)
    elif isinstance(config, Config):
        config = parse_config(asdict(config), "config", trust_code=True)
    else:
        raise UserError(f"config of type {type(config).__name__}: give a YAML file, a mapping of options or a Config")
    train_run(config, Path(out), resume=resume, overwrite=overwrite, progress=progress)
    return Path(out)


@undisturbed()
def evaluate(
    model: nn.Module | Path | str,
    data: evaluation.Data | None = None,
    suite: str | Callable[[float], Suite] | Sequence[Any] = "reliable",
    eps: float | str | None = None,
    *,
    norm: str = "Linf",
    sources: Sequence[Source | Path | str] = (),
    curve: Sequence[float | str] = (),
    batch_size: int = 128,
    seed: int = 0,
    precision: Precision = "float32",
    out: Path | str | None = None,
    config: Mapping[str, Any] | None = None,
    resume: bool = True,
    images: bool = False,
    flags: Sequence[Checking | str] = (),
    overwrite: bool = False,
    trust_code: bool | Collection[str] = False,
    progress: Progress | None = None,
    on_attack: Callback | None = None,
) -> Evaluation:
    """How robust a model is.

    Args:
        model: anything that maps images `[B, C, H, W]` in [0, 1] to logits `[B, K]`, with its normalisation inside; or
            the folder of a run.
        data: an `ImageSet`, a pair (x, y) of tensors or arrays, or a Dataset or DataLoader of such pairs; a run has its
            test images.
        suite: its name ("paper-sr"), a function from eps to a `Suite`, or a list of attacks of radius eps: their names,
            attacks of `robustsnn.attacks`, and callables of other libraries, see `robustsnn.attacks.Foreign`.
        eps: the radius, as 0.03 or "8/255".
        norm: Linf or L2, for the suites that know both.
        sources: other models, or folders of runs, that black-box attacks are crafted on.
        curve: further radii.
        precision: of crafting: "bfloat16" is for a quick look on hardware that is faster in it; every verdict is made
            in float32.
        out: of a model that is given, the folder to write to: `outcomes/`, `results.json`, and what else makes it a
            run. A run is written to its own folder.
        config: what the `config.yaml` of a new `out` says, see `fit`.
        resume: use saved outcomes of the very same evaluation.
        images: keep the adversarial images, and write them too where there is a folder.
        flags: checks of your own, functions of the probe and the outcomes that give a `Check`, or their names.
        overwrite: the folder may hold files of others, and those of equal names are replaced.
        trust_code: of runs, see `robustsnn.runs.folder.load_run`.
        progress: told about every attack; None shows it on a terminal or in a notebook.
        on_attack: called after each attack on each batch with a dictionary, see `robustsnn.evaluation.run_suite`.
    """
    if eps is None:
        raise UserError("an attack needs a radius; give eps, such as '8/255'")
    check_list("sources", sources, "models or folders of runs")
    check_list("curve", curve, "radii")
    if out is not None:
        path_of("out", out)
    if progress is not None:
        check_progress(progress)
    if on_attack is not None:
        check_callable("on_attack", on_attack, "print")
    check_mapping(config)
    if isinstance(suite, list | tuple):
        suite = listed(suite, norm)
    if not callable(suite) and not isinstance(suite, str):
        raise UserError(
            "suite: give a name, a list of attacks or a function from eps to a Suite, as robustsnn.attacks.reliable is"
        )
    if sources and not isinstance(suite, str):
        raise UserError("sources are for suites given by name; a suite of your own holds its Transfer attacks itself")
    loaded = [s if isinstance(s, Source) else load_source(s, trust_code=trust_code) for s in sources]
    chosen = build.suite(suite, loaded, norm) if isinstance(suite, str) else suite
    of_run = isinstance(model, Path | str)
    if isinstance(model, Path | str):
        if out is not None or config is not None:
            raise UserError("out and config are for a model that is given; a run has its own folder, leave them out")
        out = model
        _, model, splits = load_run(model, trust_code=trust_code)
        data = splits.test if data is None else data
    check_model(model)
    if data is None:
        raise UserError("a model is attacked on labelled images; give data, such as digits().test or (x, y)")
    run = None if out is None else Path(out)
    if config is not None and run is None:
        raise UserError("config is what the folder says; give out=... too")
    data = data if isinstance(data, ImageSet) else labelled(data)
    x = labelled(data)[0]
    if run is not None:
        check_files([run / "results.json", run / "samples.npz"], overwrite)
    claim = nullcontext() if run is None else claimed(run, overwrite=overwrite or of_run)
    with claim, displayed(progress) as shown_on:
        effort = Effort(batch_size, seed, precision, None if run is None else run / "outcomes", resume)
        title = "" if run is None else settle(run, model, x, config)
        found = evaluation.evaluate(
            model,
            data,
            chosen,
            fraction(eps),
            effort,
            curve=[fraction(value) for value in curve],
            keep_images=images,
            flags=[build.flag(check) if isinstance(check, str) else check for check in flags],
            progress=shown_on,
            on_attack=on_attack,
        )
        if run is None:
            return found
        named, weights = suite if isinstance(suite, str) else None, weights_digest(run)
        found.record.update(evaluated_with(named, seed, weights, loaded))
        if images:
            keep_images(run, named or found.suite.name, found, model, x, effort, title=title)
        shown = pictures(model, data, chosen(fraction(eps)), seed=seed) if isinstance(data, ImageSet) else None
        write_results(run, {title: found.to_dict()}, weights, shown)
        return found


def report(
    results: Path | str | Evaluation | Mapping[str, Evaluation] | Sequence[Path | str],
    out: Path | str = "report.html",
    *,
    title: str | None = None,
    card: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write one HTML page, as `robustsnn report` does; returns its path.

    Args:
        results: folders of runs, one or several; or what `evaluate` returned, several by the names of the models.
        title: of the page.
        card: also write a model card, `card.md`, into the folder of each run.
        overwrite: replace files of these names that are no report's.
    """
    path_of("out", out)
    if isinstance(results, Evaluation):
        results = {"model": results}
    if isinstance(results, Mapping):
        if card:
            raise UserError("a card is written into the folder of a run; give folders, or leave card out")
        with tempfile.TemporaryDirectory() as folder:
            runs = [_folder(Path(folder) / str(number), *item) for number, item in enumerate(results.items())]
            write_report(runs, Path(out), title=title, overwrite=overwrite)
        return Path(out)
    runs = [path_of("results", run) for run in (results if isinstance(results, list | tuple) else [results])]
    check_cards(runs if card else [], overwrite)
    write_report(runs, Path(out), title=title, overwrite=overwrite)
    if card:
        write_cards(runs, overwrite=overwrite)
    return Path(out)


def _folder(run: Path, name: str, found: Evaluation) -> Path:
    """A folder for the report that holds a result alone."""
    write_atomic(run / "config.yaml", yaml.safe_dump({"name": name}, allow_unicode=True))
    Results.write(run / "results.json", {name: found.to_dict()})
    return run
