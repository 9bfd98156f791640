"""Spiking VGG networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from torch import nn

from robustsnn.ground.door import check_kind, check_list, check_number, check_whole
from robustsnn.ground.errors import UserError
from robustsnn.ground.ranges import Factor
from robustsnn.models.classifier import Classifier, check_classes, check_image, classifier, pad_hint
from robustsnn.models.pooling import Halving
from robustsnn.models.time import Fold, Layers
from robustsnn.neurons import LIF, GradientRule, Neurons


@dataclass(frozen=True)
class Plan:
    """Channels of the 3x3 convolutions, stage by stage with a 2x2 average pooling between stages, then
    the widths of the hidden fully connected layers."""

    stages: tuple[tuple[int, ...], ...]
    hidden: tuple[int, ...]

    def times(self, width: float) -> Plan:
        """All widths multiplied, rounded, and at least 1."""
        check_number("width", width, above=0, most=1000)
        scaled = lambda widths: tuple(max(1, round(width * n)) for n in widths)  # noqa: E731
        return Plan(tuple(scaled(stage) for stage in self.stages), scaled(self.hidden))


PLANS = {
    # The reference of the sparsity-regularisation paper (Ding et al. 2022): average pooling, 4096-4096-K.
    "vgg11": Plan(((64,), (128, 256), (512, 512, 512), (512, 512)), (4096, 4096)),
    # For 8x8 images: seconds per training on a CPU.
    "vgg_small": Plan(((12, 24), (48,)), (96,)),
}


def vgg(
    plan: str | Plan,
    *,
    image: tuple[int, ...],
    classes: int,
    neuron: LIF,
    steps: int,
    rule: GradientRule | None = None,
    encoder: nn.Module | None = None,
    mean: Sequence[float] = (0.5,),
    std: Sequence[float] = (0.25,),
    width: Factor = 1.0,
    hidden: Sequence[int] | None = None,
) -> Classifier:
    """A VGG of spiking neurons: (conv 3x3, batch norm, neurons)+ pool ... linear, neurons ... linear.

    Args:
        plan: a name of `PLANS`, or a `Plan`.
        image: (C, H, W), or (T, C, H, W) of event frames; H and W must be multiples of 2 to the number of poolings.
        classes: K >= 2.
        neuron, steps, rule: see `Neurons`.
        encoder: direct coding by default.
        mean, std: normalisation, see `Classifier`.
        width: factor on all channels of the plan.
        hidden: widths of the hidden fully connected layers, instead of the plan's times `width`; most of VGG-11's
            weights are in its 4096-4096.
    """
    if isinstance(plan, str):
        if plan not in PLANS:
            raise UserError(f"VGG plan {plan!r}: allowed are {', '.join(PLANS)}")
        plan = PLANS[plan]
    check_kind("plan", plan, Plan, "'vgg11'")
    if not plan.stages or not all(plan.stages):
        raise UserError(f"{plan}: at least one stage is needed, each with at least one convolution")
    plan = plan.times(width)
    if hidden is not None:
        check_list("hidden", hidden, "widths, such as [512],")
        for n in hidden:
            check_whole(f"hidden={hidden!r:.60}: a width", n, most=1 << 20)
        plan = replace(plan, hidden=tuple(hidden))
    check_classes(classes)
    check_image(image)
    channels, height, width = image[-3:]
    factor = 2 ** (len(plan.stages) - 1)
    if height % factor or width % factor or not height or not width:
        raise UserError(
            f"image of {height}x{width} pixels: this VGG halves it {len(plan.stages) - 1} times, "
            f"so height and width must be multiples of {factor}; {pad_hint(height, width, factor)}"
        )

    layers: list[nn.Module] = []
    for i, stage in enumerate(plan.stages):
        if i:
            layers.append(Fold(Halving()))
        for out in stage:
            layers.append(Fold(nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out)))
            layers.append(Neurons(neuron, steps, rule))
            channels = out
    layers.append(nn.Flatten(2))
    features = channels * (height // factor) * (width // factor)
    for units in plan.hidden:
        layers += [nn.Linear(features, units), Neurons(neuron, steps, rule)]
        features = units
    layers.append(nn.Linear(features, classes))
    return classifier(Layers(*layers), encoder, image, mean, std)


vgg_small = partial(vgg, "vgg_small")
vgg11 = partial(vgg, "vgg11")
