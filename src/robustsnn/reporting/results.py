"""Results and training as blocks: how deep attacks went, what broke what, curves over eps and over epochs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import attrgetter

from robustsnn.draw.words import count, listing
from robustsnn.records.exhibit import Bar, Bars, Block, Cell, Chart, Line, Row, Table, Words
from robustsnn.records.result import FIRST, Accuracy, Breaks, Depth, Doubling
from robustsnn.reporting.reading import Model
from robustsnn.reporting.wording import eps_text, figure, space_text, test_text, threat_text

MOST = 12
"""Of more sets of attacks that broke the same images the largest are drawn."""


def cell(rate: Accuracy | None, times: float = 1.0) -> Cell:
    """A rate as a figure, in another unit."""
    if rate is None:
        return Cell()
    ends = rate.interval
    return Cell(times * rate.accuracy, None if ends is None else (times * ends[0], times * ends[1]), rate.n)


def curve(name: str, colour: int, x: Sequence[float], rates: Sequence[Accuracy]) -> Line:
    """Accuracies with their intervals."""
    return Line(name, tuple(x), tuple(r.accuracy for r in rates), tuple(r.interval for r in rates), colour=colour)


def overview(models: Sequence[Model]) -> Bars | None:
    """Per evaluated model its clean and its worst-case accuracy."""
    rows = []
    known = [(model, model.result) for model in models if model.result is not None]
    tests = {test_text(result) for _, result in known if result.clean or result.worst_case}
    for model, result in known:
        if result.clean or result.worst_case:
            said = {"clean": result.clean, "worst case": result.worst_case}
            tip = [f"{model.name}: {test_text(result)}", *(f"{what}: {rate}" for what, rate in said.items() if rate)]
            points = (cell(result.clean), cell(result.worst_case))
            rows.append(Bar(model.name, points=points, tip="\n".join(tip), colour=model.colour))
    caption = "Hollow mark: clean. Filled mark: worst case. Bar: 95 % interval."
    caption += " The models were tested differently, see the table." if len(tests) > 1 else ""
    label = "share of test images classified correctly"
    title, points = "Accuracy without attack, and in the worst case", ("clean", "worst case")
    return Bars(title, label, tuple(rows), points=points, percent=True, caption=caption) if rows else None


def depths(models: Sequence[Model]) -> list[Block]:
    """What stands by passes, a chart per test; what the next doubling would break; and how near survivors came."""
    known = [(m, m.result, m.result.depth) for m in models if m.result is not None and m.result.depth is not None]
    if not known:
        return []
    tests: dict[str, list[tuple[Model, Depth]]] = {}
    for model, result, depth in known:
        tests.setdefault(test_text(result), []).append((model, depth))
    found: list[Block] = []
    for test, group in tests.items():
        lines = [curve(m.name, m.colour, [float(p.passes) for p in d.points], d.points) for m, d in group]
        grid = sorted({point.passes for _, depth in group for point in depth.points})
        names = tuple((float(passes), count(passes, "pass")) for passes in grid)
        label = "passes per image, forward and backward"
        caption = f"Share of images that stands against passes spent on each ({test}). Bands: 95 % intervals."
        title = "Standing against passes spent"
        found.append(Chart(title, label, "standing", tuple(lines), True, percent=True, x_names=names, caption=caption))
    for model, _, depth in known:
        left, bars = depth.survivors.left, []
        for k, number in enumerate(left):
            name = f"{100 * k // len(left)} to {100 * (k + 1) // len(left)} %"
            tip = f"{count(number, 'image')} with {name} of the clean margin left"
            bars.append(Bar(name, (float(number),), tip=tip, colour=model.colour))
        if sum(left):
            title = f"{model.name}: images that stand, by what is left of the clean margin"
            found.append(Bars(title, "images", tuple(bars), ("images",)))
    said = [f"{model.name}: {' '.join(_depth_words(depth))}" for model, _, depth in known]
    return [Words((*said, f"The forecasts take for granted that {known[0][2].next_doubling.assumption}.")), *found]


def _depth_words(depth: Depth) -> list[str]:
    left, margins = depth.survivors.left, depth.survivors.margins
    said = [_forecast(depth.next_doubling)]
    if margins:
        near = f"{sum(left[:1])} of {count(sum(left), 'image')} that stand kept less than a tenth of the clean margin"
        ends = f"the worst margin of the nearest is {-margins[4]:.3g}, of the middle one {-margins[2]:.3g}"
        said.append(f"{near}; {ends}.")
    if depth.at_most:
        said.append(f"Its worst case is printed as at most, because {'; and because '.join(depth.at_most)}.")
    return said


def _forecast(d: Doubling) -> str:
    """What the last doubling broke, and what the next would."""
    (low, high), spent = d.interval, f"{figure(d.passes[0])} passes an image"
    if not d.standing:
        return f"No image stands: the last one fell within {spent}."
    if d.doublings == 1:
        last = f"The last doubling of effort, up to {spent}, broke {d.fell} of the {d.of} images that it met"
    else:
        share = f"{100 * d.fell / d.of:.1f} % of the images that it met ({d.fell} of {d.of}, both together)"
        last = f"Each of the last {d.doublings} doublings of effort, up to {spent}, broke {share}"
    more = f"{low} to {high} more" if high > low else f"{low} more"
    return f"{last}; at this rate the next breaks {more} of the {d.standing} that stand ({d.broken:.1f} expected)."


def breaks(models: Sequence[Model]) -> list[Block]:
    """Per model which attacks broke the same images."""
    return [
        _breaks(m, f"{m.name}, {threat_text(m.result)}", m.result.breaks)
        for m in models
        if m.result is not None and m.result.breaks is not None
    ]


def _breaks(model: Model, title: str, breaks: Breaks) -> Bars:
    groups = breaks.largest()
    overlapping = breaks.what != FIRST or any(len(group.members) > 1 for group in groups)
    shown, others = groups[:MOST], groups[MOST:]
    parts = [f"{breaks.what or 'attacks'}: {sum(g.count for g in groups)} of {count(breaks.n, 'image')} broken"]
    if others:
        kind = "other combination" if overlapping else "other attack"
        parts.append(f"{count(len(others), kind)}: {count(sum(g.count for g in others), 'image')}, not drawn")
    sizes = breaks.sizes()
    idle = sizes.count(0)
    if idle and not overlapping:
        parts.append(f"{idle} of {count(len(sizes), 'attack')} broke none")
    note = "; ".join(parts) + "."
    names = list(breaks.sets)
    if overlapping:
        names = [f"{name}: {size}" for name, size in zip(names, sizes, strict=True)]
        note += " A row: images broken by exactly the attacks that are marked; behind a name all that it broke."
    rows = []
    for group in shown if overlapping else sorted(shown, key=lambda group: min(group.members)):
        broke = [breaks.sets[k] for k in sorted(group.members)]
        only = "only " if len(broke) < len(breaks.sets) else ""
        tip = f"{count(group.count, 'image')} broken by {only}{listing(broke)}"
        if not overlapping:
            tip = f"{broke[0]} broke {group.count} of {count(breaks.n, 'image')} first"
        rows.append(Bar(listing(broke), (float(group.count),), (), tuple(sorted(group.members)), tip, model.colour))
    sets = tuple(names) if overlapping else ()
    return Bars(title, "images", tuple(rows), ("images",), (), sets, caption=note[0].upper() + note[1:])


def curves(models: Sequence[Model]) -> list[Block]:
    """Accuracy against eps, a chart and a table per norm and space."""
    groups: dict[str, list[tuple[Model, dict[float, Accuracy]]]] = {}
    for model in models:
        if model.result is not None and model.result.curve:
            where = f"{model.result.norm or 'norm not saved'}, {space_text(model.result.space)}"
            points: dict[float, Accuracy] = {
                point.eps: point for point in sorted(model.result.curve, key=attrgetter("eps"))
            }
            groups.setdefault(where, []).append((model, points))
    found: list[Block] = []
    for where, group in groups.items():
        grid = sorted({eps for _, points in group for eps in points})
        lines = tuple(curve(m.name, m.colour, list(points), list(points.values())) for m, points in group)
        names = tuple((eps, eps_text(eps)) for eps in grid)
        caption = f"Worst-case accuracy under the suite at each eps ({where}); bands are 95 % intervals."
        title = "Accuracy against eps"
        rows = [Row(eps_text(eps), tuple(cell(points.get(eps), 100) for _, points in group)) for eps in grid]
        chart = Chart(title, f"eps ({where})", "accuracy", lines, percent=True, x_names=names, caption=caption)
        found += [chart, Table(f"{title} ({where})", tuple(m.name for m, _ in group), tuple(rows), head="eps")]
    return found


def training(models: Sequence[Model]) -> list[Block]:
    """What was logged of each model over epochs."""
    return [block for m in models if m.trained_here and m.run.epochs for block in _training(m)]


def _training(model: Model) -> list[Block]:
    epochs = model.run.epochs
    logged = dict.fromkeys(key for epoch in epochs for key in (*epoch.train, *epoch.validation) if key != "n")
    if all(epoch.train.get("cross_entropy") == epoch.train.get("loss") for epoch in epochs):
        logged.pop("cross_entropy", None)
    first = [what for what in ("accuracy", "loss") if what in logged]
    planned, lost = epochs[-1].planned, sum(math.isnan(value) for epoch in epochs for value in epoch.train.values())
    note = count(len(epochs), "epoch") if planned in (None, len(epochs)) else f"{len(epochs)} of {planned} epochs"
    note += f"; {count(lost, 'training figure')} not finite" if lost else ""
    charts = [_epochs(model, what) for what in dict.fromkeys([*first, *logged])]
    return [Words((note,), model.name), *charts]


def _epochs(model: Model, what: str) -> Chart:
    lines = []
    for source in ("train", "validation"):
        logged = [(float(epoch.epoch), getattr(epoch, source)) for epoch in model.run.epochs]
        points = [(number, figures[what]) for number, figures in logged if what in figures]
        if points:
            x, y = zip(*points, strict=True)
            lines.append(Line(source, x, y, style="line" if source == "train" else "dashed", colour=model.colour))
    label, share = what.replace("_", " "), what in ("accuracy", "robust")
    return Chart(f"{model.name}: {label}", "epoch", label, tuple(lines), percent=share)
