"""A network of spikes as numbers: affine maps between layers of neurons, and what its potentials can be in a box.

    x -> A_1 x + b_1 -> neurons -> A_2 s[t] + b_2 -> neurons -> ... -> z = (1/T) sum_t (A_L s[t] + b_L)

Under direct coding the first current c = A_1 x + b_1 is the same at every step, so the train of a first neuron is a
function of one number, constant on intervals (`cells`), and all that follows is a function of these trains alone.
Everything is float64, images are flat.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robustsnn.encoders import Direct
from robustsnn.errors import UserError
from robustsnn.neurons import LIF, Neurons, neuron_layers

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Stage:
    """`weight @ input + bias` per step, then `neuron`; the last stage has none."""

    weight: Array  # [n, m]
    bias: Array  # [n]
    neuron: LIF | None

    def currents(self, low: Array, high: Array) -> tuple[Array, Array]:
        """Bounds `[n, T]` of the currents for inputs between `low` and `high` `[m, T]`, attained entry by entry."""
        up, down = np.maximum(self.weight, 0), np.minimum(self.weight, 0)
        bias = self.bias[:, None]
        return up @ low + down @ high + bias, up @ high + down @ low + bias


@dataclass(frozen=True, eq=False)
class Cells:
    """Trains of a neuron under a constant current: `trains[j]` on [breaks[j-1], breaks[j]), half open like u >= theta.

    breaks `[m]` ascends, trains are `[m + 1, T]` of zeros and ones.
    """

    breaks: Array
    trains: Array


def cells(neuron: LIF, steps: int) -> Cells:
    """Where the train of a neuron changes with its constant current c.

    As long as the train is the same, u[t] = a c + e with a > 0, so u[t] >= theta is a bound on c, and each step
    cuts an interval of currents in at most two.
    """
    parts: list[tuple[float, float, tuple[int, ...], float, float]] = [(-np.inf, np.inf, (), 0.0, 0.0)]
    for _ in range(steps):
        cut = []
        for low, high, train, slope, offset in parts:  # V = slope c + offset
            a, e = neuron.tau * slope + neuron.gain, neuron.tau * offset
            at = (neuron.theta - e) / a
            if low < at:
                cut.append((low, min(high, at), (*train, 0), a, e))
            if at < high:
                after = (0.0, 0.0) if neuron.reset == "hard" else (a, e - neuron.theta)
                cut.append((max(low, at), high, (*train, 1), *after))
        parts = sorted(cut)
    return Cells(np.array([part[0] for part in parts[1:]]), np.array([part[2] for part in parts], dtype=np.float64))


def stages(model: nn.Module) -> tuple[list[Stage], int]:
    """The stages of a classifier and its T; UserError for a network that is not built like this.

    What lies between two layers of neurons may be anything that is affine in eval mode: it is read off at the unit
    vectors, and compared with the layers themselves at random points.
    """
    name = type(model).__name__
    body, encoder = getattr(model, "body", None), getattr(model, "encoder", None)
    if not isinstance(body, nn.Sequential) or not isinstance(encoder, Direct):
        raise UserError(f"{name}: the exact solver needs a classifier of layers in sequence with direct coding")
    twin = copy.deepcopy(model).double().eval()
    blocks: list[tuple[list[nn.Module], Neurons | None]] = [([], None)]
    for layer in twin.body:  # type: ignore[union-attr]
        if type(layer) is Neurons:
            blocks[-1] = (blocks[-1][0], layer)
            blocks.append(([], None))
        elif neuron_layers(layer):
            raise UserError(
                f"{name}: neurons inside a {type(layer).__name__}, which the exact solver cannot take apart"
            )
        else:
            blocks[-1][0].append(layer)
    steps = {neurons.steps for _, neurons in blocks if neurons is not None}
    if len(steps) != 1:
        raise UserError(f"{name}: layers of neurons with T in {sorted(steps)}; the exact solver needs one T")
    found: list[Stage] = []
    shape: tuple[int, ...] = twin.image  # type: ignore[assignment]
    for layers, neurons in blocks:
        before = [] if found else [lambda x: (x - twin.mean) / twin.std]
        weight, bias, shape = _affine([*before, *layers], shape, name)
        found.append(Stage(weight, bias, None if neurons is None else neurons.neuron))
    return found, steps.pop()


@torch.no_grad()
def _affine(layers: list, shape: tuple[int, ...], name: str) -> tuple[Array, Array, tuple[int, ...]]:
    """Weight, bias and output shape of layers `[1, B, *shape]` -> `[1, B, ...]`."""

    def run(rows: Tensor) -> Tensor:
        y = rows.reshape(1, len(rows), *shape)
        for layer in layers:
            y = layer(y)
        return y[0]

    size = int(np.prod(shape))
    at_zero, at_units = run(torch.zeros(1, size).double()), run(torch.eye(size).double())
    bias = at_zero[0].flatten()
    weight = (at_units.flatten(1) - bias).T
    points = torch.randn(4, size, generator=torch.Generator().manual_seed(0)).double()
    if not torch.allclose(points @ weight.T + bias, run(points).flatten(1), rtol=1e-7, atol=1e-9):
        raise UserError(f"{name}: what lies between two layers of neurons is not affine; the exact solver needs that")
    return weight.numpy(), bias.numpy(), tuple(at_zero.shape[1:])


@dataclass(frozen=True, eq=False)
class Reach:
    """What a layer can do: bounds of its potentials `[n, T]`, and of its spikes `[n, T]` (0 or 1).

    A spike whose bounds are equal is decided. For the first layer `first` and `last` `[n]` are the cells that its
    current can lie in, and the potentials are the currents, `[n, 1]`.
    """

    low: Array
    high: Array
    least: Array
    most: Array
    first: NDArray[np.int64] | None = None
    last: NDArray[np.int64] | None = None


def reach(network: list[Stage], steps: int, low: Array, high: Array, tolerance: float) -> list[Reach]:
    """Bounds for all images between `low` and `high`, layer of neurons by layer.

    A spike is decided if its potential stays more than `tolerance` away from the threshold.
    """
    first = network[0]
    current = first.currents(low[:, None], high[:, None])
    assert first.neuron is not None
    table = cells(first.neuron, steps)
    begin = np.searchsorted(table.breaks, current[0][:, 0] - tolerance)
    end = np.searchsorted(table.breaks, current[1][:, 0] + tolerance)
    ranges = [table.trains[a : b + 1] for a, b in zip(begin, end, strict=True)]
    least, most = (np.stack([pick(trains, 0) for trains in ranges]) for pick in (np.min, np.max))
    found = [Reach(*current, least, most, begin, end)]
    for stage in network[1:-1]:
        assert stage.neuron is not None
        found.append(_fired(stage.neuron, *stage.currents(least, most), tolerance))
        least, most = found[-1].least, found[-1].most
    return found


def _fired(neuron: LIF, low: Array, high: Array, tolerance: float) -> Reach:
    """Bounds of potentials and spikes for currents between `low` and `high` `[n, T]`."""
    theta = neuron.theta
    kept_low = kept_high = np.zeros(len(low))
    lows, highs, least, most = [], [], [], []
    for t in range(low.shape[1]):
        u_low = neuron.tau * kept_low + neuron.gain * low[:, t]
        u_high = neuron.tau * kept_high + neuron.gain * high[:, t]
        must, may = u_low >= theta + tolerance, u_high >= theta - tolerance
        silent_high = np.minimum(u_high, theta + tolerance)  # without a spike the potential is below theta
        if neuron.reset == "hard":
            reset_low = reset_high = np.zeros_like(u_low)
        else:
            reset_low, reset_high = np.maximum(u_low, theta - tolerance) - theta, u_high - theta
        kept_low = np.where(must, reset_low, np.where(may, np.minimum(u_low, reset_low), u_low))
        kept_high = np.where(must, reset_high, np.where(may, np.maximum(silent_high, reset_high), u_high))
        for values, value in zip((lows, highs, least, most), (u_low, u_high, must, may), strict=True):
            values.append(value)
    stacked = [np.stack(values, 1).astype(np.float64) for values in (lows, highs, least, most)]
    return Reach(stacked[0], stacked[1], stacked[2], stacked[3])
