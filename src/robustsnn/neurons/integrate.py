"""Integrate and fire: the membrane of a neuron over T steps, as a value without state.

Everything here is plain element-wise PyTorch on `[T, ...]` tensors, written once; `fused` runs it
eagerly or compiled. Every call starts from an empty membrane.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import torch
from torch import Tensor

from robustsnn.ground.door import check_among, check_kind, check_number
from robustsnn.ground.errors import UserError
from robustsnn.ground.modes import at_least_float32
from robustsnn.ground.ranges import Positive, Share
from robustsnn.neurons.surrogate import Surrogate


@dataclass(frozen=True)
class LIF:
    """A leaky integrate-and-fire neuron; `tau = 1` is the integrate-and-fire (IF) neuron.

    For t = 1 .. T, with input current I[t], V[0] = 0 and gain k:

        u[t] = tau V[t-1] + k I[t]               charge
        s[t] = 1 if u[t] >= theta else 0         fire (a potential equal to theta fires)
        V[t] = u[t] (1 - s[t])                   hard reset, to zero
        V[t] = u[t] - theta s[t]                 soft reset, by subtraction

    This is eq. 1-2 of the sparsity-regularisation paper, so `tau` is the factor that the membrane
    keeps per step. A library that writes the leak as a time constant c (u += (I - u)/c) has
    tau = 1 - 1/c.

    Args:
        tau: what the membrane keeps in a step, in (0, 1].
        theta: firing threshold, > 0, in the units of the current.
        decay_input: k = 1 - tau (the current is leaked too) instead of k = 1. Needs tau < 1.
        reset: "hard" or "soft".
        detach_reset: leave the derivative of s[t] in the reset out of the backward pass. The forward
            pass does not change, the gradient does.

    The membrane is kept in float32 also when the current is bfloat16 or float16.
    """

    tau: Share = 1.0
    theta: Positive = 1.0
    decay_input: bool = False
    reset: Literal["hard", "soft"] = "hard"
    detach_reset: bool = False

    def __post_init__(self) -> None:
        for name in ("tau", "theta"):
            check_number(name, getattr(self, name))
        for name in ("decay_input", "detach_reset"):
            check_kind(name, getattr(self, name), bool, "True or False")
        check_among("reset", self.reset, ("hard", "soft"))
        if not 0 < self.tau <= 1:
            raise UserError(
                f"LIF(tau={self.tau!r}): tau is the share of the potential kept per step, in (0, 1]; "
                f"a time constant c >= 1 is tau = 1 - 1/c"
            )
        if not 0 < self.theta < math.inf:
            raise UserError(f"LIF(theta={self.theta!r}): the threshold must be positive")
        if self.decay_input and self.tau == 1:
            raise UserError("LIF(tau=1, decay_input=True) would ignore its input; use tau < 1 or decay_input=False")

    @property
    def gain(self) -> float:
        """k, the factor on the input current."""
        return 1 - self.tau if self.decay_input else 1.0

    def charge(self, current: Tensor) -> Tensor:
        """k I, in the membrane's dtype."""
        charge = at_least_float32(current)
        return charge if self.gain == 1 else charge * self.gain

    def discharge(self, gradient: Tensor) -> Tensor:
        """The transpose of `charge`: dL/dI of dL/du."""
        return gradient if self.gain == 1 else gradient * self.gain

    def step(self, potential: Tensor) -> Tensor:
        """s[t] of u[t], 0 or 1 in the dtype of u; a constant to autograd."""
        if torch.compiler.is_compiling():  # a compiled spike stays in a register; `out` would put it into memory
            return (potential >= self.theta).to(potential.dtype)
        # A float spike written by the comparison itself: several times faster than a bool and a cast.
        return torch.ge(potential, self.theta, out=torch.empty_like(potential))

    def differentiable(self, surrogate: Surrogate) -> LIF:
        """The same neuron for autograd: potentials and spikes of `run` have derivatives of any order.

        The step is differentiated by the slope of `surrogate`, as in the rule `STBP`, and not at all in a
        detached reset. `run` then records a graph step by step; the values are the same, bit for bit.
        """
        return _Differentiable(**self.values(), surrogate=surrogate)

    def values(self) -> dict[str, Any]:
        """The values of these dynamics, for a twin. UserError for a class under LIF: its dynamics are its own."""
        if type(self) is not LIF:
            raise UserError(f"{self!r} has no differentiable or smooth twin: only an LIF itself has one")
        return {f.name: getattr(self, f.name) for f in fields(LIF)}

    def run(self, current: Tensor, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (u[t], s[t]) for t = 1 .. steps, both in the membrane's dtype.

        `current` is `[steps, ...]`, or `[1, ...]` for a current that is the same at every step.
        """
        constant = current.shape[0] == 1
        voltage = None
        for t in range(steps):
            charge = self.charge(current[0 if constant else t])
            kept = voltage if voltage is None or self.tau == 1 else voltage * self.tau
            potential = charge if kept is None else kept + charge
            spike = self.step(potential)
            yield potential, spike
            if self.reset == "hard":
                # The same value in one pass over memory, or in one operation less where nothing goes through memory.
                in_registers = torch.compiler.is_compiling()
                voltage = (
                    potential - potential * spike
                    if in_registers
                    else torch.addcmul(potential, potential, spike, value=-1)
                )
            else:
                voltage = potential - self.theta * spike

    def spikes(self, current: Tensor, steps: int) -> Tensor:
        """The spike train s `[steps, ...]` (0 or 1), in the dtype of `current`."""
        return torch.stack([spike.to(current.dtype) for _, spike in self.run(current, steps)])

    def reset_slope(self, potential: Tensor, spike: Tensor, slope: Tensor) -> Tensor:
        """dV[t]/du[t] when ds/du is `slope`: (1 - s) - u g (hard), 1 - theta g (soft); g = 0 if detached."""
        if self.reset == "hard":
            kept = 1 - spike
            return kept if self.detach_reset else kept - potential * slope
        return torch.ones_like(slope) if self.detach_reset else 1 - self.theta * slope

    def through_time(self, upstream: Tensor, trace: list[tuple[Tensor, Tensor]], slopes: list[Tensor]) -> list[Tensor]:
        """dL/dI[t] for each step of `trace` = list(run(current, T)), given dL/ds[t] and ds[t]/du[t].

        dL/du[t] = dL/ds[t] ds[t]/du[t] + tau dL/du[t+1] dV[t]/du[t],     dL/dI[t] = k dL/du[t]
        """
        carried: Tensor | None = None
        gradients = []
        for t, (potential, spike) in reversed(list(enumerate(trace))):
            slope = slopes[t]
            gradient = upstream[t].to(slope.dtype) * slope
            if carried is not None:
                gradient = gradient + carried * self.reset_slope(potential, spike, slope)
            carried = gradient if self.tau == 1 else gradient * self.tau
            gradients.append(self.discharge(gradient))
        return gradients[::-1]


class _Step(torch.autograd.Function):
    """u >= theta, with ds/du the slope of a surrogate at u - theta; differentiable again as often as that is."""

    @staticmethod
    def forward(ctx: Any, potential: Tensor, neuron: LIF, surrogate: Surrogate) -> Tensor:
        ctx.save_for_backward(potential)
        ctx.theta, ctx.surrogate = neuron.theta, surrogate
        return LIF.step(neuron, potential)

    @staticmethod
    def backward(ctx: Any, *upstreams: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        (potential,) = ctx.saved_tensors
        return upstreams[0] * ctx.surrogate.slope(potential - ctx.theta), None, None


@dataclass(frozen=True)
class _Differentiable(LIF):
    """See `LIF.differentiable`."""

    surrogate: Surrogate = field(kw_only=True)

    def step(self, potential: Tensor) -> Tensor:
        # The spike matters to the membrane through the reset alone, so one that is detached there is a constant.
        if self.detach_reset:
            return super().step(potential.detach())
        return _Step.apply(potential, self, self.surrogate)  # type: ignore[no-any-return]


def IF(*, theta: float = 1.0, reset: Literal["hard", "soft"] = "hard", detach_reset: bool = False) -> LIF:
    """The integrate-and-fire neuron: an `LIF` that forgets nothing (tau = 1)."""
    return LIF(tau=1.0, theta=theta, reset=reset, detach_reset=detach_reset)
