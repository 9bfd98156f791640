"""The section about corruptions: accuracy by strength and by kind, and what they do to an image."""

from __future__ import annotations

import numpy as np

from robustsnn.draw.png import png
from robustsnn.records.exhibit import Block, Chart, Picture, Pictures, Row, Table, Words
from robustsnn.reporting import panels
from robustsnn.reporting.figures import line
from robustsnn.reporting.wording import count
from robustsnn.studies.corruptions.record import Corruptions
from robustsnn.studies.study import Named, Shown

_ABOUT = (
    "Images as noise, blur, weather and processing spoil them, and event frames as faults of a sensor do, without an "
    "adversary. Kinds are those of Hendrycks and Dietterich (2019) for images and our own for events. How they are "
    "made and how strong they are is this library's own: figures compare within it alone, not with those on CIFAR-10-C "
    "or ImageNet-C. A mean over kinds and strengths has a 95 % t-interval over images; an accuracy at one of each, in "
    "the file, that of Clopper and Pearson."
)


def blocks(shown: Shown[Corruptions]) -> list[Block]:
    """What was found in the models, with pictures of the first that has some."""
    words = Words((_ABOUT, *(_words(model, entry) for model, entry in shown)))
    return [words, _strengths(shown), *_kinds(shown), *_pictures(shown)]


def _words(model: Named, entry: Corruptions) -> str:
    worst = min(entry.kinds, key=lambda kind: kind.mean.value or 0.0)
    left = worst.mean.as_share().text(percent=True)
    return (
        f"{model.name}, {count(entry.n, 'image')}: {entry.mean.as_share().text(percent=True)} over "
        f"{len(entry.kinds)} kinds at 5 strengths, {entry.clean.text(percent=True)} clean, so "
        f"{entry.lost.text(percent=True)} are lost; most to {worst.name}, which leaves {left}."
    )


def _strengths(shown: Shown[Corruptions]) -> Chart:
    lines = []
    for model, entry in shown:
        found = [one.as_share() for one in (entry.clean, *entry.strengths)]
        lines.append(line(model.name, range(len(found)), found, model.colour))
    return Chart(
        "Accuracy by strength of corruption",
        "strength",
        "accuracy, mean over kinds",
        tuple(lines),
        percent=True,
        x_names=((0.0, "clean"), *((float(s), str(s)) for s in range(1, 6))),
        caption="Bands are 95 % intervals over images.",
    )


def _kinds(shown: Shown[Corruptions]) -> list[Table]:
    """A table for images and one for events, if there are both: a row per kind, a column per model."""
    names = [tuple(kind.name for kind in entry.kinds) for _, entry in shown]
    tables = []
    for kinds in dict.fromkeys(names):
        same = [pair for pair, own in zip(shown, names, strict=True) if own == kinds]
        parts = zip(*(entry.kinds for _, entry in same), strict=True)
        rows = [Row(each[0].name, tuple(kind.mean.percents() for kind in each), each[0].family) for each in parts]
        means = tuple(entry.mean.percents() for _, entry in same)
        clean = tuple(entry.clean.percents() for _, entry in same)
        rows += [Row("mean", means, "all"), Row("clean", clean, "all")]
        columns = tuple(model.name for model, _ in same)
        tables.append(Table("Accuracy by kind of corruption, mean over strengths", columns, tuple(rows), head="kind"))
    return tables


def _pictures(shown: Shown[Corruptions]) -> list[Pictures]:
    for _, entry in shown:
        if entry.pictures is not None:
            rows = tuple(
                (kind.name, tuple(Picture(png(panels.shown(np.asarray(one)))) for one in row))
                for kind, row in zip(entry.kinds, entry.pictures, strict=True)
            )
            columns = ("clean", *map(str, range(1, 6)))
            return [Pictures("The first image, corrupted", columns, rows, "Columns are strengths.")]
    return []
