"""A run is a folder: made by training, filled by evaluation, read by reports."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robustsnn.attacks import Source
from robustsnn.data.batches import Splits
from robustsnn.evaluation import Effort, Evaluation, Shard, evaluate, pictures, run_radii
from robustsnn.evaluation.adversarial import rejudge, save_images
from robustsnn.evaluation.crafting import Precision, check_precision
from robustsnn.evaluation.fitting import most_passes
from robustsnn.evaluation.running import encode_images
from robustsnn.ground.claim import claimed, claimed_part
from robustsnn.ground.distributed import Processes, joined, local_device, started_together
from robustsnn.ground.errors import Advice, UserError
from robustsnn.ground.files import tensors_digest, write_arrays
from robustsnn.ground.ours import check_files, remove_ours
from robustsnn.ground.progress import Progress, part, silent, unsaid
from robustsnn.ground.provenance import provenance
from robustsnn.ground.units import fraction, grid_words, show_fraction
from robustsnn.models import Classifier
from robustsnn.models.recompute import recomputed
from robustsnn.names import find, load
from robustsnn.names.config import Config, DataConfig, about
from robustsnn.names.parsing import parse_config, read_config
from robustsnn.records.result import Accuracy, Results
from robustsnn.records.typed import record_of
from robustsnn.runs.build import (
    about_suite,
    build_attack,
    build_data,
    build_model,
    build_objective,
    build_optimiser,
    build_step,
    flag,
    pick_device,
    suite,
    weak_lambda,
)
from robustsnn.runs.fitting import check_crop, check_model
from robustsnn.runs.machine import machine, moved
from robustsnn.training.checkpoint import load_weights
from robustsnn.training.distributed import synchronise_norms
from robustsnn.training.fit import fit
from robustsnn.training.folder import check_named, check_witness
from robustsnn.training.saving import RunFolder
from robustsnn.training.validation import Validation, check_watched

ANEW = Effort(resume=False)
"""Saved outcomes are made again."""


def train_run(
    config: Config, run: Path, *, resume: bool = False, overwrite: bool = False, progress: Progress = silent
) -> None:
    """Train as `config` says into the folder `run`; with `resume`, continue what is there.

    UserError if the folder holds a run already and `resume` is not asked for, or if it holds a run of
    another config; if it holds files of others, unless `overwrite` lets them be replaced; and if another process
    writes there. Processes that torchrun started train one network together, and need one file system.
    """
    device = local_device(pick_device(config.train.device))
    with joined(device) as processes:
        if resume and is_trained(config, run):
            return
        with claimed(run, overwrite=overwrite) if processes.first else nullcontext():
            _train(config, run, device, processes, resume, progress)
        processes.wait(device)  # no process goes on, to an evaluation say, before the first one has written the weights


def _train(
    config: Config, run: Path, device: torch.device, processes: Processes, resume: bool, progress: Progress
) -> None:
    path = run / "config.yaml"
    # Without a complete epoch there is nothing to lose.
    begun = any((run / name).exists() for name in ("state/last.safetensors", "weights.safetensors"))
    if begun:
        if not resume:
            raise UserError(f"{run} holds a run already; use --resume to continue it, or another --out")
        if not _has_config(config, path):
            raise UserError(another_config(run))
        if (run / "weights.safetensors").exists():
            return
        if processes.first and (said := moved(path, device)):
            warnings.warn(said, Advice, stacklevel=3)
    options = config.train
    objective = build_objective(config.objective)
    if processes.first and not begun and (said := weak_lambda(config)):
        warnings.warn(said, Advice, stacklevel=3)
    if not processes.first:
        processes.wait(device)  # what is to be downloaded is then there
    data = build_data(config.data, _download_progress(progress))
    if processes.first:
        processes.wait(device)
    check_crop(options, data)
    check_model(config, data, min(options.batch_size, len(data.train)), device, training=True)
    model = build_model(config.model, data, config.train.seed).to(device)
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if options.sync_batchnorm and processes.count > 1:
        synchronise_norms(model, processes)
    optimiser = build_optimiser(options, model)
    attack = build_attack(options.validation_attack) if options.validation_attack else None
    validation = Validation(data.validation, attack, options.validation_attacked, options.select)
    check_watched(objective, validation)
    step = build_step(config, model)
    document = None
    if not begun and processes.first:
        stale = ("witness.safetensors", "results.json", "samples.npz", "card.md")
        remove_ours([*(run / name for name in stale), *run.glob("analysis/*")])  # they would be of other weights
        record = provenance() | {
            "data_note": data.note,
            "commonest": data.train.commonest,
            "parameters": sum(p.numel() for p in model.parameters()),
            **machine(device),
            **({"processes": processes.count} if processes.count > 1 else {}),
        }
        document = {**config.to_dict(), "about": about(config), "provenance": record}
    try:
        with recomputed(model) if options.recompute else nullcontext():
            fit(
                model,
                data.train,
                objective,
                optimiser,
                epochs=options.epochs,
                batch_size=options.batch_size,
                seed=options.seed,
                schedule=load(find("learning_rate", options.schedule, "train.schedule")),
                step=step,
                validation=validation,
                run=RunFolder(run, document, resume, tensorboard=options.tensorboard, identity=_identity(config, data)),
                progress=progress,
                processes=processes,
            )
    except UserError:
        if processes.first and not begun and not (run / "state").exists():
            remove_ours([path])  # nothing was trained: leave no folder that looks like a run
        raise


def another_config(run: Path) -> str:
    """The error of a run that is not the one which was asked for."""
    return f"{run} was begun with another config; resume with {run / 'config.yaml'}, or use another --out"


def is_trained(config: Config, run: Path) -> bool:
    """Whether `run` holds the weights of this very config, to the last epoch."""
    path = run / "config.yaml"
    return (run / "weights.safetensors").exists() and path.exists() and _has_config(config, path)


def _has_config(config: Config, path: Path) -> bool:
    # To compare, any name may be in it: nothing is made of what it says.
    known = parse_config(read_config(path), str(path), trust_code=True)
    return _placeless(known).to_dict() == _placeless(config).to_dict()


def _placeless(config: Config) -> Config:
    """The config without the place of its data: they may be moved, and are compared by what is in them."""
    return replace(config, data=replace(config.data, root=None, download=DataConfig().download))


def weights_digest(run: Path) -> str:
    """What files made with a run's weights name them by."""
    return tensors_digest(run / "weights.safetensors")


