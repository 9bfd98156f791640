"""A spiking network as a map from images to logits, with normalisation and time inside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from robustsnn.encoders import Direct
from robustsnn.ground.door import check_kind, check_list, check_number, check_whole
from robustsnn.ground.errors import UserError
from robustsnn.ground.modes import at_least_float32
from robustsnn.ground.types import Images, Logits

OLD_NAMES = {"mean": "pixel_mean", "std": "pixel_std"}
"""Buffers of a `Classifier` as files of before December 2026 name them, and as they are named."""


class Classifier(nn.Module):
    """Images `[B, C, H, W]` (or event frames `[B, T, C, H, W]`) in [0, 1] -> logits `[B, K]`.

        z = (1/T) sum_t body((encode(x) - mean) / std)[t]

    Encoders so see pixels, and what they emit is in the units of pixels (for direct coding both orders are
    the same).
    Time-averaged outputs of the last linear layer are what the released codes of this field read out;
    the softmax over summed outputs differs by the temperature T alone. Eq. 9 of the
    sparsity-regularisation paper sums spikes of a last spiking layer: `SpikeCounts` at the end of the body.

    Args:
        body: `[T or 1, B, C, H, W]` -> `[T, B, K]`.
        encoder: `[B, C, H, W]` -> `[T or 1, B, C, H, W]`; `Frames` for event frames.
        image: the (C, H, W), or (T, C, H, W), that the network is made for; others are refused.
        mean, std: per channel, of pixels in [0, 1]; one number stands for all channels.
    """

    # Not mean and std: a widely used attack library takes a model with attributes of those names for one that wants
    # normalised images, and attacks wrong ones.
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        body: nn.Module,
        encoder: nn.Module,
        image: tuple[int, ...],
        mean: Sequence[float] = (0.5,),
        std: Sequence[float] = (0.25,),
    ) -> None:
        super().__init__()
        check_kind("body", body, nn.Module, "torch.nn.Flatten()")
        check_image(image)
        check_kind("encoder", encoder, nn.Module, "robustsnn.encoders.Direct()")
        for name, values in (("mean", mean), ("std", std)):
            check_list(name, values, "numbers, one per channel,")
            for value in values:
                check_number(name, value)
            if len(values) not in (1, image[-3]):
                raise UserError(f"{name} has {len(values)} numbers for {image[-3]} channels; give one or {image[-3]}")
        if min(std) <= 0:
            raise UserError(f"std={list(std)}: all must be positive")
        self.body = body
        self.encoder = encoder
        self.image = tuple(image)
        self.register_buffer("pixel_mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("pixel_std", torch.tensor(std).view(-1, 1, 1))

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: Any) -> None:  # type: ignore[override]
        rename(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def forward(self, x: Images) -> Logits:
        if x.shape[1:] != self.image:
            raise UserError(f"images of shape {tuple(x.shape[1:])} given to a network made for {self.image}")
        return self.read(self.encoder(x))

    def read(self, code: Tensor) -> Logits:
        """From the encoder's output `[T or 1, B, C, H, W]` to logits."""
        return at_least_float32(self.body((code - self.pixel_mean) / self.pixel_std)).mean(0)


def rename(tensors: dict[str, Tensor], prefix: str) -> None:
    """Give the buffers of a `Classifier` of that prefix in a state dict their names of today, in place."""
    for old, new in OLD_NAMES.items():
        if prefix + old in tensors and prefix + new not in tensors:
            tensors[prefix + new] = tensors.pop(prefix + old)


def former(name: str) -> str:
    """A buffer's name as digests of before have it, so that outcomes which were saved then stay valid."""
    prefix, dot, last = name.rpartition(".")
    return prefix + dot + next((old for old, new in OLD_NAMES.items() if new == last), last)


def renamed(tensors: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """A state dict of this model with the names of today."""
    tensors = dict(tensors)
    for name, module in model.named_modules():
        if isinstance(module, Classifier):
            rename(tensors, f"{name}." if name else "")
    return tensors


def check_classes(classes: int) -> None:
    """UserError below two classes."""
    check_whole("classes", classes, least=2, most=1 << 24)


def check_image(image: tuple[int, ...]) -> None:
    """UserError unless it is the shape of an image or of event frames."""
    if not isinstance(image, tuple | list | torch.Size) or len(image) not in (3, 4):
        said = f"image={image!r:.60}" if not isinstance(image, Tensor) else "image is a tensor"
        raise UserError(f"{said}: give the shape (C, H, W) of an image, or (T, C, H, W) of event frames")
    for size in image:
        check_whole(f"image={image!r:.60}: a size", size, least=0, most=1 << 24)


def pad_hint(height: int, width: int, factor: int) -> str:
    """What to do about an image whose height and width are no multiples of a factor."""
    return f"data.pad={max(-(-max(height, width) // factor), 1) * factor} gives it a black border"


def classifier(
    body: nn.Module, encoder: nn.Module | None, image: tuple[int, ...], mean: Sequence[float], std: Sequence[float]
) -> Classifier:
    """The end of every builder: a `Classifier` around `body`, direct coding by default, He-initialised."""
    model = Classifier(body, Direct() if encoder is None else encoder, image, mean, std)
    initialise(model)
    return model


class SpikeCounts(nn.Module):
    """A spiking last layer: currents `[T, B, K]` -> T times its spikes, so that the mean over time is their number.

        z_k = sum_t s_k[t]

    Eq. 9 of the sparsity-regularisation paper. Logits are whole numbers from 0 to T; a tie is misclassified.
    """

    def __init__(self, neurons: nn.Module, steps: int) -> None:
        super().__init__()
        self.neurons, self.steps = neurons, steps

    def forward(self, current: Tensor) -> Tensor:
        return self.neurons(current) * self.steps  # type: ignore[no-any-return]


Init = Literal["he", "released"]


def initialise(model: nn.Module, init: Init = "he") -> None:
    """New weights, in place: convolutions N(0, 2 / fan out) (He et al. 2015), zero biases; linear layers

    - "he": the same,
    - "released": as PyTorch initialises them, U(-a, a) with a = 1 / sqrt(fan in), which is what the codes released with
      both papers leave them at. The last layer of K outputs so starts sqrt(6 n / K) times smaller, n its inputs, and
      the first loss near log K.

    Uses torch's global generator: seed it before for a reproducible network.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear) and init == "released":
            module.reset_parameters()
        elif isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
