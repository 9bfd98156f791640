"""Attacks that only query the model: the bookkeeping of such searches, and points drawn without looking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from robustsnn.attacks.attempt import Attempt
from robustsnn.attacks.passes import judged
from robustsnn.attacks.querying import Querying
from robustsnn.attacks.streams import Randomness, Streams
from robustsnn.attacks.threat import Threat, check_call
from robustsnn.ground.errors import UserError
from robustsnn.ground.fields import check_fields
from robustsnn.ground.modes import frozen
from robustsnn.ground.types import Images, Labels

Kind = Literal["uniform", "gaussian", "corners"]


class Queries:
    """The samples of a batch that no query has broken yet, and the worst point that was offered for each.

    A query is `draws` forward passes: the margin is their mean, and a sample is broken only where all of them
    misclassify it.

    Attributes:
        at: positions in the batch of the samples that stand; all others here are about these.
        x: their clean images.
        z: the offered point of largest margin, the clean image before the first offer.
        streams: their random numbers.
    """

    def __init__(self, model: nn.Module, x: Images, y: Labels, generator: Randomness, draws: int = 1) -> None:
        self.model, self.draws, self.attempt = model, draws, Attempt.none(x)
        self.at = torch.arange(len(x), device=x.device)
        self.x, self.y, self.z = x, y, x
        self.streams = Streams.of(generator, x)
        self.margin = torch.full((len(x),), -torch.inf, device=x.device)
        self.offer(x)  # who is misclassified from the start is left alone
        self.margin.fill_(-torch.inf)

    def offer(self, z: Images) -> Tensor:
        """Query the points z; each replaces a smaller margin or breaks its sample. The positions that still stand."""
        stand = torch.arange(len(z), device=z.device)
        if not len(z):
            return stand
        _, value, stands = judged(self.model, z, self.y, self.draws)
        self.attempt.forwards[self.at] += self.draws
        worse = (value > self.margin) | ~stands
        self.z = torch.where(worse.view(-1, *(1,) * (z.ndim - 1)), z, self.z)
        self.margin = torch.where(worse, value, self.margin)
        if not bool(stands.all()):
            stand = stands.nonzero()[:, 0]
            self.attempt.images[self.at[~stands]] = self.z[~stands]
            self.at, self.x, self.y, self.z = self.at[stand], self.x[stand], self.y[stand], self.z[stand]
            self.margin, self.streams = self.margin[stand], self.streams[stand]
        return stand

    def finish(self) -> Attempt:
        """What was found."""
        self.attempt.images[self.at] = self.z
        return self.attempt


@dataclass(frozen=True, repr=False)
class RandomSearch(Querying):
    """Independent random points of the threat; the one of largest margin is returned, the first misclassified at once.

    A defence that falls to this, but not to gradients, hides its gradients.

    Args:
        threat: which points are allowed.
        kind: "uniform" draws from the threat. "gaussian" adds normal noise, of standard deviation eps/2 for Linf and
            eps/sqrt(n) on n entries for L2 (so its mean square norm is eps^2), and projects. "corners" adds +eps or
            -eps to each entry for Linf, and a vector of norm eps in a uniform direction for L2, and projects.
        queries: points per sample.
        draws: see `Querying`.
    """

    threat: Threat
    kind: Kind = "uniform"
    queries: int = 100
    draws: int = 1

    def __post_init__(self) -> None:
        check_fields(self)
        self.check()
        if self.kind != "uniform" and self.threat.norm not in ("Linf", "L2"):
            raise UserError(f"kind={self.kind!r} is not defined for {self.threat.norm}; use kind='uniform'")

    @property
    def label(self) -> str:
        return f"random-{self.kind}"

    def run(self, model: nn.Module, x: Images, y: Labels, *, generator: Randomness = None) -> Attempt:
        """Attack a batch; one query for the clean image, and one for each point until a sample breaks."""
        x, y = check_call(self.threat, model, x, y)
        with frozen(model):
            search = Queries(model, x, y, generator, self.draws)
            for _ in range(self.queries):
                if not len(search.at):
                    break
                search.offer(self.draw(search.x, search.streams))
        return search.finish()

    def draw(self, x: Images, streams: Streams) -> Images:
        """One random point per image."""
        threat = self.threat
        if self.kind == "uniform":
            return threat.sample(x, streams)
        noise = streams.normal(*x.shape[1:]).to(x)
        if self.kind == "corners":
            noise = threat.steepest(noise, threat.eps)
        else:
            noise = noise * (threat.eps / 2 if threat.norm == "Linf" else threat.eps / x.shape[1:].numel() ** 0.5)
        return threat.project(x + noise, x)
