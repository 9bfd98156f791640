"""Figures 2 to 5 of the sparsity-regularisation paper."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from robustsnn.draw.png import png
from robustsnn.recipes.cells import CLEAN, above_zero, accuracy, difference, mean_interval, together, value
from robustsnn.recipes.recipe import Found, Need, Recipe, Results, Scale, Setting
from robustsnn.records.exhibit import Chart, Claim, Exhibit, Interval, Line, Picture, Pictures, Row, Table, Verdict
from robustsnn.reporting.panels import diverging, shown
from robustsnn_papers import measures
from robustsnn_papers.common import PGD10, data_name, eps_words, exhibit
from robustsnn_papers.networks import Data, Network, sweep
from robustsnn_papers.published import SR_PAPER

_DATA: tuple[Data, ...] = ("CIFAR-10", "CIFAR-100")


def _sweep(data: Data, name: str, figure: str, results: Results, setting: Setting) -> Exhibit:
    points = sweep(data, setting.scale)
    lams, networks = tuple(lam for lam, _ in points), [network for _, network in points]
    lines = []
    for label, column, look in (("clean", CLEAN, None), ("PGD10", "PGD10", PGD10), ("FGSM", "FGSM", PGD10)):
        cells = [accuracy(results[n], column, look) for n in networks]
        y = tuple((cell.ours or 0.0) / 100 for cell in cells)
        band = tuple(None if c.interval is None else (c.interval[0] / 100, c.interval[1] / 100) for c in cells)
        lines.append(Line(label, lams, y, band))
    where = data_name(data, setting)
    first = Chart(
        f"Accuracy against lambda, WRN-16 on {where}, {eps_words(8, setting)}",
        "lambda",
        "accuracy",
        tuple(lines),
        percent=True,
    )
    norms = []
    means: dict[str, list[float]] = {}
    for norm in ("l1", "l2"):
        per = [[found.measures["gradients"]["rules"][0][norm]["mean"] or 0.0 for found in results[n]] for n in networks]
        means[norm] = [float(np.mean(values)) for values in per]
        band = tuple(_norm_band(results[n], norm) for n in networks)
        norms.append(Line(f"{norm} norm", lams, tuple(means[norm]), band))
    second = Chart(
        f"Norms of grad f_y against lambda, WRN-16 on {where}",
        "lambda",
        "mean norm over images",
        tuple(norms),
        y_log=all(min(v) > 0 for v in means.values()),
    )
    top, none = networks[-1], networks[0]
    robust = difference(results, top, none, "PGD10", PGD10)
    clean = difference(results, none, top, CLEAN)
    claims = (
        _signed("A larger lambda makes the network more robust to PGD10.", *robust, f"lambda {lams[-1]:g} against 0"),
        _signed("A larger lambda costs clean accuracy.", *clean, f"lambda 0 against {lams[-1]:g}"),
        Claim(
            "The l1 and l2 norms of the gradient fall as lambda grows.",
            together([_falling(values) for values in means.values()]),
            "; ".join(f"{norm}: {', '.join(f'{x:.3g}' for x in values)}" for norm, values in means.items())
            + ". Undecided if the last is below the first, but they do not fall from each to the next.",
        ),
    )
    said = ("PGD10 and FGSM are each the worst of the paper's four gradient rules.",)
    return exhibit(
        setting,
        name,
        f"The weight of sparsity regularisation on {where}",
        f"{figure} of {SR_PAPER}",
        (first, second),
        claims,
        said,
    )


def _falling(values: Sequence[float]) -> Verdict:
    if values[-1] >= values[0]:
        return "does not hold"
    return "holds" if all(b < a for a, b in pairwise(values)) else "undecided"


def _norm_band(found: Sequence[Found], norm: str) -> Interval | None:
    if len(found) > 1:
        return mean_interval([one.measures["gradients"]["rules"][0][norm]["mean"] or 0.0 for one in found])[1]
    ends = found[0].measures["gradients"]["rules"][0][norm]["interval"]
    return None if ends is None else (max(0.0, ends[0]), ends[1])


def _signed(text: str, mean: float, interval: Interval, what: str) -> Claim:
    return Claim(text, above_zero(interval), f"{what}: {mean:+.1f} [{interval[0]:.1f}, {interval[1]:.1f}] points.")


def _sweep_needs(data: Data, scale: Scale) -> list[Need]:
    return [Need(network, (PGD10,), (measures.gradients,)) for _, network in sweep(data, scale)]


_APART = "Decided where the 95 % intervals, over images or seeds, do not overlap."


def _sparser(a: Sequence[Found], b: Sequence[Found]) -> Verdict:
    """Whether a's gradient has the larger share of entries near zero."""
    (low, high), (below, above) = _near(a), _near(b)
    return "holds" if low > above else "does not hold" if high < below else "undecided"


def _near(found: Sequence[Found]) -> Interval:
    shares = [one.measures["gradients"]["rules"][0]["near"][-1] for one in found]
    interval = mean_interval([share["mean"] for share in shares])[1] if len(shares) > 1 else shares[0]["interval"]
    return (-math.inf, math.inf) if interval is None else (interval[0], interval[1])


_COMPARED = ("vanilla", "AT", "SR*")


