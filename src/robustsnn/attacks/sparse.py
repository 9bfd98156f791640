"""The attack on binary inputs, such as frames of events: flip as few entries as possible."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from robustsnn.attacks.attempt import Attempt, at_least, shown
from robustsnn.attacks.binary import Flips, ranked
from robustsnn.attacks.calling import Called
from robustsnn.attacks.passes import differentiate, judged
from robustsnn.attacks.streams import Randomness, Streams
from robustsnn.attacks.threat import check_call
from robustsnn.ground.door import said_of
from robustsnn.ground.errors import UserError
from robustsnn.ground.fields import check_fields
from robustsnn.ground.modes import frozen
from robustsnn.ground.types import Images, Labels
from robustsnn.losses import margin
from robustsnn.neurons import GradientRule, Memory, gradient_rule

ROWS = 64
"""Most inputs that are judged in one forward pass: on CPUs, larger ones cost more per input."""

TEMPERATURE = 0.3
"""Of the noise in the choice of swaps, as part of the mean gain of the eps best flips."""


@dataclass(frozen=True)
class SparseFlips(Called):
    """Flips few entries of binary inputs, led by gradients and sure of each flip: two searches, then a reduction.

    Both read off the gradient g of the margin what each flip gains to first order, (1 - 2x) g; entries of zero
    gradient rank behind all that gain, in random order.

    Swaps: each round tries `proposals` points within the budget. One of size m takes back the flips that hold least,
    until there is room for m, and adds the m of largest gain; m is 1, eps^(1/3), eps^(2/3) and eps in turn. Gumbel
    noise on the gains makes them differ (choices are then by the softmax of the gains), but for one of each size
    at the start and after a move. The best is taken if it raises the margin. A sample that stands is given up after
    `swaps` rounds, and its flips are what is returned if the climb fails too.

    Climb, for samples that stand: the sparse dynamic attack of Lun et al. (CVPR 2025). Round k = 0, 1, ... looks at the
    grow (k + 1) entries of largest |g| among those whose gain is >= 0. Each is flipped alone, by a forward pass; those
    that raise the margin are flipped together (or the best alone, where that is better), however many they are,
    until the sample is misclassified.

    Reduction, of misclassified samples: flips are taken back, first the most that can go, least useful first, by
    bisection, then one by one until none can, or until more than eps were found that cannot.

    Args:
        threat: how many entries may change.
        rule: gradient rule for the neurons; None leaves each layer its own.
        rounds: most gradients of each of the two searches.
        grow: by how many entries the choice of a round grows in the climb.
        queries: forward passes after which each of the two searches gives up a sample, checked once a round.
        swaps: most rounds of swaps, if `rounds` is not less.
        proposals: points that a round of swaps tries.
        draws: passes whose mean margins and gradients are taken, for models that draw random numbers; an input is
            then misclassified only if it is in all draws. `queries` counts them all.
    """

    threat: Flips
    rule: GradientRule | None = None
    rounds: int = 500
    grow: int = 10
    queries: int = 2000
    swaps: int = 30
    proposals: int = 16
    draws: int = 1
    black_box: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not isinstance(self.threat, Flips):
            raise UserError(f"SparseFlips on {said_of(self.threat)}: it is defined for Flips(eps=...)")
        check_fields(self)
        at_least(self, rounds=1, grow=1, queries=1, swaps=1, proposals=1, draws=1)

    @property
    def label(self) -> str:
        return f"flips/{self.rule.label if self.rule else 'own'}"

    @property
    def passes(self) -> int:
        """A bound, in units of `draws`: mostly some times what is spent, since a search sees its limit once a round.

        A round of swaps is a gradient and the proposals. One of the climb is a gradient, at least one candidate and at
        most those of its choice, and the flips together; the last may be a large one after small ones. If the climb
        breaks the sample beyond the budget, the reduction judges each of its flips once at most, after a bisection: a
        second time round, all that is left is needed and within the budget. A flip has been a candidate.
        """
        limit = -(-self.queries // self.draws)  # forward passes at which a search ends
        swaps = min(self.rounds, self.swaps, -(-limit // (1 + self.proposals)))
        rounds = min(self.rounds, -(-limit // 2))
        choices = self.grow * rounds * (rounds + 1) // 2
        climb = min(2 * rounds + choices, limit - 1 + 2 + self.grow * rounds)
        reduction = climb + climb.bit_length()
        return self.draws * (1 + swaps * (2 + self.proposals) + climb + rounds + reduction)

    def __repr__(self) -> str:
        return shown(self)

    def run(self, model: nn.Module, x: Images, y: Labels, *, generator: Randomness = None) -> Attempt:
        """Attack a batch of inputs of any shape `[B, ...]` with entries 0 and 1."""
        x, y = check_call(self.threat, model, x, y)
        if not bool(((x == 0) | (x == 1)).all()):
            raise UserError("inputs hold values other than 0 and 1: SparseFlips is for binary inputs, such as events")
        search = _FlipSearch(self, model, x, y, Streams.of(generator, x))
        if len(x) == 0:
            return search.attempt
        with frozen(model):
            everywhere = torch.arange(len(x), device=x.device)
            right = search.judge(everywhere, search.clean)[1]
            at = everywhere[right] if self.threat.eps else everywhere[:0]
            swapped = search.reduce(search.swap(at))
            search.keep(swapped)
            climbed = search.reduce(search.climb(at[~swapped.broken]))
            search.keep(climbed, climbed.broken)
        return search.attempt


class Flipped(NamedTuple):
    """Flips of the samples at positions `at`."""

    at: Tensor  # [b]
    chosen: Tensor  # bool [b, n]
    gain: Tensor  # [b, n] margin gained by each when it was flipped
    broken: Tensor  # bool [b]


class Stepped(NamedTuple):
    """What one round makes of the samples that search."""

    chosen: Tensor  # bool [b, n]
    gain: Tensor  # [b, n] margin gained by flipping each entry, where it was flipped
    broken: Tensor  # bool [b]
    going: Tensor  # bool [b]: there was something to try


Step: TypeAlias = Callable[[int, Tensor, Tensor, Tensor, Tensor, Tensor], Stepped]
"""(round, which samples of the search, their positions, chosen entries, margins, first-order gains) -> what comes."""

Build: TypeAlias = Callable[[Tensor, Tensor], Tensor]


def raised(value: Tensor, base: Tensor) -> Tensor:
    """By more than float32 rounds: the same input has slightly other logits in another batch."""
    return value - base > 1e-6 * base.abs()


class _FlipSearch:
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

    def search(self, at: Tensor, rounds: int, step: Step) -> Flipped:
        """Repeat a step on the samples that it neither breaks nor ends."""
        n = self.clean.shape[1]
        nothing = torch.zeros(len(at), n, device=at.device)
        done = Flipped(at, nothing.bool(), nothing, torch.zeros(len(at), dtype=torch.bool, device=at.device))
        limit = self.attempt.forwards[at] + self.attack.queries
        here = torch.arange(len(at), device=at.device)  # which of `at` still search
        with gradient_rule(self.model, self.attack.rule) as memory:
            for k in range(rounds):
                if not len(here):
                    break
                chosen = done.chosen[here]
                base, slope = self.slope(at[here], chosen, memory)
                moved, gain, broken, going = step(k, here, at[here], chosen, base, slope)
                done.chosen[here] = moved
                done.gain[here] = torch.where(moved & ~chosen, gain, done.gain[here])
                done.broken[here] = broken
                going &= ~broken & (self.attempt.forwards[at[here]] < limit[here])
                if not bool(going.all()):
                    stand = going.nonzero()[:, 0]
                    here = here[stand]
                    memory.select(stand)
        return done

    def slope(self, at: Tensor, chosen: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """The margin now, and what flipping each entry (once more, where it is chosen) gains to first order, `[b, n]`.

        In place of a zero stands a random number between 0 and the smallest other size.
        """
        z, y = self.point(at, chosen), self.y[at]
        loss = partial(margin, y=y)
        image = z.reshape(-1, *self.shape)
        found = differentiate(self.model, image, y, loss, self.attack.draws, memory, self.attempt, at)
        gain = ((1 - 2 * z) * found.gradient.flatten(1)).float()
        flat = gain == 0
        lost = flat.any(1).nonzero()[:, 0]
        if len(lost):
            size = torch.where(flat, torch.inf, gain.abs())[lost]
            least = size.amin(1, keepdim=True).nan_to_num(posinf=1.0)
            drawn = self.streams[at[lost]].uniform(z.shape[1])
            gain[lost] = torch.where(flat[lost], drawn * least, gain[lost])
        return found.loss, gain

    def swap(self, at: Tensor) -> Flipped:
        """Better points within the budget, by exchanging flips."""
        attack, n, device = self.attack, self.clean.shape[1], at.device
        eps, count = min(attack.threat.eps, n), attack.proposals
        size = torch.tensor([round(eps ** (i % 4 / 3)) for i in range(count)], device=device)
        plain = torch.arange(count, device=device) < 4
        pool = min(n, max(6 * eps, 100))
        fresh = torch.ones(len(at), dtype=torch.bool, device=device)  # at the start, or moved in the last round

        def step(k: int, here: Tensor, at: Tensor, chosen: Tensor, base: Tensor, gain: Tensor) -> Stepped:
            value, new = torch.where(chosen | (gain < 0), -torch.inf, gain).topk(pool, dim=1)
            held, old = chosen.float().topk(eps, dim=1)
            worth = torch.where(held > 0, -gain.gather(1, old), -torch.inf)
            unit = TEMPERATURE * value[:, :eps].clamp_min(0).mean(1).clamp_min(torch.finfo(value.dtype).tiny)
            noise = -(-self.streams[at].uniform(count, pool + eps).clamp(1e-7, 1 - 1e-7).log()).log()
            noise *= unit[:, None, None] * ~(fresh[here][:, None] & plain)[:, :, None]
            room = torch.minimum(held.sum(1, keepdim=True), eps - size)  # [b, proposals]: how many flips stay
            stays = (ranked(worth[:, None] + noise[:, :, pool:]) < room[:, :, None]) & (held > 0)[:, None]
            adds = (ranked(value[:, None] + noise[:, :, :pool]) < size[:, None]) & (value >= 0)[:, None]

            def build(sample: Tensor, proposal: Tensor) -> Tensor:
                none = torch.zeros(len(sample), n, dtype=torch.bool, device=device)
                return none.scatter(1, old[sample], stays[sample, proposal]) | none.scatter(
                    1, new[sample], adds[sample, proposal]
                )

            row = torch.arange(len(at), device=device)
            sample, proposal = row.repeat_interleave(count), torch.arange(count, device=device).repeat(len(at))
            margins, right = (found.view(-1, count) for found in self.tried(at, sample, build, proposal))
            broken = ~right.all(1)
            # Of misclassified points, the one of fewest flips.
            fewest = torch.where(right, n + 1, stays.sum(2) + adds.sum(2)).argmin(1)
            top = torch.where(broken, fewest, margins.argmax(1))
            fresh[here] = broken | raised(margins[row, top], base)
            moved = torch.where(fresh[here][:, None], build(row, top), chosen)
            return Stepped(moved, gain, broken, torch.ones_like(broken))

        return self.search(at, min(attack.rounds, attack.swaps), step)

    def climb(self, at: Tensor) -> Flipped:
        """Flip more and more, beyond the budget if need be."""
        n = self.clean.shape[1]
        tried = torch.zeros(len(at), n, dtype=torch.bool, device=at.device)

        def step(k: int, here: Tensor, at: Tensor, chosen: Tensor, base: Tensor, slope: Tensor) -> Stepped:
            allowed = (slope >= 0) & ~chosen & ~tried[here]
            size, entries = torch.where(allowed, slope, -1).topk(min(n, (k + 1) * self.attack.grow), dim=1)
            open_ = size >= 0
            moved, gain, broken = self.advance(at, chosen, base, entries, open_)
            changed = (moved != chosen).any(1)
            # What did not help here may help elsewhere.
            now = tried[here].scatter(1, entries, tried[here].gather(1, entries) | open_)
            tried[here] = now & ~changed[:, None]
            return Stepped(moved, gain, broken, open_.any(1))

        return self.search(at, self.attack.rounds, step)

    def advance(
        self, at: Tensor, chosen: Tensor, base: Tensor, entries: Tensor, open_: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The chosen entries after this round, what each candidate gains (`[b, n]`), and who is misclassified."""
        row, column = open_.nonzero(as_tuple=True)
        value = torch.full(entries.shape, -torch.inf, device=base.device)
        right = torch.ones_like(open_)

        def build(sample: Tensor, entry: Tensor) -> Tensor:
            return chosen[sample].scatter_(1, entry[:, None], True)

        value[row, column], right[row, column] = self.tried(at, row, build, entries[row, column])
        # A misclassified point comes before any other.
        value = torch.where(right, value, torch.inf)
        helps = raised(value, base[:, None])
        top = value.argmax(1, keepdim=True)
        best = helps & torch.zeros_like(helps).scatter(1, top, True)
        broken = ~right.gather(1, top)[:, 0]
        take = best
        several = (helps.sum(1) > 1) & ~broken
        if bool(several.any()):
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

    def tried(self, at: Tensor, sample: Tensor, build: Build, which: Tensor) -> tuple[Tensor, Tensor]:
        """`judge` of the flips `build(sample, which)`, made as they are needed; `sample` are positions in `at`."""
        margins, right = torch.zeros(len(sample), device=at.device), torch.ones_like(sample, dtype=torch.bool)
        for some in torch.arange(len(sample), device=at.device).split(ROWS):
            there = at[sample[some]]
            margins[some], right[some] = self.judge(there, self.point(there, build(sample[some], which[some])))
        return margins, right

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
            needed = torch.zeros_like(count)
            for i in range(int(count[some].max())):
                entry = order[some, i]
                there = some[chosen[some, entry] & (chosen[some].sum(1) > 1) & (needed[some] <= self.attack.threat.eps)]
                if not len(there):
                    continue
                fewer = chosen[there].scatter(1, order[there, i : i + 1], False)
                wrong = ~self.judge(at[there], self.point(at[there], fewer))[1]
                chosen[there[wrong]] = fewer[wrong]
                needed[there[~wrong]] += 1
            some = some[(chosen[some] != before).any(1) & (needed[some] <= self.attack.threat.eps)]
        flips.chosen[which] = chosen
        return flips

    def keep(self, flips: Flipped, which: Tensor | None = None) -> None:
        """Store what is within the budget, of all or of some samples (bool [b])."""
        fits = flips.chosen.sum(1) <= self.attack.threat.eps
        fits = fits if which is None else fits & which
        at = flips.at[fits]
        self.attempt.images[at] = self.point(at, flips.chosen[fits]).reshape(-1, *self.shape)
