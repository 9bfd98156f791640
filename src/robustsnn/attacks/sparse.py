"""The attack on binary inputs, such as frames of events: flip as few entries as possible."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from robustsnn.attacks.attempt import Attempt, at_least, shown
from robustsnn.attacks.binary import Flips
from robustsnn.attacks.passes import differentiate, judged
from robustsnn.attacks.streams import Randomness, Streams
from robustsnn.attacks.threat import check_images
from robustsnn.errors import UserError
from robustsnn.losses import margin
from robustsnn.modes import frozen
from robustsnn.neurons import GradientRule, Memory, gradient_rule
from robustsnn.types import Images, Labels

ROWS = 512
"""Most inputs that are judged in one forward pass."""


@dataclass(frozen=True)
class SparseFlips:
    """Flips few entries of binary inputs, led by gradients and sure of each flip; after the SDA of Lun et al. 2025.

    Round k = 0, 1, ... looks at the grow (k + 1) entries of largest |g|, g the gradient of the margin, among those
    whose flip raises it to first order, (1 - 2x) g >= 0. Each is flipped alone, by a forward pass; those that raise
    the margin are flipped together (or the best alone, where that is better), until the sample is misclassified.
    Entries of zero gradient rank behind all others, in random order. Then flips are taken back: first the most that
    can go, least useful first, by bisection, then one by one until none can. A sample that needs more than eps flips
    is tried again greedily, one best flip of `10 grow` at a time; if that fails too, those flips are returned.

    Args:
        threat: how many entries may change.
        rule: gradient rule for the neurons; None leaves each layer its own.
        rounds: most gradients of each of the two searches.
        grow: by how many entries the choice of a round grows.
        queries: forward passes after which each of the two searches gives up a sample, checked once a round.
        draws: passes whose mean margins and gradients are taken, for models that draw random numbers; an input is
            then misclassified only if it is in all draws. `queries` counts them all.
    """

    threat: Flips
    rule: GradientRule | None = None
    rounds: int = 500
    grow: int = 10
    queries: int = 20_000
    draws: int = 1
    black_box: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not isinstance(self.threat, Flips):
            raise UserError(f"SparseFlips on {self.threat!r}: it is defined for Flips(eps=...)")
        at_least(self, rounds=1, grow=1, queries=1, draws=1)

    @property
    def label(self) -> str:
        return f"flips/{self.rule.label if self.rule else 'own'}"

    def __repr__(self) -> str:
        return shown(self)

    def run(self, model: nn.Module, x: Images, y: Labels, *, generator: Randomness = None) -> Attempt:
        """Attack a batch of inputs of any shape `[B, ...]` with entries 0 and 1."""
        check_images(x, y)
        if not bool(((x == 0) | (x == 1)).all()):
            raise UserError("inputs hold values other than 0 and 1: SparseFlips is for binary inputs, such as events")
        search = _Search(self, model, x.detach(), y, Streams.of(generator, x))
        if len(x) == 0:
            return search.attempt
        with frozen(model):
            everywhere = torch.arange(len(x), device=x.device)
            right = search.judge(everywhere, search.clean)[1]
            at = everywhere[right] if self.threat.eps else everywhere[:0]
            for alone in (False, True):
                flips = search.climb(at, alone)
                flips = search.reduce(flips)
                at = flips.at[search.keep(flips, alone)]
        return search.attempt


class Flipped(NamedTuple):
    """Flips of the samples at positions `at`."""

    at: Tensor  # [b]
    chosen: Tensor  # bool [b, n]
    gain: Tensor  # [b, n] margin gained by each when it was tried
    broken: Tensor  # bool [b]


class _Search:
    """One run of `SparseFlips`, on inputs flattened to `[B, n]`."""

    def __init__(self, attack: SparseFlips, model: nn.Module, x: Images, y: Labels, streams: Streams) -> None:
        self.attack, self.model, self.y, self.streams = attack, model, y, streams
        self.shape, self.clean = x.shape[1:], x.reshape(len(x), x.shape[1:].numel())
        self.attempt = Attempt.none(x)

    def judge(self, at: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Margin of each row of z, an input of the sample at that position, and whether it is classified correctly.

        A NaN margin of a misclassified input reads as infinite; one of an input that some draw has right, as -infinity.
        """
        values, rights = [z.new_zeros(0, dtype=torch.float32)], [torch.zeros(0, dtype=torch.bool, device=z.device)]
        for some, rows in zip(at.split(ROWS), z.split(ROWS), strict=True) if len(at) else ():
            _, value, stands = judged(self.model, rows.reshape(-1, *self.shape), self.y[some], self.attack.draws)
            values.append(torch.where(value.isnan() & stands, -torch.inf, value.nan_to_num(nan=torch.inf)))
            rights.append(stands)
        self.attempt.forwards += self.attack.draws * torch.bincount(at, minlength=len(self.y))
        return torch.cat(values), torch.cat(rights)

    def point(self, at: Tensor, chosen: Tensor) -> Tensor:
        """The clean inputs with the chosen entries flipped."""
        return torch.where(chosen, 1 - self.clean[at], self.clean[at])

    def climb(self, at: Tensor, alone: bool) -> Flipped:
        """Flip until misclassified; `alone` takes one flip per round, and at most eps."""
        attack = self.attack
        n = self.clean.shape[1]
        nothing = torch.zeros(len(at), n, device=at.device)
        done = Flipped(at, nothing.bool(), nothing, torch.zeros(len(at), dtype=torch.bool, device=at.device))
        limit = self.attempt.forwards[at] + attack.queries
        here = torch.arange(len(at), device=at.device)  # which of `at` still climb
        tried = torch.zeros_like(done.chosen)
        with gradient_rule(self.model, attack.rule) as memory:
            for k in range(attack.rounds):
                if not len(here):
                    break
                width = min(n, 10 * attack.grow if alone else (k + 1) * attack.grow)
                chosen = done.chosen[here]
                base, entries, open_ = self.candidates(at[here], chosen, tried[here], width, memory)
                moved, gain, broken = self.advance(at[here], chosen, base, entries, open_, alone)
                changed = (moved != chosen).any(1)
                done.chosen[here] = moved
                done.gain[here] = torch.where(moved & ~chosen, gain, done.gain[here])
                done.broken[here] = broken
                # What did not help here may help elsewhere.
                fresh = tried[here].scatter(1, entries, tried[here].gather(1, entries) | open_)
                tried[here] = fresh & ~changed[:, None]
                going = ~broken & open_.any(1) & (self.attempt.forwards[at[here]] < limit[here])
                if alone:
                    going &= moved.sum(1) < attack.threat.eps
                if not bool(going.all()):
                    stand = going.nonzero()[:, 0]
                    here = here[stand]
                    memory.select(stand)
        return done

    def candidates(
        self, at: Tensor, chosen: Tensor, tried: Tensor, width: int, memory: Memory
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The margin now, the `width` most promising entries `[b, width]`, and which of them are candidates at all."""
        z, y = self.point(at, chosen), self.y[at]
        image = z.reshape(-1, *self.shape)
        loss = partial(margin, y=y)
        slope = differentiate(self.model, image, y, loss, self.attack.draws, memory, self.attempt, at)
        base, gradient = slope.loss, slope.gradient.flatten(1)
        size = gradient.abs()
        flat = size == 0
        lost = flat.any(1).nonzero()[:, 0]
        if len(lost):
            # Between 0 and the smallest other entry.
            least = torch.where(flat, torch.inf, size).amin(1, keepdim=True).nan_to_num(posinf=1.0)[lost]
            drawn = self.streams[at[lost]].uniform(z.shape[1]).to(size)
            size[lost] = torch.where(flat[lost], drawn * least, size[lost])
        allowed = ((1 - 2 * z) * gradient >= 0) & ~chosen & ~tried
        best = torch.where(allowed, size, -1).topk(width, dim=1)
        return base, best.indices, best.values >= 0

    def advance(
        self, at: Tensor, chosen: Tensor, base: Tensor, entries: Tensor, open_: Tensor, alone: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The chosen entries after this round, what each candidate gains (`[b, n]`), and who is misclassified."""
        row, column = open_.nonzero(as_tuple=True)
        value = torch.full(entries.shape, -torch.inf, device=base.device)
        right = torch.ones_like(open_)
        entry = entries[row, column]
        for some in torch.arange(len(row), device=row.device).split(ROWS):
            z = self.point(at[row[some]], chosen[row[some]])
            turn = torch.arange(len(some), device=row.device), entry[some]
            z[turn] = 1 - z[turn]
            value[row[some], column[some]], right[row[some], column[some]] = self.judge(at[row[some]], z)
        # A misclassified point comes before any other.
        value = torch.where(right, value, torch.inf)
        # By more than float32 rounds: the same input has slightly other logits in another batch.
        helps = value - base[:, None] > 1e-6 * base.abs()[:, None]
        top = value.argmax(1, keepdim=True)
        best = helps & torch.zeros_like(helps).scatter(1, top, True)
        broken = ~right.gather(1, top)[:, 0]
        take = best
        several = (helps.sum(1) > 1) & ~broken
        if not alone and bool(several.any()):
            which = several.nonzero()[:, 0]
            together = chosen[which].scatter(1, entries[which], chosen[which].gather(1, entries[which]) | helps[which])
            joint, fine = self.judge(at[which], self.point(at[which], together))
            better = (joint > value[which].amax(1)) | ~fine
            take = best.clone()
            take[which[better]] = helps[which[better]]
            broken[which] |= ~fine
        moved = chosen.scatter(1, entries, chosen.gather(1, entries) | take)
        gain = torch.zeros(chosen.shape, device=base.device).scatter(1, entries, value - base[:, None])
        return moved, gain, broken

    def reduce(self, flips: Flipped) -> Flipped:
        """Take back the flips that a misclassified sample does not need."""
        which = (flips.broken & (flips.chosen.sum(1) > 1)).nonzero()[:, 0]
        if not len(which):
            return flips
        at, chosen = flips.at[which], flips.chosen[which]
        count = chosen.sum(1)
        # The least useful first; entries that are not flipped last.
        usefulness = torch.where(chosen, flips.gain[which].clamp_max(1e30), torch.inf)
        order = usefulness.argsort(dim=1, stable=True)
        rank = order.argsort(dim=1)
        # Taking back the first `low` is fine; all would be the clean input.
        low, high = torch.zeros_like(count), count.clone()
        while bool((open_ := high - low > 1).any()):
            some = open_.nonzero()[:, 0]
            middle = (low[some] + high[some]) // 2
            right = self.judge(at[some], self.point(at[some], chosen[some] & (rank[some] >= middle[:, None])))[1]
            low[some[~right]], high[some[right]] = middle[~right], middle[right]
        chosen = chosen & (rank >= low[:, None])
        some = torch.arange(len(at), device=at.device)
        while len(some):
            before = chosen[some].clone()
            for i in range(int(count[some].max())):
                entry = order[some, i]
                there = some[chosen[some, entry] & (chosen[some].sum(1) > 1)]
                if not len(there):
                    continue
                fewer = chosen[there].scatter(1, order[there, i : i + 1], False)
                wrong = ~self.judge(at[there], self.point(at[there], fewer))[1]
                chosen[there[wrong]] = fewer[wrong]
            some = some[(chosen[some] != before).any(1)]
        flips.chosen[which] = chosen
        return flips

    def keep(self, flips: Flipped, last: bool) -> Tensor:
        """Store what is within the budget; which samples (bool [b]) need another try."""
        fits = (flips.chosen.sum(1) <= self.attack.threat.eps) & (flips.broken | last)
        at = flips.at[fits]
        self.attempt.images[at] = self.point(at, flips.chosen[fits]).reshape(-1, *self.shape)
        return ~fits
