"""Whether a network and a batch fit in memory, found out from shapes alone before anything is allocated."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from robustsnn.data.batches import Splits
from robustsnn.ground.errors import UserError
from robustsnn.ground.memory import available, check_fits
from robustsnn.names import find
from robustsnn.names.config import Config, RuleConfig, SurrogateConfig, TrainConfig
from robustsnn.runs.build import make_model

_LOWER = "model.options (width, depth)"
_DRAWN = {"uniform_", "normal_", "trunc_normal_", "kaiming_uniform_", "kaiming_normal_", "xavier_uniform_"}


class _Undrawn(TorchFunctionMode):
    """Leaves weights undrawn: tensors without data take no values, and drawing them loads a compiler."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in _DRAWN:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def check_model(config: Config, data: Splits, batch: int, device: torch.device, *, training: bool) -> None:
    """UserError if the network, or its pass over a batch of so many images, cannot fit in memory.

    What is compared is the least that they take, so that nothing is refused that may work: the weights (with their
    gradients and the optimiser's memory, in training), and one number per output of each layer (two bytes in
    bfloat16; in training alone, where all of them are kept). Networks of others are not looked at.
    """
    if find("model", config.model.name).outside:
        return
    image = data.train.shape
    try:
        shapes = _shapes(config, data, image)
    except NotImplementedError:  # something of it computes when it is made
        return
    weights = sum(p.numel() for p in shapes.parameters())
    check_fits(weights * (12 if training else 4), f"the network ({weights:.3g} weights)", _LOWER, _free(device))
    if not training or config.train.recompute:
        return
    each = 2 if config.train.precision == "bfloat16" else 4
    have = _free(device)
    if each * batch * config.model.steps * _at_most(shapes, image) < have / 2:
        return
    needed = each * batch * config.model.steps * _outputs(config, data, image)
    what = f"a training step on {batch} images with T={config.model.steps}"
    check_fits(needed, what, "train.batch_size, model.steps or model.options, or give train.recompute=true", have)


def check_crop(config: TrainConfig, data: Splits) -> None:
    """UserError for augmentation that moves more than the whole image."""
    side = max(data.train.shape[-2:])
    for name in ("crop", "roll", "cutout"):
        if getattr(config, name) > side:
            said = f"train.{name}={getattr(config, name)} on images of {data.train.shape[-2]}x{data.train.shape[-1]}"
            raise UserError(
                f"{said} pixels: allowed is a whole number from 0 to {side}; leave it out for the usual one"
            )


def _free(device: torch.device) -> int:
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else available()


def _shapes(config: Config, data: Splits, image: tuple[int, ...], steps: int | None = None) -> nn.Module:
    """The network without data."""
    # Rules of gradients have no shapes, and some compute when they are made.
    model = replace(config.model, rule=RuleConfig(), surrogate=SurrogateConfig(), steps=steps or config.model.steps)
    with torch.device("meta"), _Undrawn():
        return make_model(model, image, len(data.train.classes), (0.5,), (0.25,))


def _at_most(model: nn.Module, image: tuple[int, ...]) -> float:
    """No fewer than the outputs of all layers for one image and step: as if none were smaller than the image."""
    channels = image[-3]
    for module in model.modules():
        channels += getattr(module, "out_channels", 0) * 4 + getattr(module, "out_features", 0) * 3
    return float(channels) * math.prod(image[-2:])


def _outputs(config: Config, data: Splits, image: tuple[int, ...]) -> float:
    """Outputs of all layers for one image and step; 0 where they cannot be told without data."""
    steps = 2
    image = (steps, *image[1:]) if len(image) == 4 else image
    count = [0]

    def add(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor):
            count[0] += output.numel()

    with suppress(RuntimeError, NotImplementedError, UserError), torch.no_grad():
        model = _shapes(config, data, image, steps)
        for module in model.modules():
            if next(module.children(), None) is None:
                module.register_forward_hook(add)
        model(torch.empty(1, *image, device="meta"))
    return count[0] / steps
