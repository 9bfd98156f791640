"""What already is a current over time: an image at every step, and event frames."""

from __future__ import annotations

from torch import Tensor, nn

from robustsnn.encoders.checks import integer
from robustsnn.ground.errors import UserError
from robustsnn.ground.types import Images


class Direct(nn.Module):
    """Direct coding: the image itself is the input current at every time step. Exact gradient.

    Returns `[1, B, C, H, W]`. A time dimension of length one means "the same at every step" throughout
    the library, so the first convolution runs once and not T times; the first neurons repeat it.
    """

    def __init__(self) -> None:  # nn.Module's own takes anything
        super().__init__()

    def forward(self, x: Images) -> Tensor:
        return x[None]


class Frames(nn.Module):
    """Event frames `[B, T, C, H, W]` as they are, with time first: `[T, B, C, H, W]`. Exact gradient.

    Args:
        steps: T; recordings of another length are refused.
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = integer("Frames", "steps", steps)

    def forward(self, x: Images) -> Tensor:
        if x.ndim != 5 or x.shape[1] != self.steps:
            raise UserError(
                f"Frames(steps={self.steps}) was given a batch of shape {tuple(x.shape)}; "
                f"needed is [B, {self.steps}, C, H, W]"
            )
        return x.transpose(0, 1)

    def extra_repr(self) -> str:
        return f"steps={self.steps}"
