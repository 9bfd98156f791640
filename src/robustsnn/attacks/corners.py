"""Search over the corners of the ball: flips of single entries, pairs and windows, with a memory of what they gain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from robustsnn.attacks.attempt import Attempt, at_least, shown
from robustsnn.attacks.passes import judged
from robustsnn.attacks.streams import Randomness, Streams
from robustsnn.attacks.threat import Threat, check_images
from robustsnn.errors import UserError
from robustsnn.modes import frozen
from robustsnn.types import Images, Labels

NEVER = -1e9
"""A score below all margins."""


@dataclass(frozen=True)
class CornerSearch:
    """Randomised tabu search over the corners of an Linf ball, by the margin alone.

    A network of spikes is a piecewise constant function: its surrogate gradient points the way only on average, and the
    last steps to a misclassified point are better found by trying. A point here has every entry at one end of its
    interval, `threat.bounds`. In a round each image is offered `width` neighbours, all in one forward pass; the best
    one that is not tabu becomes the current point, also where it is worse than the one before (that is how the search
    leaves a local maximum), and its entries are tabu for a random number of rounds unless they would beat the best
    margin so far. Neighbours are

    * flips of single entries: those whose flip gained most when it was last tried (the memory; a flip that was made
      has its gain turned round), and random ones;
    * flips of a window of random side in one channel or all, for images whose entries are too many to try one by one.

    After `patience` rounds without a new best, the search goes on from the best point with a random tenth of its
    entries flipped.

    The first point is the corner nearest to what `begin_at` says, if the caller has worse points than the
    images themselves, and a random corner otherwise.

    Sources: tabu search for binary programs (Glover 1989); single flips as an attack: Moon et al., ICML 2019 (by
    local search), Square (windows).

    Args:
        threat: Linf.
        queries: points per sample; one more query judges the clean image.
        width: neighbours per round.
        patience: rounds without a new best before a kick.
        draws: forward passes per query, for models that draw random numbers: the margin is their mean, and a sample is
            broken only where all of them misclassify it.
    """

    threat: Threat
    queries: int = 5000
    width: int = 8
    patience: int = 200
    draws: int = 1
    black_box: ClassVar[bool] = True
    goes_on: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.threat.norm != "Linf":
            raise UserError(f"CornerSearch on {self.threat.norm}: a ball with corners is needed, Linf")
        at_least(self, queries=1, width=2, patience=1, draws=1)

    @property
    def label(self) -> str:
        return "corners"

    def __repr__(self) -> str:
        return shown(self)

    def run(
        self, model: nn.Module, x: Images, y: Labels, *, generator: Randomness = None, worst: Images | None = None
    ) -> Attempt:
        """Attack a batch; a sample pays one query for the clean image and one per point until it breaks.

        `worst`, of the shape of x, are the worst points known so far, of any attack.
        """
        check_images(x, y, self.threat.low, self.threat.high)
        with frozen(model):
            search = _Corners(self, model, x.detach(), y, Streams.of(generator, x))
            if len(x):
                search.begin(worst)
                while len(search.at):
                    search.round()
        return search.attempt


class _Corners:
    """The images that stand, their current corners, and what the search remembers; `at` are positions in the batch."""

    BLOCK = 50  # rounds whose random numbers are drawn at once

    def __init__(self, attack: CornerSearch, model: nn.Module, x: Images, y: Labels, streams: Streams) -> None:
        self.attack, self.model, self.shape = attack, model, x.shape[1:]
        self.attempt = Attempt.none(x)
        self.at, self.y, self.streams = torch.arange(len(x), device=x.device), y, streams
        self.low, self.high = (end.flatten(1) for end in attack.threat.bounds(x))
        self.chunk = max(len(x), 64)  # images per forward pass: what the caller's batch says fits into memory
        self.left, self.turn = attack.queries, 0
        self.up = torch.zeros_like(self.low, dtype=torch.bool)  # which end each entry is at
        self.gain = torch.zeros_like(self.low)  # of a flip, as last seen
        self.tabu = torch.zeros_like(self.low, dtype=torch.int32)  # until which round
        self.margin = self.low.new_full((len(x),), -torch.inf, dtype=torch.float32)
        self.best, self.best_up = self.margin.clone(), self.up
        self.idle = torch.zeros_like(y)
        self.numbers = self.low.new_zeros(0)
        pictures = len(self.shape) >= 3 and min(self.shape[-2:]) >= 2
        self.windows = attack.width // 4 if pictures else 0
        self.known = (attack.width - self.windows + 1) // 2

    def begin(self, worst: Images | None) -> None:
        """Who is misclassified from the start is left alone; the others get their first corner."""
        x = self.attempt.images.flatten(1)
        verdict = judged(self.model, self.attempt.images, self.y, self.attack.draws)
        self.attempt.forwards += self.attack.draws
        start = self.streams.uniform(x.shape[1]).to(x)
        point = self.low + start * (self.high - self.low) if worst is None else worst.flatten(1)
        self.up = point - self.low > (self.high - self.low) / 2
        self.best_up = self.up
        self.keep(verdict.stands)
        if len(self.at) and self.left:
            value, stands = self.offer(self.up[:, None])
            self.move(self.up[:, None], value, stands, torch.zeros(len(self.at), device=x.device))

    def keep(self, stand: Tensor) -> None:
        """Go on with these samples alone."""
        if bool(stand.all()):
            return
        for name in ("at", "y", "low", "high", "up", "gain", "tabu", "margin", "best", "best_up", "idle"):
            setattr(self, name, getattr(self, name)[stand])
        self.streams = self.streams[stand.nonzero()[:, 0]]
        self.numbers = self.numbers[stand] if len(self.numbers) else self.numbers

    def offer(self, up: Tensor) -> tuple[Tensor, Tensor]:
        """Query corners `[n, K, entries]`: their margins, and which of them stand, `[n, K]`."""
        n, k = up.shape[:2]
        z = torch.where(up, self.high[:, None], self.low[:, None]).view(n * k, *self.shape)
        y = self.y.repeat_interleave(k)
        parts = [
            judged(self.model, z[i : i + self.chunk], y[i : i + self.chunk], self.attack.draws)
            for i in range(0, n * k, self.chunk)
        ]
        self.attempt.forwards[self.at] += k * self.attack.draws
        self.left -= k
        value = torch.cat([part.loss for part in parts]).view(n, k)
        stands = torch.cat([part.stands for part in parts]).view(n, k)
        # What is misclassified is worse than all that is not, whatever its margin.
        return torch.where(stands, value.nan_to_num(NEVER), torch.inf), stands

    def round(self) -> None:
        """Offer each image its neighbours, and move."""
        width = min(self.attack.width, self.left)
        if width < 1 or not bool((self.high > self.low).any()):
            self.finish()
            return
        k = self.turn % self.BLOCK
        if k == 0:
            self.numbers = self.streams.uniform(self.BLOCK, self.attack.width + 1 + 5 * self.windows).to(self.low)
        self.turn += 1
        numbers = self.numbers[:, k]
        chosen = self.singles(numbers[:, : self.attack.width - self.windows])[:, :width]
        up = self.up[:, None].repeat(1, width, 1)
        picked = torch.zeros_like(up)  # which entries a neighbour is free to change
        picked[:, : chosen.shape[1]].scatter_(2, chosen[:, :, None], True)
        up ^= picked
        for i in range(chosen.shape[1], width):
            j = self.attack.width + 1 + 5 * (i - chosen.shape[1])
            picked[:, i], end = self.window(numbers[:, j : j + 5])
            up[:, i] = torch.where(picked[:, i], end, up[:, i])
        value, stands = self.offer(up)
        found = (value[:, : chosen.shape[1]] - self.margin[:, None]).nan_to_num(0.0)
        self.gain.scatter_(1, chosen, found.to(self.gain))
        tabu = ((up != self.up[:, None]) & (self.tabu > self.turn)[:, None]).any(2)
        value = torch.where(tabu & (value <= self.best[:, None]), NEVER, value)
        self.move(up, value, stands, numbers[:, self.attack.width])

    def singles(self, u: Tensor) -> Tensor:
        """Entries to flip, `[n, singles]`: those of largest remembered gain that are not tabu, and random ones."""
        entries = self.gain.shape[1]
        score = torch.where((self.tabu > self.turn) | (self.high <= self.low), NEVER, self.gain)
        known = score.topk(min(self.known, entries), dim=1).indices
        return torch.cat([known, (u[:, known.shape[1] :] * entries).long().clamp_max(entries - 1)], 1)

    def window(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """A square window in all channels or in one, `[n, entries]`, and the end to which it is set, `[n, 1]`."""
        channels, height, width = self.shape[:-2].numel(), *self.shape[-2:]
        largest = max(min(height, width) // 2, 2)
        side = (largest ** u[:, 0].double()).round()[:, None]
        spans = []
        for i, length in ((1, height), (2, width)):
            begin = (u[:, i, None].double() * (length - side + 1)).floor()
            place = torch.arange(length, device=u.device)[None]
            spans.append((place >= begin) & (place < begin + side))
        channel = (2 * channels * u[:, 3, None].double()).long() - channels  # half of the numbers say all
        chosen = (torch.arange(channels, device=u.device)[None] == channel) | (channel < 0)
        mask = chosen[:, :, None, None] & spans[0][:, None, :, None] & spans[1][:, None, None, :]
        return mask.flatten(1), u[:, 4, None] < 0.5

    def move(self, up: Tensor, value: Tensor, stands: Tensor, u: Tensor) -> None:
        """Take the best of the neighbours; those of samples that it breaks are their result."""
        best, which = value.max(1)
        rows = torch.arange(len(up), device=up.device)
        chosen = torch.where((best > NEVER)[:, None], up[rows, which], self.up)
        changed = chosen != self.up
        self.gain = torch.where(changed, -self.gain, self.gain)
        until = (self.turn + 5 + (7 * u).int())[:, None]  # tabu for 5 to 11 rounds
        self.tabu = torch.where(changed, until, self.tabu)
        self.up, self.margin = chosen, torch.where(best > NEVER, best, self.margin)
        better = best > self.best
        self.best = torch.where(better, best, self.best)
        self.best_up = torch.where(better[:, None], chosen, self.best_up)
        self.idle = torch.where(better, 0, self.idle + 1)
        broken = ~stands[rows, which] & (best > NEVER)
        if bool(broken.any()):
            self.write(broken, chosen)
            self.keep(~broken)
        self.kick()

    def kick(self) -> None:
        """Samples without a new best for long go on near the best; what they are there is found at the next round."""
        tired = (self.idle >= self.attack.patience).nonzero()[:, 0]
        if len(tired):
            flipped = self.streams[tired].uniform(self.up.shape[1]).to(self.up.device) < 0.1
            self.up[tired] = self.best_up[tired] ^ flipped
            self.idle[tired] = 0
            self.margin[tired] = self.best[tired]

    def write(self, which: Tensor, up: Tensor) -> None:
        """These corners are the result of these samples."""
        z = torch.where(up, self.high, self.low)[which]
        self.attempt.images[self.at[which]] = z.view(-1, *self.shape)

    def finish(self) -> None:
        """The worst corners of the samples that stand."""
        self.write(torch.ones_like(self.at, dtype=torch.bool), self.best_up)
        self.keep(torch.zeros_like(self.at, dtype=torch.bool))
