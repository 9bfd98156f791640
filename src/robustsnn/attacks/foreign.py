"""Other people's attacks as members of a suite: whatever maps images and labels to images."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from robustsnn.attacks.attempt import Attempt
from robustsnn.attacks.calling import Called
from robustsnn.attacks.streams import Randomness
from robustsnn.attacks.threat import Threat, check_call, tolerance
from robustsnn.ground.door import check_callable
from robustsnn.ground.errors import Advice, UserError, in_short
from robustsnn.ground.fields import check_fields
from robustsnn.ground.modes import frozen, statistics
from robustsnn.ground.types import Images, Labels


@dataclass(frozen=True, repr=False)
class Foreign(Called):
    """An attack of another library: `attack(images, labels) -> images`, made for the model that is to be attacked.

    An object of torchattacks is one as it is. Of foolbox, and of functions that want the model, make one of a line:

        Foreign(lambda x, y: pgd(foolbox_model, x, y, epsilons=eps)[1], Linf(eps), name="foolbox pgd")

    What it returns is taken where it lies in the threat, and judged by this library on the network itself. A point that
    lies outside by rounding alone (`tolerance`) is projected; any other one (NaN too, and another shape) is refused:
    its sample keeps the clean image, so it counts as not broken, and how many they were is said (`Advice`). An attack
    that changes the weights is an error.

    Its random numbers are torch's global ones, which an evaluation seeds per batch: unlike those of attacks here, what
    a sample gets depends on its neighbours. Passes are counted where they go through the model that is attacked.

    Args:
        attack: the callable.
        threat: what it was told to stay in.
        name: for tables and for the evaluation's seed; its class or function, if it has one, else needed.
        passes: the most forward and backward passes that it may cost an image, for estimates of time; 0 if unknown.
        black_box: it asks for nothing but logits.
        of_model: `attack` is a function from the model to the attack, for suites that are made before there is a model:
            Foreign(partial(torchattacks.PGD, eps=eps), Linf(eps), of_model=True).
    """

    attack: Callable[..., Any]
    threat: Threat
    name: str = ""
    passes: int = 0
    black_box: bool = False  # type: ignore[misc]
    of_model: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        check_callable("attack", self.attack, "torchattacks.PGD(model, eps=8/255)")
        if not self.name:
            attack = self.attack.func if isinstance(self.attack, partial) else self.attack
            made_by = attack if hasattr(attack, "__qualname__") else type(attack)
            name = f"{made_by.__module__.split('.')[0]}.{made_by.__qualname__}"  # type: ignore[union-attr]
            if "<lambda>" in name:
                raise UserError("an attack that is a lambda has no name to be told by; give name='foolbox pgd'")
            object.__setattr__(self, "name", name)

    @property
    def label(self) -> str:
        """Its name."""
        return self.name

    def __repr__(self) -> str:
        said = in_short(self.attack, 400)
        return f"Foreign({self.name!r}, {self.threat!r}{'' if ' at 0x' in said else f', {said}'})"

    def run(self, model: nn.Module, x: Images, y: Labels, *, generator: Randomness = None) -> Attempt:
        """Attack a batch; `generator` is not used."""
        x, y = check_call(self.threat, model, x, y)
        attempt = Attempt.none(x)
        if not len(x):
            return attempt
        held = [*model.parameters(), *statistics(model)]
        before = [tensor.detach().clone() for tensor in held]
        with frozen(model), torch.enable_grad(), counted(model) as shown:
            attack: Any = self.attack(model) if self.of_model else self.attack
            found = attack(x.clone(), y.clone())
        if not all(map(torch.equal, before, held)):
            raise RuntimeError(f"{self!r} changed the weights or statistics of the model that it attacks")
        found = found.detach().to(x) if isinstance(found, Tensor) else found
        if not isinstance(found, Tensor) or found.shape != x.shape:
            kind = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise UserError(f"{self.name} returned {kind}; needed are images of shape {list(x.shape)}")
        attempt.forwards += -(-shown["forwards"] // len(x))
        attempt.backwards += -(-shown["backwards"] // len(x))
        nearest = self.threat.project(found, x)
        allowed = ((nearest - found).abs() <= tolerance(self.threat)).flatten(1).all(1)  # NaN is not
        attempt.images[allowed] = nearest[allowed]
        if not bool(allowed.all()):
            lost, far = int((~allowed).sum()), float(self.threat.free.distance(found, x).nan_to_num(torch.inf).max())
            warnings.warn(
                f"{self.name}: {lost} of {len(x)} images lie outside {self.threat!r} (distance up to {far:.6g}, or "
                f"outside the data range); they are refused and count as not broken",
                Advice,
                stacklevel=2,
            )
        return attempt


@contextmanager
def counted(model: nn.Module) -> Iterator[dict[str, int]]:
    """How many images pass forward through the model inside the block, and how many gradients come back from it."""
    shown = {"forwards": 0, "backwards": 0}

    def count(name: str, n: int) -> None:
        shown[name] += n

    def look(_: nn.Module, given: tuple[Any, ...], logits: Any) -> None:
        count("forwards", len(given[0]))
        if isinstance(logits, Tensor) and logits.requires_grad:
            logits.register_hook(lambda gradient: count("backwards", len(gradient)))

    handle = model.register_forward_hook(look)
    try:
        yield shown
    finally:
        handle.remove()
