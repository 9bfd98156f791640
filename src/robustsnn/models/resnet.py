"""What spiking residual networks share: stem, stages, head, and the residual connection as a module."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn

from robustsnn.ground.errors import UserError
from robustsnn.models.classifier import check_classes, check_image, pad_hint
from robustsnn.models.pooling import Pooling, pool
from robustsnn.models.time import Fold, Layers

Connection = Literal["add", "and", "iand"]
CONNECTIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": lambda branch, shortcut: branch + shortcut,
    "and": lambda branch, shortcut: branch * shortcut,
    "iand": lambda branch, shortcut: (1 - branch) * shortcut,
}
Stem = Literal["imagenet", "cifar"]
# Blocks per stage; from 50 on they are bottlenecks.
STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}


class Connect(nn.Module):
    """What a block's branch A does to its shortcut S, element by element: g(A, S), all of one shape.

    "add" is A + S, "and" is A S, "iand" is (1 - A) S, "not A, and S". A silent branch leaves S as it is
    under "add" and "iand", a branch that always fires under "and". Spikes stay 0 or 1 but under "add",
    which counts them. "and" silences deep networks: with about 15 percent of the branch firing at the start,
    nothing comes out of SEW-ResNet-34. Source: Fang et al., NeurIPS 2021, table 1.

    A module without parameters, so that hooks can see the addition and the gradients of both its inputs.
    """

    def __init__(self, kind: Connection = "add") -> None:
        super().__init__()
        if kind not in CONNECTIONS:
            raise UserError(f"connect={kind!r}: allowed are {', '.join(CONNECTIONS)}")
        self.kind = kind

    def forward(self, branch: Tensor, shortcut: Tensor) -> Tensor:
        return CONNECTIONS[self.kind](branch, shortcut)

    def extra_repr(self) -> str:
        return self.kind


class Residual(nn.Module):
    """A block `[T, B, C, H, W]` -> `[T, B, C', H', W']`: after(connect(branch(x), shortcut(x)))."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module, connect: Connect, after: nn.Module) -> None:
        super().__init__()
        self.branch = branch
        self.shortcut = shortcut
        self.connect = connect
        self.after = after

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.connect(self.branch(x), self.shortcut(x)))


def convolution(channels: int, out: int, kernel: int, stride: int = 1) -> Fold:
    """Convolution without bias, the size kept but for the stride, and batch norm; for all time steps at once."""
    return Fold(nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(out))


def residual_body(
    depth: int,
    block: Callable[[list[Fold], Fold | None], Residual],
    neurons: Callable[[], nn.Module],
    *,
    image: tuple[int, ...],
    classes: int,
    stem: Stem,
    pooling: Pooling,
    share: float | None,
    width: float,
) -> nn.Sequential:
    """`[T or 1, B, C, H, W]` -> `[T, B, K]`: stem, stage1 .. stage4, head (children of these names).

    The stem is a convolution with norm, neurons and a pooling (3x3, stride 2, left out if `pooling` is "none").
    The stages have 64, 128, 256 and 512 times `width` channels (rounded for the first, then doubled; bottlenecks
    give out four times as many), and each but the first halves the image in its first block, in the 3x3
    convolution. The head is the average over the image and a linear layer. Layers are those of He et al. 2016
    with neurons for ReLUs, so parameters are as many.

    Args:
        depth: a key of `STAGES`.
        block: makes one of its convolutions and its projection (convolution 1x1 and norm), which is None where
            the block's shape stays.
        neurons: makes a neuron layer.
        image: (..., C, H, W).
        classes: K >= 2.
        stem: "imagenet", convolution 7x7 with stride 2, or "cifar", 3x3 with stride 1.
        pooling, share: see `pool`.
        width: > 0.
    """
    if depth not in STAGES:
        raise UserError(f"depth={depth}: allowed are {', '.join(map(str, STAGES))}")
    if stem not in ("imagenet", "cifar"):
        raise UserError(f"stem={stem!r}: allowed are imagenet, cifar")
    check_classes(classes)
    check_image(image)
    if not (isinstance(width, int | float) and math.isfinite(width) and round(64 * width) >= 1):
        raise UserError(f"width={width!r}: the first stage has 64 times width channels, so 1/64 is the least")
    _check_size(image, stem, pooling)

    base = round(64 * width)
    first = convolution(image[-3], base, 7, 2) if stem == "imagenet" else convolution(image[-3], base, 3)
    between = pool(pooling, 3, 2, 1, share=share)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["stem"] = Layers(first, neurons(), *([] if pooling == "none" else [Fold(between)]))
    before = base
    for stage, blocks in enumerate(STAGES[depth]):
        inner = base * 2**stage
        out = inner if depth < 50 else 4 * inner
        parts = []
        for i in range(blocks):
            stride = 2 if stage and not i else 1
            if depth < 50:
                convolutions = [convolution(before, out, 3, stride), convolution(out, out, 3)]
            else:
                convolutions = [
                    convolution(before, inner, 1),
                    convolution(inner, inner, 3, stride),
                    convolution(inner, out, 1),
                ]
            same = before == out and stride == 1
            parts.append(block(convolutions, None if same else convolution(before, out, 1, stride)))
            before = out
        layers[f"stage{stage + 1}"] = nn.Sequential(*parts)
    layers["head"] = nn.Sequential(Fold(nn.AdaptiveAvgPool2d(1)), nn.Flatten(2), nn.Linear(before, classes))
    return nn.Sequential(layers)


def _check_size(image: tuple[int, ...], stem: Stem, pooling: Pooling) -> None:
    """Sizes are halved rounding up, so any would run; but only the last stage may be left with a single pixel."""
    halvings = 3 + (stem == "imagenet") + (pooling != "none")
    least = 2 ** (halvings - 1)
    height, width = image[-2:]
    if min(height, width) < least:
        smaller = {"stem='cifar'": stem == "imagenet", "pooling='none'": pooling != "none"}
        fixes = [fix for fix, helps in smaller.items() if helps]
        raise UserError(
            f"image of {height}x{width} pixels: this network halves it {halvings} times and needs at least "
            f"{least}x{least}"
            + (f"; {' or '.join(fixes)} halves it once less" if fixes else "")
            + f"; {pad_hint(height, width, least)}"
        )
