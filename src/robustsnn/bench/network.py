"""The networks and images that are timed: built as training builds them, untrained, on noise or drawings."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from robustsnn.data.batches import ImageSet, Splits
from robustsnn.data.procedural import procedural
from robustsnn.ground.seeds import generator
from robustsnn.models import Classifier
from robustsnn.names.config import ModelConfig
from robustsnn.runs.build import build_model

CLASSES = tuple(map(str, range(10)))


def noise(shape: tuple[int, ...], n: int, seed: int) -> ImageSet:
    """n images of uniform grey values, in ten classes that take turns."""
    images = torch.randint(256, (n, *shape), generator=generator(seed, "bench", "images"), dtype=torch.uint8)
    return ImageSet(images, torch.arange(n) % len(CLASSES), CLASSES, "noise")


def drawings(shape: tuple[int, ...], n: int, seed: int) -> ImageSet:
    """n procedural images, or noise where their shape is another than 3x32x32."""
    return procedural(1, 1, n, seed=seed).test if shape == (3, 32, 32) else noise(shape, n, seed)


def network(
    name: str, data: ImageSet, steps: int, seed: int, device: torch.device, options: dict[str, Any] | None = None
) -> Classifier:
    """The network of that name for such images, as `train` makes it, on the device, in train mode."""
    config = ModelConfig(name=name, steps=steps, options=options or {})
    model = build_model(config, Splits(data, data, data, "bench"), seed).to(device)
    return model.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]


@torch.no_grad()
def settle(model: nn.Module, x: torch.Tensor) -> None:
    """Give every batch norm the statistics of x, so that an untrained network fires in eval mode too."""
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    before = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            norm.momentum = 1.0
        model.train()(x)
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = cast(float, momentum)
