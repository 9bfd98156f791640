"""RayS: a search by decisions alone, for models whose logits say no more than the class."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robustsnn.attacks.attempt import Attempt
from robustsnn.attacks.passes import judged
from robustsnn.attacks.querying import Querying
from robustsnn.attacks.streams import Randomness, Streams
from robustsnn.attacks.threat import Threat, check_call, per_sample
from robustsnn.ground.errors import UserError
from robustsnn.ground.fields import check_fields
from robustsnn.ground.modes import frozen
from robustsnn.ground.types import Images, Labels

BLOCK = 100
"""Random flips that are drawn at once."""

PRECISION = 1 / 64
"""To how much of eps a decision radius is found (the source: to 0.001, whatever eps is)."""


def halving(entries: int) -> list[tuple[int, int]]:
    """(first, end) of the blocks of a flattened image of n entries: all of it, its halves, ..., single entries.

    Level s has blocks of ceil(n / 2^s) entries.
    """
    sizes = [-(-entries // 2**s) for s in range((entries - 1).bit_length() + 1)]
    return [(at, min(at + size, entries)) for size in sizes for at in range(0, entries, size)]


@dataclass(frozen=True, repr=False)
class RayS(Querying):
    """RayS (Chen and Gu, KDD 2020): search over sign directions for the one whose decision radius is smallest, Linf.

    A ray along d in {-1, 1}^n meets the decision at

        r(d) = min { r : cut(x + r d) is misclassified },    cut to the data range.

    A query flips the signs of one block of d and asks at the radius of the current direction (fast check). Where that
    is misclassified, the new direction is taken, and its own radius found by bisection between eps and the old one;
    equal radii are taken too, since the decisions of a spiking network are piecewise constant. Blocks are first those
    of `halving`; then, where the source goes round its single entries for ever, random pairs and single entries, which
    leave the local minima of single flips. The direction starts at random, since one of equal signs is white or black.

    It sees who is misclassified and nothing else, so it breaks the same samples of a model and of its one-hot twin.
    A sample ends when the corner cut(x + eps d) was queried and is misclassified; the corner of the best direction
    is returned for the others.

    Args:
        threat: Linf.
        queries: points per sample; one more query judges the clean image.
        draws: see `Querying`.
    """

    threat: Threat
    queries: int = 5000
    draws: int = 1

    def __post_init__(self) -> None:
        check_fields(self)
        if self.threat.norm != "Linf":
            raise UserError(f"RayS on {self.threat.norm}: its directions are corners, so it is defined for Linf")
        self.check()

    @property
    def label(self) -> str:
        return "rays"

    def run(self, model: nn.Module, x: Images, y: Labels, *, generator: Randomness = None) -> Attempt:
        """Attack a batch; a sample pays one query for the clean image and one per point until it breaks."""
        x, y = check_call(self.threat, model, x, y)
        with frozen(model):
            search = _Directions(self, model, x, y, Streams.of(generator, x))
            if len(x):
                search.begin()
                for first, end in halving(x[0].numel()):
                    search.flip_block(first, end)
                while len(search.alive()):
                    search.flip_at_random()
        return search.finish()


class _Directions:
    """The best direction of every sample and its decision radius; `at` are positions in the batch."""

    def __init__(self, attack: RayS, model: nn.Module, x: Images, y: Labels, streams: Streams) -> None:
        self.model, self.threat, self.draws = model, attack.threat, attack.draws
        self.x, self.y, self.streams = x, y, streams
        self.attempt = Attempt.none(x)
        self.left = torch.full_like(y, attack.queries + 1)  # one is for the clean image
        self.broken = torch.zeros_like(y, dtype=torch.bool)
        # As far as the range goes, until a ray is found that meets the decision.
        self.radius = x.new_full((len(x),), self.threat.high - self.threat.low)
        self.direction = torch.where(streams.uniform(x.shape[1:].numel()).to(x) < 0.5, -1, 1).to(x)  # [B, n]
        self.numbers, self.turn = x.new_zeros(0), 0

    def alive(self) -> Tensor:
        """The samples that stand and have queries left."""
        return (~self.broken & (self.left > 0)).nonzero()[:, 0]

    def begin(self) -> None:
        """Who is misclassified from the start is left alone; the others try their first ray."""
        self.broken |= ~self.stands(torch.arange(len(self.x), device=self.x.device), self.x)
        at = self.alive()
        self.offer(at, self.direction[at])

    def flip_block(self, first: int, end: int) -> None:
        """Offer the directions with the entries first .. end - 1 turned round."""
        at = self.alive()
        direction = self.direction[at]
        direction[:, first:end] *= -1
        self.offer(at, direction)

    def flip_at_random(self) -> None:
        """Offer the directions with one random entry turned round, or two of them with probability 1/2."""
        at = self.alive()
        k = self.turn % BLOCK
        self.turn += 1
        if k == 0:
            self.numbers = self.x.new_zeros(len(self.x), BLOCK, 3)
            self.numbers[at] = self.streams[at].uniform(BLOCK, 3).to(self.numbers)
        entries, direction = self.direction.shape[1], self.direction[at]
        u = self.numbers[at, k]
        chosen = (u[:, :2] * entries).long().clamp_max(entries - 1)
        chosen[:, 1] = torch.where(u[:, 2] < 0.5, chosen[:, 0], chosen[:, 1])
        self.offer(at, direction.scatter(1, chosen, -direction.gather(1, chosen)))

    def offer(self, at: Tensor, direction: Tensor) -> None:
        """Take the directions that are misclassified at the radius so far; end the samples that are so at eps."""
        wrong = self.wrong(at, direction, self.radius[at])
        at, direction = at[wrong], direction[wrong]
        self.direction[at] = direction
        paid = self.left[at] > 0
        at, direction = at[paid], direction[paid]
        eps = self.radius.new_full((len(at),), self.threat.eps)
        wrong = self.wrong(at, direction, eps)
        self.broken[at[wrong]] = True
        self.bisect(at[~wrong], direction[~wrong], eps[~wrong])

    def bisect(self, at: Tensor, direction: Tensor, low: Tensor) -> None:
        """Draw the radius tighter: misclassified at the radius itself, not at `low`."""
        while len(at):
            unsure = (self.radius[at] - low > PRECISION * self.threat.eps) & (self.left[at] > 0)
            at, direction, low = at[unsure], direction[unsure], low[unsure]
            middle = (low + self.radius[at]) / 2
            wrong = self.wrong(at, direction, middle)
            self.radius[at[wrong]] = middle[wrong]
            low = torch.where(wrong, low, middle)

    def wrong(self, at: Tensor, direction: Tensor, radius: Tensor) -> Tensor:
        """Whether the points at these radii of the rays are misclassified."""
        x = self.x[at]
        z = x + per_sample(radius, x) * direction.view_as(x)
        return ~self.stands(at, z.clamp(self.threat.low, self.threat.high))

    def stands(self, at: Tensor, z: Images) -> Tensor:
        """One query of each point: the only word of the model that is heard, and the only place that counts."""
        if not len(at):
            return self.broken[at]
        self.attempt.forwards[at] += self.draws
        self.left[at] -= 1
        return judged(self.model, z, self.y[at], self.draws).stands

    def finish(self) -> Attempt:
        """The corners of the ball in the best directions; images that were misclassified from the start as they are."""
        searched = (self.attempt.forwards > self.draws).nonzero()[:, 0]
        x = self.x[searched]
        corner = x + self.threat.eps * self.direction[searched].view_as(x)
        self.attempt.images[searched] = self.threat.project(corner, x)
        return self.attempt
