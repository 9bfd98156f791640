"""The section about theorems: what each says, and what was measured on the networks of the page."""

from __future__ import annotations

from robustsnn.draw.table import figure_text
from robustsnn.records.exhibit import Block, Cell, Chart, Line, Row, Table, Words
from robustsnn.reporting.figures import ShownQuantity, decimals, line
from robustsnn.reporting.wording import count, listing
from robustsnn.studies.shared.tally import found as tally_found
from robustsnn.studies.study import Named, Shown
from robustsnn.studies.theory.record import DensityBound, DifferenceRecord, Refused, Sharing, Theory
from robustsnn.studies.theory.signal_values import Pair, SignalToNoise

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


def blocks(files: Shown[Theory]) -> list[Block]:
    """What was found in the models, theorem by theorem; nothing where none was asked."""
    found: list[Block] = []
    for key, draw in (("signal", _signal), ("sharing", _sharing), ("density", _density), ("difference", _difference)):
        asked = [(model, part) for model, file in files if (part := vars(file)[key]) is not None]
        shown = [(model, part) for model, one in asked for part in (one.values() if isinstance(one, dict) else [one])]
        measured = [(model, part) for model, part in shown if not isinstance(part, Refused)]
        left = [f"{model.name}: not measured, {part.refused}." for model, part in shown if isinstance(part, Refused)]
        found += draw(measured) if measured else []
        found += [Words(tuple(dict.fromkeys(left)))] if left else []
    return [Words((_ABOUT,)), *found] if found else []


def _signal(shown: Shown[SignalToNoise]) -> list[Block]:
    words, lines = [_SIGNAL], []
    for model, entry in shown:
        fell = [pair for pair in entry.pairs if pair.held is False]
        sure = [pair for pair in fell if _sign(pair) < 0]
        where = listing([f"{pair.before} to {pair.after}" for pair in fell])
        if entry.held:
            said = "the ratio fell nowhere"
        elif not fell:
            said = "it is undefined for some number of steps"
        else:
            which = f" in {len(sure)} of these" if len(fell) > 1 else ""
            settled = f"the 95 % interval of the difference is below 0{which}"
            said = f"the ratio fell from {where} steps; {settled if sure else 'the intervals do not settle it'}"
        anew = "trained anew for each number of steps" if entry.trained_anew else "one network, run longer"
        words.append(f"{model.name}, {count(entry.n, 'image')}, {anew}: {said}.{_distrust(entry)}")
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


def _distrust(entry: SignalToNoise) -> str:
    """A sentence where a whole interval is below zero, which no ratio of squares can be."""
    ends = [(at.steps, at.network.sup.snr.interval) for at in entry.at]
    below = [str(steps) for steps, interval in ends if interval is not None and interval[1] < 0]
    if not below:
        return ""
    return f" At T = {listing(below)} the interval is below 0, which no ratio can be: do not rely on these intervals."


def _sign(pair: Pair) -> int:
    """-1 or 1 where the interval of the difference is on one side of zero, else 0."""
    ends = pair.difference.interval
    return 0 if ends is None else (ends[0] > 0) - (ends[1] < 0)


def _over_steps(model: Named, entry: SignalToNoise) -> Line:
    found = [at.network.sup.snr for at in entry.at]
    best = [ShownQuantity(one.interval, one.n, one.corrected if one.interval else one.value) for one in found]
    return line(model.name, (at.steps for at in entry.at), best, model.colour)


def _sharing(shown: Shown[Sharing]) -> list[Block]:
    words, lines = [_SHARING], []
    for model, entry in shown:
        trend, ends = entry.trend, entry.trend and entry.trend.interval
        if trend is None:
            said = "there is no trend to speak of, since too few correlations are defined"
        else:
            decided = ends is not None and not ends[0] <= 0 <= ends[1]
            direction = "falls" if trend.value < 0 else "does not fall"
            said = f"the correlation {direction} with depth, trend {ShownQuantity(ends, trend.n, trend.value).text()}"
            said += (
                ""
                if decided
                else "; the interval does not settle the sign"
                if ends
                else "; too few weights for an interval"
            )
        left = f"; {count(entry.undefined, 'weight')} without a correlation left out" if entry.undefined else ""
        words.append(f"{model.name}, {count(entry.n, 'image')}: {said}{left}.")
        tensors = [(one.depth, one.pearson) for one in entry.tensors if one.pearson is not None]
        found = [ShownQuantity(one.interval, one.n, one.value) for _, one in tensors]
        lines.append(line(model.name, (depth for depth, _ in tensors), found, model.colour, "points"))
    chart = Chart(
        "Correlation of zeros in the input gradient and in weight gradients",
        "depth of the weight, 1 is nearest to the input",
        "Pearson's correlation over images",
        tuple(lines),
        caption="One mark per weight tensor, with 95 % intervals.",
    )
    drawn: list[Block] = [chart] if any(each.x for each in lines) else []
    return [Words(tuple(words), "Zeros at the input and at the weights"), *drawn]


def _density(shown: Shown[DensityBound]) -> list[Block]:
    words, rows = [_DENSITY], []
    for model, entry in shown:
        for bound in entry.bounds:
            cells = tally_found(bound.left).cell(), Cell(bound.right), Cell(float(bound.entries))
            rows.append(Row(bound.reading, cells, model.name))
        words.append(f"{model.name}: {_bounds(entry)}")
    values = [cell.ours for row in rows for cell in row.cells[:2]]
    columns = ("left side", "right side", "entries")
    digits = min(3, decimals(values))
    table = Table("Both sides of theorem 4.4", columns, tuple(rows), "non-zero entries", digits, "reading")
    return [Words(tuple(words), "A bound on the first weight gradient"), *([table] if rows else [])]


def _bounds(entry: DensityBound) -> str:
    said = []
    for bound in entry.bounds:
        holds = "holds" if bound.holds else "does not hold"
        said.append(f"read as {bound.reading} it {holds}{' and bounds nothing' if bound.vacuous else ''}")
    missing = [one.text for one in entry.assumptions if not one.holds]
    conditions = f" Not met of its conditions and steps: {'; '.join(missing)}." if missing else ""
    return f"{listing(said) or 'it cannot be evaluated'}.{conditions}"


def _difference(shown: Shown[DifferenceRecord]) -> list[Block]:
    words, lines = [_DIFFERENCE], []
    for model, entry in shown:
        name, style = f"{model.name}, {'smooth' if entry.smooth else 'spiking'}", "dashed" if entry.smooth else "line"
        errors = [step.median_error for step in entry.steps]
        lines.append(line(name, (step.h for step in entry.steps), errors, model.colour, style))
        words.append(f"{name}, {count(entry.n, 'image')}: {_order(entry)}")
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


def _order(entry: DifferenceRecord) -> str:
    # Of the last two h alone: it is as h tends to 0 that proposition 1 promises an order.
    order, last = next(iter(entry.orders[::-1]), None), entry.steps[-1]
    said = (
        "no order can be fitted"
        if order is None
        else f"between the two smallest h the error goes like h to the power {figure_text(order, 2)}"
    )
    stays = f"; {last.still.text(percent=True)} of the differences are 0 though the norm is not"
    median = last.median_error.text(percent=True)
    return f"{said}; at h = {last.h:.4g} its median is {median}{stays if last.still.value else ''}."
