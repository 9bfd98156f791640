"""`robustsnn reproduce`: train and attack what recipes need, and make their exhibits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from robustsnn.ground.claim import claimed
from robustsnn.ground.errors import UserError
from robustsnn.ground.ours import MANY, check_files
from robustsnn.ground.progress import Progress, silent
from robustsnn.recipes import sr_figures, sr_tables, sr_vulnerability, trail_figures, trail_tables
from robustsnn.recipes.networks import Scale
from robustsnn.recipes.recipe import Recipe, Setting
from robustsnn.recipes.running import find
from robustsnn.records.exhibit import Exhibit
from robustsnn.reporting.exhibits import write_exhibits

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        *sr_tables.RECIPES,
        *sr_vulnerability.RECIPES,
        *sr_figures.RECIPES,
        *trail_tables.RECIPES,
        *trail_figures.RECIPES,
    )
}
LIMIT = 100
"""Test images that are attacked at digits scale."""


def reproduce(
    names: Sequence[str],
    out: Path,
    *,
    scale: Scale = "digits",
    seeds: int = 1,
    limit: int | None = None,
    root: Path | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> tuple[list[Exhibit], Path]:
    """Make these recipes ("all": every one) in the folder `out`, and a page of them; returns both.

    Networks are trained once for all recipes, in `out/SCALE/runs`; what is complete there is used, so an interrupted
    call continues. Exhibits are kept as `out/SCALE/NAME.json`, the page is `out/SCALE/NAME.html` (all.html).

    Args:
        scale: digits, on embedded data, minutes on a CPU; full, on the papers' data with their settings.
        seeds: how many, from 1 on; at digits scale weights were chosen with seed 0.
        limit: attack and analyse so many first test images; 100 at digits scale, all at full scale.
        root: folder of the data sets at full scale: cifar-10, cifar-100 and cifar10-dvs in it.
        workers: processes; at full scale on a GPU, 1 is usual.
        overwrite: `out` may hold files of others, and those of equal names are replaced.

    UserError for an unknown name, if another process writes into `out`, or if a network failed, after all others are
    done and kept.
    """
    if list(names) == ["all"]:
        names = list(RECIPES)
    for name in names:
        if name not in RECIPES:
            raise UserError(f"recipe {name!r}: allowed are all, {', '.join(RECIPES)}")
    for what, value in (("seeds", seeds), ("limit", 1 if limit is None else limit)):
        if value < 1:
            raise UserError(f"{what}={value}: at least 1 is needed")
    if scale == "full" and root is None:
        raise UserError("scale full needs --root, a folder with cifar-10, cifar-100 and cifar10-dvs in it")
    page = names[0] if len(names) == 1 else "all" if len(names) == len(RECIPES) else "some"
    most = LIMIT if scale == "digits" and limit is None else limit
    command = f"robustsnn reproduce {'all' if page == 'all' else ' '.join(names)} --scale {scale} --seeds {seeds}"
    setting = Setting(scale, tuple(range(1, seeds + 1)), most, command + ("" if limit is None else f" --limit {limit}"))
    folder = out / scale
    chosen = [RECIPES[name] for name in dict.fromkeys(names)]
    needs = [need for recipe in chosen for need in recipe.needs(scale)]
    path = folder / f"{page}.html"
    check_files([path], overwrite)
    with claimed(out, overwrite=overwrite, marks=MANY):
        results = find(needs, setting, folder / "runs", root=root, workers=workers, progress=progress)
        exhibits = [recipe.exhibit(results, setting) for recipe in chosen]
        for exhibit in exhibits:
            exhibit.save(folder / f"{exhibit.name}.json")
        write_exhibits(exhibits, path, overwrite=overwrite)
    return exhibits, path
