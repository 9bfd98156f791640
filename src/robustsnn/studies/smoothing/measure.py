"""Randomised smoothing: certificates for a classifier under noise, and attacks on that same classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from robustsnn.attacks.presets import pgd
from robustsnn.attacks.threat import check_images
from robustsnn.data.given import Data, labelled
from robustsnn.evaluation.judge import device_of
from robustsnn.ground.door import ask, check_number, check_rising
from robustsnn.ground.errors import UserError
from robustsnn.ground.modes import frozen
from robustsnn.ground.progress import Progress, silent
from robustsnn.ground.seeds import generator, seeded
from robustsnn.ground.types import Images, Logits
from robustsnn.losses import check_logits
from robustsnn.studies.shared.checks import check_asked
from robustsnn.studies.smoothing.record import Certificates, SigmaLevel, certified_radius, rejected

CHOOSE = 5
"""A class is chosen by draws / CHOOSE votes of their own."""
AVERAGED, STEPS = 8, 5
"""Of the attack: noises that its loss is the mean over, and steps."""


def smoothing(
    model: nn.Module,
    data: Data,
    *,
    sigma: Sequence[float] = (0.25,),
    draws: int = 1000,
    confidence: float = 0.999,
    radii: Sequence[float] = (0.5, 1.0, 2.0),
    batch_size: int = 128,
    seed: int = 0,
    progress: Progress = silent,
) -> Certificates:
    """Certify g, the network under noise, and attack g.

        g(x) = argmax_c P[f(x + e) = c],  e ~ N(0, sigma^2 I)
        g is constant on |z - x|_2 < R = sigma Phi^-1(p),  p <= P[f(x + e) = c] with `confidence`, p > 1/2

    f is the class that the network says. Source: theorem 1 and section 3.2 of Cohen, Rosenfeld and Kolter, ICML 2019:
    draws / 5 votes choose c, `draws` others bound its probability by Clopper and Pearson.

    **All of this is about g, and nothing about f**: f itself may change next to x. Noise is not cut to [0, 1]; what an
    encoder does to pixels outside (those of spikes cut them) is a part of f, and the certificate holds for any f, one
    that draws random numbers too. It covers all z, images or not, so those in [0, 1] all the more.

    The attack looks for an image z, |z - x|_2 <= r, of another class of g: PGD on -log of the mean probability over
    some fixed noises (Salman et al., NeurIPS 2019). Fresh votes settle whether z is one, by a binomial test with the
    same confidence; else x stands. So the accuracy of g at r lies between the certified and the standing share.

    One image at a time: what it draws derives from `seed` and its position. Of a network that draws random numbers
    itself, numbers depend on `batch_size`. Passes per image and sigma: 1.2 draws, and per radius at which the image
    still stands 1.2 draws and some 125 of the attack.

    Args:
        sigma: deviations of the noise, in the units of the pixels.
        radii: of the attacks, in sigma.
    """
    check_asked(model, seed, progress, batch_size=(batch_size, 1), draws=(draws, CHOOSE))
    check_rising("sigma", sigma)
    check_rising("radii", radii)
    check_number("confidence", confidence, above=0.5)
    if confidence >= 1:
        raise UserError(f"confidence={confidence}: allowed is above 0.5 and below 1")
    x, y = labelled(data)
    check_images(x, y)
    device, levels = device_of(model, x), []
    passes, units = round(1.2 * draws + len(radii) * (1.2 * draws + 125)), len(x) * len(sigma)
    text = f"smoothing, at most {passes:,} passes an image"
    progress(0, units, text)
    with frozen(model):
        for number, deviation in enumerate(sigma):
            at = (0.0, *(deviation * radius for radius in radii))
            certain, abstained, broken = np.zeros(len(x)), np.zeros(len(x), bool), np.zeros((len(x), len(at)), bool)
            for i in range(len(x)):
                image, label = x[i].to(device), int(y[i])
                with seeded(seed, "smoothing", i):
                    g = _Smoothed(model, deviation, draws, confidence, batch_size, generator(seed, "smoothing", i))
                    votes = g.votes(image)
                    check_logits(votes[1:].float(), y[i : i + 1])
                    top = int(votes[0].argmax())
                    radius = certified_radius(int(votes[1, top]), draws, deviation, confidence)
                    certain[i], abstained[i] = radius * (top == label), not radius
                    broken[i, 0] = g.differs(votes, label)
                    for k in range(1, len(at)):
                        broken[i, k] = broken[i, k - 1] or g.differs(g.votes(g.attacked(image, label, at[k])), label)
                progress(number * len(x) + i + 1, units, text)
            levels.append(SigmaLevel(deviation, certain, abstained, at, broken))
    return Certificates(len(x), draws, confidence, tuple(levels))


@dataclass(frozen=True)
class _Smoothed:
    """g at points near one image, and the generator of its noise."""

    model: nn.Module
    sigma: float
    draws: int
    confidence: float
    batch_size: int
    source: torch.Generator

    def noise(self, z: Images, n: int) -> Tensor:
        """`[n, C, H, W]`, drawn one by one: the numbers do not depend on how many are asked for at once."""
        return self.sigma * torch.stack([torch.randn(z.shape, generator=self.source) for _ in range(n)]).to(z)

    def votes(self, z: Images) -> Tensor:
        """Votes of each class at a point, of those that choose and of those that count, int `[2, classes]`."""
        return torch.stack([self._votes(z, n) for n in (self.draws // CHOOSE, self.draws)])

    @torch.no_grad()
    def _votes(self, z: Images, n: int) -> Tensor:
        found = []
        for start in range(0, n, self.batch_size):
            logits = ask(self.model, z + self.noise(z, min(self.batch_size, n - start)))
            found.append(torch.bincount(logits.argmax(1), minlength=logits.shape[1]).cpu())
        return torch.stack(found).sum(0)

    def differs(self, votes: Tensor, label: int) -> bool:
        """Whether they settle that another class than `label` is likelier."""
        chosen = votes[0].clone()
        chosen[label] = -1
        return rejected(int(votes[1, label]), int(votes[1, chosen.argmax()]), self.confidence)

    def attacked(self, x: Images, label: int, radius: float) -> Images:
        """The image within that distance of x where the true class loses most votes, as far as PGD finds it."""
        attack = pgd(radius, STEPS, norm="L2", random_start=False, keep="last")
        averaged = Averaged(self.model, self.noise(x, AVERAGED))
        return attack(averaged, x[None], torch.tensor([label], device=x.device))[0]


class Averaged(nn.Module):
    """log of the mean probability of each class over fixed noises `[k, C, H, W]`."""

    def __init__(self, model: nn.Module, noise: Tensor) -> None:
        super().__init__()
        self.model, self.noise = model, noise

    def forward(self, z: Images) -> Logits:
        logits = self.model((z[:, None] + self.noise).flatten(0, 1))
        return logits.softmax(1).unflatten(0, (len(z), -1)).mean(1).clamp_min(1e-30).log()
