"""Attacks called by hand: away from any class but the true one, or towards a class that the caller names."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from robustsnn.attacks.attempt import Attacker, Attempt
from robustsnn.attacks.streams import Randomness, Streams
from robustsnn.attacks.threat import Threat, check_call
from robustsnn.ground.door import check_labels, check_model, check_whole
from robustsnn.ground.fields import check_fields
from robustsnn.ground.modes import at_least_float32, undisturbed
from robustsnn.ground.steady import check_steady
from robustsnn.ground.types import Images, Labels, Logits
from robustsnn.losses import check_logits


class Called:
    """An attack as a function: `attack(model, x, y) -> x_adv`, in any context of the caller's.

    A model that answers otherwise when it is asked again is refused, see `ground.steady`; `run` does not look.
    """

    def __call__(
        self: Attacker,
        model: nn.Module,
        x: Images,
        y: Labels,
        *,
        target: int | Tensor | None = None,
        generator: Randomness = None,
    ) -> Images:
        """Attacked images. With a `target`, a class or one per image int64 `[B]`, see `Targeted`; y stays the truth."""
        with undisturbed():
            x, y = check_call(self.threat, model, x, y)
            check_steady(model, x)
            attack = self if target is None else Targeted(self, target)
            return attack.run(model, x, y, generator=generator).images


class Towards(nn.Module):
    """A model as a question with two answers: something else (0), or the class `target` (1).

        z' = (max_{j != t} z_j, z_t)        so that margin(z', 0) = z_t - max_{j != t} z_j

    To break it is to make the model say `target`. So every attack on it with labels 0 is a targeted attack on the
    model, and `evaluate(Towards(model, 3), (x, torch.zeros_like(y)), ...)` tells which images of other classes cannot
    be turned into a 3. Of equal logits the target is not the answer: the other is moved up by one unit in the last
    place, that ties, which count against a model elsewhere, are no success of an attack here.
    """

    def __init__(self, model: nn.Module, target: int) -> None:
        super().__init__()
        check_model(model)
        check_whole("target", target, least=0)
        self.model, self.target = model, target

    def forward(self, x: Images) -> Logits:
        logits = self.model(x)
        check_logits(logits, torch.full((len(x),), self.target, device=x.device))
        z = at_least_float32(logits)
        rest = torch.cat([z[:, : self.target], z[:, self.target + 1 :]], 1).amax(1)
        unit = torch.nextafter(rest.detach(), rest.new_tensor(torch.inf)) - rest.detach()
        return torch.stack([rest + unit, z[:, self.target]], 1)


@dataclass(frozen=True, eq=False)
class Targeted(Called):
    """`attack` towards a class, or a class per image int64 `[B]`: what it finds is judged by whether the model says it.

    A point that the model takes for the target ends the search of its image, the image itself too. Losses are those of
    two answers, see `Towards`: the margin is that to the target, and the cross-entropy its softplus.
    """

    attack: Attacker
    target: int | Tensor

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def threat(self) -> Threat:
        """That of the attack."""
        return self.attack.threat

    @property
    def label(self) -> str:
        """The attack's, and where to: "pgd-ce/own to 3"."""
        return f"{self.attack.label} to {self.target if isinstance(self.target, int) else 'given classes'}"

    @property
    def passes(self) -> int:
        """Those of the attack."""
        return self.attack.passes

    @property
    def black_box(self) -> bool:  # type: ignore[override]
        """As the attack."""
        return self.attack.black_box

    def run(self, model: nn.Module, x: Images, y: Labels, *, generator: Randomness = None) -> Attempt:
        """Attack a batch, class by class; the costs are those of the images."""
        x, y = check_call(self.threat, model, x, y)
        streams, attempt = Streams.of(generator, x), Attempt.none(x)
        target = self.target
        if not isinstance(target, Tensor):
            check_whole("target", target, least=0)
            target = torch.full_like(y, target)
        check_labels(target, len(x), "target")
        for one in target.unique().tolist():
            at = (target == one).nonzero()[:, 0]
            found = self.attack.run(Towards(model, one), x[at], torch.zeros_like(at), generator=streams[at])
            for field in fields(Attempt):
                getattr(attempt, field.name)[at] = getattr(found, field.name)
        return attempt
