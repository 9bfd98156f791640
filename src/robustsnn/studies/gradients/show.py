"""The section about input gradients: how they are distributed, and how sparse they are by several measures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from robustsnn.draw.png import png
from robustsnn.ground.errors import UserError
from robustsnn.records.exhibit import Block, Chart, Line, Picture, Pictures, Row, Table, Words
from robustsnn.reporting import panels
from robustsnn.reporting.figures import decimals
from robustsnn.reporting.wording import count, function_text, percent
from robustsnn.studies.gradients.record import Gradients, Spread
from robustsnn.studies.study import Named, Shown

Heatmaps: TypeAlias = dict[str, np.ndarray]
_ABOUT = (
    "Gradients of the named function of the logits at the pixels, one per image. Exactly zero is what spiking neurons "
    "make of some entries; near zero is a share of the largest entry of the same image. The Gini index and Hoyer's "
    "measure do not change with scale and are 0 for equal entries and near 1 for a single one. A sparse gradient "
    "under one rule is not robustness: an attacker may choose another rule."
)


def blocks(shown: Shown[Gradients]) -> list[Block]:
    """What was found in the models, with pictures where some were kept."""
    words = Words((_ABOUT, *(_words(model, entry) for model, entry in shown)))
    return [
        words,
        _normalised(shown),
        _magnitudes(shown),
        _shares(shown),
        _indices(shown),
        _norms(shown),
        *_pictures(shown),
    ]


def _words(model: Named, entry: Gradients) -> str:
    rule = entry.rules[0]
    under = "each layer's own gradient rule" if rule.label == "own" else f"rule {rule.label}"
    none = f"; for {count(rule.zero, 'image')} the whole gradient is zero" if rule.zero else ""
    return (
        f"{model.name}, {count(entry.n, 'image')}, {function_text(entry.loss)}, {under}: "
        f"{rule.sparsity.text(percent=True)} of the entries are exactly zero, Gini index {rule.gini.text()}{none}."
    )


def _normalised(shown: Shown[Gradients]) -> Chart:
    parts = [(model, entry.rules[0].normalised) for model, entry in shown]
    return Chart(
        "Distribution of the entries of the gradient",
        "entry over the largest of its image",
        "share of entries per bin",
        tuple(_histogram(model, part.edges, part.counts) for model, part in parts),
        y_log=True,
        caption="Each image is scaled by its largest entry, so that shapes compare and sizes do not. "
        "Bins without an entry are gaps.",
    )


def _magnitudes(shown: Shown[Gradients]) -> Chart:
    lines = []
    for model, entry in shown:
        part = entry.rules[0].magnitudes
        counts = [a + b for a, b in zip(part.negative, part.positive, strict=True)]
        lines.append(_histogram(model, [10.0**edge for edge in part.log10_edges], counts, log=True))
    return Chart(
        "Sizes of the entries that are not zero",
        "size of the entry",
        "share of entries per bin",
        tuple(lines),
        x_log=True,
        caption="Four bins per power of ten, not scaled; the end bins hold what is beyond.",
    )


def _histogram(model: Named, edges: Sequence[float], counts: Sequence[int], *, log: bool = False) -> Line:
    total = sum(counts) or 1.0
    middles = [math.sqrt(a * b) if log else (a + b) / 2 for a, b in pairwise(edges)]
    kept = [k for k, number in enumerate(counts) if number] or [0]
    inside = range(kept[0], kept[-1] + 1)  # outside of it are only empty bins
    y = tuple(counts[k] / total if counts[k] or log else math.nan for k in inside)
    return Line(model.name, tuple(middles[k] for k in inside), y, colour=model.colour)


def _rows(shown: Shown[Gradients]) -> list[tuple[str, Spread]]:
    return [(model.name, rule) for model, entry in shown for rule in entry.rules]


def _shares(shown: Shown[Gradients]) -> Table:
    tolerances = shown[0][1].tolerances
    for model, entry in shown:
        if entry.tolerances != tolerances:
            raise UserError(f"gradients of {model.name}: other tolerances than in the first; analyse the runs alike")
    rows = [
        Row(rule.label, tuple(part.percents() for part in (rule.sparsity, *rule.near)), name)
        for name, rule in _rows(shown)
    ]
    columns = ("exactly zero", *(f"at most {percent(t)} of the largest" for t in tolerances))
    return Table("Share of entries that are zero or near it", columns, tuple(rows), head="rule")


def _indices(shown: Shown[Gradients]) -> Table:
    rows = [Row(rule.label, (rule.gini.cell(), rule.hoyer.cell()), name) for name, rule in _rows(shown)]
    return Table("Sparsity that does not depend on scale", ("Gini", "Hoyer"), tuple(rows), "", 3, "rule")


def _norms(shown: Shown[Gradients]) -> Table:
    rows = [Row(rule.label, (rule.l1.cell(), rule.l2.cell()), name) for name, rule in _rows(shown)]
    digits = decimals([cell.ours for row in rows for cell in row.cells])
    return Table("Size of the gradient", ("l1 norm", "l2 norm"), tuple(rows), "", digits, "rule")


def _pictures(shown: Shown[Gradients]) -> list[Pictures]:
    """The same images for all models that have them, the first rule of each; one grid per set of images."""
    grids: dict[tuple[tuple[int, ...], bytes], list[tuple[Named, Heatmaps]]] = {}
    for model, entry in shown:
        maps = entry.heatmaps()
        if maps and len(maps["image"]):
            grids.setdefault((maps["image"].shape, maps["image"].tobytes()), []).append((model, maps))
    return [_grid(each) for each in grids.values()]


def _grid(each: Sequence[tuple[Named, Heatmaps]]) -> Pictures:
    first, rows = each[0][1], []
    for k in range(len(first["image"])):
        shots = [Picture(png(panels.shown(first["image"][k])))]
        for _, maps in each:
            gradient = maps["gradient"][0, k]
            zeros = percent(float((gradient == 0).mean()))
            shots.append(
                Picture(png(panels.diverging(gradient)), f"{zeros} zero, largest {np.abs(gradient).max():.2g}")
            )
        rows.append((f"class {first['label'][k]}", tuple(shots)))
    return Pictures(
        "Where the gradient is",
        ("image", *(f"{model.name}, {maps['rule'][0]}" for model, maps in each)),
        tuple(rows),
        "White is zero, blue negative, orange positive; each picture is scaled by its own largest entry, so shades "
        "compare within a picture only.",
    )
