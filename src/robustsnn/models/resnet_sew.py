"""Spike-element-wise residual networks (SEW-ResNet)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated

from torch import nn

from robustsnn.ground.ranges import Factor, Within
from robustsnn.models.classifier import Classifier, classifier
from robustsnn.models.pooling import Pooling
from robustsnn.models.resnet import Connect, Connection, Residual, Stem, residual_body
from robustsnn.models.time import Fold, Layers
from robustsnn.neurons import LIF, GradientRule, Neurons


def sew_resnet(
    depth: int,
    *,
    image: tuple[int, ...],
    classes: int,
    neuron: LIF,
    steps: int,
    rule: GradientRule | None = None,
    encoder: nn.Module | None = None,
    mean: Sequence[float] = (0.5,),
    std: Sequence[float] = (0.25,),
    stem: Stem = "imagenet",
    pooling: Pooling = "max",
    share: Annotated[float, Within(least=0, most=1)] | None = None,
    width: Factor = 1.0,
    connect: Connection = "add",
) -> Classifier:
    """SEW-ResNet-18, -34 or -50: spikes of the branch meet spikes of the shortcut.

        A = neurons(norm(conv( ... neurons(norm(conv(S))))))         two convolutions, or 1x1, 3x3, 1x1 (50)
        y = g(A, S),  S through neurons(norm(conv 1x1)) where the shape changes

    Under "add" an identity block with a silent branch hands on spikes and gradients as they are; what it
    hands on are counts, not spikes. Source: Fang et al., NeurIPS 2021; its networks, and those of the
    sparsity-trail paper, have the defaults here.

    Args:
        depth: 18, 34 or 50.
        image: (C, H, W), or (T, C, H, W) of event frames.
        classes, neuron, steps, rule, encoder, mean, std: as in `vgg`.
        stem: "imagenet", convolution 7x7 with stride 2, or "cifar", 3x3 with stride 1, for images that are small.
        pooling: of the stem, 3x3 with stride 2: "max", "average", "hybrid" ..., see `pool`.
        share: of the maximum in hybrid pooling, fixed; learned if None.
        width: times the usual number of channels; 1/4 has 16, 32, 64, 128.
        connect: g, "add", "and" or "iand", see `Connect`.
    """

    def neurons() -> Neurons:
        return Neurons(neuron, steps, rule)

    def block(convolutions: list[Fold], projection: Fold | None) -> Residual:
        branch = Layers(*(layer for part in convolutions for layer in (part, neurons())))
        shortcut = nn.Identity() if projection is None else Layers(projection, neurons())
        return Residual(branch, shortcut, Connect(connect), nn.Identity())

    body = residual_body(
        depth, block, neurons, image=image, classes=classes, stem=stem, pooling=pooling, share=share, width=width
    )
    return classifier(body, encoder, image, mean, std)


sew_resnet18 = partial(sew_resnet, 18)
sew_resnet34 = partial(sew_resnet, 34)
sew_resnet50 = partial(sew_resnet, 50)
