"""The section about theorems: what each says, and what was measured on the networks of the page."""

from __future__ import annotations

import math

from robustsnn.draw.table import figure_text
from robustsnn.records.exhibit import Block, Cell, Chart, Line, Row, Table, Words
from robustsnn.reporting.analysis_file import Entry, decimals
from robustsnn.reporting.wording import count, listing
from robustsnn.studies.study import Named, Shown

_ABOUT = (
    "Each theorem is set beside a measurement on these networks and these images. A theorem that a measurement does "
    "not meet may still be true: its conditions may not hold here. One that is met is not proved by it."
)
_SIGNAL = (
    "Theorem 4.2 of the gradient sparsity trail: the signal-to-noise ratio of the weight gradient, in the sup norm, "
    "does not fall as the number of time steps grows."
)
_SHARING = (
    "Theorem 4.3 of the gradient sparsity trail: sparsity of the input gradient and of the weight gradients go "
    "together, the more the nearer the weights are to the input, so that the trend of their correlation with depth "
    "is negative."
)
_DENSITY = (
    "Theorem 4.4 of the gradient sparsity trail: the non-zero entries of the first weight gradient are at most a "
    "multiple of those of the input gradient. A right side above the number of entries bounds nothing."
)
_DIFFERENCE = (
    "Proposition 1 of sparsity regularisation: the finite difference that training uses tends to the l1 norm of the "
    "gradient as its step h tends to 0. It is about differentiable networks; a spiking one is piecewise constant."
)


def blocks(files: Shown[Entry]) -> list[Block]:
    """What `analysis/theory.json` of the models says, theorem by theorem; nothing where none has one."""
    found: list[Block] = []
    for key, draw in (("signal", _signal), ("sharing", _sharing), ("density", _density), ("difference", _difference)):
        shown = [(model, part) for model, file in files if (part := file.maybe(key)) is not None]
        if key == "difference":
            shown = [(model, part) for model, whole in shown for part in _several(whole)]
        measured = [(model, part) for model, part in shown if "refused" not in part.value]
        left = [
            f"{model.name}: not measured, {part.text('refused')}." for model, part in shown if "refused" in part.value
        ]
        found += draw(measured) if measured else []
        found += [Words(tuple(dict.fromkeys(left)))] if left else []
    return [Words((_ABOUT,)), *found] if found else []


def _several(entry: Entry) -> list[Entry]:
    """One comparison, or several by name."""
    return [entry] if "steps" in entry.value or "refused" in entry.value else [part for _, part in entry.named()]


def _signal(shown: Shown[Entry]) -> list[Block]:
    words, lines = [_SIGNAL], []
    for model, entry in shown:
        fell = [pair for pair in entry.parts("pairs") if pair.truth("held") is False]
        sure = [pair for pair in fell if _sign(pair) < 0]
        where = listing([f"{pair.whole('before')} to {pair.whole('after')}" for pair in fell])
        if entry.truth("held"):
            said = "the ratio fell nowhere"
        elif not fell:
            said = "it is undefined for some number of steps"
        else:
            which = f" in {len(sure)} of these" if len(fell) > 1 else ""
            settled = f"the 95 % interval of the difference is below 0{which}"
            said = f"the ratio fell from {where} steps; {settled if sure else 'the intervals do not settle it'}"
        anew = "trained anew for each number of steps" if entry.truth("trained_anew") else "one network, run longer"
        words.append(f"{model.name}, {count(entry.whole('n'), 'image')}, {anew}: {said}.{_distrust(entry)}")
        lines.append(_over_steps(model, entry))
    chart = Chart(
        "Signal-to-noise ratio of the weight gradient",
        "time steps",
        "sup-norm ratio",
        tuple(lines),
        caption="Corrected for the number of images where that can be done, with 95 % intervals by the jackknife: "
        "approximate for the sup norm. A ratio is at least 0; a point below it is noise of the correction.",
    )
    return [Words(tuple(words), "Signal and noise over time steps"), chart]


def _distrust(entry: Entry) -> str:
    """A sentence where a whole interval is below zero, which no ratio of squares can be."""
    found = [(at.whole("steps"), at.part("network").part("sup").found("snr", "corrected")) for at in entry.parts("at")]
    below = [str(steps) for steps, one in found if one.interval is not None and one.interval[1] < 0]
    if not below:
        return ""
    return f" At T = {listing(below)} the interval is below 0, which no ratio can be: do not rely on these intervals."


def _sign(pair: Entry) -> int:
    """-1 or 1 where the interval of the difference is on one side of zero, else 0."""
    ends = pair.found("difference", "value").interval
    return 0 if ends is None else (ends[0] > 0) - (ends[1] < 0)


def _over_steps(model: Named, entry: Entry) -> Line:
    x, y, bands = [], [], []
    for at in entry.parts("at"):
        sup = at.part("network").part("sup")
        corrected, value = sup.found("snr", "corrected"), sup.found("snr", "value")
        best = corrected.value if corrected.interval is not None else value.value
        x.append(float(at.whole("steps")))
        y.append(math.nan if best is None else best)
        bands.append(corrected.interval)
    return Line(model.name, tuple(x), tuple(y), tuple(bands), colour=model.colour)


