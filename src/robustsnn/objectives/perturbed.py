"""Adversarial weight perturbation (AWP): training at the worst weights nearby."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch import distributed as dist

from robustsnn.ground.distributed import Processes
from robustsnn.ground.errors import UserError, in_short
from robustsnn.ground.fields import check_fields
from robustsnn.ground.modes import batch_statistics
from robustsnn.ground.ranges import Share
from robustsnn.ground.types import Images, Labels, Logits
from robustsnn.objectives.natural import Natural, Terms, TwoPart, total
from robustsnn.objectives.schedule import Past, Scheduled


@dataclass(frozen=True)
class WeightPerturbed:
    """AWP: another objective L, at weights that are moved to where it is larger.

        g = grad_w L(w; x'),   v = gamma ||w|| g / ||g||   for each weight tensor of two axes or more,
        w <- (w + v) + step(grad_w L(w + v; x')) - v

    x' are the points that L trains on, crafted once, at w. Both passes are in train mode; the running statistics of
    batch norms see the second one alone. Norms are of a whole tensor; biases, batch norms and mixtures stay. Source:
    Wu, Xia and Wang, NeurIPS 2020; gamma there is 0.005 (over TRADES) and 0.01 (over AT).

    It has `updates` and is no objective of one loss per batch. On top of L it costs a forward and a backward to the
    weights. In several processes the direction is that of the sum of their g.

    Args:
        over: an objective with `inputs` and `at_points`: natural, adversarial, sparsity, one-step SR*, TRADES, MART; or
            one of these with a schedule of lambda.
        gamma: size of v as a share of that of w, in (0, 1].
    """

    over: TwoPart | Scheduled = field(default_factory=Natural)
    gamma: Share = 0.005

    def __post_init__(self) -> None:
        if not isinstance(self._asked, TwoPart):
            raise UserError(
                f"WeightPerturbed({in_short(self._asked)}): it needs an objective with inputs and at_points, such as "
                "Adversarial, SparsityRegularised, OneStep, TRADES or MART"
            )
        check_fields(self)

    @property
    def _asked(self) -> TwoPart:
        return self.over.objective if isinstance(self.over, Scheduled) else self.over  # type: ignore[return-value]

    @property
    def lam(self) -> float:
        """That of the other objective, if it has one."""
        return self.over.lam  # type: ignore[union-attr,no-any-return]

    @property
    def needs_robust_validation(self) -> bool:
        """That of a schedule inside."""
        return isinstance(self.over, Scheduled) and self.over.needs_robust_validation

    def at(self, epoch: int, epochs: int, history: Past) -> WeightPerturbed:
        """Over the other objective's form of this epoch."""
        return replace(self, over=self.over.at(epoch, epochs, history)) if isinstance(self.over, Scheduled) else self

    def inputs(self, model: nn.Module, x: Images, y: Labels, generator: torch.Generator) -> Images:
        """Those of the other objective."""
        return self._asked.inputs(model, x, y, generator)

    def updates(
        self, model: nn.Module, x: Images, y: Labels, *, generator: torch.Generator
    ) -> Iterator[tuple[Terms, Logits]]:
        """One update, at w + v; the weights are moved back after it."""
        over, x = self._asked, self.inputs(model, x, y, generator)
        weights = [weight for weight in model.parameters() if weight.requires_grad and weight.ndim > 1]
        with batch_statistics(model):
            terms, _ = over.at_points(model, x, y)
            slopes = torch.autograd.grad(total(terms), weights, allow_unused=True)
        moves = [self._move(weight.detach(), slope) for weight, slope in zip(weights, slopes, strict=True)]
        _shift(weights, moves, 1)
        try:
            yield over.at_points(model, x, y)
        finally:
            _shift(weights, moves, -1)

    def _move(self, weight: Tensor, slope: Tensor | None) -> Tensor:
        """v of one tensor; zero where the loss has no slope."""
        slope = torch.zeros_like(weight) if slope is None else slope.contiguous()
        if dist.is_available() and dist.is_initialized():
            Processes(dist.get_rank(), dist.get_world_size()).sum(slope)
        length = slope.norm()
        return self.gamma * weight.norm() * slope / length.clamp_min(torch.finfo(slope.dtype).tiny)


@torch.no_grad()
def _shift(weights: Sequence[Tensor], moves: Sequence[Tensor], sign: int) -> None:
    for weight, move in zip(weights, moves, strict=True):
        weight.add_(move, alpha=sign)
