"""What the two kinds of line chart show: accuracy against eps, and training per epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from robustsnn.reporting.charts import Axes, Series, line_chart
from robustsnn.reporting.downloads import Figure, stem
from robustsnn.reporting.marks import short
from robustsnn.reporting.metrics import Epoch
from robustsnn.reporting.rates import Rate
from robustsnn.reporting.reading import Model
from robustsnn.reporting.scales import SHARES, nice_ticks
from robustsnn.reporting.tables import Cell, Table
from robustsnn.reporting.wording import count, eps_text, percent, rate_text, space_text


@dataclass(frozen=True)
class EpsCurve:
    """The chart in two widths (`named`: the wide one names its lines), and its figures as a table.

    `where` says norm and space: curves of different norms or spaces are never drawn into one chart.
    """

    wide: Markup
    narrow: Markup
    named: bool
    where: str
    models: list[Model]
    rows: list[tuple[str, list[Rate | None]]]
    figure: Figure


@dataclass(frozen=True)
class Training:
    """The training of one model: its charts and a line about what was logged."""

    model: Model
    charts: list[Markup]
    note: str
    figure: Figure


def eps_curves(models: Sequence[Model]) -> list[EpsCurve]:
    """One chart per norm and space; no chart where no curve was measured."""
    curves: dict[tuple[str, str], list[tuple[Model, dict[float, Rate]]]] = {}
    for model in models:
        if model.result is not None and model.result.curve:
            curves.setdefault((model.result.norm, model.result.space), []).append((model, dict(model.result.curve)))
    return [_eps_curve(norm, space, group) for (norm, space), group in curves.items()]


def _eps_curve(norm: str, space: str, group: Sequence[tuple[Model, dict[float, Rate]]]) -> EpsCurve:
    series = [
        Series(
            name=model.name,
            colour=model.colour,
            x=list(points),
            y=[rate.accuracy for rate in points.values()],
            tips=[rate_text(rate) for rate in points.values()],
            band=[rate.interval for rate in points.values()],
        )
        for model, points in group
    ]
    where = f"{norm or 'norm not saved'}, {space_text(space)}"
    grid = sorted({eps for _, points in group for eps in points})
    axes = Axes(
        alt=f"Worst-case accuracy against eps ({where}) of "
        f"{', '.join(model.name for model, _ in group)}; the figures are in the table below.",
        x_label=f"eps ({where})",
        y_label="accuracy",
        x_ticks=[(eps, eps_text(eps)) for eps in grid],
        y_ticks=SHARES,
        x_names={eps: f"eps = {eps_text(eps)}" for eps in grid},
    )
    named = len(group) <= 6 and all(short(model.name) == model.name for model, _ in group)
    wide = line_chart(series, axes, 1000, 420, names=named, legend=not named)
    return EpsCurve(
        wide=wide,
        narrow=line_chart(series, axes, 340, 300, legend=True),
        named=named,
        where=where,
        models=[model for model, _ in group],
        rows=[(eps_text(eps), [points.get(eps) for _, points in group]) for eps in grid],
        figure=Figure(f"accuracy-eps-{stem(where)}", [wide], _points(group), f"Accuracy against eps, {where}"),
    )


def _points(group: Sequence[tuple[Model, dict[float, Rate]]]) -> Table:
    rows: list[list[Cell]] = []
    for model, points in group:
        for eps, rate in points.items():
            low, high = rate.interval or (None, None)
            rows.append([model.name, eps, rate.accuracy, low, high, rate.n])
    return Table(["model", "eps", "accuracy", "low", "high", "n"], rows)


def training(models: Sequence[Model]) -> list[Training]:
    """The training charts of every model whose run logged epochs."""
    return [_training(model) for model in models if model.trained_here and model.run.epochs]


def _training(model: Model) -> Training:
    epochs = model.run.epochs
    logged = dict.fromkeys(key for epoch in epochs for key in (*epoch.train, *epoch.validation) if key != "n")
    if all(epoch.train.get("cross_entropy") == epoch.train.get("loss") for epoch in epochs):
        logged.pop("cross_entropy", None)
    first = [what for what in ("accuracy", "loss") if what in logged]
    charts = [_epoch_chart(model, what) for what in dict.fromkeys([*first, *logged])]
    planned = epochs[-1].planned
    note = count(len(epochs), "epoch")
    if planned not in (None, len(epochs)):
        note = f"{len(epochs)} of {planned} epochs"
    lost = sum(math.isnan(value) for epoch in epochs for value in epoch.train.values())
    note += f"; {count(lost, 'training figure')} not finite" if lost else ""
    figure = Figure(f"training-{stem(model.name)}", charts, _log(epochs, list(logged)), f"Training of {model.name}")
    return Training(model, charts, note, figure)


def _log(epochs: Sequence[Epoch], logged: Sequence[str]) -> Table:
    rows: list[list[Cell]] = []
    for epoch in epochs:
        for source, figures in (("train", epoch.train), ("validation", epoch.validation)):
            known = [None if math.isnan(figures.get(what, math.nan)) else figures[what] for what in logged]
            if figures:
                rows.append([epoch.epoch, source, *known])
    return Table(["epoch", "images", *logged], rows)


def _epoch_chart(model: Model, what: str) -> Markup:
    epochs = model.run.epochs
    word = percent if what in ("accuracy", "robust") else "{:.4g}".format
    sources: list[tuple[str, Callable[[Epoch], dict[str, float]]]] = [
        ("train", lambda epoch: epoch.train),
        ("validation", lambda epoch: epoch.validation),
    ]
    series = []
    for source, figures in sources:
        points = [(epoch.epoch, figures(epoch)[what]) for epoch in epochs if what in figures(epoch)]
        if points:
            x, y = zip(*points, strict=True)
            tips = ["not a number" if math.isnan(value) else word(value) for value in y]
            series.append(Series(source, model.colour, x, y, tips, dashed=source == "validation"))
    values = [value for line in series for value in line.y if not math.isnan(value)] or [0.0]
    heights = nice_ticks(min(0.0, *values), max(values))
    numbers = [epoch.epoch for epoch in epochs]
    axes = Axes(
        alt=f"{what} of {model.name} per epoch, {' and '.join(line.name for line in series)}; last values: "
        + ", ".join(f"{line.name} {line.tips[-1]}" for line in series),
        x_label="epoch",
        y_label=what.replace("_", " "),
        x_ticks=[(n, f"{n}") for n in map(int, nice_ticks(numbers[0], numbers[-1])) if n in numbers],
        y_ticks=SHARES if what in ("accuracy", "robust") else [(height, f"{height:g}") for height in heights],
        x_names={number: f"epoch {number}" for number in numbers},
    )
    return line_chart(series, axes, 250, 180)
