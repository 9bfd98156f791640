"""The report: run folders in, one self-contained HTML page and its main table as files out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from robustsnn.draw.bars import bars_view
from robustsnn.draw.files import download
from robustsnn.ground.claim import claimed_files
from robustsnn.ground.errors import UserError, in_words
from robustsnn.ground.files import own_name, write_atomic
from robustsnn.ground.ours import LATEX, MARKDOWN, check_files
from robustsnn.reporting import results as shown
from robustsnn.reporting import wording
from robustsnn.reporting.attack_table import attack_tables
from robustsnn.reporting.citations import citations
from robustsnn.reporting.main_table import MainTable, main_table
from robustsnn.reporting.over_seeds import CAPTION, over_seeds
from robustsnn.reporting.panels import MAGNIFY
from robustsnn.reporting.pictures import Gallery, gallery
from robustsnn.reporting.reading import Model, Run, models_of, read_runs
from robustsnn.reporting.render import render
from robustsnn.reporting.settings import config_sheet, cost_words, objective_words, provenance_sheet
from robustsnn.reporting.studies import StudySection, section, sections
from robustsnn.reporting.summary import data_name, summary
from robustsnn.reporting.trust import trust
from robustsnn.reporting.verdict import verdict


def write_report(runs: Sequence[Path], out: Path, *, title: str | None = None, overwrite: bool = False) -> None:
    """Write the page about `runs` to `out`, and its main table beside it as .csv, .md and .tex.

    The files depend on the run folders, the name of `out` and `title` alone. `out` must end in .html or
    .htm; files of earlier reports are replaced, others with `overwrite` alone. Raises `UserError` for another
    ending, a file of others, no run folder, one without config.yaml, a corrupt file in one, or an `out` that cannot be
    written.
    """
    out = Path(out)
    if out.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"out = {str(out)!r} must end in .html or .htm; give such a name")
    check_files(written(out), overwrite)
    read = read_runs([Path(folder) for folder in runs])
    models = models_of(read)
    table = main_table(models)
    files = {
        "csv": table.numbers().csv(),
        "md": MARKDOWN + table.words().markdown(table.caption),
        "tex": LATEX + table.words().latex(table.caption, f"tab:{out.stem}", table.best()),
    }
    if (seeds := over_seeds(table)) is not None:
        files["md"] += "\n" + seeds.markdown(CAPTION)
        files["tex"] += "\n" + seeds.latex(CAPTION, f"tab:{out.stem}-seeds")
    links = [download(f"{out.stem}.{kind}", text) for kind, text in files.items()]
    page = render("template.html.j2", _content(read, models, table, title) | {"files": links})
    try:
        with claimed_files(written(out)):
            for kind, text in files.items():
                write_atomic(out.with_suffix(f".{kind}"), text)
            write_atomic(out, page)
    except OSError as error:
        raise UserError(in_words(error)) from error


def written(out: Path) -> list[Path]:
    """The files of a report whose page is `out`."""
    return [out, *(out.with_suffix(f".{kind}") for kind in ("csv", "md", "tex"))]


def _content(runs: Sequence[Run], models: Sequence[Model], table: MainTable, title: str | None) -> dict[str, Any]:
    data = list(dict.fromkeys(data_name(model) for model in models))
    pictures = gallery(models)
    results = [model.result for model in models if model.result is not None]
    drawn = shown.overview(models)
    trained = [model for model in models if model.trained_here]
    return {
        "title": title or f"Adversarial robustness on {wording.listing(data)}",
        "lede": _lede(models, data),
        "verdict": verdict(models),
        "summary": summary(models),
        "overview": bars_view(drawn, "overview") if drawn else None,
        "main": table,
        "marked": any(entry.standing for _, row in table.rows for entry in row),
        "at_most": [
            (model, model.result.depth.at_most)
            for model in models
            if model.result and model.result.depth and model.result.depth.at_most
        ],
        "sections": _sections(models),
        "gallery": pictures,
        "gallery_attacks": _attacks_shown(pictures),
        "magnify": MAGNIFY,
        "training": section("training", "Training", "Training", shown.training(models), _TRAINING),
        "how": [(model, objective_words(model.run), cost_words(model.run)) for model in trained],
        "config": config_sheet(trained),
        "trust": trust(models),
        "tables": attack_tables(models),
        "spaces": any(result.space == "encoded" for result in results),
        "provenance": provenance_sheet(trained),
        "limits": _limits(runs),
        "citation": _citation(runs),
        "papers": _papers(runs),
        "folders": wording.listing([own_name(run.folder) for run in runs]),
    }


_TRAINING = (
    "Solid with filled marks: training batches as the objective saw them. Dashed with hollow marks: validation. Losses "
    "of different objectives are different quantities, so every loss chart has its own scale; further charts are terms "
    "of the loss."
)


def _sections(models: Sequence[Model]) -> list[StudySection]:
    """About results and studies, in the order of the page."""
    return [
        *section("depth", "Depth", "How deep the attacks went", shown.depths(models)),
        *section("breaks", "What broke what", "Which attack broke what", shown.breaks(models), _BREAKS),
        *section("curve", "Accuracy against eps", "Accuracy against eps", shown.curves(models)),
        *sections(models),
    ]


_BREAKS = (
    "Where each attack met only what those before it left, a bar counts what the attack broke first; later ones might "
    f"have broken it too. At most {shown.MOST} bars are drawn, the largest."
)


def _lede(models: Sequence[Model], data: Sequence[str]) -> str:
    results = [model.result for model in models if model.result is not None]
    threats = list(dict.fromkeys(wording.threat_text(result) for result in results))
    images = {r.clean.n for r in results if r.clean is not None and r.clean.n is not None}
    parts = [f"Data: {wording.listing(data)}", wording.count(len(models), "model")]
    parts[1] += f": {wording.listing([model.name for model in models])}"
    parts += [f"Threat: {'; '.join(threats)}"] if threats else []
    parts += [f"{images.pop()} test images"] if len(images) == 1 else []
    return " · ".join(parts)


def _attacks_shown(pictures: Gallery | None) -> list[tuple[str, str]]:
    names: dict[str, dict[str, None]] = {}
    for image in pictures.images if pictures else []:
        for shot in image.shots:
            names.setdefault(shot.attack, {})[shot.model.name] = None
    return [(attack, wording.listing(list(models))) for attack, models in names.items()]


def _limits(runs: Sequence[Run]) -> list[str]:
    limits = [
        "What stands here holds for these weights, these test images and these attacks. An accuracy under "
        "attack is an upper bound; gradients that vanish or are ill-matched to the network make it loose."
    ]
    return limits + list(dict.fromkeys(text for run in runs if (text := run.entry("data", "data.name").limits)))


def _papers(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """Each paper once, with what it is cited for in any of the runs."""
    found: dict[str, dict[str, None]] = {}
    for run in runs:
        for paper, what in citations(run):
            found.setdefault(paper, {}).update(dict.fromkeys(what))
    return [(paper, list(what)) for paper, what in found.items()]


def _citation(runs: Sequence[Run]) -> str:
    versions = [run.setting("provenance", "robustsnn") for run in runs]
    revisions = [run.setting("provenance", "git") for run in runs]
    version = wording.listing(sorted({str(version) for version in versions if version}))
    revision = wording.listing(sorted({str(revision) for revision in revisions if revision}))
    software = f"robustsnn {version}".strip() + (f" (git {revision})" if revision else "")
    return f"{software}, with the settings above."