def _sharing(shown: Shown[Entry]) -> list[Block]:
    words, lines = [_SHARING], []
    for model, entry in shown:
        trend = entry.maybe("trend")
        ends = None if trend is None else entry.found("trend", "value").interval
        if trend is None:
            said = "there is no trend to speak of, since too few correlations are defined"
        else:
            decided = ends is not None and not ends[0] <= 0 <= ends[1]
            direction = "falls" if trend.number("value") < 0 else "does not fall"
            said = f"the correlation {direction} with depth, trend {entry.found('trend', 'value').text()}"
            said += (
                ""
                if decided
                else "; the interval does not settle the sign"
                if ends
                else "; too few weights for an interval"
            )
        undefined = entry.whole("undefined")
        left = f"; {count(undefined, 'weight')} without a correlation left out" if undefined else ""
        words.append(f"{model.name}, {count(entry.whole('n'), 'image')}: {said}{left}.")
        tensors = [one for one in entry.parts("tensors") if one.maybe("pearson") is not None]
        found = [one.found("pearson", "value") for one in tensors]
        depth = tuple(float(one.whole("depth")) for one in tensors)
        y = tuple(math.nan if one.value is None else one.value for one in found)
        lines.append(Line(model.name, depth, y, tuple(one.interval for one in found), "points", model.colour))
    chart = Chart(
        "Correlation of zeros in the input gradient and in weight gradients",
        "depth of the weight, 1 is nearest to the input",
        "Pearson's correlation over images",
        tuple(lines),
        caption="One mark per weight tensor, with 95 % intervals.",
    )
    drawn: list[Block] = [chart] if any(line.x for line in lines) else []
    return [Words(tuple(words), "Zeros at the input and at the weights"), *drawn]


def _density(shown: Shown[Entry]) -> list[Block]:
    words, rows = [_DENSITY], []
    for model, entry in shown:
        for bound in entry.parts("bounds"):
            left, right = bound.found("left").cell(), Cell(bound.number("right"))
            rows.append(Row(bound.text("reading"), (left, right, Cell(float(bound.whole("entries")))), model.name))
        words.append(f"{model.name}: {_bounds(entry)}")
    values = [cell.ours for row in rows for cell in row.cells[:2]]
    columns = ("left side", "right side", "entries")
    digits = min(3, decimals(values))
    table = Table("Both sides of theorem 4.4", columns, tuple(rows), "non-zero entries", digits, "reading")
    return [Words(tuple(words), "A bound on the first weight gradient"), *([table] if rows else [])]


def _bounds(entry: Entry) -> str:
    said = []
    for bound in entry.parts("bounds"):
        holds = "holds" if bound.truth("holds") else "does not hold"
        said.append(
            f"read as {bound.text('reading')} it {holds}{' and bounds nothing' if bound.truth('vacuous') else ''}"
        )
    missing = [one.text("text") for one in entry.parts("assumptions") if one.truth("holds") is False]
    conditions = f" Not met of its conditions and steps: {'; '.join(missing)}." if missing else ""
    return f"{listing(said) or 'it cannot be evaluated'}.{conditions}"


def _difference(shown: Shown[Entry]) -> list[Block]:
    words, lines = [_DIFFERENCE], []
    for model, entry in shown:
        smooth = entry.truth("smooth") is True
        what = "smooth" if smooth else "spiking"
        steps = entry.parts("steps")
        found = [step.found("median_error", "median") for step in steps]
        y = tuple(math.nan if one.value is None else one.value for one in found)
        h = tuple(step.number("h") for step in steps)
        bands = tuple(one.interval for one in found)
        lines.append(Line(f"{model.name}, {what}", h, y, bands, "dashed" if smooth else "line", model.colour))
        words.append(f"{model.name}, {what}, {count(entry.whole('n'), 'image')}: {_order(entry)}")
    chart = Chart(
        "Error of the finite difference",
        "h",
        "median relative error",
        tuple(lines),
        x_log=True,
        y_log=True,
        caption="Spiking: the network itself. Smooth: the network whose neurons fire the primitive of the surrogate.",
    )
    return [Words(tuple(words), "The finite difference for the l1 norm"), chart]


def _order(entry: Entry) -> str:
    # Of the last two h alone: it is as h tends to 0 that proposition 1 promises an order.
    order, last = next(iter(entry.numbers("orders")[::-1]), math.nan), entry.parts("steps")[-1]
    error, still = last.found("median_error", "median"), last.found("still", "share")
    said = (
        "no order can be fitted"
        if math.isnan(order)
        else f"between the two smallest h the error goes like h to the power {figure_text(order, 2)}"
    )
    stays = f"; {still.text(percent=True)} of the differences are 0 though the norm is not" if still.value else ""
    return f"{said}; at h = {last.number('h'):.4g} its median is {error.text(percent=True)}{stays}."
