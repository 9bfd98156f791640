"""The section on how deep the attacks went: what stands by passes, what survives, and both in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from robustsnn.reporting.charts import Axes, Series, line_chart
from robustsnn.reporting.depth import Depth, Doubling
from robustsnn.reporting.downloads import Figure, stem
from robustsnn.reporting.marks import short, style
from robustsnn.reporting.reading import Model
from robustsnn.reporting.scales import SHARES, ticks
from robustsnn.reporting.tables import Table
from robustsnn.reporting.wording import count, figure, rate_text, test_text

_WIDTH, _HEIGHT, _TOP, _BOTTOM = 300, 120, 20, 34


@dataclass(frozen=True)
class Curve:
    """Models of the same test in one chart, in two widths; the wide one names its lines where there is room."""

    wide: Markup
    narrow: Markup
    test: str
    figure: Figure


@dataclass(frozen=True)
class Said:
    """What is said of one model, and the picture of the images that survive, empty where none does."""

    model: Model
    sentences: list[str]
    survivors: Markup
    figure: Figure


@dataclass(frozen=True)
class Depths:
    """The section; `assumption` is what the forecasts rest on."""

    curves: list[Curve]
    said: list[Said]
    assumption: str


def depths(models: Sequence[Model]) -> Depths | None:
    """The section on the models whose evaluation saved how deep it went; None where none did."""
    known = [(model, model.result.depth) for model in models if model.result and model.result.depth]
    if not known:
        return None
    tests: dict[str, list[tuple[Model, Depth]]] = {}
    for model, depth in known:
        assert model.result is not None
        tests.setdefault(test_text(model.result), []).append((model, depth))
    return Depths(
        [_curve(test, group) for test, group in tests.items()],
        [_said(model, depth) for model, depth in known],
        known[0][1].doubling.assumption,
    )


def _curve(test: str, group: Sequence[tuple[Model, Depth]]) -> Curve:
    series = [
        Series(
            name=model.name,
            colour=model.colour,
            x=[passes for passes, _ in depth.points],
            y=[rate.accuracy for _, rate in depth.points],
            tips=[rate_text(rate) for _, rate in depth.points],
            band=[rate.interval for _, rate in depth.points],
        )
        for model, depth in group
    ]
    grid = sorted({passes for _, depth in group for passes, _ in depth.points})
    axes = Axes(
        alt=f"Share of images that stand against passes spent on each ({test}): "
        + "; ".join(f"{model.name} ends at {line.tips[-1]}" for (model, _), line in zip(group, series, strict=True)),
        x_label="passes per image, forward and backward, log scale",
        y_label="standing",
        x_ticks=ticks([*grid], log=True),
        y_ticks=SHARES,
        x_names={passes: count(passes, "pass").replace("passs", "passes") for passes in grid},
        x_log=True,
    )
    named = len(group) <= 6 and all(short(model.name) == model.name for model, _ in group)
    wide = line_chart(series, axes, 1000, 380, names=named, legend=not named)
    rows = [
        [model.name, passes, rate.accuracy, *(rate.interval or (None, None)), rate.n]
        for model, depth in group
        for passes, rate in depth.points
    ]
    table = Table(["model", "passes", "accuracy", "low", "high", "n"], rows)
    drawn = Figure(f"depth-{stem(test)}", [wide], table, f"Standing against passes spent, {test}")
    return Curve(wide, line_chart(series, axes, 340, 300, legend=True), test, drawn)


def _said(model: Model, depth: Depth) -> Said:
    picture = _survivors(model, depth)
    bins = len(depth.left)
    rows = [[k / bins, (k + 1) / bins, number] for k, number in enumerate(depth.left)]
    table = Table(["from", "to", "images"], rows)
    drawn = Figure(
        f"survivors-{stem(model.name)}", [picture], table, f"{model.name}: clean margin left to the survivors"
    )
    sentences = [_forecast(depth.doubling), *_margins(depth)]
    if depth.at_most:
        sentences.append(f"Its worst case is printed as at most, because {'; and because '.join(depth.at_most)}.")
    return Said(model, sentences, picture, drawn)


def _forecast(doubling: Doubling) -> str:
    """What the last doubling broke, and what the next would."""
    d, (low, high) = doubling, doubling.interval
    spent = f"{figure(d.budget)} passes an image"
    if not d.standing:
        return f"No image stands: the last one fell within {spent}."
    if d.doublings == 1:
        last = f"The last doubling of effort, up to {spent}, broke {d.fell} of the {d.of} images that it met"
    else:
        last = f"Each of the last {d.doublings} doublings of effort, up to {spent}, broke {d.fell / d.of:.1%}".replace(
            "%", " %"
        )
        last += f" of the images that it met ({d.fell} of {d.of}, both together)"
    more = f"{low} to {high} more" if high > low else f"{low} more"
    return f"{last}; at this rate the next breaks {more} of the {d.standing} that stand ({d.broken:.1f} expected)."


def _margins(depth: Depth) -> list[str]:
    if not depth.margins:
        return []
    near, half = sum(depth.left[:1]), depth.margins[2]
    part = f"{near} of {count(sum(depth.left), 'image')} that stand kept less than a tenth of the clean margin"
    return [f"{part}; the worst margin of the nearest is {-depth.margins[4]:.3g}, of the middle one {-half:.3g}."]


def _survivors(model: Model, depth: Depth) -> Markup:
    """A bar per tenth of the clean margin, as high as the images that keep so much of it are many."""
    most = max(depth.left, default=0)
    if not most:
        return Markup("")
    step, base = (_WIDTH - 20) / len(depth.left), _HEIGHT - _BOTTOM
    parts = [f'<line class="grid" x1="10" x2="{_WIDTH - 10}" y1="{base}" y2="{base}"/>']
    for k, number in enumerate(depth.left):
        x, height = round(10 + step * k, 1), round((base - _TOP) * number / most, 1)
        tip = escape(f"{count(number, 'image')} with {10 * k} to {10 * k + 10} % of the clean margin left")
        parts.append(f'<g class="at"><title>{tip}</title>')
        parts.append(f'<rect class="hit" x="{x}" y="0" width="{step:.1f}" height="{_HEIGHT}"/>')
        parts.append(
            f'<rect class="bar" x="{x + 2:.1f}" y="{base - height:.1f}" width="{step - 4:.1f}" height="{height}"/>'
        )
        if number:
            parts.append(f'<text class="tick mid" x="{x + step / 2:.1f}" y="{base - height - 5:.1f}">{number}</text>')
        parts.append("</g>")
    ends = (("10", "", "0 %"), (f"{_WIDTH / 2}", " mid", "50 %"), (f"{_WIDTH - 10}", " end", "100 %"))
    parts += [f'<text class="tick{at}" x="{x}" y="{base + 15}">{text}</text>' for x, at, text in ends]
    parts.append(f'<text class="axis mid" x="{_WIDTH / 2}" y="{_HEIGHT - 3}">of the clean margin left</text>')
    alt = f"Images of {model.name} that stand, by tenths of the clean margin left: {', '.join(map(str, depth.left))}."
    size = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}"'
    return Markup(
        f'<svg class="{style(model.colour)}" {size} role="img" aria-label="{escape(alt)}">{"".join(parts)}</svg>'
    )
