"""The exact worst case of a tiny spiking network in a Linf ball: proved, or found, or out of time.

Branch and bound over the trains of the first layer (see `trains`), which fix everything that follows:

1. The box of images allows each first neuron a range of trains, neighbours in its current. All combinations are shown
   to the rest of the network itself; those that are misclassified remain, often few. Where there are too many
   combinations for that, the range of a neuron is cut in two first, and parts that no image reaches are left out.
2. The remaining combinations span a range of trains per neuron, which cuts a polytope out of the box. A linear program
   finds the image that lies deepest in it, or that there is none, and then all these combinations are impossible.
   Otherwise a neuron is chosen, and the combinations are split by its train. A combination alone that has an image is
   a misclassified image.

What the answers mean, for currents of the first layer in real arithmetic and d the tolerance:

* "broken": the point that comes along is misclassified by the network as it is, in its own float32 forward pass.
* "robust": whatever trains are possible in the ball, the network classifies them right; also those for which the
  currents miss a border by less than d, so rounding that moves them less does not matter. It is as sure as HiGHS is of
  the optimum of a linear program; d is a hundred times its own tolerance, and above the rounding of small networks in
  float32. A tie is misclassified, as everywhere.
* "undecided": time ran out, or what rounding decides is all that is left: misclassified trains within d of their
  borders, or logits within d of a tie.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from robustsnn.attacks.threat import Linf, check_images
from robustsnn.attacks.trains import Array, Choice, first_layer
from robustsnn.ground.modes import evaluating
from robustsnn.losses import check_logits, correct, margin

Status = Literal["robust", "broken", "undecided"]


@dataclass(frozen=True, eq=False)
class Decision:
    """What was decided, the misclassified image `[C, H, W]` if one was found, and the cost."""

    status: Status
    image: Tensor | None
    combinations: int  # of trains that were shown to the network
    programs: int  # linear programs solved
    seconds: float


class Exact:
    """The solver for one network on the CPU: a `Classifier` of layers in sequence, with direct coding.

    The cost grows with the combinations of trains that a ball leaves open, exponentially with the number of first
    neurons; what follows may be any network.

    Args:
        model: images -> logits; in eval mode, the layers before its first neurons are affine. They are read once.
        tolerance: d, in units of the current.
        table: so many combinations of trains are tried at once.
    """

    def __init__(self, model: nn.Module, tolerance: float = 1e-5, table: int = 1 << 13) -> None:
        self.model = model
        self.tolerance = tolerance
        self.table = table
        self.first = first_layer(model)

    def decide(self, x: Tensor, y: int, eps: float, *, free: Tensor | None = None, seconds: float = 60.0) -> Decision:
        """Whether an image within eps of x `[C, H, W]` and within [0, 1] is not classified as y.

        Args:
            free: bool `[C, H, W]`, the pixels that may change; all, if None.
            seconds: after so many it is undecided.
        """
        check_images(x[None], torch.tensor([y]))
        with evaluating(self.model), torch.no_grad():
            check_logits(self.model(x[None]), torch.tensor([y]))
            return _TrainSearch(self, x, y, eps, free, seconds).verdict()


class _TrainSearch:
    """One image: which combinations of trains are misclassified, and whether an image in the box has one."""

    def __init__(self, exact: Exact, x: Tensor, y: int, eps: float, free: Tensor | None, seconds: float) -> None:
        self._exact, self._first, self._d = exact, exact.first, exact.tolerance
        self._x, self._y, self._threat = x, torch.tensor([y]), Linf(eps)
        clean = x.double()
        low, high = (clean - eps).clamp_min(0), (clean + eps).clamp_max(1)
        if free is not None:
            low, high = torch.where(free, low, clean), torch.where(free, high, clean)
        self._low, self._high = low.flatten().numpy(), high.flatten().numpy()
        self._least, self._most = exact.first.range(self._low, self._high, exact.tolerance)
        self._combinations = self._programs = 0
        self._begun = time.perf_counter()
        self._end = self._begun + seconds

    def verdict(self) -> Decision:
        image, sure = None, True
        try:
            for choices in self._misclassified():
                image, decided = self._reached(choices)
                sure &= decided
                if image is not None:
                    break
        except TimeoutError:
            sure = False
        status: Status = "broken" if image is not None else "robust" if sure else "undecided"
        return Decision(status, image, self._combinations, self._programs, time.perf_counter() - self._begun)

    def _misclassified(self) -> Iterator[Choice]:
        """Step 1: all combinations `[B, n]` that the network gets wrong, in portions."""
        parts = [(self._least, self._most)]
        while parts:
            self._check_time()
            least, most = parts.pop()
            if np.prod(most - least + 1.0) <= self._exact.table:
                yield self._wrong(least, most)
                continue
            slack, pixels = self._deepest(least, most)
            if slack < -self._d:
                continue
            i = int((most - least).argmax())
            middle = (least[i] + most[i]) // 2
            lower, upper = (least, _changed(most, i, middle)), (_changed(least, i, middle + 1), most)
            # The part that the deepest image lies in comes first, from the end of the list.
            parts += [upper, lower] if self._first.cell(pixels)[i] <= middle else [lower, upper]

    def _wrong(self, least: Choice, most: Choice) -> Choice:
        """The combinations between `least` and `most` that are misclassified, or closer to it than d."""
        sizes = tuple(most - least + 1)
        choices = np.stack(np.unravel_index(np.arange(np.prod(sizes)), sizes), 1) + least
        self._combinations += len(choices)
        logits = self._first.logits(choices)
        return choices[(margin(logits, self._y.expand(len(logits))) >= -self._d).numpy()]

    def _reached(self, choices: Choice) -> tuple[Tensor | None, bool]:
        """Step 2: a misclassified image with one of these trains; if there is none, whether that is sure."""
        parts, sure = [choices] if len(choices) else [], True
        while parts:
            self._check_time()
            choices = parts.pop()
            least, most = choices.min(0), choices.max(0)
            slack, pixels = self._deepest(least, most)
            if slack < -self._d:
                continue
            cell = self._first.cell(pixels)
            other = choices != cell
            if len(choices) == 1 or not other.any(1).all():
                image = self._threat.project(torch.from_numpy(pixels).view_as(self._x).to(self._x), self._x)
                if not bool(correct(self._exact.model(image[None]), self._y)):
                    return image, True
            if len(choices) == 1:
                sure = False
                continue
            i = int(np.where(most > least, other.sum(0), -1).argmax())
            nearest_last = sorted(set(choices[:, i].tolist()), key=lambda train: -abs(train - cell[i]))
            parts += [choices[choices[:, i] == train] for train in nearest_last]
        return None, sure

    def _deepest(self, least: Choice, most: Choice) -> tuple[float, Array]:
        """The pixels whose currents lie deepest within a range of cells, and the distance to its nearest border.

        That is the largest s with A x + b >= break + s below and A x + b <= break - s above, at most 1, and negative
        where no image of the box has these trains. Borders that the box does not reach are left out.
        """
        from scipy.optimize import linprog  # here: it takes a while to load

        first = self._first
        above, below = np.flatnonzero(least > self._least), np.flatnonzero(most < self._most)
        if not len(above) and not len(below):
            return 1.0, (self._low + self._high) / 2
        self._programs += 1
        weights = np.concatenate([-first.weight[above], first.weight[below]])
        limits = [first.bias[above] - first.breaks[least[above] - 1], first.breaks[most[below]] - first.bias[below]]
        pixels = np.stack([self._low, self._high], 1)
        found = linprog(
            np.append(np.zeros(len(pixels)), -1.0),
            A_ub=np.pad(weights, ((0, 0), (0, 1)), constant_values=1.0),
            b_ub=np.concatenate(limits),
            bounds=np.concatenate([pixels, [[-np.inf, 1.0]]]),
        )
        if found.status != 0:
            raise RuntimeError(f"a linear program that has a solution was not solved: {found.message}")
        return float(found.x[-1]), found.x[:-1]

    def _check_time(self) -> None:
        if time.perf_counter() > self._end:
            raise TimeoutError


def _changed(choice: Choice, i: int, to: int) -> Choice:
    changed = choice.copy()
    changed[i] = to
    return changed
