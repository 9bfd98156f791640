"""Search over the ball entry by entry: flips between its ends, windows and values between, and a memory of gains."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from robustsnn.attacks.attempt import Attempt
from robustsnn.attacks.passes import Verdict, judged
from robustsnn.attacks.querying import Querying
from robustsnn.attacks.streams import Randomness, Streams
from robustsnn.attacks.threat import Threat, check_call
from robustsnn.ground.errors import UserError
from robustsnn.ground.fields import check_fields
from robustsnn.ground.modes import frozen
from robustsnn.ground.types import Images, Labels
from robustsnn.ground.widest import wide

NEVER = -1e9
"""A score below all margins."""


class Query(Protocol):
    """What a search asks of a model: who stands, and a number to be raised; `judged` for one."""

    def __call__(self, model: nn.Module, z: Images, y: Labels, draws: int) -> Verdict: ...


@dataclass(frozen=True, repr=False)
class CornerSearch(Querying):
    """Randomised tabu search over the corners of an Linf ball, by the margin alone.

    A network of spikes is a piecewise constant function: its surrogate gradient points the way only on average, and the
    last steps to a misclassified point are better found by trying. The search begins at a corner: every entry at one
    end of its interval, `threat.bounds`. In a round each image is offered `width` neighbours, all in one forward pass;
    the best one that is not tabu becomes the current point, also where it is worse than the one before (that is how
    the search leaves a local maximum), and its entries are tabu for 5 to 11 rounds unless they would beat the best
    margin so far. The neighbours are

    * flips of the entries that gained most when their flip was last tried (the memory; the gain of a flip that was made
      is turned round);
    * flips of random entries, and one random entry set to a random value of its interval, since a code that rounds
      or counts is not monotonic between the ends;
    * a window of random side, in one channel or all, set to one end.

    After `patience` rounds without a new best, the search goes on from the best point with a random tenth of its
    entries flipped.

    The first point is the corner nearest to the worst point of the attacks before, where the caller knows one, and a
    random corner otherwise.

    With `near`, a sample is given up after a quarter of the queries if its best margin by then is still below that
    share of its clean one: those that fall late have come near by then, and the queries are worth more on them.

    Sources: tabu search for binary programs (Glover 1989); flips of pixels between the ends as an attack: Moon et
    al., ICML 2019 (local search), windows: Andriushchenko et al., ECCV 2020 (Square).

    Args:
        threat: Linf.
        queries: points per sample; one more query judges the clean image.
        width: neighbours per round.
        patience: rounds without a new best before a kick.
        near: a share of the clean margin, in (0, 1], or None: no sample is given up.
        draws: see `Querying`.
    """

    threat: Threat
    queries: int = 5000
    width: int = 8
    patience: int = 100
    near: float | None = None
    draws: int = 1
    goes_on: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_fields(self)
        if self.threat.norm != "Linf":
            raise UserError(f"CornerSearch on {self.threat.norm}: a ball with corners is needed, Linf")
        self.check(width=4, patience=1)
        if self.near is not None and not 0 < self.near <= 1:
            raise UserError(f"near={self.near!r}: a share of the clean margin in (0, 1] is needed, or None")

    @property
    def label(self) -> str:
        return f"corners-{self.queries}"

    def query(self, model: nn.Module, x: Images) -> AbstractContextManager[Query]:
        """What is asked of the model, ready to use inside the block."""
        return nullcontext(judged)

    def run(
        self, model: nn.Module, x: Images, y: Labels, *, generator: Randomness = None, worst: Images | None = None
    ) -> Attempt:
        """Attack a batch; a sample pays one query for the clean image and one per point until it breaks.

        `worst`, of the shape of x, are the worst points known so far, of any attack.
        """
        x, y = check_call(self.threat, model, x, y)
        with frozen(model), self.query(model, x) as query:
            search = _Corners(self, query, model, x, y, Streams.of(generator, x))
            if len(x):
                search.begin(worst)
                while len(search.at):
                    search.round()
        return search.attempt


class _Corners:
    """The images that stand, their current points, and what the search remembers; `at` are positions in the batch.

    Points are `[n, entries]` here, and every state belongs to one sample.
    """

    BLOCK = 50  # rounds whose random numbers are drawn at once
    PER_SAMPLE = ("at", "x", "y", "low", "high", "z", "gain", "tabu", "margin", "best", "best_z", "idle", "needed")

    def __init__(
        self, attack: CornerSearch, query: Query, model: nn.Module, x: Images, y: Labels, streams: Streams
    ) -> None:
        self.attack, self.query, self.model, self.shape = attack, query, model, x.shape[1:]
        self.attempt = Attempt.none(x)
        self.at, self.y, self.streams = torch.arange(len(x), device=x.device), y, streams
        self.low, self.high = (end.flatten(1) for end in attack.threat.bounds(x))
        self.chunk = max(len(x), 64)  # images per forward pass: what the caller's batch says fits into memory
        self.left, self.turn = attack.queries, 0
        self.x = self.z = self.best_z = x.flatten(1)
        self.gain = torch.zeros_like(self.low)  # of a flip to the other end, as last seen
        self.tabu = torch.zeros_like(self.low, dtype=torch.int32)  # until which round
        self.margin = self.best = self.low.new_full((len(x),), -torch.inf, dtype=torch.float32)
        self.needed = self.best  # to be tried further: `near` times the clean margin
        self.trial = 0 if attack.near is None else attack.queries - attack.queries // 4  # queries left when it is asked
        self.idle = torch.zeros_like(y)
        self.windows = attack.width // 8 if len(self.shape) >= 3 and min(self.shape[-2:]) >= 2 else 0
        self.known = attack.width // 2
        self.singles = attack.width - self.windows
        self.numbers = self.low.new_zeros(0)

    def begin(self, worst: Images | None) -> None:
        """Who is misclassified from the start is left alone; the others get their first corner."""
        verdict = self.query(self.model, self.attempt.images, self.y, self.attack.draws)
        self.attempt.forwards += self.attack.draws
        self.needed = verdict.loss.float() * (self.attack.near or 0.0)
        drawn = self.streams.uniform(self.z.shape[1]).to(self.z)
        near = self.low + drawn * (self.high - self.low) if worst is None else worst.flatten(1)
        self.z = self.best_z = torch.where(near - self.low > self.high - near, self.high, self.low)
        self.keep(verdict.stands)
        if len(self.at):
            self.move(self.z[:, None], self.offer(self.z[:, None]), self.z.new_zeros(len(self.at)))

    def keep(self, stand: Tensor) -> None:
        """Go on with these samples alone."""
        if bool(stand.all()):
            return
        for name in self.PER_SAMPLE:
            setattr(self, name, getattr(self, name)[stand])
        self.streams = self.streams[stand.nonzero()[:, 0]]
        self.numbers = self.numbers[stand] if len(self.numbers) else self.numbers

    def offer(self, z: Tensor) -> Tensor:
        """Query the points `[n, K, entries]`: their margins `[n, K]`, infinite where they break their sample."""
        n, k = z.shape[:2]
        points, y = z.reshape(n * k, *self.shape), self.y.repeat_interleave(k)
        parts = [
            self.query(self.model, points[i : i + self.chunk], y[i : i + self.chunk], self.attack.draws)
            for i in range(0, n * k, self.chunk)
        ]
        self.attempt.forwards[self.at] += k * self.attack.draws
        self.left -= k
        value, stands = torch.cat([part.loss for part in parts]), torch.cat([part.stands for part in parts])
        return torch.where(stands, value.nan_to_num(NEVER), torch.inf).view(n, k)

    def round(self) -> None:
        """Offer each image its neighbours, and move."""
        width = min(self.attack.width, self.left)
        if width < 1 or not bool((self.high > self.low).any()):
            self.give_up(torch.ones_like(self.at, dtype=torch.bool))
            return
        if self.left <= self.trial:
            self.trial = 0
            self.give_up(self.best < self.needed)
            if not len(self.at):
                return
        k = self.turn % self.BLOCK
        if k == 0:
            self.numbers = self.streams.uniform(self.BLOCK, self.singles + 2 + 5 * self.windows).to(self.low)
        self.turn += 1
        tenure, between, u = self.numbers[:, k, 0], self.numbers[:, k, 1], self.numbers[:, k, 2:]
        middle = (self.low + self.high) / 2
        other = torch.where(self.z > middle, self.low, self.high)
        chosen = self.entries(u[:, : self.singles])
        values = other.gather(1, chosen)
        inside = self.low + between[:, None] * (self.high - self.low)
        inside = self.attack.threat.project(inside, self.x)  # onto a grid where the threat has one
        values[:, -1] = inside.gather(1, chosen[:, -1:])[:, 0]
        z = self.z[:, None].repeat(1, self.attack.width, 1)
        z[:, : self.singles].scatter_(2, chosen[:, :, None], values[:, :, None])
        for i in range(self.windows):
            mask, high = self.window(u[:, self.singles + 5 * i :][:, :5])
            z[:, self.singles + i] = torch.where(mask, torch.where(high, self.high, self.low), self.z)
        z = z[:, :width]
        value = self.offer(z)
        flips = min(width, self.singles - 1)
        gained = value[:, :flips] - self.margin[:, None]
        self.gain.scatter_(1, chosen[:, :flips], gained.clamp(NEVER, -NEVER).to(self.gain))
        tabu = ((z != self.z[:, None]) & (self.tabu > self.turn)[:, None]).any(2)
        self.move(z, torch.where(tabu & (value <= self.best[:, None]), NEVER, value), tenure)

    def entries(self, u: Tensor) -> Tensor:
        """Entries to change, `[n, singles]`: those of largest remembered gain that are not tabu, and random ones."""
        count = self.gain.shape[1]
        score = torch.where((self.tabu > self.turn) | (self.high <= self.low), NEVER, self.gain)
        known = score.topk(min(self.known, count), dim=1).indices
        return torch.cat([known, (u[:, known.shape[1] :] * count).long().clamp_max(count - 1)], 1)

    def window(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """A square window in all channels or in one, `[n, entries]`, and whether its end is the high one, `[n, 1]`."""
        channels, height, width = self.shape[:-2].numel(), *self.shape[-2:]
        side = (max(min(height, width) // 2, 2) ** wide(u[:, 0])).round()[:, None]
        spans = []
        for i, length in ((1, height), (2, width)):
            begin = (wide(u[:, i, None]) * (length - side + 1)).floor()
            place = torch.arange(length, device=u.device)[None]
            spans.append((place >= begin) & (place < begin + side))
        channel = (2 * channels * wide(u[:, 3, None])).long() - channels  # half of the numbers say all
        chosen = (torch.arange(channels, device=u.device)[None] == channel) | (channel < 0)
        mask = chosen[:, :, None, None] & spans[0][:, None, :, None] & spans[1][:, None, None, :]
        return mask.flatten(1), u[:, 4, None] < 0.5

    def move(self, z: Tensor, value: Tensor, u: Tensor) -> None:
        """Take the best of the neighbours; those of samples that it breaks are their result."""
        best, which = value.max(1)
        taken = best > NEVER
        point = torch.where(taken[:, None], z[torch.arange(len(z), device=z.device), which], self.z)
        changed = point != self.z
        self.gain = torch.where(changed, -self.gain, self.gain)
        self.tabu = torch.where(changed, (self.turn + 5 + (7 * u).int())[:, None], self.tabu)
        self.z, self.margin = point, torch.where(taken, best, self.margin)
        better = best > self.best
        self.best, self.best_z = torch.where(better, best, self.best), torch.where(better[:, None], point, self.best_z)
        self.idle = torch.where(better, 0, self.idle + 1)
        broken = best == torch.inf
        if bool(broken.any()):
            self.write(broken, point)
            self.keep(~broken)
        self.kick()

    def kick(self) -> None:
        """Samples without a new best for long go on near the best; the margin there is taken for that of the best."""
        tired = (self.idle >= self.attack.patience).nonzero()[:, 0]
        if len(tired):
            flipped = self.streams[tired].uniform(self.z.shape[1]).to(self.z.device) < 0.1
            base, low, high = self.best_z[tired], self.low[tired], self.high[tired]
            other = torch.where(base > (low + high) / 2, low, high)
            self.z[tired], self.margin[tired] = torch.where(flipped, other, base), self.best[tired]
            self.idle[tired] = 0

    def give_up(self, which: Tensor) -> None:
        """Leave these samples with their best points."""
        self.write(which, self.best_z)
        self.keep(~which)

    def write(self, which: Tensor, z: Tensor) -> None:
        """These points are the result of these samples."""
        self.attempt.images[self.at[which]] = z[which].unflatten(1, self.shape)
