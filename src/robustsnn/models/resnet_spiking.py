"""Residual networks with neurons in the place of ReLUs (Spiking-ResNet)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated

from torch import nn

from robustsnn.ground.ranges import Factor, Within
from robustsnn.models.classifier import Classifier, classifier
from robustsnn.models.pooling import Pooling
from robustsnn.models.resnet import Connect, Residual, Stem, residual_body
from robustsnn.models.time import Fold, Layers
from robustsnn.neurons import LIF, GradientRule, Neurons


def spiking_resnet(
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
) -> Classifier:
    """Spiking-ResNet-18, -34 or -50, trained directly: currents are added, then neurons fire.

        y = neurons(norm(conv( ... neurons(norm(conv(x))))) + x),   x through norm(conv 1x1) where the shape changes

    The residual network of He et al. 2016 with neurons for ReLUs (Hu et al. 2021 convert trained ones). Each
    block's output is spikes again; in exchange every gradient on its way down passes the surrogate of every
    block, unlike in `sew_resnet`.

    Args: as `sew_resnet`, without connect.
    """

    def neurons() -> Neurons:
        return Neurons(neuron, steps, rule)

    def block(convolutions: list[Fold], projection: Fold | None) -> Residual:
        branch: list[nn.Module] = [convolutions[0]]
        for part in convolutions[1:]:
            branch += [neurons(), part]
        shortcut = nn.Identity() if projection is None else projection
        return Residual(Layers(*branch), shortcut, Connect("add"), neurons())

    body = residual_body(
        depth, block, neurons, image=image, classes=classes, stem=stem, pooling=pooling, share=share, width=width
    )
    return classifier(body, encoder, image, mean, std)


spiking_resnet18 = partial(spiking_resnet, 18)
spiking_resnet34 = partial(spiking_resnet, 34)
spiking_resnet50 = partial(spiking_resnet, 50)
