"""The network of theorem 4.3 of the sparsity-trail paper: two spiking layers without bias."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robustsnn.encoders import Frames
from robustsnn.ground.errors import UserError
from robustsnn.ground.seeds import generator
from robustsnn.models.classifier import Classifier
from robustsnn.neurons import IF, STBP, Arctan, Neurons


def two_layer(
    weights: tuple[Tensor, Tensor],
    steps: int,
    *,
    encoder: nn.Module | None = None,
    image: tuple[int, ...] | None = None,
) -> Classifier:
    """p(s) = mean over t of H(W2 H(W1 s[t])), with H integrate-and-fire neurons of hard reset and threshold 1.

    The slope of a spike is arctan's, 1 / (1 + (pi u)^2) at a distance u from the threshold. Outputs are rates, and the
    first K of them serve as logits of K classes.

    Args:
        weights: W1 `[n, d]`, W2 `[K, n]`; square in the theorem.
        steps: T.
        encoder: from images to spikes; `Frames(steps)` by default, so that `[B, T, 1, 1, d]` of zeros and ones is
            the theorem's s itself.
        image: shape of what is given to the encoder, (T, 1, 1, d) by default.
    """
    first, second = weights
    if first.ndim != 2 or second.ndim != 2 or second.shape[1] != first.shape[0]:
        raise UserError(f"weights of shapes {list(first.shape)}, {list(second.shape)}: W1 [n, d] and W2 [K, n] needed")
    neurons = [Neurons(IF(), steps, STBP(Arctan())) for _ in range(2)]
    layers = [nn.Linear(w.shape[1], w.shape[0], bias=False) for w in weights]
    with torch.no_grad():
        for layer, weight in zip(layers, weights, strict=True):
            layer.weight.copy_(weight)
    body = nn.Sequential(nn.Flatten(2), layers[0], neurons[0], layers[1], neurons[1])
    shape = (steps, 1, 1, first.shape[1]) if image is None else image
    return Classifier(body, Frames(steps) if encoder is None else encoder, shape, (0.0,), (1.0,))


def sparse_weight(rows: int, columns: int, density: float, *, scale: float = 1.0, seed: int = 0) -> Tensor:
    """`[rows, columns]` of normal numbers (std `scale`), each entry independently kept with probability `density`."""
    if not 0 <= density <= 1:
        raise UserError(f"density={density}: a share in [0, 1] is needed")
    draws = generator(seed, "sparse weight")
    kept = torch.rand(rows, columns, generator=draws) < density
    return scale * torch.randn(rows, columns, generator=draws) * kept