def _figure_3(results: Results, setting: Setting) -> Exhibit:
    blocks: list[Any] = []
    verdicts, said = [], []
    for data in _DATA:
        lines, rows = [], []
        near: dict[str, list[float]] = {}
        for defence in _COMPARED:
            found = results[Network(data, "WRN-16", defence)]  # type: ignore[arg-type]
            rules = [one.measures["gradients"]["rules"][0] for one in found]
            edges, counts = rules[0]["normalised"]["edges"], np.sum([rule["normalised"]["counts"] for rule in rules], 0)
            middle = tuple((a + b) / 2 for a, b in pairwise(edges))
            total = max(1, int(counts.sum()))
            lines.append(Line(defence, middle, tuple(float(c) / total if c else math.nan for c in counts)))
            near[defence] = [rule["near"][-1]["mean"] or 0.0 for rule in rules]
            cells = [value([100 * v for v in near[defence]], rules[0]["near"][-1]["n"])]
            cells += [
                value([(r[m]["mean"] or 0.0) * scale for r in rules])
                for m, scale in (("sparsity", 100), ("gini", 1), ("hoyer", 1), ("l1", 1), ("l2", 1))
            ]
            rows.append(Row(defence, tuple(cells), data_name(data, setting)))
        where = data_name(data, setting)
        blocks.append(
            Chart(
                f"Distribution of grad f_y over its largest entry, WRN-16 on {where}",
                "g / max |g| of the image",
                "share of entries",
                tuple(lines),
                y_log=True,
            )
        )
        columns = ("near zero, %", "exactly zero, %", "Gini index", "Hoyer", "l1 norm", "l2 norm")
        blocks.append(
            Table(
                f"How sparse the gradient is, WRN-16 on {where}",
                columns,
                tuple(rows),
                unit="",
                decimals=3,
                head="training",
            )
        )
        star, others = results[Network(data, "WRN-16", "SR*")], ("vanilla", "AT")
        verdicts += [_sparser(star, results[Network(data, "WRN-16", d)]) for d in others]  # type: ignore[arg-type]
        said.append(
            f"{where}: entries below 1 % of the image's largest, "
            + ", ".join(f"{d} {100 * float(np.mean(v)):.1f} %" for d, v in near.items())
        )
    claims = (
        Claim(
            "The gradient of SR* is more concentrated around zero than those of vanilla and AT networks.",
            together(verdicts),
            "; ".join(said) + f". {_APART}",
        ),
    )
    note = (
        "The paper does not say how its distribution is normalised; here by the largest entry of each image. What does "
        "not depend on scale (near zero, Gini, Hoyer) says if a gradient is sparse, the norms if it is small.",
    )
    return exhibit(
        setting,
        "p1-fig3",
        "The distribution of the input gradient",
        f"Figure 3 of {SR_PAPER}",
        tuple(blocks),
        claims,
        note,
    )


def _figure_5(results: Results, setting: Setting) -> Exhibit:
    columns: list[Any] = []
    networks = [Network("CIFAR-10", "WRN-16", defence) for defence in ("vanilla", "SR")]
    kept = {n: results[n][0].measures["gradients"]["shown"] for n in networks}
    images = np.asarray(kept[networks[0]]["image"])
    rows = [("image", tuple(Picture(png(shown(image))) for image in images))]
    share = {}
    for n in networks:
        rules = [found.measures["gradients"]["rules"][0] for found in results[n]]
        share[n] = [100 * (rule["near"][-1]["mean"] or 0.0) for rule in rules]
        columns = [f"no. {i}" for i in range(len(images))]
        rows.append((n.defence, tuple(Picture(png(diverging(np.asarray(g)))) for g in kept[n]["gradient"][0])))
    grid = Pictures(
        "grad f_y of the first test images",
        tuple(columns),
        tuple(rows),
        "Orange: positive, blue: negative, white: zero; the ends are the largest magnitude of each picture.",
    )
    vanilla, sparse = (float(np.mean(share[n])) for n in networks)
    claims = (
        Claim(
            "The gradient of an SR network is sparser than that of a vanilla one.",
            _sparser(results[networks[1]], results[networks[0]]),
            f"Entries below 1 % of the image's largest: SR {sparse:.1f} %, vanilla {vanilla:.1f} %. {_APART}",
        ),
    )
    return exhibit(
        setting,
        "p1-fig5",
        "Heat maps of the input gradient",
        f"Figure 5 of {SR_PAPER}",
        (grid,),
        claims,
        ("The images are the first of the test set; none was chosen.",),
    )


FIGURE_2 = Recipe(
    "p1-fig2",
    lambda scale: _sweep_needs("CIFAR-10", scale),
    lambda r, s: _sweep("CIFAR-10", "p1-fig2", "Figure 2", r, s),
)
FIGURE_3 = Recipe(
    "p1-fig3",
    lambda scale: [Need(Network(data, "WRN-16", d), (), (measures.gradients,)) for data in _DATA for d in _COMPARED],
    _figure_3,
)  # type: ignore[arg-type]
FIGURE_4 = Recipe(
    "p1-fig4",
    lambda scale: _sweep_needs("CIFAR-100", scale),
    lambda r, s: _sweep("CIFAR-100", "p1-fig4", "Figure 4", r, s),
)
FIGURE_5 = Recipe(
    "p1-fig5",
    lambda scale: [Need(Network("CIFAR-10", "WRN-16", d), (), (measures.gradients,)) for d in ("vanilla", "SR")],
    _figure_5,
)  # type: ignore[arg-type]
