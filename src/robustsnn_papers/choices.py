"""What each choice between the papers' text, their released code and ours is worth, in points of accuracy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from robustsnn.recipes.cells import CLEAN, gap, hits, share
from robustsnn.recipes.recipe import Found, Measure, Need, Recipe, Results, Scale, Setting
from robustsnn.records.exhibit import Cell, Exhibit, Row, Table
from robustsnn_papers import measures
from robustsnn_papers.common import PGD10, QUICK, eps_words, exhibit, quick
from robustsnn_papers.networks import Network
from robustsnn_papers.published import SR_PAPER, TRAIL_PAPER
from robustsnn_papers.trail_tables import CODE, PIXELS, TRAIN_MODE

Column: TypeAlias = Callable[[Sequence[Found]], list[np.ndarray]]
"""Which images stand, one array per seed."""

_SR: dict[str, Column] = {
    CLEAN: lambda found: hits(found, CLEAN),
    "PGD10": lambda found: hits(found, "PGD10", PGD10),
    QUICK: lambda found: hits(found, *quick()),
}
_TRAIL: dict[str, Column] = {
    CLEAN: lambda found: hits(found, CLEAN),
    "PGD7": lambda found: hits(found, "PGD7", PIXELS),
    "PGD7 on the code": lambda found: hits(found, "PGD7", CODE),
    "PGD7 on the code, train mode": lambda found: hits(found, "PGD7", TRAIN_MODE),
    "PGD7 on the code, moved statistics": lambda found: [
        np.array(one.measures["moved_statistics"]["PGD7"]) for one in found
    ],
    QUICK: lambda found: hits(found, *quick()),
}
_SAID = (
    "Rows in between have one choice of the released code in place of ours; `paper` and `released` have all that the "
    "text and the code have. At digits scale `paper` is `ours`. Each row is a network of its own, trained from the "
    "same seed.",
)
_MOVED = (
    "Moved statistics: as the released code attacks and judges, in batches of 16. The attack moves the running "
    "statistics of the network, which is then judged by them: another network than the one that was trained.",
)


def _variants(base: Network, choices: Sequence[str], scale: Scale) -> dict[str, Network]:
    """By the name of a row."""
    whole = ("released",) if scale == "digits" else ("paper", "released")
    alone = {choice: replace(base, choice=choice) for choice in choices}
    return {"ours": base, **alone, **{name: replace(base, reading=name) for name in whole}}  # type: ignore[arg-type]


def _points(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> Cell:
    mean, interval = gap(a, b)
    return Cell(mean, interval, len(a[0]))


def _recipe(
    name: str, source: str, base: Network, choices: Sequence[str], columns: dict[str, Column], need: Need
) -> Recipe:
    """Accuracies; what training otherwise changes in them; and what judging otherwise does."""

    def made(results: Results, setting: Setting) -> Exhibit:
        first, rows = setting.reading or "ours", list(_variants(base, choices, setting.scale).items())
        labels = [first, *(label for label, _ in rows[1:])]
        stand = [[column(results[network]) for column in columns.values()] for _, network in rows]
        under = f"{base.name()}, {eps_words(8, setting)}"
        judged = tuple(columns)[1:]
        trained = [Row(label, tuple(map(share, each))) for label, each in zip(labels, stand, strict=True)]
        worth = [
            Row(label, tuple(map(_points, each, stand[0]))) for label, each in zip(labels[1:], stand[1:], strict=True)
        ]
        judge = [
            Row(label, tuple(_points(each[k], each[1]) for k in range(2, len(each))))
            for label, each in zip(labels, stand, strict=True)
        ]
        tables = (
            Table(f"Accuracy of {under}", tuple(columns), tuple(trained), head="network"),
            Table(
                f"What each choice is worth: points more than {first}",
                tuple(columns),
                tuple(worth),
                "points",
                head="network",
            ),
            Table(
                f"What the judge is worth: points more than {judged[0]}",
                judged[1:],
                tuple(judge),
                "points",
                head="network",
            ),
        )
        said = (*_SAID, *(_MOVED if need.measures else ()))
        return exhibit(setting, name, f"What each choice is worth, {under}", source, tables, (), said)

    def needs(scale: Scale) -> list[Need]:
        return [replace(need, network=network) for network in _variants(base, choices, scale).values()]

    return Recipe(name, needs, made)


_VGG, _RESNET = Network("CIFAR-10", "VGG-11", "SR"), Network("CIFAR-10", "Spiking-ResNet18", pooling="average")
_MEASURES: tuple[Measure, ...] = (measures.moved_statistics,)
SR_CHOICES = _recipe(
    "p1-choices", f"Settings of {SR_PAPER}", _VGG, ("init", "squared penalty"), _SR, Need(_VGG, (PGD10, quick()[1]))
)
TRAIL_CHOICES = _recipe(
    "p2-choices",
    f"Settings of {TRAIL_PAPER}",
    _RESNET,
    ("init", "bare code", "counted padding", "attached reset", "weight decay"),
    _TRAIL,
    Need(_RESNET, (PIXELS, CODE, TRAIN_MODE, quick()[1]), _MEASURES),
)
