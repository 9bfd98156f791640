"""The gradient sparsity trail: exact zeros of the gradient, followed through every operation of a network."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import get_args

import torch
from torch import Tensor, nn

from robustsnn.attacks.attempt import Attacker
from robustsnn.attacks.streams import Streams
from robustsnn.data.given import Data, labelled
from robustsnn.evaluation.judge import device_of, repeats
from robustsnn.ground.door import check_among, said_of
from robustsnn.ground.errors import UserError
from robustsnn.ground.modes import batch_statistics, evaluating
from robustsnn.ground.progress import Progress, silent
from robustsnn.ground.seeds import derived, seeded
from robustsnn.ground.types import Images, Labels, Logits, Loss
from robustsnn.losses import check_logits, cross_entropy
from robustsnn.neurons import GradientRule
from robustsnn.studies.shared.checks import check_asked
from robustsnn.studies.shared.passes import all_weights, draws_numbers, finite, name_of
from robustsnn.studies.shared.tally import Side
from robustsnn.studies.trail.backward import Place, Seen, backward, layouts
from robustsnn.studies.trail.counting import Count
from robustsnn.studies.trail.graph import Key
from robustsnn.studies.trail.layout import Layout
from robustsnn.studies.trail.record import Operation, Statistics, Trail, merge
from robustsnn.studies.trail.weights import sample_weights

_PROBED = 16
"""Images at which a network is asked whether it repeats itself."""


def trail(
    model: nn.Module,
    data: Data,
    *,
    loss: Loss = cross_entropy,
    attack: Attacker | None = None,
    rule: GradientRule | None = None,
    statistics: Statistics = "running",
    weights_of: int = 32,
    batch_size: int = 64,
    seed: int = 0,
    first: int = 0,
    progress: Progress = silent,
) -> Trail:
    """Follow the gradient of `loss` from the logits through every operation of `model` to the pixels.

    At each operation the exact zeros of the gradient are counted at its output and at its input, with the norms;
    the zeros at its input are split into those that it passed on and those that it added, see `Operation`. All
    is taken sample by sample in eval mode, so that counts do not depend on `batch_size`, nor on how the data are
    split (`merge` adds trails up). The model is left as it was, and so are torch's global generators.

    What is random derives from `seed` and the position of a sample. A network that draws random numbers is run
    one sample at a time, one draw of each.

    Args:
        model: any network of images to logits. Networks that carry a state must reset it in `forward`.
        data: labelled images, or (x, y).
        loss: which loss.
        attack: differentiate at the images that this attack finds, not at the clean ones. It is used as it is
            given: against a random network give it the `draws` that it needs.
        rule: gradient rule for all neurons; None leaves each layer its own. It holds for the trail, not for the
            attack, which has one of its own.
        statistics: "batch" lets batch norms normalise by the batch at hand, as in training. The backward pass of such a
            norm mixes the entries and the samples of the batch, so counts depend on `batch_size`, and at the weights
            nothing is counted. Images that an attack finds are found in eval mode.
        weights_of: the gradients at the weights are taken of so many first samples, at one more pass for each.
        batch_size: samples at once. A network in which the samples of a batch cannot be told apart in every
            gradient is run one sample at a time.
        first: position of the first sample; in the parts of a set, where the part begins.
        progress: told after each batch.

    Raises UserError if there are no images, if labels do not fit the logits, if the logits do not depend on the
    pixels, if logits or gradients are not finite, or if the network's operations change from batch to batch.
    """
    least = {"batch_size": (batch_size, 1), "weights_of": (weights_of, 0), "first": (first, 0)}
    check_asked(model, seed, progress, loss=loss, rules=[rule], **least)
    if attack is not None and not hasattr(attack, "run"):
        raise UserError(f"attack={said_of(attack)}: give one, such as robustsnn.attacks.fgsm('8/255'), or None")
    check_among("statistics", statistics, get_args(Statistics))
    x, y = labelled(data)
    device = device_of(model, x)
    names = (name_of(loss), "" if attack is None else repr(attack), name_of(rule))
    found: Trail | None = None
    with evaluating(model), all_weights(model):
        alone = not all(repeats(model, x[:_PROBED].to(device))) or draws_numbers(model, x[:1].to(device))
        places = None if alone else layouts(model, x[torch.arange(3) % len(x)].to(device), rule)
        size = 1 if places is None else batch_size
        mixed = statistics == "batch"
        if mixed and size == 1:
            raise UserError(
                f"statistics='batch' with batches of one sample (batch_size={batch_size}): give 2 or more, and "
                f"a network whose samples can be told apart, one without random numbers"
            )
        mode = batch_statistics if mixed else nullcontext
        for at in range(0, len(x), size):
            xb, yb = x[at : at + size].to(device), y[at : at + size].to(device)
            if attack is not None:
                seeds = [derived(seed, "trail", repr(attack), first + at + i) for i in range(len(xb))]
                with seeded(seed, "trail attack", first + at):
                    xb = attack.run(model, xb, yb, generator=Streams(seeds, xb.device)).images
            with seeded(seed, "trail", first + at), mode(model):
                part = Trail(len(xb), *names, *_batch(model, xb, yb, loss, rule, places or {}), (), statistics)
            found = part if found is None else merge(found, part)
            for i in range(0 if mixed else min(len(xb), weights_of - first - at)):
                with seeded(seed, "trail", first + at + i):
                    start = _start(loss, yb[i : i + 1])
                    weights = sample_weights(model, xb[i : i + 1], rule, start)
                found = found.with_weights(weights)
            progress(found.n, len(x), "gradient trail")
    assert found is not None  # there is at least one batch
    return found


def _start(loss: Loss, y: Labels) -> Callable[[Logits], Tensor]:
    """The gradient of the summed loss at given logits."""

    def gradient(logits: Logits) -> Tensor:
        check_logits(logits, y)
        finite(logits, "a logit")
        leaf = logits.detach().requires_grad_()
        value = loss(leaf, y)
        if value.shape != y.shape:
            raise UserError(f"the loss returned shape {tuple(value.shape)}; needed is one loss per sample")
        (found,) = torch.autograd.grad(value.sum(), leaf)
        finite(found, "the gradient of the loss at the logits")
        return found

    return gradient


def _batch(
    model: nn.Module, x: Images, y: Labels, loss: Loss, rule: GradientRule | None, places: dict[Place, Layout]
) -> tuple[tuple[Operation, ...], Side]:
    """Operations and input of the trail of one batch. Without places it is of one sample."""
    n = len(x)
    counts: dict[Key, Count] = {}

    def layout(place: Place) -> Layout:
        if n > 1 and place not in places:
            raise UserError(f"the operations of {type(model).__name__} change from batch to batch; use batch_size=1")
        return places.get(place, Layout(None))

    def look(seen: Seen) -> None:
        key = seen.step.key
        count = counts.setdefault(key, Count(n, x.device))
        for place, gradient in seen.sides():
            count.side(place[1].split()[0], layout(place).rows(gradient, n))
        for edge, gradient in seen.given.items():
            count.explain(
                seen.step.node, edge, gradient, seen.upstream, layout((key, f"input {edge}")), layout((key, "output"))
            )

    last = Count(n, x.device)

    def start(logits: Logits) -> Tensor:
        gradient = _start(loss, y)(logits)
        last.side("output", torch.ones(n, 1, device=x.device))
        last.side("input", gradient)
        last.unexplained(gradient)
        return gradient

    keys, gradient = backward(model, x, rule, start, look)
    # In the order of the backward pass, so that a gradient that is not finite is named where it arises.
    operations = [last.operation(("", "loss", 0)), *(counts[key].operation(key) for key in keys[::-1] if key in counts)]
    pixels = Count(n, x.device)
    pixels.side("input", gradient.flatten(1))
    return tuple(operations[::-1]), pixels.at("input", "the pixels")
