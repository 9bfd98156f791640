"""`robustsnn reproduce`: train and attack what recipes need, and make their exhibits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from robustsnn.ground.claim import claimed
from robustsnn.ground.errors import UserError
from robustsnn.ground.ours import MANY, check_files
from robustsnn.ground.progress import Progress, silent
from robustsnn.names import find, installed, load
from robustsnn.recipes.recipe import Recipe, Scale, Setting
from robustsnn.recipes.running import find_out
from robustsnn.records.exhibit import Exhibit
from robustsnn.reporting.exhibits import write_exhibits
from robustsnn.runs.slurm import Slurm

LIMITS = {"digits": 100, "cpu": 300}
"""Test images that are attacked, by scale; all where it is not said."""


def named(name: str) -> Recipe:
    """The recipe of that name: of an installed package, or module:attribute. UserError if there is none."""
    found = load(find("recipe", name, more=("all",)))
    if not isinstance(found, Recipe):
        raise UserError(f"recipe={name}: needed is a robustsnn.recipes.Recipe, it is a {type(found).__name__}")
    return found


def reproduce(
    names: Sequence[str],
    out: Path,
    *,
    scale: Scale = "digits",
    seeds: int = 1,
    limit: int | None = None,
    root: Path | None = None,
    workers: int | None = None,
    slurm: Slurm | None = None,
    reading: str | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> tuple[list[Exhibit], Path]:
    """Make these recipes ("all": every installed one) in the folder `out`, and a page of them; returns both.

    Networks are trained once for all recipes, in `out/SCALE/runs`; what is complete there is used, so an interrupted
    call continues. Exhibits are kept as `out/SCALE/NAME.json`, the page is `out/SCALE/NAME.html` (all.html).

    Args:
        scale: digits, on embedded data, minutes on a CPU; cpu, on the papers' data with small networks, hours on two
            cores; full, on the papers' data with their settings.
        seeds: how many, from 1 on; at digits scale weights were chosen with seed 0.
        limit: attack and analyse so many first test images; 100 at digits, 300 at cpu and all at full scale.
        root: folder of the data sets at cpu and full scale: cifar-10, cifar-100 and cifar10-dvs in it.
        workers: processes; at full scale on a GPU, 1 is usual.
        slurm: train and attack on this cluster instead.
        reading: how the networks read their paper, see the recipe's package; None is its usual way.
        overwrite: `out` may hold files of others, and those of equal names are replaced.

    UserError for an unknown name, if another process writes into `out`, or if a network failed, after all others are
    done and kept.
    """
    every = [*installed("recipe")]
    names = list(dict.fromkeys(every if "all" in names else names))
    chosen = [named(name) for name in names]
    if not chosen:
        raise UserError("recipes: none is named, and no package with recipes is installed")
    for what, value in (("seeds", seeds), ("limit", 1 if limit is None else limit)):
        if value < 1:
            raise UserError(f"{what}={value}: at least 1 is needed")
    if scale != "digits" and root is None:
        raise UserError(f"scale {scale} needs --root, a folder with cifar-10, cifar-100 and cifar10-dvs in it")
    page = chosen[0].name if len(names) == 1 else "all" if names == every else "some"
    most = LIMITS.get(scale) if limit is None else limit
    command = f"robustsnn reproduce {'all' if page == 'all' else ' '.join(names)} --scale {scale} --seeds {seeds}"
    command += "" if limit is None else f" --limit {limit}"
    command += "" if reading is None else f" --as {reading}"
    setting = Setting(scale, tuple(range(1, seeds + 1)), most, command, reading)
    suffix = "" if reading is None else f"-as-{reading}"
    folder = out / scale
    needs = [need for recipe in chosen for need in recipe.needs(scale)]
    if reading is not None:
        for need in needs:
            if not hasattr(need.network, "read_as"):
                raise UserError(f"--as {reading}: {type(need.network).__name__} knows one reading; leave it out")
            need.network.read_as(reading)
    path = folder / f"{page}{suffix}.html"
    check_files([path], overwrite)
    with claimed(out, overwrite=overwrite, marks=MANY):
        results = find_out(needs, setting, folder / "runs", root=root, workers=workers, slurm=slurm, progress=progress)
        exhibits = [recipe.exhibit(results, setting) for recipe in chosen]
        for exhibit in exhibits:
            exhibit.save(folder / f"{exhibit.name}{suffix}.json")
        write_exhibits(exhibits, path, overwrite=overwrite)
    return exhibits, path
