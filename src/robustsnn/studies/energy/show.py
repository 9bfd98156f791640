"""The section about activity and energy: how often neurons fire, and an estimate of what one inference costs."""

from __future__ import annotations

from collections.abc import Sequence

from robustsnn.records.exhibit import Block, Cell, Chart, Line, Row, Table, Words
from robustsnn.reporting.figures import decimals, line
from robustsnn.reporting.wording import count, percent
from robustsnn.studies.energy.record import Energy
from robustsnn.studies.shared.tally import found
from robustsnn.studies.study import Named, Shown

_UNITS = (("mJ", 1e3), ("µJ", 1e6), ("nJ", 1e9), ("pJ", 1e12))


def blocks(shown: Shown[Energy]) -> list[Block]:
    """What `analysis/energy.json` of the models says."""
    unit, times = _unit([found(entry.joule).value for _, entry in shown])
    words = [_about(shown), *(_words(model, entry, unit, times) for model, entry in shown)]
    return [Words(tuple(words)), *_rates(shown), _joules(shown, unit, times), _operations(shown)]


def _unit(values: Sequence[float | None]) -> tuple[str, float]:
    """The largest unit in which the largest value is at least 1."""
    largest = max([value for value in values if value], default=1e-9)
    return next(((name, times) for name, times in _UNITS if largest * times >= 1), _UNITS[-1])


def _about(shown: Shown[Energy]) -> str:
    costs = {(entry.mac, entry.ac) for _, entry in shown}
    each = " or ".join(f"{1e12 * mac:.3g} pJ and {1e12 * ac:.3g} pJ" for mac, ac in sorted(costs))
    return (
        f"Energy is counted, not measured: {each} for a multiply-accumulate and an accumulate, of convolutions and "
        "linear layers alone. Memory traffic, norms, pooling and the neurons themselves are left out, and a dense "
        "network of the same layers need not have the same accuracy."
    )


def _words(model: Named, entry: Energy, unit: str, times: float) -> str:
    rate, saving = entry.rate, entry.saving
    value = found(entry.joule, 1 / times)
    fires = "it has no neuron layers" if rate is None else f"a neuron fires at {percent(rate)} of the steps"
    than = ""
    if saving is not None:
        than = f"; a dense network of the same layers costs {saving:.3g} times as much"
    dead = sum(layer.dead for layer in entry.activity)
    neurons = sum(layer.neurons for layer in entry.activity)
    silent = f" {dead} of {count(neurons, 'neuron')} fired for no image." if dead else ""
    return (
        f"{model.name}, {count(entry.n, 'image')}, {count(entry.steps, 'step')}: {fires}; one "
        f"inference costs {value.text()} {unit}{than}.{silent}"
    )


def _rates(shown: Shown[Energy]) -> list[Chart]:
    groups: dict[tuple[str, ...], list[tuple[Named, Energy]]] = {}
    for model, entry in shown:
        names = tuple(layer.name for layer in entry.activity)
        if names:
            groups.setdefault(names, []).append((model, entry))
    charts = [_per_layer(names, group) for names, group in groups.items()]
    return [*charts, _per_step([pair for group in groups.values() for pair in group])] if groups else []


def _per_layer(names: tuple[str, ...], group: Shown[Energy]) -> Chart:
    places = tuple(float(k) for k in range(1, len(names) + 1))
    lines = []
    for model, entry in group:
        lines.append(line(model.name, places, [found(layer.rate) for layer in entry.activity], model.colour))
    named = tuple(zip(places, names, strict=True))
    caption = "Mean over neurons, steps and images; bands are 95 % intervals over images."
    return Chart("Firing rate per layer", "layer", "share of steps with a spike", tuple(lines), percent=True,
                 x_names=named, caption=caption)  # fmt: skip


def _per_step(group: Shown[Energy]) -> Chart:
    lines = []
    for model, entry in group:
        layers = entry.activity
        weights = [layer.neurons for layer in layers]
        steps = min(len(layer.rates) for layer in layers)
        rates = [layer.rates for layer in layers]
        sums = [sum(w * r[k] for w, r in zip(weights, rates, strict=True)) for k in range(steps)]
        y = tuple(total / max(1, sum(weights)) for total in sums)
        lines.append(Line(model.name, tuple(float(k) for k in range(1, steps + 1)), y, colour=model.colour))
    return Chart("Firing rate per time step", "time step", "share of neurons that fire", tuple(lines), percent=True,
                 caption="Over all neurons of the network.")  # fmt: skip


def _joules(shown: Shown[Energy], unit: str, times: float) -> Table:
    rows = []
    for model, entry in shown:
        dense = Cell(times * entry.ann_joule)
        rows.append(Row(model.name, (found(entry.joule).cell(times), found(entry.joule_once).cell(times), dense)))
    columns = ("spiking, input multiplied at each step", "spiking, input multiplied once", "dense network")
    digits = decimals([cell.ours for row in rows for cell in row.cells])
    return Table("Energy of one inference", columns, tuple(rows), f"{unit} per image", digits, "model")


def _operations(shown: Shown[Energy]) -> Table:
    rows = []
    for model, entry in shown:
        for layer in entry.layers:
            spikes = found(layer.synops).cell(1e-3) if layer.synops else Cell()
            cells = (Cell(1e-3 * layer.macs), spikes, Cell(100 * layer.density))
            rows.append(
                Row(
                    f"{layer.name} ({layer.kind}, {count(layer.runs, 'run')})",
                    cells,
                    model.name,
                )
            )
    columns = (
        "multiply-accumulates of one dense run, in 1000",
        "synaptic operations, in 1000",
        "input entries not 0, in %",
    )
    return Table("Operations per image and layer", columns, tuple(rows), "", 1, "layer")
