"""How a network wants its images and gives its answer: where time is, and how it is read out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from robustsnn.ground.errors import UserError

Layout = Literal["images", "TB", "BT", "squeezed", "step"]
Readout = Literal["mean", "sum", "last", "max"]
LAYOUTS, READOUTS = ("images", "TB", "BT", "squeezed", "step"), ("mean", "sum", "last", "max")


@dataclass(frozen=True)
class Wiring:
    """From pixels to logits around a network.

    Args:
        layout: what the network is called with: images `[B, ...]` once (it has its own loop or encoder), sequences
            `[T, B, ...]`, `[B, T, ...]` or `[B T, ...]` ("squeezed", Sinabs has it), or one step after the other by a
            loop of ours ("step").
        steps: T, of what is not called with images; None where the images have it.
        output: which entry of a tuple, list or dict the answer is; None for a tensor.
        batch, time: the dimensions of the answer; time is None where it has none.
        readout: how time is read out.
    """

    layout: Layout = "images"
    steps: int | None = None
    output: int | str | None = None
    batch: int = 0
    time: int | None = None
    readout: Readout = "mean"

    def ask(self, net: Callable[[Tensor], Any], x: Tensor) -> Any:
        """What the network answers, as it is; images `[B, C, H, W]`, or frames `[B, T, C, H, W]`."""
        if self.layout == "images" or (self.layout == "BT" and self.steps is None):
            return net(x)
        frames = x.transpose(0, 1) if self.steps is None else x.expand(self.steps, *x.shape)
        if self.layout == "step":
            return [net(frame) for frame in frames]
        if self.layout == "squeezed":
            return net(frames.transpose(0, 1).flatten(0, 1)).unflatten(0, (len(x), len(frames)))
        return net(frames if self.layout == "TB" else frames.transpose(0, 1))

    def answer(self, raw: Any) -> Tensor:
        """The tensor in it, with time if it has any."""
        if self.layout == "step" and isinstance(raw, list):
            return torch.stack([_tensor(step, self.output) for step in raw])
        return _tensor(raw, self.output)

    def read(self, raw: Any) -> Tensor:
        """Logits `[B, K]`."""
        answer = self.answer(raw)
        if self.time is None:
            return answer
        over = answer.movedim((self.time, self.batch), (0, 1))
        if self.readout == "last":
            return over[-1]
        return over.amax(0) if self.readout == "max" else getattr(over, self.readout)(0)

    def __str__(self) -> str:
        asked = {"images": "images", "step": "one image per step", "squeezed": "[B T, ...]"}.get(
            self.layout, f"[{', '.join(self.layout)}, ...]"
        )
        steps = f", {self.steps} steps" if self.steps else ""
        entry = "" if self.output is None else f", entry {self.output!r} of its output"
        return f"asked with {asked}{steps}{entry}, " + ("logits" if self.time is None else f"{self.readout} over time")


def _tensor(raw: Any, output: int | str | None) -> Tensor:
    if isinstance(raw, dict | list | tuple) and output is not None:
        try:
            raw = raw[output]  # type: ignore[index,call-overload]
        except (KeyError, IndexError, TypeError):
            names = list(raw) if isinstance(raw, dict) else list(range(len(raw)))
            raise UserError(f"output={output!r}: the network's output has {names}") from None
    if isinstance(raw, list) and raw and all(isinstance(step, Tensor) for step in raw):
        raw = torch.stack(raw)
    if not isinstance(raw, Tensor):
        raise UserError(f"the network's output is a {type(raw).__name__}; say which entry is the answer, output=...")
    return raw


def entry_of(raw: Any) -> int | str | None:
    """A guess at which entry the answer is: "logits" or the only one of a dict, the first of a tuple."""
    if isinstance(raw, dict):
        if "logits" not in raw and len(raw) != 1:
            raise UserError(f"the network's output has {list(raw)}; say which entry is the answer, output=...")
        return "logits" if "logits" in raw else next(iter(raw))
    return 0 if isinstance(raw, tuple) else None


def dimensions(ask: Callable[[Tensor], Any], wiring: Wiring, x: Tensor) -> tuple[int, int | None]:
    """(batch, time) of the answer, by batches of two sizes; UserError if it is no [B, K] with or without T."""
    shapes = [wiring.answer(ask(x[:n])).shape for n in (3, 2)]
    apart = [d for d, (a, b) in enumerate(zip(*shapes, strict=True)) if (a, b) == (3, 2)]
    found = {(2, 0): (0, None), (3, 1): (1, 0), (3, 0): (0, 1)}.get((len(shapes[0]), apart[0])) if apart else None
    if found is None:
        raise UserError(
            f"the network's output has shape {list(shapes[0])} for 3 images; needed is [B, K], [T, B, K] or [B, T, K], "
            f"or give layout= ({', '.join(LAYOUTS)}) and steps= as it wants its input"
        )
    return found
