"""The Square attack: random search with square windows, of images in Linf and L2."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robustsnn.attacks.attempt import Attempt
from robustsnn.attacks.noise import Queries
from robustsnn.attacks.querying import Querying
from robustsnn.attacks.streams import Randomness
from robustsnn.attacks.threat import Threat, check_call
from robustsnn.ground.errors import UserError
from robustsnn.ground.fields import check_fields
from robustsnn.ground.modes import frozen
from robustsnn.ground.types import Images, Labels
from robustsnn.ground.widest import wide

BLOCK = 100
"""Queries whose random numbers are drawn at once."""

HALVED_AFTER = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries after which the share of the image in a window is halved."""


def window_share(p: float, query: int) -> float:
    """The share of the image that the window of this query covers: p, halved after each of `HALVED_AFTER`."""
    return p / 2 ** sum(query > after for after in HALVED_AFTER)


@dataclass(frozen=True, repr=False)
class Square(Querying):
    """Square attack (Andriushchenko et al. 2020): each query changes one square window, and stays if it is worse.

    A point replaces the current one if its margin is larger, or if it is misclassified, which ends the search of
    its sample. Linf starts from vertical stripes of +-eps; a query adds 2 eps or -2 eps, by channel, within a window
    and projects, which sets every entry of the window to one of its `bounds`. L2 starts from a grid of the pattern
    of `pattern`; a query moves the energy of one window, and all that is unused, to another window (algorithm 3 of
    the source). Windows shrink as in the source for 10000 queries, whatever the number of queries, as AutoAttack has
    it.

    Each sample has windows of its own, where the released codes share one within a batch. Inputs `[B, ..., H, W]`
    of more than four dimensions are searched as images of all the leading channels.

    Args:
        threat: Linf or L2.
        queries: points per sample; one more query judges the clean image.
        p: share of the image that the first windows cover, in (0, 1].
        draws: see `Querying`.
    """

    threat: Threat
    queries: int = 5000
    p: float = 0.8
    draws: int = 1

    def __post_init__(self) -> None:
        check_fields(self)
        if self.threat.norm not in ("Linf", "L2"):
            raise UserError(f"Square on {self.threat.norm}: it is defined for Linf and L2")
        self.check()
        if not 0 < self.p <= 1:
            raise UserError(f"p={self.p!r}: the share of the image in a window is in (0, 1]")

    @property
    def label(self) -> str:
        return "square"

    def run(self, model: nn.Module, x: Images, y: Labels, *, generator: Randomness = None) -> Attempt:
        """Attack a batch; a sample pays one query for the clean image and one per point until it breaks."""
        x, y = check_call(self.threat, model, x, y)
        if x.ndim < 4:
            raise UserError(f"Square on inputs of shape {tuple(x.shape)}: its windows need [B, ..., H, W]")
        linf = self.threat.norm == "Linf"
        channels, height, width = x.shape[1:-2].numel(), *x.shape[-2:]
        with frozen(model):
            search = Queries(model, x, y, generator, self.draws)

            def offer(propose: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
                """Query what `propose` makes of the clean and the current images, both `[b, C, H, W]`."""
                flat = (len(search.at), channels, height, width)
                z = propose(search.x.reshape(flat), search.z.reshape(flat)).reshape(search.x.shape)
                return search.offer(z if linf else self.threat.project(z, search.x))

            begin = self._stripes if linf else self._grid
            numbers = search.streams.uniform(channels, width if linf else height * width)
            offer(lambda x, _: begin(x, numbers))
            block = numbers
            # Per query: a corner of a window or two, whether the pattern lies on its side, a sign per channel.
            for query in range(1, self.queries):
                if not len(search.at):
                    break
                k = (query - 1) % BLOCK
                if k == 0:
                    block = search.streams.uniform(BLOCK, 5 + channels)
                share = window_share(self.p, query)
                move = self._window if linf else self._exchange
                stand = offer(lambda x, z, u=block[:, k], share=share, move=move: move(x, z, u, share))
                if len(stand) < len(block):
                    block = block[stand]
        return search.finish()

    def _stripes(self, x: Tensor, u: Tensor) -> Tensor:
        return self._ends(x, signs(u)[:, :, None, :])

    def _ends(self, x: Tensor, sign: Tensor) -> Tensor:
        """Linf: the largest value of each entry where the sign is positive, the least elsewhere."""
        lowest, highest = self.threat.bounds(x)
        return torch.where(sign > 0, highest, lowest)

    def _window(self, x: Tensor, z: Tensor, u: Tensor, share: float) -> Tensor:
        """Linf: 2 eps up or down in a window and back into the ball."""
        height, width = x.shape[-2:]
        side = min(max(round(math.sqrt(share * height * width)), 1), height, width)
        rows, columns = place(u[:, 0], height, side), place(u[:, 1], width, side)
        inside = (within(rows, side)[:, :, None] & within(columns, side)[:, None, :])[:, None]
        return torch.where(inside, self._ends(x, signs(u[:, 5:])[:, :, None, None]), z)

    def _grid(self, x: Tensor, u: Tensor) -> Tensor:
        """L2: five tiles of the pattern along the shorter side, each with a sign per channel, scaled to norm eps."""
        height, width = x.shape[-2:]
        side = max(min(height, width) // 5, 1)
        tall, wide = (min(5, n // side) if n == min(height, width) else n // side for n in (height, width))
        tile = pattern(side).to(x).repeat(tall, wide)
        sign = signs(u[:, :, : tall * wide]).to(x).view(*u.shape[:2], tall, wide)
        field = x.new_zeros(x.shape)
        top, left = (height - tall * side) // 2, (width - wide * side) // 2
        grown = sign.repeat_interleave(side, 2).repeat_interleave(side, 3)
        field[:, :, top : top + tall * side, left : left + wide * side] = tile * grown
        return x + self.threat.steepest(field, self.threat.eps)

    def _exchange(self, x: Tensor, z: Tensor, u: Tensor, share: float) -> Tensor:
        """L2: the second window is cleared; its energy and the unused one go to the pattern in the first."""
        height, width = x.shape[-2:]
        side = max(round(math.sqrt(share * height * width)), 3)
        side = min(side + 1 - side % 2, height, width)
        shift = z - x
        first, second = ((place(u[:, i], height, side), place(u[:, i + 1], width, side)) for i in (0, 2))
        a, b = (
            (within(rows, side)[:, :, None] & within(columns, side)[:, None, :])[:, None].to(x)
            for rows, columns in (first, second)
        )
        rows, columns = (index.clamp(0, side - 1) for index in first)
        wave = pattern(side).to(x)
        upright, lying = wave[rows[:, :, None], columns[:, None, :]], wave[columns[:, None, :], rows[:, :, None]]
        eta = torch.where((u[:, 4] < 0.5)[:, None, None], upright, lying)[:, None] * a
        here = shift * a
        fresh = signs(u[:, 5:])[:, :, None, None].to(x) * eta + here / _norm(here)
        unused = (self.threat.eps**2 - shift.flatten(1).square().sum(1)).clamp_min(0)[:, None, None, None]
        both = (shift * torch.maximum(a, b)).square().sum((2, 3), keepdim=True)
        energy = (both + unused / x.shape[1]).sqrt()
        return x + torch.where(a > 0, fresh / _norm(fresh) * energy, shift * (1 - b))


def _norm(window: Tensor) -> Tensor:
    """L2 norm per sample and channel, kept above zero."""
    return window.square().sum((2, 3), keepdim=True).sqrt().clamp_min(1e-12)


def signs(u: Tensor) -> Tensor:
    """-1 or 1 with equal chance, of numbers uniform in [0, 1)."""
    return 2 * (u >= 0.5).to(u) - 1


def place(u: Tensor, length: int, side: int) -> Tensor:
    """Each of `length` positions counted from the begin of a window of that side, put at random: `[B, length]`."""
    begin = (wide(u) * (length - side + 1)).long()
    return torch.arange(length, device=u.device)[None] - begin[:, None]


def within(index: Tensor, side: int) -> Tensor:
    """Which positions of `place` lie in the window."""
    return (index >= 0) & (index < side)


def pattern(side: int) -> Tensor:
    """The L2 pattern of the source: two bumps of opposite sign, one above the other, of norm 1 in all, `[side, side]`.

    A bump of h x w entries is sum_{k=d}^{n} 1/(k+1)^2 at the Chebyshev distance d from its middle
    (floor(h/2), floor(w/2)), with n = floor(max(h, w) / 2). A side of 1 has one bump.
    """
    half = side // 2
    field = torch.cat([_bump(half, side), -_bump(side - half, side)])
    return field / field.norm()


def _bump(height: int, width: int) -> Tensor:
    n = max(height, width) // 2
    terms = 1 / torch.arange(1, n + 2, dtype=torch.float64) ** 2
    sums = terms.flip(0).cumsum(0).flip(0)
    rows, columns = (torch.arange(size) - size // 2 for size in (height, width))
    return sums[torch.maximum(rows.abs()[:, None], columns.abs()[None, :])]
