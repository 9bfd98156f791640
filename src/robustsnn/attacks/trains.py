"""The first layer of a spiking network under direct coding: which trains of spikes a box of images can cause.

Its current c = A x + b is the same at every step, so the train of a neuron is a function of one number, constant on
intervals. The trains of all its neurons fix everything that follows. A set of images with given trains is therefore
a polytope: the box, cut by two bounds on (A x + b)_i for each neuron i.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robustsnn.encoders import Direct
from robustsnn.ground.errors import UserError
from robustsnn.ground.modes import at_least_float32
from robustsnn.ground.types import Logits
from robustsnn.neurons import LIF, Neurons, compilation

Array = NDArray[np.float64]
Choice = NDArray[np.int64]  # per neuron, the number of a cell


def cells(neuron: LIF, steps: int) -> tuple[Array, NDArray[np.float32]]:
    """Where the train of a neuron changes with its constant current c: breaks `[m]` ascending, trains `[m + 1, T]`.

    trains[j] is what it fires for breaks[j - 1] <= c < breaks[j], half open as u >= theta is. While the train stays
    the same, u[t] = a c + e with a > 0, so u[t] >= theta is a bound on c, and a step cuts an interval in at most two.
    Under soft reset some bounds coincide, and rounding leaves an interval between them where there is none: what is
    narrower than 1e-9 theta is left out.
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
    parts = [part for part in parts if part[1] - part[0] > 1e-9 * neuron.theta]
    return np.array([part[0] for part in parts[1:]]), np.array([part[2] for part in parts], dtype=np.float32)


@dataclass(frozen=True, eq=False)
class FirstLayer:
    """A network cut behind its first neurons.

    weight `[n, pixels]` and bias `[n]` make currents of flat images, in float64; `rest` maps their trains
    `[T, B, n]` to logits, as the network itself does.
    """

    weight: Array
    bias: Array
    breaks: Array
    trains: NDArray[np.float32]
    rest: Callable[[Tensor], Logits]

    def range(self, low: Array, high: Array, tolerance: float) -> tuple[Choice, Choice]:
        """The first and last cell of each neuron over all images between `low` and `high`, give or take a tolerance.

        Attained neuron by neuron: over a box the current A x + b spans centre +- |A| radius.
        """
        centre = self.weight @ ((low + high) / 2) + self.bias
        radius = np.abs(self.weight) @ ((high - low) / 2) + tolerance
        return np.searchsorted(self.breaks, centre - radius), np.searchsorted(self.breaks, centre + radius)

    def cell(self, pixels: Array) -> Choice:
        """The cell of each neuron at an image."""
        return np.searchsorted(self.breaks, self.weight @ pixels + self.bias, side="right")

    def logits(self, choices: Choice) -> Logits:
        """Of the trains in the cells `[B, n]`."""
        with torch.no_grad(), compilation("never"):
            return self.rest(torch.from_numpy(self.trains[choices]).movedim(2, 0))


def first_layer(model: nn.Module) -> FirstLayer:
    """The first layer of a classifier on the CPU; UserError if it is not made for direct coding, or not affine.

    What lies before the first neurons may be anything that is affine in eval mode: it is read off at the unit
    vectors, and compared with the layers themselves at random points.
    """
    name = type(model).__name__
    body, encoder = getattr(model, "body", None), getattr(model, "encoder", None)
    if not isinstance(body, nn.Sequential) or not isinstance(encoder, Direct):
        raise UserError(f"{name}: the exact solver needs a classifier of layers in sequence, with direct coding")
    at = next((i for i, layer in enumerate(body) if type(layer) is Neurons), None)
    if at is None:
        raise UserError(f"{name}: the exact solver finds no layer of neurons among {[type(m).__name__ for m in body]}")
    neurons = body[at]
    assert isinstance(neurons, Neurons)
    twin = copy.deepcopy(model).double().eval()
    before = lambda x: twin.body[:at](twin.encoder((x - twin.pixel_mean) / twin.pixel_std))[0]  # type: ignore[operator,index] # noqa: E731
    weight, bias, shape = _affine(before, twin.image, name)  # type: ignore[arg-type]

    def rest(trains: Tensor) -> Logits:
        return at_least_float32(body[at + 1 :](trains.unflatten(2, shape))).mean(0)

    return FirstLayer(weight, bias, *cells(neurons.neuron, neurons.steps), rest)


@torch.no_grad()
def _affine(layers: Callable[[Tensor], Tensor], shape: tuple[int, ...], name: str) -> tuple[Array, Array, torch.Size]:
    """Weight, bias and output shape of layers `[B, *shape]` -> `[B, ...]`."""
    size = int(np.prod(shape))
    run = lambda rows: layers(rows.view(-1, *shape))  # noqa: E731
    zero, units = run(torch.zeros(1, size).double()), run(torch.eye(size).double())
    bias = zero[0].flatten()
    weight = (units.flatten(1) - bias).T
    points = torch.rand(4, size, generator=torch.Generator().manual_seed(0)).double()
    if not torch.allclose(points @ weight.T + bias, run(points).flatten(1), rtol=1e-7, atol=1e-9):
        raise UserError(f"{name}: what lies before the first neurons is not affine; the exact solver needs that")
    return weight.numpy(), bias.numpy(), zero.shape[1:]
