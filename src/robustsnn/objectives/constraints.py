"""Constraints on weights, applied in place after each optimiser step.

Regularised adversarial training (RAT: "SNN-RAT", Ding et al., NeurIPS 2022) is adversarial training without
weight decay, with both constraints below.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Protocol

import torch
from torch import Tensor, nn

from robustsnn.ground.errors import UserError
from robustsnn.ground.fields import check_fields
from robustsnn.ground.ranges import Count, Share, Within


class Constraint(Protocol):
    """Moves the model's parameters, in place and without gradient; `generator` is on the CPU."""

    def __call__(self, model: nn.Module, *, generator: torch.Generator) -> None: ...


@dataclass(frozen=True)
class OrthogonalRetraction:
    """Pulls each weight matrix towards orthonormal rows, and so its Lipschitz constant towards 1.

        W <- (1 + beta) W - beta W W^T W

    for each Conv2d, as a matrix [out, everything else], and each Linear. This is a gradient step of size
    beta / 4 on ||W W^T - I||_F^2 (Cisse et al. 2017, Parseval networks). It keeps the singular vectors and
    maps each singular value s to s (1 + beta (1 - s^2)): towards 1, and not beyond, if beta s (s + 1) <= 1;
    nearer to 1 than before if that is < 2. A zero stays. From s = sqrt(1 + 2/beta) on values grow without
    end; the released code would run into infinity there, this raises.

    A Linear with `rows` rows or more moves a random part of them, as a matrix of its own, at each call.

    Args:
        beta: in (0, 1/2]; published codes use 0.0005 to 0.004.
        rows: from how many rows on a Linear moves in parts.
        share: the part, in (0, 1]; at least one row.

    Raises UserError, before the layer is touched, where a singular value is too large for beta.
    """

    beta: Annotated[float, Within(above=0, most=0.5)]
    rows: Count = 200
    share: Share = 0.3

    def __post_init__(self) -> None:
        check_fields(self)

    @torch.no_grad()
    def __call__(self, model: nn.Module, *, generator: torch.Generator) -> None:
        for name, module in model.named_modules():
            if not isinstance(module, nn.Conv2d | nn.Linear):
                continue
            weight, matrix = module.weight, module.weight.flatten(1)
            if isinstance(module, nn.Linear) and len(weight) >= self.rows:
                count = max(1, int(self.share * len(weight)))  # rounded down, as the released code
                chosen = torch.randperm(len(weight), generator=generator)[:count].to(weight.device)
                weight[chosen] = self._moved(matrix[chosen], name)
            else:
                weight.copy_(self._moved(matrix, name).view_as(weight))

    def _moved(self, matrix: Tensor, name: str) -> Tensor:
        wide = matrix.shape[0] <= matrix.shape[1]
        gram = matrix @ matrix.T if wide else matrix.T @ matrix
        limit = 1 + 2 / self.beta
        # The Frobenius norm bounds the spectral norm from above and costs next to nothing. NaN passes: it is
        # in the weights already, and for the training loop to report.
        size = gram.norm().item()
        if size >= limit:
            largest = torch.linalg.eigvalsh(gram)[-1].item() if math.isfinite(size) else size
            if largest >= limit:
                raise UserError(
                    f"OrthogonalRetraction(beta={self.beta}): a singular value of {name or 'the model'} is "
                    f"{largest**0.5:.4g}, and from {limit**0.5:.4g} on the retraction makes it grow; "
                    f"use beta below {2 / (largest - 1):.2g}, a lower learning rate or smaller initial weights"
                )
        return matrix + self.beta * (matrix - (gram @ matrix if wide else matrix @ gram))


def project_simplex(v: Tensor) -> Tensor:
    """The nearest point of the probability simplex {p >= 0, sum p = 1} along the last axis, `[..., K]`.

    p = max(v - tau, 0) with the one tau that makes the sum 1: with u the descending sort of v, rho the largest
    j with u_j > (u_1 + .. + u_j - 1) / j, tau is that fraction at j = rho (Held, Wolfe and Crowder 1974).
    """
    v = v - v.amax(-1, keepdim=True)  # the projection does not see it, and large values do not drown the 1
    u = v.sort(-1, descending=True).values
    tau = (u.cumsum(-1) - 1) / torch.arange(1, v.shape[-1] + 1, device=v.device, dtype=v.dtype)
    rho = (u > tau).sum(-1, keepdim=True)  # true for 1..rho and false after, so the count is the index
    return (v - tau.gather(-1, rho - 1)).clamp_min(0)


@dataclass(frozen=True)
class ConvexShortcuts:
    """Makes the learned mixtures of residual blocks convex: each is projected onto the probability simplex.

    With shortcut and branch both L-Lipschitz, so is then their mixture (Ding et al. 2022).

    Args:
        name: the mixtures are the parameters of this name, and those of submodules of this name.

    Raises UserError if the model has none: the constraint would have no effect.
    """

    name: str = "mix"

    def __post_init__(self) -> None:
        check_fields(self)

    def mixtures(self, model: nn.Module) -> list[nn.Parameter]:
        """The parameters that are projected."""
        return [p for path, p in model.named_parameters() if self.name in path.split(".")[-2:]]

    @torch.no_grad()
    def __call__(self, model: nn.Module, *, generator: torch.Generator) -> None:
        mixtures = self.mixtures(model)
        if not mixtures:
            raise UserError(
                f"ConvexShortcuts(name={self.name!r}): the model has no parameter of that name; leave the constraint "
                "out, or use a network with learned mixtures such as wide_resnet16"
            )
        for mixture in mixtures:
            mixture.copy_(project_simplex(mixture))
