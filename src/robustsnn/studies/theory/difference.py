"""The finite difference that stands for the l1 norm of the gradient, against that norm (proposition 1)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from robustsnn.data.given import Data, labelled
from robustsnn.evaluation.judge import device_of
from robustsnn.ground.door import check_whole
from robustsnn.ground.errors import UserError
from robustsnn.ground.modes import frozen
from robustsnn.ground.progress import Progress, silent
from robustsnn.ground.types import Loss
from robustsnn.ground.units import fraction
from robustsnn.ground.widest import widest
from robustsnn.neurons import GradientRule, gradient_rule
from robustsnn.neurons.smooth import smooth_forward
from robustsnn.studies.shared import norms
from robustsnn.studies.shared.medians import Values, kept, mean, median, share
from robustsnn.studies.shared.passes import name_of
from robustsnn.studies.shared.response import Response, probability
from robustsnn.studies.study import Summarised
from robustsnn.studies.theory.record import DifferenceRecord, DifferenceStep


@dataclass(frozen=True, eq=False)
class FiniteDifference(Summarised):
    """What `finite_difference` found.

    Args:
        steps: h, falling.
        l1: `[n]`, ||grad_x f||_1.
        quotients: `[steps, n]`, |f(x + h d) - f(x)| / h.
    """

    loss: str
    rule: str
    smooth: bool
    steps: tuple[float, ...]
    l1: Values
    quotients: Values

    @property
    def errors(self) -> Values:
        """`[steps, n]`, |quotient - l1| / l1; NaN for a gradient of zeros."""
        return np.abs(self.relative - 1)

    @property
    def relative(self) -> Values:
        """`[steps, n]`, quotient / l1; NaN for a gradient of zeros."""
        some = np.broadcast_to(self.l1, self.quotients.shape)
        return np.divide(self.quotients, some, out=np.full_like(self.quotients, np.nan), where=some > 0)

    @property
    def orders(self) -> tuple[float | None, ...]:
        """Between neighbouring steps, log(error / error) / log(h / h) of the median errors; None where one is zero."""
        middle = [median(errors).median for errors in self.errors]
        pairs = zip(pairwise(self.steps), pairwise(middle), strict=True)
        return tuple(
            float(np.log(after / before) / np.log(small / large)) if before and after else None
            for (large, small), (before, after) in pairs
        )

    @property
    def order(self) -> float | None:
        """The p of error ~ h^p, by least squares on the logarithms of the median errors that are not zero.

        1 if the quotient tends to the norm as a difference of a smooth function does; 0 if the error stays. None
        where fewer than two steps have an error.
        """
        middle = [median(errors).median for errors in self.errors]
        points = [(h, error) for h, error in zip(self.steps, middle, strict=True) if error]
        if len(points) < 2:
            return None
        h, error = np.log(np.array(points)).T
        return float(np.polyfit(h, error, 1)[0])

    def record(self) -> DifferenceRecord:
        """What is saved of it."""
        rows = zip(self.steps, self.errors, self.relative, self.quotients, strict=True)
        return DifferenceRecord(
            len(self.l1),
            self.loss,
            self.rule,
            self.smooth,
            int((self.l1 == 0).sum()),
            mean(self.l1),
            self.order,
            self.orders,
            tuple(
                DifferenceStep(h, mean(error), median(error), median(relative), share(quotient[self.l1 > 0] == 0))
                for h, error, relative, quotient in rows
            ),
            kept({"l1": self.l1, "quotients": self.quotients}),
        )


def finite_difference(
    model: nn.Module,
    data: Data,
    *,
    steps: Sequence[float | str] = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001),
    smooth: bool = False,
    loss: Loss = probability,
    rule: GradientRule | None = None,
    batch_size: int = 64,
    seed: int = 0,
    progress: Progress = silent,
) -> FiniteDifference:
    """Compare |f(x + h d) - f(x)| / h, d = sign(grad_x f), with ||grad_x f||_1, image by image, for each h.

    Source: proposition 1 of the sparsity-regularisation paper, which trains with h = 0.01; f is the `loss` of the
    logits. x + h d is not cut to [0, 1]. For a differentiable f the relative error is O(h). A spiking f is
    piecewise constant: there the quotient is 0 for h small enough, where the surrogate's norm is not, and the
    error 1; before that a jump of f divided by a small h may be many times the norm.

    Args:
        data: labelled images, or (x, y).
        steps: h > 0, as numbers or "8/255".
        smooth: take the network whose neurons fire the primitive of the surrogate, see `smooth_forward`, in a copy
            and on images in float64. Its gradient is exact, so this tells what the surrogate's network would do;
            but not behind an encoder that rounds or draws: a step of the code stays a step.
        loss: default f_y, the probability of the true class.
        rule: gradient rule; None leaves each layer its own. With `smooth` its surrogate is taken, so it needs one.

    Two forward passes and one backward pass per image, and one forward pass per h. A network that draws random
    numbers is run one image at a time, in one realisation per image, which derives from `seed` and its position.
    Model and torch's global generators are left as they were; nothing depends on `batch_size`.

    Raises UserError for wrong options or labels, if there is no finite gradient at the pixels, and with `smooth` for
    networks without neuron layers and rules without a fixed surrogate.
    """
    sizes = tuple(sorted({fraction(h) for h in steps}, reverse=True))
    if not sizes or sizes[-1] <= 0:
        raise UserError(f"steps={list(steps)}: give at least one, and each above 0")
    check_whole("batch_size", batch_size)
    x, y = labelled(data)
    device = device_of(model, x)
    if smooth:
        device = device if widest(device) == torch.float64 else torch.device("cpu")
        model, x = copy.deepcopy(model).to(device).double(), x.cpu().double()
    lengths, quotients = [], []
    with frozen(model), gradient_rule(model, rule), smooth_forward(model) if smooth else nullcontext():
        f = Response.of(model, loss, seed, x)
        size = 1 if f.alone else batch_size
        for at in range(0, len(x), size):
            xb, yb = x[at : at + size].to(device), y[at : at + size].to(device)
            with gradient_rule(model, rule):  # one that remembers begins anew
                _, gradient = f.gradient(xb, yb, at)
            here, _ = f(xb, yb, at)
            lengths.append(norms.l1(gradient.flatten(1)).cpu())
            ends = [f(xb + h * gradient.sign(), yb, at)[0] for h in sizes]
            rows = [(end - here).abs() / h for h, end in zip(sizes, ends, strict=True)]
            quotients.append(torch.stack(rows).cpu())
            progress(min(at + size, len(x)), len(x), "finite differences")
    name = name_of(rule)
    return FiniteDifference(
        name_of(loss), name, smooth, sizes, torch.cat(lengths).numpy(), torch.cat(quotients, 1).numpy()
    )
