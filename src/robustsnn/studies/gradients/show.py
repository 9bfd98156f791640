"""The section about input gradients: how they are distributed, and how sparse they are by several measures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from robustsnn.draw.png import png
from robustsnn.ground.errors import UserError
from robustsnn.records.arrays import misfit, read_arrays
from robustsnn.records.exhibit import Block, Chart, Line, Picture, Pictures, Row, Table, Words
from robustsnn.reporting import panels
from robustsnn.reporting.analysis_file import Entry, decimals
from robustsnn.reporting.wording import count, function_text, percent
from robustsnn.studies.study import Named, Shown

_ABOUT = (
    "Gradients of the named function of the logits at the pixels, one per image. Exactly zero is what spiking neurons "
    "make of some entries; near zero is a share of the largest entry of the same image. The Gini index and Hoyer's "
    "measure do not change with scale and are 0 for equal entries and near 1 for a single one. A sparse gradient "
    "under one rule is not robustness: an attacker may choose another rule."
)


@dataclass(frozen=True)
class Heatmaps:
    """Gradients of the first images: `image` [k, ...], `label` [k], `rule` [R], `gradient` [R, k, ...]."""

    image: np.ndarray
    label: np.ndarray
    rule: list[str]
    gradient: np.ndarray


def blocks(shown: Shown[Entry]) -> list[Block]:
    """What `analysis/gradients.json` of the models says, with pictures where gradients.npz lies beside it."""
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


def _words(model: Named, entry: Entry) -> str:
    rule = entry.parts("rules")[0]
    zeros, gini, zero = rule.found("sparsity"), rule.found("gini"), rule.whole("zero")
    under = "each layer's own gradient rule" if rule.text("label") == "own" else f"rule {rule.text('label')}"
    none = f"; for {count(zero, 'image')} the whole gradient is zero" if zero else ""
    return (
        f"{model.name}, {count(entry.whole('n'), 'image')}, {function_text(entry.text('loss'))}, {under}: "
        f"{zeros.text(percent=True)} of the entries are exactly zero, Gini index {gini.text()}{none}."
    )


def _normalised(shown: Shown[Entry]) -> Chart:
    lines = []
    for model, entry in shown:
        rule = entry.parts("rules")[0]
        part = rule.part("normalised")
        lines.append(_histogram(model, part.numbers("edges"), part.numbers("counts"), part.where))
    return Chart(
        "Distribution of the entries of the gradient",
        "entry over the largest of its image",
        "share of entries per bin",
        tuple(lines),
        y_log=True,
        caption="Each image is scaled by its largest entry, so that shapes compare and sizes do not. "
        "Bins without an entry are gaps.",
    )


def _magnitudes(shown: Shown[Entry]) -> Chart:
    lines = []
    for model, entry in shown:
        part = entry.parts("rules")[0].part("magnitudes")
        negative, positive = part.numbers("negative"), part.numbers("positive")
        if len(negative) != len(positive):
            raise UserError(f"{part.where}: negative and positive differ in length; analyse the run again")
        edges = [10.0**edge for edge in part.numbers("log10_edges")]
        counts = [a + b for a, b in zip(negative, positive, strict=True)]
        lines.append(_histogram(model, edges, counts, part.where, log=True))
    return Chart(
        "Sizes of the entries that are not zero",
        "size of the entry",
        "share of entries per bin",
        tuple(lines),
        x_log=True,
        caption="Four bins per power of ten, not scaled; the end bins hold what is beyond.",
    )


def _histogram(model: Named, edges: Sequence[float], counts: Sequence[float], where: str, *, log: bool = False) -> Line:
    if len(edges) != len(counts) + 1:
        raise UserError(f"{where}: {len(edges)} edges of {len(counts)} bins; analyse the run again")
    total = sum(counts) or 1.0
    middles = [math.sqrt(a * b) if log else (a + b) / 2 for a, b in pairwise(edges)]
    kept = [k for k, number in enumerate(counts) if number] or [0]
    inside = range(kept[0], kept[-1] + 1)  # outside of it are only empty bins
    y = tuple(counts[k] / total if counts[k] or log else math.nan for k in inside)
    return Line(model.name, tuple(middles[k] for k in inside), y, colour=model.colour)


def _rows(shown: Shown[Entry]) -> list[tuple[str, Entry]]:
    return [(model.name, rule) for model, entry in shown for rule in entry.parts("rules")]


def _shares(shown: Shown[Entry]) -> Table:
    tolerances = [part.number("tolerance") for part in _rows(shown)[0][1].parts("near")]
    rows = []
    for name, rule in _rows(shown):
        near = {part.number("tolerance"): part for part in rule.parts("near")}
        if set(near) != set(tolerances):
            raise UserError(f"{rule.where}.near: other tolerances than in the first; analyse the runs alike")
        cells = [Entry({"x": near[t].value}, near[t].where).found("x").percents() for t in tolerances]
        rows.append(Row(rule.text("label"), (rule.found("sparsity").percents(), *cells), name))
    columns = ("exactly zero", *(f"at most {percent(t)} of the largest" for t in tolerances))
    return Table("Share of entries that are zero or near it", columns, tuple(rows), head="rule")


def _indices(shown: Shown[Entry]) -> Table:
    rows = [
        Row(rule.text("label"), tuple(rule.found(key).cell() for key in ("gini", "hoyer")), name)
        for name, rule in _rows(shown)
    ]
    return Table("Sparsity that does not depend on scale", ("Gini", "Hoyer"), tuple(rows), "", 3, "rule")


def _norms(shown: Shown[Entry]) -> Table:
    cells = [(name, rule.text("label"), [rule.found(key) for key in ("l1", "l2")]) for name, rule in _rows(shown)]
    rows = [Row(label, tuple(found.cell() for found in pair), name) for name, label, pair in cells]
    digits = decimals([found.value for _, _, pair in cells for found in pair])
    return Table("Size of the gradient", ("l1 norm", "l2 norm"), tuple(rows), "", digits, "rule")


def read_heatmaps(path: Path) -> Heatmaps:
    """The arrays of `gradients.npz`. UserError where they do not fit."""
    arrays = read_arrays(path)
    wanted = {"image": ("f", "k ..."), "label": ("iu", "k"), "rule": ("U", "R"), "gradient": ("f", "R k ...")}
    if (lack := misfit(arrays, wanted)) or arrays["image"].ndim not in (4, 5):
        raise UserError(f"{path}: its arrays do not fit each other ({lack or 'no images'}); analyse the run again")
    return Heatmaps(arrays["image"], arrays["label"], list(map(str, arrays["rule"])), arrays["gradient"])


def _pictures(shown: Shown[Entry]) -> list[Pictures]:
    """The same images for all models that have them, the first rule of each; one grid per set of images."""
    grids: list[tuple[Heatmaps, list[tuple[Named, Heatmaps]]]] = []
    for model, entry in shown:
        path = Path(entry.where).with_suffix(".npz")
        if path.is_file():
            maps = read_heatmaps(path)
            same = [g for first, g in grids if np.array_equal(first.image, maps.image) and len(maps.image)]
            if same:
                same[0].append((model, maps))
            elif len(maps.image):
                grids.append((maps, [(model, maps)]))
    return [_grid(first, each) for first, each in grids]


def _grid(first: Heatmaps, each: Sequence[tuple[Named, Heatmaps]]) -> Pictures:
    rows = []
    for k in range(len(first.image)):
        shots = [Picture(png(panels.shown(first.image[k])))]
        for _, maps in each:
            gradient = maps.gradient[0, k]
            zeros = percent(float((gradient == 0).mean()))
            shots.append(
                Picture(png(panels.diverging(gradient)), f"{zeros} zero, largest {np.abs(gradient).max():.2g}")
            )
        rows.append((f"class {first.label[k]}", tuple(shots)))
    return Pictures(
        "Where the gradient is",
        ("image", *(f"{model.name}, {maps.rule[0]}" for model, maps in each)),
        tuple(rows),
        "White is zero, blue negative, orange positive; each picture is scaled by its own largest entry, so shades "
        "compare within a picture only.",
    )