def _identity(config: Config, data: Splits) -> dict[str, str]:
    """Digests of the config (but for its name and where the data lie) and of the images that a run depends on."""
    images = "".join(part.fingerprint() for part in (data.train, data.validation, data.test))
    return {"config": _digest(_placeless(config)), "data": hashlib.sha256(images.encode()).hexdigest()}


def _digest(config: Config) -> str:
    """Options at their defaults do not count, so that a run stays valid when the library learns a new option."""
    plain = json.dumps(_chosen(asdict(config) | {"name": None}, asdict(Config())), sort_keys=True)
    return hashlib.sha256(plain.encode()).hexdigest()


def _chosen(values: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """The values that differ from their defaults; nested ones likewise."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        default = defaults.get(name)
        if isinstance(value, dict):
            # Of a group that is absent by default what is null was not chosen either.
            value, default = _chosen(value, default or {}), {} if isinstance(default, dict) else None
        if value != default:
            found[name] = value
    return found


def _download_progress(progress: Progress) -> Any:
    def tell(done: int, total: int | None, *file: str) -> None:
        progress(done, total or 1 << 28, f"reading {file[0]}" if file else f"downloading, {done >> 20} MiB")

    return tell


def load_run(run: Path | str, *, trust_code: bool | Collection[str] = False) -> tuple[Config, Classifier, Splits]:
    """The config, the trained network (eval mode, on its device) and the data of a run folder.

    UserError if its config names code outside the registry, which would be run, unless that is trusted: True, or names.
    """
    run = Path(run)
    check_run(run)
    document = read_config(run / "config.yaml")
    config = parse_config(document, str(run / "config.yaml"), trust_code=trust_code)
    check_named(document, run)
    if not (run / "weights.safetensors").exists():
        raise UserError(f"{run} is not trained to the end; continue it with `robustsnn train ... --resume`")
    data = build_data(config.data)
    check_model(config, data, 1, pick_device(config.train.device), training=False)
    model = build_model(config.model, data, config.train.seed)
    made_with = load_weights(run / "weights.safetensors", model)
    with_place = _digest(config)  # as runs of before December 2026 have it
    for name, digest in _identity(config, data).items():
        if made_with.get(name, digest) not in (digest, with_place):
            raise UserError(f"{run} was trained with another {name} than its config.yaml gives now; restore it")
    model = model.to(local_device(pick_device(config.train.device))).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    check_witness(run, model.eval())
    return config, model, data


def check_run(run: Path) -> None:
    """UserError unless there is such a run, trained or not."""
    if not (run / "config.yaml").exists():
        raise UserError(f"{run} is not a run: it has no config.yaml; give a folder made by `robustsnn train`")


def load_source(run: Path | str, *, trust_code: bool | Collection[str] = False) -> Source:
    """A trained run as a source of transfer attacks, named by its folder; `trust_code` as in `load_run`."""
    _, model, _ = load_run(run, trust_code=trust_code)
    return Source(str(run), model)


def evaluate_run(
    run: Path,
    suites: str | Sequence[str],
    eps: float | str,
    effort: Effort = ANEW,
    *,
    norm: str = "Linf",
    curve: Sequence[float | str] = (),
    limit: int | None = None,
    sources: Sequence[Path] = (),
    shard: Shard | None = None,
    merge: Sequence[Path] | None = None,
    save: bool = False,
    flags: Sequence[str] = (),
    overwrite: bool = False,
    trust_code: bool | Collection[str] = False,
    progress: Progress = silent,
    say: Callable[[str], None] = unsaid,
) -> dict[str, Any]:
    """Attack a run's test images; write outcomes, `samples.npz` and `results.json` into its folder.

    Args:
        suites: names; several are run one after the other and become entries "NAME (SUITE)".
        effort: batch size, seed, precision of crafting, and whether saved outcomes are used or made anew; where they
            are kept is the run's folder, and those of other evaluations stay.
        norm: Linf or L2, for the suites that know both.
        limit: the first so many test images.
        sources: runs to craft transfer attacks on, for suites that have such.
        shard: attack these batches alone, and write nothing but outcomes; returns {}.
        merge: other copies of this run whose shards are put together with its own (none, if they share one folder);
            nothing is attacked then.
        save: write the worst image of each sample to `adversarial/SUITE.safetensors`.
        flags: names of checks beside those that are always made, module:attribute of your own.
        overwrite: replace files of these names that are not of this package.
        trust_code: of the run and the sources, see `load_run`.
        say: told, before anything is attacked, what each suite may cost.
    """
    names = [suites] if isinstance(suites, str) else list(suites)
    if not names or len(set(names)) < len(names):
        raise UserError(f"suites {', '.join(names) or 'none'}: give each suite once, and at least one")
    if shard is not None and merge is not None:
        raise UserError("--shard and --merge exclude each other: merge when all shards are done")
    loaded = [load_source(source, trust_code=trust_code) for source in sources]
    builders = {name: suite(name, loaded, norm) for name in names}
    checked = [flag(name) for name in flags]
    radius = fraction(eps)
    radii = [fraction(value) for value in curve]
    for build in builders.values():
        for value in (radius, *radii):
            check_precision(effort.precision, build(value))  # refuses that, and a bad eps, before anything is loaded
    check_run(run)
    if shard is None:
        kept = [images_path(run, name) for name in names] if save else []
        check_files([run / "results.json", run / "samples.npz", *kept], overwrite)
        claim = claimed(run, overwrite=True)
    else:
        of_effort = [effort.batch_size, effort.seed, effort.precision]
        settings = json.dumps([names, eps, norm, list(curve), limit, *of_effort])
        claim = claimed_part(run, f"{shard.index}-of-{shard.count}-{hashlib.sha256(settings.encode()).hexdigest()[:8]}")
    with claim:
        config, model, data = load_run(run, trust_code=trust_code)
        for source in loaded:
            source.model.to(next(model.parameters()).device)
            if source.model.image != model.image:  # type: ignore[union-attr]
                raise UserError(f"{source.name} is made for other images than {run}; give a source of the same data")
        test = data.test if limit is None else data.test.take(limit)
        if merge is None:
            for name, build in builders.items():
                made = [build(value) for value in dict.fromkeys((radius, *radii)) if value > 0]
                say(cost_line(name, most_passes(model, test.floats()[0], made), len(made), len(test), effort.precision))
        effort = replace(effort, out=run / "outcomes", resume=effort.resume or merge is not None)
        weights = weights_digest(run)
        entries: dict[str, Any] = {}
        for number, (name, build) in enumerate(builders.items()):
            told = part(progress, number, 1, len(names))
            options: dict[str, Any] = {"curve": radii, "keep_images": save, "progress": told}
            if shard is not None:
                for _ in run_radii(model, test, build, radius, effort, shard=shard, **options):
                    pass
                continue
            folders = None if merge is None else [other / "outcomes" for other in merge]
            found = evaluate(model, test, build, radius, effort, merge=folders, flags=checked, **options)
            if save:
                keep_images(run, name, found, model, test.floats()[0], effort, title=config.title())
            title = config.title() if len(names) == 1 else f"{config.title()} ({name})"
            entries[title] = {**found.to_dict(), **evaluated_with(name, effort.seed, weights, loaded)}
        if shard is not None:
            return {}
        first = next(iter(builders.values()))(radius)
        return write_results(run, entries, weights, pictures(model, test, first, seed=effort.seed))


def write_results(
    run: Path, entries: dict[str, Any], weights: str, samples: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Write `results.json`, and `samples.npz` where there are pictures; returns the former."""
    if samples is not None:
        write_arrays(run / "samples.npz", weights=weights, **samples)
    return Results.write(run / "results.json", entries)


def keep_images(
    run: Path, name: str, found: Evaluation, model: nn.Module, clean: Tensor, effort: Effort, title: str
) -> None:
    """Write the adversarial images of a suite of that name into a run's folder; `clean` are the pixels."""
    if found.suite.threat.space == "encoded":
        clean = encode_images(model, clean, effort.batch_size, effort.seed)
    save_images(images_path(run, name), clean, found.outcomes, found.suite, name=title)


def images_path(run: Path, name: str) -> Path:
    """Where the adversarial images of a suite of that name lie."""
    return run / "adversarial" / f"{name.replace(':', '.')}.safetensors"


def evaluated_with(suite: str | None, seed: int, weights: str, sources: Sequence[Source]) -> dict[str, Any]:
    """What an entry of `results.json` says besides figures: of which weights they are, and where they come from.

    `suite`: None for one that has no name.
    """
    named = [source.name for source in sources]
    return {"seed": seed, "weights": weights, "sources": named, "about": about_suite(suite) if suite else {}}


def cost_line(suite: str, passes: int, radii: int, images: int, precision: Precision) -> str:
    """What a suite may cost, for people."""
    again = "" if precision == "float32" else f", twice where {precision} misleads"
    curve = "" if radii == 1 else f", {radii} radii"
    return f"{suite}: at most {passes:,} passes for an image that survives{again}; {images} images{curve}"


def evaluate_together(
    run: Path, suites: str | Sequence[str], eps: float | str, effort: Effort = ANEW, **options: Any
) -> dict[str, Any]:
    """`evaluate_run` by the processes that torchrun started: each attacks its shard, then the first one merges.

    Outcomes and results are those of one process. Returns {} in the other processes. Without torchrun it is
    `evaluate_run`.
    """
    if not started_together():
        return evaluate_run(run, suites, eps, effort, **options)
    config, _, data = load_run(run, trust_code=options.get("trust_code", False))
    device = local_device(pick_device(config.train.device))
    with joined(device) as processes:
        if options["shard"] is not None or options["merge"] is not None:
            raise UserError("--shard and --merge are what torchrun's processes do by themselves; leave them out")
        limit = options.get("limit")
        if processes.rank * effort.batch_size < (len(data.test) if limit is None else limit):
            evaluate_run(run, suites, eps, effort, **{**options, "shard": Shard(processes.rank + 1, processes.count)})
        processes.wait(device)
        return evaluate_run(run, suites, eps, effort, **{**options, "merge": []}) if processes.first else {}


def rejudge_run(run: Path, images: Path, *, trust_code: bool | Collection[str] = False) -> dict[str, Any]:
    """The accuracy of a run's network on adversarial images saved earlier, by this or another run."""
    _, model, _ = load_run(run, trust_code=trust_code)
    return rejudge(model, images)


def summary(entry: dict[str, Any]) -> str:
    """One line of a model's entry: clean and worst-case accuracy with intervals; "at most" where it still falls."""
    worst, draws, crafting = entry["worst_case"], entry.get("draws"), entry["precision"]["crafting"]
    coarse = "" if crafting == "float32" else f" crafted in {crafting}"
    space = f"{entry['space']} space{grid_words(entry['levels'])}"
    spread = ""
    if draws:
        spread = f" (majority of 21 passes; single draws {100 * draws['mean']:.1f} % +- {100 * draws['std']:.1f})"
    reasons = entry.get("depth", {}).get("at_most", [])
    why = f" (at most: {'; '.join(reasons)})" if reasons else ""
    return (
        f"clean {show_rate(entry['clean'])}, worst case of {entry['suite']}{coarse} at {entry['norm']} "
        f"eps {show_fraction(entry['eps'])} in {space} {show_rate(worst)}, n = {worst['n']}{spread}{why}"
    )


def show_rate(part: dict[str, Any]) -> str:
    """Accuracy in percent with its interval; "at most" where the attacks had not converged."""
    return str(record_of(Accuracy, part, "a rate"))
