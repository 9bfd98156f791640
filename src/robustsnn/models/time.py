"""Where time goes: folded into the batch for layers without memory, averaged at the readout."""

from __future__ import annotations

from torch import Tensor, nn

from robustsnn.neurons import Neurons
from robustsnn.neurons.normed import fire_normed, fusable, watched


class Fold(nn.Sequential):
    """Layers without memory, applied to all time steps at once: `[T, B, ...]` -> `[T, B, ...]`.

    T and B are folded into one batch dimension and unfolded after; a view, no copy.
    """

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def fired(fold: Fold, neurons: Neurons, x: Tensor) -> Tensor:
    """neurons(fold(x)); a batch norm at the end of the fold runs in the kernels of the neurons where that pays."""
    if watched(fold) or "forward" in vars(fold):
        return neurons(fold(x))
    *before, last = fold
    y = x.flatten(0, 1)
    for layer in before:
        y = layer(y)
    over_time = y.unflatten(0, x.shape[:2])
    if fusable(last, neurons, over_time):
        assert isinstance(last, nn.BatchNorm2d)
        return fire_normed(last, neurons, over_time)
    # `y` itself, not folded again: of one image, that view has strides at which torch's batch norm has a wrong gradient
    return neurons(last(y).unflatten(0, x.shape[:2]))


class Layers(nn.Sequential):
    """Layers one after the other, `[T or 1, B, ...]` -> `[T, B, ...]`; a `Fold` and neurons behind it by `fired`."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        layers = list(self)
        while layers:
            layer = layers.pop(0)
            if isinstance(layer, Fold) and layers and isinstance(layers[0], Neurons):
                x = fired(layer, layers.pop(0), x)  # type: ignore[arg-type]
            else:
                x = layer(x)
        return x
