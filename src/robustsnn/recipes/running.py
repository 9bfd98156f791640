"""Doing what recipes need: each network is trained, attacked and analysed once, side by side, and all of it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from robustsnn.attacks import Source
from robustsnn.data.batches import ImageSet, batches
from robustsnn.evaluation import Effort, run_suite
from robustsnn.evaluation.fitting import fit_to, judge_of
from robustsnn.evaluation.judge import Judge
from robustsnn.ground.claim import claimed
from robustsnn.ground.files import from_json, write_json
from robustsnn.ground.progress import Progress, part, silent
from robustsnn.ground.provenance import versions
from robustsnn.ground.units import fraction
from robustsnn.models import Classifier
from robustsnn.names.config import Config
from robustsnn.recipes.recipe import WORST, Found, Look, Need, RecipeNetwork, Setting, Subject, merged
from robustsnn.runs.build import suite
from robustsnn.runs.folder import is_trained, load_run, train_run, weights_digest
from robustsnn.runs.jobs import Done, Job, values
from robustsnn.runs.slurm import Slurm, do_jobs


def find_out(
    needs: Sequence[Need],
    setting: Setting,
    runs: Path,
    *,
    root: Path | None,
    workers: int | None,
    slurm: Slurm | None,
    progress: Progress,
) -> dict[RecipeNetwork, list[Found]]:
    """What was found about each network from each seed; first all are trained, then attacked and analysed.

    Whatever is complete in `runs` is used. UserError, after everything else is done and kept, if a network failed.
    """
    wanted = merged(needs)
    scale = setting.scale

    def read(network: RecipeNetwork) -> RecipeNetwork:
        return network if setting.reading is None else network.read_as(setting.reading)

    def config(network: RecipeNetwork, seed: int) -> Config:
        return read(network).config(scale, seed, root)

    def at(network: RecipeNetwork, seed: int) -> Path:
        return runs / read(network).folder(scale, seed)

    def trained(network: RecipeNetwork, seed: int) -> bool:
        return is_trained(config(network, seed), at(network, seed))

    tasks = [(need, seed) for need in wanted for seed in setting.seeds]
    training = [
        Job(run.name, _train, (config(need.network, seed), run), need.network.cost()[0])
        for need, seed in tasks
        for run in [at(need.network, seed)]
        if not trained(need.network, seed)  # a process for each that is would take longer than all else here
    ]
    place: dict[str, Any] = {"slurm": slurm, "workers": workers}
    done = do_jobs(training, **place, text="train", progress=part(progress, 0, 2, 3))
    for need, seed in tasks:  # what is there counts, not what a process said
        name = at(need.network, seed).name
        if name in done and done[name].error is None and not trained(need.network, seed):
            done[name] = Done(error="its training ended without a trained network; repeat the command")
    jobs = []
    for need, seed in tasks:
        here = at(need.network, seed)
        sources = {look.label: at(look.source, seed) for look in need.looks if look.source is not None}
        if all(folder.name not in done or done[folder.name].error is None for folder in (here, *sources.values())):
            cost = need.network.cost()[1] * (1 + 2 * len(need.looks) + 2 * len(need.measures))
            jobs.append(Job(here.name, _look, (need, setting, seed, here, sources), cost))
    found = do_jobs(jobs, **place, text="attack and analyse", progress=part(progress, 2, 1, 3))
    values(done | found)
    return {need.network: [found[at(need.network, seed).name].value for seed in setting.seeds] for need in wanted}


def _train(config: Config, run: Path, progress: Progress = silent) -> None:
    train_run(config, run, resume=True, progress=progress)


def _look(
    need: Need, setting: Setting, seed: int, run: Path, sources: dict[str, Path], progress: Progress = silent
) -> Found:
    """Attack and analyse a trained network; measures are kept in `recipes/` of its folder."""
    with claimed(run):
        return _found(need, setting, seed, run, sources, progress)


def _found(need: Need, setting: Setting, seed: int, run: Path, sources: dict[str, Path], progress: Progress) -> Found:
    _, model, data = load_run(run, trust_code=True)  # its config is the recipe's, or `find_out` had trained it anew
    test = data.test
    some = test if setting.limit is None else test.take(setting.limit)
    total = 1 + len(need.looks) + len(need.measures)
    clean = _clean(model, test)
    looks = {}
    for number, look in enumerate(need.looks):
        given = (
            [Source(str(sources[look.label]), load_run(sources[look.label], trust_code=True)[1])]
            if look.label in sources
            else []
        )
        eps = fraction(need.network.radius(look.eps, setting.scale))
        looks[look.label] = _attacked(model, some, look, eps, seed, run, given, part(progress, 1 + number, 1, total))
    digest = weights_digest(run)
    measures = {}
    for number, measure in enumerate(need.measures):
        name = measure.__name__
        path = run / "recipes" / f"{name}-{len(some)}.json"
        kept = _kept(path, digest)
        if kept is None:
            told = part(progress, 1 + len(need.looks) + number, 1, total)
            kept = measure(Subject(model, data, some, need.network, setting.scale, seed, told))
            write_json(path, {"made_with": digest, "versions": versions(), "found": kept})
        measures[name] = kept
    return Found(clean, looks, measures)


def _clean(model: Classifier, data: ImageSet) -> list[bool]:
    """Whether each image is classified correctly."""
    device = next(model.parameters()).device
    return [margin < 0 for x, y in batches(data, 256, device=device) for margin in Judge()(model, x, y)[0].tolist()]


def _kept(path: Path, digest: str) -> Any:
    """What was measured earlier with these weights and versions; None if there is nothing that can be used."""
    try:
        content = from_json(path.read_text(encoding="utf-8"))
        return content["found"] if (content["made_with"], content["versions"]) == (digest, versions()) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _attacked(
    model: Any,
    data: ImageSet,
    look: Look,
    eps: float,
    seed: int,
    run: Path,
    sources: list[Source],
    progress: Progress,
) -> dict[str, list[bool]]:
    made = suite(look.suite, sources)(eps)
    if sources:  # the white-box columns are a look of their own
        made = replace(
            made, name=f"{made.name}-black-box", columns=tuple(c for c in made.columns if c[0].startswith("BB "))
        )
    found = run_suite(model, data, made, Effort(seed=seed, out=run / "outcomes"), progress=progress)
    x = data.floats()[0]
    members = [column for column, _ in fit_to(model, made, x, judge_of(model, x, made)).members()]
    columns = dict.fromkeys(members)
    standing = {c: found.standing([i for i, name in enumerate(members) if name == c]).tolist() for c in columns}
    return {**standing, WORST: found.standing().tolist()}
