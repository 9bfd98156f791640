"""Looking into a run's network: what `robustsnn analyze` computes and writes, for the report and for reading."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, get_args

import torch

from robustsnn.data.batches import ImageSet
from robustsnn.data.given import Data, image_set
from robustsnn.evaluation.judge import device_of
from robustsnn.ground.claim import claimed
from robustsnn.ground.door import (
    ask,
    check_among,
    check_kind,
    check_list,
    check_model,
    check_number,
    check_progress,
    check_rising,
    check_seed,
    check_whole,
)
from robustsnn.ground.errors import UserError
from robustsnn.ground.files import own_name, path_of, write_arrays, write_json
from robustsnn.ground.modes import evaluating, undisturbed
from robustsnn.ground.ours import check_files
from robustsnn.ground.progress import Progress, part, silent
from robustsnn.ground.provenance import versions
from robustsnn.ground.seeds import seeded
from robustsnn.ground.units import fraction
from robustsnn.models import Classifier
from robustsnn.names import Entry, find, load, registered
from robustsnn.records.exhibit import written_blocks
from robustsnn.records.typed import plain
from robustsnn.runs.build import attacker, rule_named
from robustsnn.runs.folder import check_run, load_run, weights_digest
from robustsnn.studies.energy.measure import energy
from robustsnn.studies.study import NamedNetwork, Study, Task
from robustsnn.studies.trail.record import Statistics
from robustsnn.training.folder import settle

WORK = 1e12
"""Multiply-accumulates, of forward passes that take as long, that a part may cost; some 20 s on two cores."""
RADII = ("2/255", "8/255", "32/255")


@undisturbed()
def analyze(
    model: Classifier | Path | str,
    data: Data | None = None,
    parts: Sequence[str] = ("all",),
    *,
    out: Path | str | None = None,
    loss: str = "cross_entropy",
    attack: str = "none",
    eps: float | str | None = None,
    rule: str = "own",
    statistics: Statistics = "running",
    radii: Sequence[float | str] = RADII,
    mac: float = 4.6,
    ac: float = 0.9,
    sigma: Sequence[float] = (0.25,),
    draws: int = 100,
    limit: int = 200,
    work: float = WORK,
    batch_size: int = 8,
    seed: int = 0,
    overwrite: bool = False,
    trust_code: bool | Collection[str] = False,
    progress: Progress = silent,
) -> dict[str, dict[str, Any]]:
    """Look into a network; write each part to `analysis/PART.json` of its run, and return them.

    Args:
        model: a run's folder, or a network, which needs data.
        data: as in `robustsnn.evaluate`; those of a run are its test images.
        out: the run's folder, of a network that is given; without it nothing is written.
        parts: names of studies, see `robustsnn list studies`, or module:attribute of a `Study`; "all" is each that is
            registered.
        loss: the name of what the trail differentiates.
        attack: where the trail does: on clean images (none), or on images that this attack finds within eps, Linf.
        rule: how neurons are differentiated: own, as they are trained, or the label or name of another gradient rule.
        statistics: of batch norms in the trail: running, as in eval mode, or batch, as in training.
        radii: of the vulnerabilities, Linf.
        mac, ac: picojoule of a multiply-accumulate and of an accumulate.
        sigma, draws: deviations of the noise of smoothing, and how often it is drawn; see `robustsnn certify`.
        limit: the first so many test images at most.
        work: multiply-accumulates that each part may spend: costly parts of large networks take fewer images.
        overwrite: replace files of these names that are not of this package.
        trust_code: of the run, see `load_run`.

    UserError for wrong options, and if a part cannot be had of this network, after the others are written.
    """
    for name, value in (("limit", limit), ("batch_size", batch_size), ("draws", draws)):
        check_whole(name, value)
    check_seed(seed)
    check_progress(progress)
    for name, value in (("mac", mac), ("ac", ac), ("work", work)):
        check_number(name, value, above=0)
    for name, value in (("loss", loss), ("attack", attack), ("rule", rule)):
        check_kind(name, value, str, "'own'" if name == "rule" else "'pgd'" if name == "attack" else "'cross_entropy'")
    check_among("statistics", statistics, get_args(Statistics))
    check_list("parts", parts, "studies, see `robustsnn list studies`")
    for part_of in parts:
        check_kind("parts", part_of, str, "'trail'")
    if out is not None:
        path_of("out", out)
    check_list("radii", radii, "radii")
    check_rising("sigma", sigma)
    if not isinstance(model, Path | str):
        check_model(model)
    data = None if data is None else image_set(data)
    which = load(find("loss", loss, "--loss"))
    by = None if rule == "own" else rule_named(rule)
    if attack != "none":
        find("attack", attack, "--attack")
        if eps is None:
            raise UserError(f"--attack {attack} needs --eps, for example 8/255; give it, or leave out --attack")
    elif eps is not None:
        raise UserError(f"--eps {eps} needs --attack, for example fgsm or pgd; give it, or leave out --eps")
    found_by = None if eps is None else attacker(attack, eps)
    if not parts:
        raise UserError(f"--parts: give at least one of {', '.join(registered('study'))}")
    names = registered("study") if list(parts) == ["all"] else parts
    studies = {entry.name: (entry, study_of(entry)) for entry in (find("study", name, "--parts") for name in names)}
    radii = tuple(fraction(value) for value in radii)
    if not radii or not all(0 < radius <= 1 for radius in radii):
        raise UserError(f"--radii {', '.join(map(str, radii))}: give at least one, each above 0 and at most 1")
    run, of_run = None if out is None else Path(out), isinstance(model, Path | str)
    if isinstance(model, Path | str):
        if out is not None:
            raise UserError("out is the folder of a network that is given; a run has its own, leave it out")
        run = Path(model)
        check_run(run)
    elif data is None:
        raise UserError("a network is looked into on images; give data, such as digits().test")
    if run is not None:
        check_files([result_path(run, name, kind) for name in studies for kind in ("json", "npz")], overwrite)
    with nullcontext() if run is None else claimed(run, overwrite=overwrite or of_run):
        model, data, name = _subject(model, data, run, trust_code)
        images = data.take(min(limit, len(data)))
        with evaluating(model), torch.no_grad(), seeded(seed, "door"):
            x = images.take(1).floats()[0]
            ask(model, x.to(device_of(model, x)))
        counted = energy(model, images.take(1))
        macs = sum(layer.macs * layer.runs for layer in counted.layers)
        digest = None if run is None else weights_digest(run)
        found: dict[str, dict[str, Any]] = {}
        refused: list[str] = []
        network = NamedNetwork(name)
        before, whole = 0.0, sum(study.weight for _, study in studies.values())
        for name, (entry, study) in studies.items():
            told = part(progress, before, study.weight, whole)
            how = which, found_by, by, statistics
            numbers = mac * 1e-12, ac * 1e-12, tuple(sigma), draws
            task = Task(model, images, macs, work, *how, radii, *numbers, batch_size, seed, told)
            before += study.weight
            try:
                measured = study.measure(task)
            except UserError as error:  # of this part; the others may still be asked
                refused.append(f"{name}: {error}")
                continue
            found[name] = plain(measured)
            if entry.outside:  # then a report shows the blocks that are saved
                blocks = study.blocks([(network, measured)])
                found[name] = found[name] | {"title": study.title, "blocks": written_blocks(blocks)}
            if run is None:
                continue
            # The version of a study's own form stands in it, if it has one.
            content = {"schema": 1, **found[name], "made_with": digest, "versions": versions()}
            write_json(result_path(run, name, "json"), content)
            if study.arrays is not None:
                write_arrays(result_path(run, name, "npz"), weights=digest, **study.arrays(measured))
    if refused:
        raise UserError("; ".join(refused) + (f"; done: {', '.join(found)}" if found else ""))
    return found


def _subject(
    model: Classifier | Path | str, data: ImageSet | None, run: Path | None, trust_code: bool | Collection[str]
) -> tuple[Classifier, ImageSet, str]:
    """The network, its images and its name; a network that is given makes the folder a run of it."""
    if isinstance(model, Path | str):
        config, network, splits = load_run(model, trust_code=trust_code)
        return network, splits.test if data is None else data, config.name or own_name(Path(model))
    assert data is not None
    if run is not None:
        settle(run, model, data.take(1).floats()[0], None)
    return model, data, type(model).__name__


def study_of(entry: Entry) -> Study[Any]:
    """The study that a name stands for, imported."""
    found = load(entry)
    if not isinstance(found, Study):
        raise UserError(f"--parts={entry.name}: it is no robustsnn.studies.study.Study, but {found!r:.80}")
    return found


def result_path(run: Path, name: str, kind: str) -> Path:
    """Where what a study found lies in a run: json, or npz for its arrays."""
    return run / "analysis" / f"{file_stem(name)}.{kind}"


def file_stem(name: str) -> str:
    """What the file of a study is called: of module:attribute module.attribute."""
    return name.replace(":", ".")
