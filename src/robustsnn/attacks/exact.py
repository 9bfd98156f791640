"""The exact worst case of a tiny spiking network in a Linf ball: proved, or found, or out of time.

The network is written as a mixed-integer linear program, see `encoding`.

What the answers mean:

* "broken": the point that comes along is misclassified by the network as it is, in its own float32 forward pass.
* "robust": no point of the ball is misclassified in real arithmetic, nor by any rounding that moves potentials and
  margins by less than d, since within d of the threshold a spike may go either way. As sure as HiGHS is of the
  infeasibility of a program; d is well above its own tolerance and above the rounding of tiny float32 networks.
* "undecided": time ran out, or a train of the first layer that is misclassified is possible only within d of its
  borders, where rounding decides.

A solution fixes the trains of the first layer, and these all that follows. So each solution is moved to the middle of
the set of images with these trains (a linear program) and shown to the network; if that is right there, these trains
are cut off and the search goes on.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from robustsnn.attacks.encoding import Encoding
from robustsnn.attacks.stages import stages
from robustsnn.attacks.threat import Linf, check_images
from robustsnn.errors import UserError
from robustsnn.losses import correct
from robustsnn.modes import evaluating


@dataclass(frozen=True, eq=False)
class Verdict:
    """What was decided, the misclassified image `[C, H, W]` if one was found, and the cost."""

    status: Literal["robust", "broken", "undecided"]
    image: Tensor | None
    binaries: int  # of the program, a measure of its size
    seconds: float


class Exact:
    """The solver for one network, a `Classifier` of layers in sequence with direct coding, for tiny ones.

    Args:
        model: all that lies between its neurons is affine in eval mode; see `stages`.
        tolerance: d.
    """

    def __init__(self, model: nn.Module, tolerance: float = 1e-5) -> None:
        self.model = model
        self.tolerance = tolerance
        self.network, self.steps = stages(model)

    def decide(self, x: Tensor, y: int, eps: float, *, free: Tensor | None = None, seconds: float = 60.0) -> Verdict:
        """Whether an image within eps of x `[C, H, W]` and within [0, 1] is not classified as y.

        Args:
            free: bool `[C, H, W]`, the pixels that may change; all, if None.
            seconds: after which it is undecided.
        """
        begun = time.perf_counter()
        check_images(x[None], torch.tensor([y]))
        threat = Linf(eps)
        classes = len(self.network[-1].bias)
        if not 0 <= y < classes:
            raise UserError(f"label {y} given to a model of {classes} classes; allowed are 0 to {classes - 1}")
        clean = x.detach().double().cpu()
        low, high = (clean - eps).clamp_min(0), (clean + eps).clamp_max(1)
        if free is not None:
            low, high = torch.where(free, low, clean), torch.where(free, high, clean)
        box = low.flatten().numpy(), high.flatten().numpy()
        encoded = Encoding(self.network, self.steps, *box, self.tolerance)

        def verdict(status: Literal["robust", "broken", "undecided"], image: Tensor | None = None) -> Verdict:
            return Verdict(status, image, encoded.program.binaries, time.perf_counter() - begun)

        decided = True
        for rival in encoded.rivals(y):
            while True:
                left = seconds - (time.perf_counter() - begun)
                answer = encoded.program.solve(left, also=encoded.margin(rival, y)) if left > 0 else None
                if answer is None or answer.values is None:
                    decided &= answer is not None and answer.closed
                    break
                slack, pixels = encoded.middle(answer.values)
                image = threat.project(torch.from_numpy(pixels).view_as(x).to(x), x)
                if self._wrong(image, y):
                    return verdict("broken", image)
                decided &= abs(slack) > self.tolerance
                encoded.cut_off(answer.values)
        return verdict("robust" if decided else "undecided")

    @torch.no_grad()
    def _wrong(self, image: Tensor, y: int) -> bool:
        with evaluating(self.model):
            return not bool(correct(self.model(image[None]), torch.tensor([y], device=image.device)))
