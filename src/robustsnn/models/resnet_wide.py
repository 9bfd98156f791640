"""Spiking wide residual networks with convex shortcuts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import torch
from torch import Tensor, nn

from robustsnn.ground.door import check_whole
from robustsnn.ground.errors import UserError
from robustsnn.ground.ranges import Within
from robustsnn.models.classifier import Classifier, check_classes, check_image, classifier, pad_hint
from robustsnn.models.mixing import Mix
from robustsnn.models.time import Fold, Layers, fired
from robustsnn.neurons import LIF, GradientRule, Neurons


class WideBlock(nn.Module):
    """Pre-activation block, `[T or 1, B, C, H, W]` -> `[T, B, C', H/stride, W/stride]`.

        a = neurons(norm1(x)),   b = conv2(neurons(norm2(conv1(a)))),   y = c_0 shortcut + c_1 b

    The shortcut is x itself, or a 1x1 convolution of a where the shape changes. The mixture (c_0, c_1)
    starts at (1/2, 1/2) and is learned; "convex" is a promise of the method that projects it (SNN-RAT),
    not of the layer.
    """

    def __init__(
        self, channels: int, out: int, stride: int, neuron: LIF, steps: int, rule: GradientRule | None
    ) -> None:
        super().__init__()
        self.norm1 = Fold(nn.BatchNorm2d(channels))
        self.neurons1 = Neurons(neuron, steps, rule)
        self.conv1 = Fold(nn.Conv2d(channels, out, 3, stride, padding=1, bias=False), nn.BatchNorm2d(out))
        self.neurons2 = Neurons(neuron, steps, rule)
        self.conv2 = Fold(nn.Conv2d(out, out, 3, padding=1, bias=False))
        same = channels == out and stride == 1
        self.shortcut = None if same else Fold(nn.Conv2d(channels, out, 1, stride, bias=False))
        self.mix = nn.Parameter(torch.full((2,), 0.5))
        self.connect = Mix()

    def forward(self, x: Tensor) -> Tensor:
        a = fired(self.norm1, self.neurons1, x)
        b = self.conv2(fired(self.conv1, self.neurons2, a))
        return self.connect(b, x if self.shortcut is None else self.shortcut(a), self.mix)


def wide_resnet(
    *,
    image: tuple[int, ...],
    classes: int,
    neuron: LIF,
    steps: int,
    depth: Annotated[int, Within(least=10, most=1000)] = 16,
    width: Annotated[int, Within(least=1, most=256)] = 4,
    rule: GradientRule | None = None,
    encoder: nn.Module | None = None,
    mean: Sequence[float] = (0.5,),
    std: Sequence[float] = (0.25,),
) -> Classifier:
    """WRN-depth-width of spiking neurons; the default is the WRN-16-4 of both papers' line of work.

    conv 3x3 (16), three groups of (depth - 4) / 6 blocks with 16, 32 and 64 times `width` channels
    (the second and third group halve the image), batch norm, neurons, global average, linear.

    Args:
        image: (C, H, W), or (T, C, H, W) of event frames; H and W must be multiples of 4.
        classes, neuron, steps, rule, encoder, mean, std: as in `vgg`.
        depth: 6 n + 4.
        width: >= 1.
    """
    check_whole("depth", depth, least=10, most=1000)
    check_whole("width", width, most=256)
    if (depth - 4) % 6:
        raise UserError(f"depth={depth}: a wide residual network has depth 6 n + 4 (10, 16, 22, 28 ...)")
    check_classes(classes)
    check_image(image)
    channels, height, pixels = image[-3:]
    if height % 4 or pixels % 4 or not height or not pixels:
        raise UserError(
            f"image of {height}x{pixels} pixels: this network halves it twice, so both must be multiples of 4; "
            f"{pad_hint(height, pixels, 4)}"
        )
    blocks: list[nn.Module] = []
    before = 16
    for group, out in enumerate((16 * width, 32 * width, 64 * width)):
        for i in range((depth - 4) // 6):
            stride = 2 if group and not i else 1
            blocks.append(WideBlock(before, out, stride, neuron, steps, rule))
            before = out
    body = Layers(
        Fold(nn.Conv2d(channels, 16, 3, padding=1, bias=False)),
        *blocks,
        Fold(nn.BatchNorm2d(before)),
        Neurons(neuron, steps, rule),
        Fold(nn.AdaptiveAvgPool2d(1)),
        nn.Flatten(2),
        nn.Linear(before, classes),
    )
    return classifier(body, encoder, image, mean, std)


wide_resnet16 = partial(wide_resnet, depth=16, width=4)
