"""What a step of time makes of NIR's neurons, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robustsnn.ground.errors import UserError
from robustsnn.neurons import LIF

DT = 1e-4
"""Seconds per step, as other frameworks have it."""


class Synapse(nn.Module):
    """i[t] = keep i[t-1] + gain I[t], i[0] = 0, the current of CubaLIF: `[T or 1, B, ...]` -> `[T, B, ...]`."""

    def __init__(self, keep: float, gain: float, steps: int) -> None:
        super().__init__()
        self.keep, self.gain, self.steps = keep, gain, steps

    def forward(self, current: Tensor) -> Tensor:
        found: list[Tensor] = []
        for now in current.expand(self.steps, *current.shape[1:]).unbind(0):
            added = now if self.gain == 1 else self.gain * now
            found.append(self.keep * found[-1] + added if found else added)
        return torch.stack(found)

    def extra_repr(self) -> str:
        return f"keep={self.keep}, gain={self.gain}, steps={self.steps}"


def neuron(keep: float, gain: float, node: Any) -> LIF:
    """v[t] = keep v[t-1] + gain I[t] as a neuron of ours, rounded to 12 digits: divisions left their traces."""
    for name in ("v_leak", "v_reset"):
        if hasattr(node, name) and one(node, name) != 0:
            raise UserError(f"{name}={one(node, name):g}: needed is 0")
    keep, gain, theta = round(keep, 12), round(gain, 12), one(node, "v_threshold")
    if keep < 1 and abs(gain - (1 - keep)) < 1e-6 * (1 - keep):
        return LIF(keep, theta, decay_input=True)
    return LIF(keep, theta if abs(gain - 1) < 1e-6 else theta / gain)


def cuba(node: Any, dt: float, steps: int) -> list[nn.Module | LIF]:
    """CubaLIF: the synapse, and the neuron behind it."""
    slow = dt / one(node, "tau_syn")
    keep, gain = round(1 - slow, 12), round(one(node, "w_in") * slow, 12)
    return [Synapse(keep, gain, steps), *lif(node, dt, "tau_mem")]


def lif(node: Any, dt: float, tau: str = "tau") -> list[nn.Module | LIF]:
    """LIF, whose time constant has that name."""
    share = dt / one(node, tau)
    return [neuron(1 - share, one(node, "r") * share, node)]


def written(nir: Any, of: LIF, shape: tuple[int, ...], dt: float) -> Any:
    """The node of a population of neurons of that shape."""

    def full(value: float) -> np.ndarray:
        return np.full(shape, value, np.float64)

    if of.tau == 1:
        return nir.IF(full(1 / dt), full(of.theta), full(0))
    resistance = 1 if of.decay_input else 1 / (1 - of.tau)
    return nir.LIF(full(dt / (1 - of.tau)), full(resistance), full(0), full(of.theta), full(0))


def one(node: Any, name: str) -> float:
    """The value of a parameter that all neurons of a node share."""
    values = np.unique(np.asarray(getattr(node, name), np.float64))
    if len(values) != 1 or not np.isfinite(values[0]):
        raise UserError(f"{name} takes {len(values)} values; needed is one finite number for all its neurons")
    return float(values[0])
