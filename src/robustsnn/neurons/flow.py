"""The gradient's way through the reset, as a choice of the attacker and not of the network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from torch import Tensor

from robustsnn.ground.errors import UserError
from robustsnn.ground.fields import check_fields
from robustsnn.neurons.integrate import LIF
from robustsnn.neurons.rules import Connects, GradientRule

Flow = Literal["detached", "attached"]


@dataclass(frozen=True)
class ResetFlow:
    """Another gradient rule, with the derivative of the spike in the reset left out or taken in for all layers.

        dV[t]/du[t] = 1 - s (hard), 1 (soft)                        detached
        dV[t]/du[t] = 1 - s - u g (hard), 1 - theta g (soft)        attached, g the slope of `rule`

    A network says by `LIF.detach_reset` which of the two trained it. An attack is free to take the other: the forward
    pass is the same, bit for bit, and some networks fall to one alone (the released code of arXiv 2512.22522
    detaches always). Rules that carry nothing through time (RGA, BPTR, HART) have no such choice: both are `rule`.

    `gradient_rule` opens it up, layer by layer, so it costs nothing there.
    """

    rule: GradientRule
    flow: Flow
    elementwise: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_fields(self)
        if isinstance(self.rule, ResetFlow):
            raise UserError(f"ResetFlow of {self.rule!r}: one flow is enough; give the rule inside")

    @property
    def label(self) -> str:
        return f"{self.rule.label}-{self.flow}"

    @property
    def connects(self) -> Connects | None:
        """That of the rule; None if it does not say."""
        return getattr(self.rule, "connects", None)

    def neuron(self, neuron: LIF) -> LIF:
        """The same dynamics with this flow."""
        return replace(neuron, detach_reset=self.flow == "detached")

    def input_gradient(self, upstream: Tensor, current: Tensor, neuron: LIF) -> Tensor:
        """See `GradientRule.input_gradient`."""
        return self.rule.input_gradient(upstream, current, self.neuron(neuron))
