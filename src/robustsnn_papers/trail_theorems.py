"""Theorems 4.2 to 4.4 of the trail paper, asked of the networks of its table 3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from robustsnn.recipes.cells import above_zero, together
from robustsnn.recipes.recipe import Need, Recipe, Results, Setting
from robustsnn.records.exhibit import Cell, Claim, Exhibit, Interval, Row, Table, Verdict
from robustsnn_papers import measures
from robustsnn_papers.common import data_name, exhibit
from robustsnn_papers.networks import Network
from robustsnn_papers.published import TRAIL_PAPER

_NETWORKS = (Network("CIFAR-10", "SEW-ResNet18"), Network("CIFAR-10", "SEW-ResNet18", pooling="average"))


def _cell(estimate: dict[str, Any] | None) -> Cell:
    """Of a value with its interval; empty where there is none."""
    if estimate is None or estimate["value"] is None:
        return Cell()
    return Cell(estimate["value"], _interval(estimate), estimate["n"])


def _interval(estimate: dict[str, Any]) -> Interval | None:
    ends = estimate["interval"]
    return None if ends is None else (ends[0], ends[1])


def _turned(interval: Interval | None) -> Interval | None:
    """Of the value with the other sign."""
    return None if interval is None else (-interval[1], -interval[0])


def _all(results: Results, part: str) -> list[tuple[str, dict[str, Any]]]:
    """(network and seed, what was found) of those that could be asked."""
    found = []
    for network in _NETWORKS:
        for i, one in enumerate(results[network], 1):
            if "refused" not in (said := one.measures["theorems"][part]):
                found.append((network.name() + (f", seed {i}" if len(results[network]) > 1 else ""), said))
    return found


def _claim(text: str, verdicts: Sequence[Verdict], said: Sequence[str]) -> Claim:
    if not verdicts:
        return Claim(text, "undecided", "It could be asked of none of the networks.")
    return Claim(text, together(verdicts), "; ".join(said) + ".")


def _signal(results: Results) -> tuple[Table, Claim]:
    rows, verdicts, said = [], [], []
    for name, found in _all(results, "signal"):
        rows += [Row(f"T = {at['steps']}", (_cell(at["network"]["sup"]["snr"]),), name) for at in found["at"]]
        for pair in found["pairs"]:
            gap = pair["difference"]
            verdicts.append(above_zero(_interval(gap)))
            said.append(f"{name}, T = {pair['before']} to {pair['after']}: {gap['value']:+.3f}")
    table = Table("Theorem 4.2: SNR in the sup norm of the weight gradient", ("sup SNR",), tuple(rows), "", 3, "steps")
    text = "More time steps do not make the weight gradient's signal-to-noise ratio smaller (theorem 4.2)."
    return table, _claim(text, verdicts, said)


def _sharing(results: Results) -> tuple[Table, Claim]:
    rows, verdicts, said = [], [], []
    for name, found in _all(results, "sharing"):
        nearest, *_, farthest = sorted(found["tensors"], key=lambda tensor: tensor["depth"])
        for where, tensor in (("nearest to the input", nearest), ("farthest", farthest)):
            rows.append(Row(where, (Cell(100 * tensor["sparsity"], n=found["n"]), _cell(tensor["pearson"])), name))
        trend = found["trend"]
        verdicts.append("undecided" if trend is None else above_zero(_turned(_interval(trend))))
        why = "no image's input gradient has another share of zeros than the next one's"
        said.append(f"{name}: " + (why if trend is None else f"rank correlation with depth {trend['value']:+.2f}"))
    columns = ("zeros, %", "correlation with the input's")
    table = Table("Theorem 4.3: zeros of weight gradients", columns, tuple(rows), "", 3, "weights")
    text = "Zeros of input and weight gradients go together, most so near the input (theorem 4.3)."
    return table, _claim(text, verdicts, said)


def _density(results: Results) -> tuple[Table, Claim]:
    rows, verdicts, said = [], [], []
    for name, found in _all(results, "density"):
        for bound in found["bounds"]:
            rows.append(Row(bound["reading"], (Cell(bound["left"]["mean"], n=found["n"]), Cell(bound["right"])), name))
            verdicts.append("undecided" if bound["vacuous"] else "holds" if bound["holds"] else "does not hold")
            broken = sum(not assumption["holds"] for assumption in found["assumptions"])
            vacuous = "vacuous: nothing could break it, " if bound["vacuous"] else ""
            said.append(f"{name}: {vacuous}{broken} of the {len(found['assumptions'])} assumptions fail")
    table = Table("Theorem 4.4: entries that are not zero", ("left side", "right side"), tuple(rows), "", 1, "reading")
    text = "The density of the first weight's gradient is bounded by that of the input's (theorem 4.4)."
    return table, _claim(text, verdicts, said)


def _theorems(results: Results, setting: Setting) -> Exhibit:
    parts = [made(results) for made in (_signal, _sharing, _density)]
    blocks = tuple(table for table, _ in parts if table.rows)
    title = f"Theorems 4.2 to 4.4, SEW-ResNet18 on {data_name('CIFAR-10', setting)}"
    said = (
        "Per sample of the first 32 test images, in eval mode, cross-entropy; the same network is run with each T.",
        "A claim is decided where its 95 % interval does not contain 0. docs/explanation/theory.md has the formulas.",
    )
    claims = tuple(claim for _, claim in parts)
    return exhibit(setting, "p2-theorems", title, f"Theorems 4.2, 4.3 and 4.4 of {TRAIL_PAPER}", blocks, claims, said)


THEOREMS = Recipe("p2-theorems", lambda scale: [Need(n, (), (measures.theorems,)) for n in _NETWORKS], _theorems)
