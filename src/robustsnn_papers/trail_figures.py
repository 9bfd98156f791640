"""Figures 1, 2, 3 and 5 of the gradient-sparsity-trail paper."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from robustsnn.draw.png import png
from robustsnn.recipes.cells import CLEAN, accuracy, hits, mean_interval, value
from robustsnn.recipes.recipe import WORST, Found, Look, Need, Recipe, Results, Scale, Setting
from robustsnn.records.exhibit import Cell, Chart, Claim, Exhibit, Line, Picture, Pictures, Row, Table, Verdict
from robustsnn.reporting.panels import change, shown
from robustsnn_papers import measures
from robustsnn_papers.common import data_name, eps_value, exhibit
from robustsnn_papers.networks import Network, radius
from robustsnn_papers.published import TRAIL_PAPER, TRAIL_ZEROS

_SEW = Network("CIFAR-10", "SEW-ResNet18")
_RAT = Network("CIFAR-10", "WRN-16", "RAT")
_RADII = (2, 4, 6, 8)
_LEAST = "A difference below 5 points counts as none."


def _figure_1(results: Results, setting: Setting) -> Exhibit:
    kept = results[_SEW][0].measures["pictures"]
    classes, label = kept["classes"], kept["label"]
    clean = np.asarray(kept["images"]["clean"])
    rows = []
    for name, said in kept["predicted"].items():
        images = np.asarray(kept["images"][name])
        shots = [Picture(png(shown(image)), f"says {classes[k]}") for image, k in zip(images, said, strict=True)]
        rows.append((name, tuple(shots)))
        if name != "clean":
            moved = [Picture(png(np.clip(change(a, b), 0, 1))) for a, b in zip(images, clean, strict=True)]
            rows.append((f"{name}, change x10", tuple(moved)))
    columns = tuple(f"a {classes[k]}" for k in label)
    words = f"The first test images, attacked within Linf {radius(8, setting.scale)} in pixel space; none was chosen."
    grid = Pictures(f"What FGSM and PGD7 do to images of {data_name('CIFAR-10', setting)}", columns, tuple(rows), words)
    return exhibit(setting, "p2-fig1", "Pictures of perturbed images", f"Figure 1 of {TRAIL_PAPER}", (grid,), (), ())


def _looks(suite: str) -> tuple[Look, ...]:
    return tuple(Look(suite, eps) for eps in _RADII)


def _figure_2(results: Results, setting: Setting) -> Exhibit:
    blocks = []
    losses: dict[str, dict[str, float]] = {}
    for column in ("FGSM", "PGD7", WORST):
        lines = []
        suite = "quick" if column == WORST else "paper-trail"
        for network in (_RAT, _SEW):
            cells = [accuracy(results[network], CLEAN)]
            cells += [accuracy(results[network], column, look) for look in _looks(suite)]
            x = (0.0, *(eps_value(eps, setting) for eps in _RADII))
            y = tuple((cell.ours or 0.0) / 100 for cell in cells)
            band = tuple(None if c.interval is None else (c.interval[0] / 100, c.interval[1] / 100) for c in cells)
            lines.append(Line(network.name(), x, y, band))
            losses.setdefault(column, {})[network.name()] = _loss(results[network], column, _looks(suite)[-1])
        label = "the suite quick (not in the paper)" if column == WORST else column
        names = ((0.0, "clean"), *((eps_value(eps, setting), radius(eps, setting.scale)) for eps in _RADII))
        title = f"Accuracy against eps under {label}, {data_name('CIFAR-10', setting)}"
        blocks.append(Chart(title, "eps (Linf, pixels)", "accuracy", tuple(lines), percent=True, x_names=names))
    claims = tuple(
        Claim(
            f"Up to the largest eps the defended WRN-16 loses more than the undefended SEW-ResNet18 under {column}.",
            _verdict(losses[column][_RAT.name()] - losses[column][_SEW.name()]),
            f"Loss in points: {', '.join(f'{name} {loss:.1f}' for name, loss in losses[column].items())}. "
            f"The paper: about {paper}. {_LEAST}",
        )
        for column, paper in (("FGSM", "35 and 25 points"), ("PGD7", "70 and 35 points"))
    )
    title = "SNN-RAT against an undefended SEW-ResNet18 over eps"
    return exhibit(setting, "p2-fig2", title, f"Figure 2 of {TRAIL_PAPER}", tuple(blocks), claims, ())


def _loss(found: Sequence[Found], column: str, look: Look) -> float:
    """Points that the attacked images lose; the clean accuracy of a chart is of all images."""
    pairs = zip(hits(found, CLEAN), hits(found, column, look), strict=True)
    return float(np.mean([100 * (clean[: len(left)].mean() - left.mean()) for clean, left in pairs]))


def _verdict(gap: float) -> Verdict:
    return "holds" if gap > 5 else "does not hold" if gap < -5 else "undecided"


def _kinds(found: Sequence[Found]) -> dict[str, list[list[float]]]:
    """Per kind of operation, per seed: share of zeros and l2 norm at its input, and share that it added; means."""
    kinds: dict[str, list[list[float]]] = {}
    for one in found:
        here: dict[str, list[dict[str, Any]]] = {}
        for operation in one.measures["trail"]["operations"]:
            here.setdefault(operation["kind"], []).append(operation)
        for kind, operations in here.items():
            added = [_added(operation) for operation in operations]
            figures = [
                float(np.mean([o["input"]["zeros"]["mean"] for o in operations])),
                float(np.mean([o["input"]["l2"]["mean"] for o in operations])),
                float(np.mean([a for a in added if a is not None])) if any(a is not None for a in added) else math.nan,
            ]
            kinds.setdefault(kind, []).append(figures)
    return kinds


def _added(operation: dict[str, Any]) -> float | None:
    parts = [operation.get(origin) for origin in ("architectural", "natural", "other")]
    return None if None in parts else sum(part["mean"] for part in parts)  # type: ignore[index]


def _trail(pooling: str, name: str, figure: str, results: Results, setting: Setting) -> Exhibit:
    twins = {p: Network("CIFAR-10", "SEW-ResNet18", pooling=p) for p in ("max", "average")}  # type: ignore[arg-type]
    found = results[twins[pooling]]
    kinds = {p: _kinds(results[n]) for p, n in twins.items()}
    rows = []
    for kind, per_seed in kinds[pooling].items():
        zeros, norms, added = zip(*per_seed, strict=True)
        published = next((v for k, v in TRAIL_ZEROS[pooling].items() if k.rstrip("s") in kind), None)
        own = Cell() if any(map(math.isnan, added)) else value([100 * a for a in added])
        rows.append(Row(kind, (value([100 * z for z in zeros], None, published), own, value(list(norms)))))
    columns = ("zeros at the input, %", "added itself, %", "l2 norm")
    where = data_name("CIFAR-10", setting)
    table = Table(
        f"Gradient at the operations of SEW-ResNet18 with {pooling} pooling on {where}, means per kind",
        columns,
        tuple(rows),
        unit="",
        decimals=3,
        head="kind of operation",
    )
    blocks: list[Table | Chart] = [table]
    trails = [one.measures["trail"]["operations"] for one in found]
    positions = tuple(float(i) for i in range(len(trails[0])))
    names = tuple((float(i), o["name"].removeprefix("body.")) for i, o in enumerate(trails[0]))
    for title, key, percent in (("share of exact zeros", "zeros", True), ("l2 norm", "l2", False)):
        values = [[t[i]["input"][key]["mean"] for t in trails] for i in range(len(trails[0]))]
        y = tuple(float(np.mean(v)) for v in values)
        line = Line(
            f"{pooling} pooling",
            positions,
            y if percent else tuple(v if v > 0 else math.nan for v in y),
            tuple(mean_interval(v)[1] for v in values),
        )
        blocks.append(
            Chart(
                f"Gradient at each operation: {title}",
                "operation, from the pixels to the loss",
                title,
                (line,),
                percent=percent,
                y_log=not percent,
                x_names=names,
            )
        )
    pixels = {
        p: [100 * one.measures["trail"]["input"]["zeros"]["mean"] for one in results[n]] for p, n in twins.items()
    }
    pools = {p: [100 * v[0] for k, found in kinds[p].items() if "pool" in k for v in found] for p in twins}
    claims = (
        Claim(
            "Max pooling makes the gradient sparse, average pooling does not.",
            "holds" if min(pools["max"], default=0) > max(pools["average"], default=0) + 5 else "does not hold",
            "Zeros at the input of pooling: "
            f"max {np.mean(pools['max']):.1f} %, average {np.mean(pools['average']):.1f} %. Paper: 37.88 % and 0 %. "
            f"{_LEAST}",
        ),
        Claim(
            "The sparsity of max pooling reaches the input gradient (whether it protects: p2-table3).",
            "holds" if np.mean(pixels["max"]) > np.mean(pixels["average"]) + 5 else "does not hold",
            "Zeros at the pixels: "
            f"max {np.mean(pixels['max']):.2f} %, average {np.mean(pixels['average']):.2f} %. {_LEAST}",
        ),
    )
    said = ("Exact zeros of the gradient of the cross-entropy, per image. Published: what the paper's text names.",)
    title = f"The gradient sparsity trail of SEW-ResNet18 with {pooling} pooling"
    return exhibit(setting, name, title, f"{figure} of {TRAIL_PAPER}", tuple(blocks), claims, said)


def _trail_needs(scale: Scale) -> list[Need]:
    return [Need(Network("CIFAR-10", "SEW-ResNet18", pooling=p), (), (measures.trail,)) for p in ("max", "average")]  # type: ignore[arg-type]


def _needs_2(scale: Scale) -> list[Need]:
    return [Need(network, (*_looks("paper-trail"), *_looks("quick"))) for network in (_RAT, _SEW)]


FIGURE_1 = Recipe("p2-fig1", lambda scale: [Need(_SEW, (), (measures.pictures,))], _figure_1)
FIGURE_2 = Recipe("p2-fig2", _needs_2, _figure_2)
FIGURE_3 = Recipe(
    "p2-fig3",
    _trail_needs,
    lambda r, s: _trail("max", "p2-fig3", "Figure 3", r, s),
)
FIGURE_5 = Recipe(
    "p2-fig5",
    _trail_needs,
    lambda r, s: _trail("average", "p2-fig5", "Figure 5", r, s),
)
