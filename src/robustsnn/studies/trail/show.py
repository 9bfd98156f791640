"""The section about gradient trails: where exact zeros of the gradient come from, in words, a table and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from robustsnn.reporting.downloads import Figure
from robustsnn.reporting.tables import Table
from robustsnn.reporting.wording import count, listing, percent
from robustsnn.studies.study import Named, Shown
from robustsnn.studies.trail.chart import chart, colour_of, share_text
from robustsnn.studies.trail.record import ORIGINS, Step, TrailFile


@dataclass(frozen=True)
class Cell:
    """Operations of one kind in one model: means over them of the share of zeros, and of what they added."""

    zeros: str
    added: str


@dataclass(frozen=True)
class Trails:
    """The picture, wide and per model; per kind of operation, and per weight, a row of cells; sentences per model."""

    wide: Markup
    narrow: list[tuple[Named, Markup]]
    models: list[Named]
    kinds: list[tuple[str, int, list[Cell | None]]]
    words: list[tuple[Named, str]]
    what: list[tuple[str, str]]
    weights: list[tuple[str, list[str]]]
    figure: Figure


def trails(shown: Shown[TrailFile]) -> Trails:
    """What the template of the section shows."""
    kinds = dict.fromkeys(step.kind for _, trail in shown for step in trail.steps)
    told: dict[str, list[str]] = {}
    for model, trail in shown:
        told.setdefault(_what(trail), []).append(model.name)
    wide = chart(shown, 1040, 236)
    return Trails(
        wide=wide,
        narrow=[(model, chart([(model, trail)], 480, 190)) for model, trail in shown],
        models=[model for model, _ in shown],
        kinds=[(kind, colour_of(kind), [_cell(kind, trail) for _, trail in shown]) for kind in kinds],
        words=[(model, _words(trail)) for model, trail in shown],
        what=[(what, listing(names)) for what, names in told.items()],
        weights=_weights([trail for _, trail in shown]),
        figure=Figure("gradient-trail", [wide], _table(shown), "Zeros of the gradient, from the pixels to the loss"),
    )


def _table(shown: Shown[TrailFile]) -> Table:
    rows: list[list[str | float | None]] = []
    for model, trail in shown:
        for step in trail.steps:
            zeros, norm = (e.interval or (None, None) for e in (step.zeros, step.norm))
            parts = [None] * len(ORIGINS) if step.parts is None else [step.parts[origin] for origin in ORIGINS]
            rows.append([model.name, step.name, step.kind, step.entries, step.zeros.mean, *zeros, *parts])
            rows[-1] += [step.norm.mean, *norm]
    interval = ("low", "high")
    heads = [
        "zeros",
        *(f"zeros {end}" for end in interval),
        *ORIGINS,
        "l2 norm",
        *(f"l2 norm {end}" for end in interval),
    ]
    return Table(["model", "operation", "kind", "entries", *heads], rows)


def _what(trail: TrailFile) -> str:
    """'cross_entropy at 256 clean images, each layer by its own gradient rule'."""
    where = "clean images" if not trail.attack else f"images attacked by {trail.attack}"
    rule = f"all neurons by {trail.rule}" if trail.rule else "each layer by its own gradient rule"
    return f"{trail.loss} at {trail.n} {where}, {rule}"


def _of(kind: str, trail: TrailFile) -> list[Step]:
    return [step for step in trail.steps if step.kind == kind]


def _cell(kind: str, trail: TrailFile) -> Cell | None:
    steps = _of(kind, trail)
    if not steps:
        return None
    added = [step.added for step in steps if step.added is not None]
    known = len(added) == len(steps)
    mean = sum(step.zeros.mean for step in steps) / len(steps)
    return Cell(percent(mean), f"added {percent(sum(added) / len(steps))}" if known else "added: not known")


def _weights(trails: Sequence[TrailFile]) -> list[tuple[str, list[str]]]:
    """Per weight its share of zeros in each trail, empty where it has none."""
    shares = [{weight.name: share_text(weight.zeros) for weight in trail.weights} for trail in trails]
    names = dict.fromkeys(name for found in shares for name in found)
    return [(name, [found.get(name, "") for found in shares]) for name in names]


def _words_on_weights(trail: TrailFile) -> str:
    top = max(trail.weights, key=lambda weight: weight.zeros.mean)
    entries = sum(weight.entries for weight in trail.weights)
    share = sum(weight.zeros.mean * weight.entries for weight in trail.weights) / entries
    most = f"; the sparsest is {top.name} with {percent(top.zeros.mean)}" if top.zeros.mean else ""
    over = f"taken image by image over the first {top.n}" if top.n > 1 else "at the first image"
    return f"Of the gradient at the weights, {over}, {percent(share)} is exactly zero{most}."


def _words(trail: TrailFile) -> str:
    """A few sentences: zeros at pixels and weights, who added most of them, and what is not known."""
    sentences = [f"Of the gradient at the pixels {share_text(trail.pixels.zeros)} is exactly zero."]
    if trail.weights:
        sentences.append(_words_on_weights(trail))
    sums: dict[tuple[str, str], float] = {}
    for step in trail.steps:
        for origin in ("architectural", "natural", "other"):
            if step.parts is not None:
                key = (step.kind, origin)
                sums[key] = sums.get(key, 0.0) + step.parts[origin] * step.entries
    total = sum(sums.values())
    unknown = [step for step in trail.steps if step.parts is None]
    if total > 0:
        largest = sorted(sums.items(), key=lambda entry: (-entry[1], entry[0]))[:2]
        most = [
            f"{percent(amount / total)} from {_PLURAL.get(kind, kind)} ({origin})"
            for (kind, origin), amount in largest
            if amount
        ]
        top = max((step for step in trail.steps if step.added), key=lambda step: step.added or 0.0)
        sentences.append(
            f"The zeros that operations added on the way came to {listing(most)}; the largest share of its own input "
            f"was added by {top.name}, {percent(top.added or 0.0)}."
        )
    elif not unknown:
        sentences.append("No operation added any.")
    convolutions = [step for step in trail.steps if step.kind == "convolution" and step.parts is not None]
    if convolutions:
        arrived = sum(step.arrived for step in convolutions) / len(convolutions)
        passed = sum(step.parts["passed"] for step in convolutions if step.parts) / len(convolutions)
        sentences.append(
            f"On average {percent(arrived)} of the gradient that reached a convolution was zero, "
            f"and {percent(passed)} of what it handed back was zero for that reason."
        )
    if unknown:
        why = " (neurons: their gradient rule does not say which steps it connects)"
        silent = any(step.kind == "neurons" for step in unknown)
        said = f"For {count(len(unknown), 'operation')} it is not known which zeros they added{why if silent else ''}."
        sentences.append(said)
    return " ".join(sentences)


_PLURAL = {
    "convolution": "convolutions",
    "norm": "norms",
    "linear": "linear layers",
    "add": "additions",
    "multiply": "products",
    "max-pool": "max-pooling",
    "average-pool": "average pooling",
    "loss": "the loss",
}
