"""The section about corruptions: accuracy by strength and by kind, and what they do to an image."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from robustsnn.draw.png import png
from robustsnn.ground.errors import UserError
from robustsnn.records.arrays import misfit, read_arrays
from robustsnn.records.exhibit import Block, Chart, Line, Picture, Pictures, Row, Table, Words
from robustsnn.reporting import panels
from robustsnn.reporting.analysis_file import Entry
from robustsnn.reporting.wording import count
from robustsnn.studies.study import Named, Shown

_ABOUT = (
    "Images as noise, blur, weather and processing spoil them, and event frames as faults of a sensor do, without an "
    "adversary. Kinds are those of Hendrycks and Dietterich (2019) for images and our own for events. How they are "
    "made and how strong they are is this library's own: figures compare within it alone, not with those on CIFAR-10-C "
    "or ImageNet-C. A mean over kinds and strengths has a 95 % t-interval over images; an accuracy at one of each, in "
    "the file, that of Clopper and Pearson."
)


def blocks(shown: Shown[Entry]) -> list[Block]:
    """What `analysis/corruptions.json` of the models says, with pictures of the first that has some."""
    words = Words((_ABOUT, *(_words(model, entry) for model, entry in shown)))
    return [words, _strengths(shown), *_kinds(shown), *_pictures(shown)]


def _words(model: Named, entry: Entry) -> str:
    kinds = [(kind.text("name"), kind.found("mean").as_share()) for kind in entry.parts("kinds")]
    name, worst = min(kinds, key=lambda pair: pair[1].value or 0.0)
    return (
        f"{model.name}, {count(entry.whole('n'), 'image')}: {entry.found('mean').as_share().text(percent=True)} over "
        f"{len(kinds)} kinds at 5 strengths, {entry.found('clean', 'accuracy').text(percent=True)} clean, so "
        f"{entry.found('lost').text(percent=True)} are lost; most to {name}, which leaves {worst.text(percent=True)}."
    )


def _strengths(shown: Shown[Entry]) -> Chart:
    lines = []
    for model, entry in shown:
        means = [Entry({"mean": part.value}, part.where).found("mean") for part in entry.parts("strengths")]
        found = [one.as_share() for one in (entry.found("clean", "accuracy"), *means)]
        y = tuple(math.nan if one.value is None else one.value for one in found)
        x = tuple(float(strength) for strength in range(len(found)))
        lines.append(Line(model.name, x, y, tuple(one.interval for one in found), colour=model.colour))
    return Chart(
        "Accuracy by strength of corruption",
        "strength",
        "accuracy, mean over kinds",
        tuple(lines),
        percent=True,
        x_names=((0.0, "clean"), *((float(s), str(s)) for s in range(1, 6))),
        caption="Bands are 95 % intervals over images.",
    )


def _kinds(shown: Shown[Entry]) -> list[Table]:
    """A table for images and one for events, if there are both: a row per kind, a column per model."""
    names = [tuple(kind.text("name") for kind in entry.parts("kinds")) for _, entry in shown]
    tables = []
    for kinds in dict.fromkeys(names):
        same = [pair for pair, own in zip(shown, names, strict=True) if own == kinds]
        parts = [{kind.text("name"): kind for kind in entry.parts("kinds")} for _, entry in same]
        rows = [
            Row(name, tuple(kind[name].found("mean").percents() for kind in parts), parts[0][name].text("family"))
            for name in kinds
        ]
        means = tuple(entry.found("mean").percents() for _, entry in same)
        clean = tuple(entry.found("clean", "accuracy").percents() for _, entry in same)
        rows += [Row("mean", means, "all"), Row("clean", clean, "all")]
        columns = tuple(model.name for model, _ in same)
        tables.append(Table("Accuracy by kind of corruption, mean over strengths", columns, tuple(rows), head="kind"))
    return tables


def _pictures(shown: Shown[Entry]) -> list[Pictures]:
    for _, entry in shown:
        path, kinds = Path(entry.where).with_suffix(".npz"), entry.parts("kinds")
        if path.is_file():
            arrays = read_arrays(path)
            if (lack := misfit(arrays, {"pictures": ("f", f"{len(kinds)} 6 ...")})) or arrays["pictures"].ndim < 5:
                raise UserError(f"{path}: its arrays do not fit ({lack or 'no images'}); analyse the run again")
            rows = tuple(
                (kind.text("name"), tuple(Picture(png(panels.shown(np.asarray(one)))) for one in row))
                for kind, row in zip(kinds, arrays["pictures"], strict=True)
            )
            columns = ("clean", *map(str, range(1, 6)))
            return [Pictures("The first image, corrupted", columns, rows, "Columns are strengths.")]
    return []
