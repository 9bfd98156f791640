"""Transfer: images crafted on other models, shown to the one at hand. A black-box attack."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import nn

from robustsnn.attacks.attack import Attack
from robustsnn.attacks.attempt import Attempt
from robustsnn.attacks.calling import Called
from robustsnn.attacks.streams import Randomness
from robustsnn.attacks.threat import Threat
from robustsnn.ground.fields import check_fields
from robustsnn.ground.types import Images, Labels
from robustsnn.neurons import neuron_layers


@dataclass(frozen=True)
class Source:
    """A model that attacks are crafted on, and the name that results call it by."""

    name: str
    model: nn.Module

    def __post_init__(self) -> None:
        check_fields(self)

    def __repr__(self) -> str:
        return repr(self.name)


@dataclass(frozen=True)
class Transfer(Called):
    """`attack` run on a source model to its last step, without asking the attacked one.

    The last iterate is taken whether or not it fools the source, since an image that goes on past the
    boundary of the source transfers better, and whether or not the clean image fools the attacked model: leave
    out the samples that it has wrong. A gradient rule is left out for a source without neuron layers.
    """

    source: Source
    attack: Attack
    black_box: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def threat(self) -> Threat:
        """That of the attack."""
        return self.attack.threat

    @property
    def steps(self) -> int:
        """Those of the attack."""
        return self.attack.steps

    @property
    def label(self) -> str:
        """The attack's, and where it comes from: "pgd-ce/own from runs/b"."""
        return f"{self.attack.label} from {self.source.name}"

    @property
    def passes(self) -> int:
        """Those on the source; the attacked model is not called."""
        return self._crafting.passes

    @property
    def _crafting(self) -> Attack:
        return replace(self.attack, keep="last", restarts=1)

    def run(self, model: nn.Module, x: Images, y: Labels, *, generator: Randomness = None) -> Attempt:
        """Attack a batch. The costs are those on the source; `model` is not called."""
        attack = self._crafting
        if not neuron_layers(self.source.model):
            attack = replace(attack, rule=None)
        return attack.run(self.source.model, x, y, generator=generator)
