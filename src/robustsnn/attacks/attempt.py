"""What every attack is to the rest of the library, and what it gives back."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from robustsnn.attacks.streams import Randomness
from robustsnn.attacks.threat import Threat
from robustsnn.ground.door import check_whole
from robustsnn.ground.types import Images, Labels


@dataclass
class Attempt:
    """What an attack found and what it cost; all but `images` are `[B]`."""

    images: Images
    forwards: Tensor  # int: forward passes of the model
    backwards: Tensor  # int: backward passes to the input
    zero_gradient: Tensor  # bool: some gradient of the sample was exactly zero everywhere
    nan_gradient: Tensor  # bool: some gradient of the sample held NaN or infinity

    @staticmethod
    def none(x: Images) -> Attempt:
        """The clean images at no cost."""
        count = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        return Attempt(x.clone(), count, count.clone(), count.bool(), count.bool())


class Attacker(Protocol):
    """Anything that perturbs images within a threat; what suites and evaluation need of an attack."""

    @property
    def threat(self) -> Threat: ...

    @property
    def label(self) -> str:
        """A short name for tables and progress, for example "apgd-ce/arctan-2"."""
        ...

    @property
    def passes(self) -> int:
        """The most forward and backward passes, one each, that a sample costs which the attack does not break.

        The attack's own, its looks at the clean image and at its last point included; not those that judge it.
        """
        ...

    black_box: ClassVar[bool]
    """It asks the model for nothing but logits, or does not ask it at all."""

    def run(self, model: nn.Module, x: Images, y: Labels, *, generator: Randomness = None) -> Attempt: ...


def goes_on(attack: Attacker) -> bool:
    """Whether an attack begins where others ended: its `run` takes `worst`, the worst points known so far."""
    return getattr(attack, "goes_on", False)


def at_least(attack: object, **least: int) -> None:
    """UserError where a field of the attack is below its least value."""
    for name, value in least.items():
        check_whole(name, getattr(attack, name), value, of=f" of {type(attack).__name__}")


def shown(attack: Any, quiet: Collection[str] = ("draws", "near", "smoothing")) -> str:
    """The constructor call of a dataclass; the fields in `quiet` are named only where they are not their default.

    Random streams are derived from it, so a quiet field that is left alone changes no number.
    """
    named = []
    for f in fields(attack):
        value = getattr(attack, f.name)
        default = f.default_factory() if callable(f.default_factory) else f.default
        if f.name not in quiet or value != default:
            named.append(f"{f.name}={getattr(value, '__name__', None) or repr(value)}")
    return f"{type(attack).__name__}({', '.join(named)})"
