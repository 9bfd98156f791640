"""Gradient rules: how a loss is differentiated through a layer of spiking neurons.

A rule turns dL/ds (upstream, `[T, M]`) into dL/dI (`[T, M]`) given the input current. It never takes
part in the forward pass, so the logits are bit-identical under every rule. M counts the neurons of
the layer times the batch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from robustsnn.errors import UserError
from robustsnn.neurons.integrate import LIF
from robustsnn.neurons.surrogate import Surrogate, Triangle


@runtime_checkable
class GradientRule(Protocol):
    """The backward pass of a layer of neurons; a value that can be hashed, compared and printed."""

    def input_gradient(self, upstream: Tensor, current: Tensor, neuron: LIF) -> Tensor:
        """dL/dI, in the shape and dtype of `current`.

        Args:
            upstream: dL/ds, `[T, M]`.
            current: I, `[T, M]`, or `[1, M]` if it was the same at every step; then the gradients of
                all steps are summed.
            neuron: the dynamics that the forward pass used.
        """
        ...


def _gather(gradients: list[Tensor], current: Tensor) -> Tensor:
    """Steps stacked, or summed where one current served all of them."""
    if current.shape[0] == 1 and len(gradients) > 1:
        total = gradients[0]
        for gradient in gradients[1:]:
            total = total + gradient
        gradients = [total]
    return torch.stack([gradient.to(current.dtype) for gradient in gradients])


@dataclass(frozen=True)
class STBP:
    """Spatio-temporal backpropagation: BPTT with the step's derivative replaced by a surrogate slope g.

        dL/du[t] = dL/ds[t] g(u[t] - theta) + tau dL/du[t+1] dV[t]/du[t],     dL/dI[t] = k dL/du[t]

    with dV/du of `LIF.reset_slope`. Source: Wu et al. 2018; eq. 27-29 of the sparsity-regularisation
    paper give the surrogates of its ensemble attack.
    """

    surrogate: Surrogate = field(default_factory=Triangle)

    def input_gradient(self, upstream: Tensor, current: Tensor, neuron: LIF) -> Tensor:
        steps = upstream.shape[0]
        carried: Tensor | None = None
        gradients = []
        # The potentials are recomputed from the current: cheaper than writing and reading them.
        for t, (potential, spike) in reversed(list(enumerate(neuron.run(current, steps)))):
            slope = self.surrogate.slope(potential - neuron.theta)
            gradient = upstream[t].to(slope.dtype) * slope
            if carried is not None:
                gradient = gradient + carried * neuron.reset_slope(potential, spike, slope)
            carried = gradient if neuron.tau == 1 else gradient * neuron.tau
            gradients.append(gradient if neuron.gain == 1 else gradient * neuron.gain)
        return _gather(gradients[::-1], current)


@dataclass(frozen=True)
class RGA:
    """Rate gradient approximation: the layer is differentiated as a function of its mean current.

    With xb = (k/T) sum_t I[t] and the firing rate r as a piecewise linear function of xb,

        dr/dxb = gamma                                              0 <= xb < (1 - tau) theta
        dr/dxb = (1 - gamma theta (1 - tau)) / ((1 + tau) theta)    (1 - tau) theta <= xb <= 2 theta
        dr/dxb = 0                                                  elsewhere,

    and dL/dI[t] = k dr/dxb dL/ds[t]. Source: Bu et al., CVPR 2023. The released code closes both
    intervals at (1 - tau) theta, so that the two slopes add there (at xb = 0 for IF neurons); here the
    first interval is half open, and that point alone differs.
    """

    gamma: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.gamma < float("inf"):
            raise UserError(f"RGA(gamma={self.gamma!r}): the slope must be >= 0")

    def input_gradient(self, upstream: Tensor, current: Tensor, neuron: LIF) -> Tensor:
        dtype = torch.promote_types(current.dtype, torch.float32)
        mean = current.to(dtype).mean(0) * neuron.gain
        knee = (1 - neuron.tau) * neuron.theta
        steep = (1 - self.gamma * knee) / ((1 + neuron.tau) * neuron.theta)
        low = ((mean >= 0) & (mean < knee)).to(dtype) * self.gamma
        high = ((mean >= knee) & (mean <= 2 * neuron.theta)).to(dtype) * steep
        slope = (low + high) * neuron.gain
        return _gather([step.to(dtype) * slope for step in upstream.unbind()], current)
