"""Is the weight gradient at most as dense as the input gradient lets it be? (theorem 4.4, sparsity-trail paper)"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from robustsnn.data.given import Data
from robustsnn.ground.errors import UserError
from robustsnn.ground.modes import evaluating
from robustsnn.ground.progress import Progress, silent
from robustsnn.ground.seeds import seeded
from robustsnn.ground.types import Images, Loss
from robustsnn.ground.widest import wide
from robustsnn.losses import cross_entropy
from robustsnn.models.classifier import Classifier
from robustsnn.neurons import GradientRule
from robustsnn.studies.shared.fanout import Weighted, fan_out, weighted_layers
from robustsnn.studies.shared.passes import differentiating, first_samples, gradients_at, name_of
from robustsnn.studies.shared.tally import Tally
from robustsnn.studies.shared.timesteps import steps_of
from robustsnn.studies.theory.assumptions import of_network, of_weights
from robustsnn.studies.theory.record import Bound, DensityBound


def density_bound(
    model: nn.Module,
    data: Data,
    *,
    loss: Loss = cross_entropy,
    rule: GradientRule | None = None,
    samples: int = 32,
    seed: int = 0,
    progress: Progress = silent,
) -> DensityBound:
    """Both sides of  E ||grad_W1 p||_0 <= (T/d) (k_S/k_W1) E ||grad_s[t] p||_0, the bound of theorem 4.4.

    s[t] is the input of the first weight layer W1 at step t, S = [s[1] .. s[T]], and k the most non-zero entries of
    a column. A convolution is read as the linear map that it is, a matrix with a row per output and a column per
    input entry: d = C H W, and k_W1 is the most outputs that a pixel reaches by non-zero weights. Its gradient is
    the one at the kernel, in which entries of that matrix are tied. A constant input of a `Classifier` (direct
    coding) is repeated at all T steps, so that s[t] is the input at one of them.

    Two readings, see `Bound`: p is the loss; and, for two linear layers with W2 W1 and W2 S defined, the paper's
    own equation 13: ||grad_s[t] p||_0 = ||W2 W1||_0 and ||grad_W1 p||_0 = ||W2 S||_0, of d T entries.

    The theorem's network is `two_layer`; for others this measures what it is used to argue for.

    Cost: `samples` passes forward and backward, one sample each: 3 forward units per sample.

    Args:
        model: images to logits, with a convolution or linear layer.
        data: labelled images, or (x, y).
        loss: differentiated per sample.
        rule: gradient rule for all neurons; None leaves each layer its own.
        samples: so many first images.

    Raises UserError without images or weight layers, and if logits do not depend on the first layer's input.
    """
    x, y = first_samples(model, data, samples, 1)
    name, layer = _first_layer(model, x[:1], seed)
    left = below = products = Tally(0, 0, 0)
    k_inputs, steps, levels = 0, 1, set()
    two = _two_linear(model, name)
    shape: tuple[int, ...] = ()
    with differentiating(model, rule):
        for i in range(len(x)):
            with seeded(seed, "density", i), _inputs(layer) as seen:
                logits = _run(model, x[i : i + 1])
            found = gradients_at(logits, y[i : i + 1], loss, [layer.weight, *seen])
            if any(gradient is None for gradient in found):
                raise UserError(f"the logits do not depend on the input of {name} and on its weight, in eval mode")
            shape = _shape(layer, seen[0])
            s = torch.cat([part.detach().reshape(-1, *shape) for part in seen]).flatten(1)
            at = torch.cat([g.reshape(-1, *shape) for g in found[1:] if g is not None]).flatten(1)
            steps, d = s.shape
            k_inputs = max(k_inputs, int((s != 0).sum(1).max()))
            levels |= {float(s.min()), float(s.max()), *(() if bool(((s == 0) | (s == s.max())).all()) else (-1.0,))}
            assert found[0] is not None
            left += _one(int((found[0] != 0).sum()))
            below += _one(int((at != 0).sum()) / steps)
            if two is not None and two[1].shape[1] == d:
                products += _one(int(((wide(two[1]) @ wide(s).T) != 0).sum()))
            progress(i + 1, len(x), "density bound")
    d = int(torch.Size(shape).numel())
    k_weights = int(fan_out(layer, shape, layer.weight.detach() != 0).max())
    spikes = min(levels) >= 0 and len(levels - {0.0}) <= 1
    assumptions = of_network(model, layer, rule, spikes, two)
    bounds = []
    if k_weights:
        factor = steps / d * k_inputs / k_weights
        bounds.append(Bound("gradients", left, layer.weight.numel(), below, factor))
        if two is not None:
            assumptions += of_weights(*two)
            if products.n:
                both = Tally.over([int(((wide(two[1]) @ wide(two[0])) != 0).sum())] * len(x))
                bounds.append(Bound("equation 13", products, two[1].shape[0] * steps, both, factor))
    asked = len(x), name_of(loss), name_of(rule), name
    return DensityBound(*asked, steps, d, k_inputs, k_weights, tuple(bounds), tuple(assumptions))


def _one(value: float) -> Tally:
    return Tally(1, value, 0)


def _run(model: nn.Module, x: Images) -> Tensor:
    """Logits, with an input that is constant in time shown at each step."""
    if not isinstance(model, Classifier):
        return model(x)
    code = model.encoder(x)
    return model.read(code.expand(max(len(code), steps_of(model)), *code.shape[1:]))


def _shape(layer: Weighted, given: Tensor) -> tuple[int, ...]:
    """Of one input of a layer, without batch and time."""
    dimensions = 1 if isinstance(layer, nn.Linear) else layer.weight.ndim - 1
    return tuple(given.shape[-dimensions:])


@contextmanager
def _inputs(layer: nn.Module) -> Iterator[list[Tensor]]:
    """What the layer is given inside the block, call by call, each made a leaf with gradient."""
    seen: list[Tensor] = []

    def hook(module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        seen.append(arguments[0].detach().requires_grad_())
        return (seen[-1], *arguments[1:])

    handle = layer.register_forward_pre_hook(hook)
    try:
        yield seen
    finally:
        handle.remove()


def _first_layer(model: nn.Module, x: Images, seed: int) -> tuple[str, Weighted]:
    """The weight layer that runs first."""
    order: list[str] = []
    layers = weighted_layers(model)
    handles = []
    try:
        for name, layer in layers.items():

            def note(module: nn.Module, arguments: tuple[Any, ...], name: str = name) -> None:
                order.append(name)

            handles.append(layer.register_forward_pre_hook(note))
        with evaluating(model), torch.no_grad(), seeded(seed, "density", 0):
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    if not order:
        raise UserError(f"{type(model).__name__} runs no convolution or linear layer, so there is no first weight")
    return order[0], layers[order[0]]


def _two_linear(model: nn.Module, first: str) -> tuple[Tensor, Tensor] | None:
    """W1 and W2 of a network of two linear layers."""
    layers = weighted_layers(model)
    if len(layers) != 2 or not all(isinstance(layer, nn.Linear) for layer in layers.values()):
        return None
    (second,) = (layer for name, layer in layers.items() if name != first)
    weights = layers[first].weight.detach(), second.weight.detach()
    return weights if weights[1].shape[1] == weights[0].shape[0] else None
