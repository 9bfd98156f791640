"""Do input gradient and weight gradients become sparse together? (theorem 4.3 of the sparsity-trail paper)"""

from __future__ import annotations

from math import fsum
from typing import Literal

from torch import Tensor, nn

from robustsnn.data.given import Data
from robustsnn.ground.errors import UserError
from robustsnn.ground.progress import Progress, silent
from robustsnn.ground.seeds import seeded
from robustsnn.ground.types import Loss
from robustsnn.losses import cross_entropy
from robustsnn.models.classifier import Classifier
from robustsnn.neurons import GradientRule
from robustsnn.statistics.correlation import pearson, spearman
from robustsnn.statistics.jackknife import ratio
from robustsnn.studies.shared.passes import differentiating, first_samples, gradients_at, name_of, weights_of
from robustsnn.studies.theory.depth import depths
from robustsnn.studies.theory.record import Shared, Sharing

At = Literal["pixels", "code"]


def sharing(
    model: nn.Module,
    data: Data,
    *,
    loss: Loss = cross_entropy,
    rule: GradientRule | None = None,
    at: At = "pixels",
    samples: int = 32,
    seed: int = 0,
    progress: Progress = silent,
) -> Sharing:
    """Correlate the sparsity of the input gradient with that of each weight gradient, sample by sample.

    Theorem 4.3 claims that zeros of the part of the gradient that both share show up in both, and that this couples
    the weights nearest to the input the most. Looked at are matrices and kernels, in eval mode. The model is left
    as it was.

    Cost: `samples` passes forward and backward, one sample each: 3 forward units per sample.

    Args:
        model: images to logits.
        data: labelled images, or (x, y).
        loss: differentiated per sample.
        rule: gradient rule for all neurons; None leaves each layer its own.
        at: "pixels", or "code", what the encoder of a `Classifier` hands over (spikes, for most encoders).
        samples: so many first images; at least 4, for an interval.

    Raises UserError for fewer than 4 images, networks without weights or whose logits do not depend on the input,
    and "code" of a network without encoder.
    """
    if at not in ("pixels", "code"):
        raise UserError(f"at={at!r}: allowed are pixels, code")
    if at == "code" and not isinstance(model, Classifier):
        raise UserError(f"at='code': {type(model).__name__} has no encoder; use at='pixels'")
    x, y = first_samples(model, data, samples, 4)
    parameters = weights_of(model)
    placed: dict[str, int] = {}
    inputs: list[float] = []
    weights: dict[str, list[float]] = {name: [] for name in parameters}
    with differentiating(model, rule):
        for i in range(len(x)):
            with seeded(seed, "sharing", i):
                leaf = x[i : i + 1].detach().clone()
                if isinstance(model, Classifier) and at == "code":
                    leaf = model.encoder(leaf).detach().clone().requires_grad_()
                    logits = model.read(leaf)
                else:
                    logits = model(leaf.requires_grad_())
                placed = placed or depths(logits, leaf, parameters)
                found = gradients_at(logits, y[i : i + 1], loss, [leaf, *parameters.values()])
            if found[0] is None:
                raise UserError(f"the logits of {type(model).__name__} do not depend on its {at}, in eval mode")
            inputs.append(_zeros(found[0]))
            for name, gradient in zip(parameters, found[1:], strict=True):
                if gradient is not None:
                    weights[name].append(_zeros(gradient))
            progress(i + 1, len(x), "shared sparsity")
    order = sorted((name for name in placed if len(weights[name]) == len(x)), key=lambda name: placed[name])
    tensors = tuple(
        Shared(
            name,
            placed[name],
            parameters[name].numel(),
            fsum(weights[name]) / len(x),
            pearson(inputs, weights[name]),
            spearman(inputs, weights[name]),
            ratio(weights[name], inputs),
        )
        for name in order
    )
    linear = [(tensor.depth, tensor.pearson.value) for tensor in tensors if tensor.pearson is not None]
    ranked = [(tensor.depth, tensor.spearman.value) for tensor in tensors if tensor.spearman is not None]
    return Sharing(
        len(x),
        name_of(loss),
        name_of(rule),
        at,
        fsum(inputs) / len(x),
        len(set(inputs)) > 1,
        tensors,
        spearman([a for a, _ in linear], [b for _, b in linear]),
        spearman([a for a, _ in ranked], [b for _, b in ranked]),
        len(tensors) - len(linear),
    )


def _zeros(gradient: Tensor) -> float:
    """Share of entries that are exactly zero."""
    return int((gradient == 0).sum()) / gradient.numel()
