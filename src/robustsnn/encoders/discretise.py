"""Fewer grey levels, as a front end of any encoder."""

from __future__ import annotations

from torch import Tensor

from robustsnn.encoders.bpda import swap
from robustsnn.encoders.checks import integer
from robustsnn.encoders.smoothed import Rounding
from robustsnn.ground.types import Images


class Discretise(Rounding):
    """Pixels rounded to the nearest of L equidistant levels 0, 1/(L-1), ..., 1; shape kept.

        x -> round((L - 1) x) / (L - 1)

    A front end, for example `nn.Sequential(Discretise(4), Direct())`. A small perturbation is rounded away
    or becomes a whole level. Gradient: straight-through, slope 1. The deterministic half of the input
    discretisation of Sharmin et al., ECCV 2020; `Poisson` is the other. Pixels outside of [0, 1] are clipped.

    Args:
        levels: L >= 2.
    """

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = integer("Discretise", "levels", levels, least=2)

    def forward(self, x: Images) -> Tensor:
        top = self.levels - 1
        return swap((x.detach().clamp(0, 1) * top).round() / top, x)

    def extra_repr(self) -> str:
        return f"levels={self.levels}"
