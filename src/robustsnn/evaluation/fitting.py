"""What a suite can do with a model at hand, and how its results are to be judged."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from robustsnn.attacks.passes import connected, without_gradient
from robustsnn.attacks.square import Square
from robustsnn.attacks.suites import Suite
from robustsnn.encoders import rounds
from robustsnn.evaluation.judge import Judge, device_of, judge_for
from robustsnn.evaluation.probe import PROBE, quantised
from robustsnn.ground.errors import UserError
from robustsnn.ground.modes import evaluating
from robustsnn.ground.seeds import seeded
from robustsnn.models import Encoded
from robustsnn.neurons import neuron_layers

EOT = 10
"""Draws per gradient step against a random model (expectation over transformation)."""


def encode(view: Encoded, x: Tensor, start: int, seed: int) -> Tensor:
    """A batch behind the encoder, `[B, T, C, H, W]`; a random encoder draws by the seed and the first image's index.

    UserError if the code leaves [0, 1], the range that attacks in encoded space keep.
    """
    with seeded(seed, "encode", start):
        code = view.encode(x)
    if len(code) and not (code.min() >= 0 and code.max() <= 1):
        raise UserError(
            f"the code of {view.model.encoder} spans {code.min():.3g} to {code.max():.3g}, and encoded space is "
            f"[0, 1]; attack this network in pixel space"
        )
    return code


def judge_of(model: nn.Module, x: Tensor, suite: Suite) -> Judge:
    """How to judge this model under this suite, found out on the first images.

    In encoded space what the encoder draws is given, so only what comes after it can be random.
    """
    first = x[:64].to(device_of(model, x))
    if suite.threat.space == "encoded":
        view = Encoded(model)
        return judge_for(view, encode(view, first, 0, 0))
    return judge_for(model, first)


def fit_to(model: nn.Module, suite: Suite, x: Tensor, judge: Judge) -> Suite:
    """The suite as this model can be attacked: without rules, smoothing, searches by decisions, losses or single
    draws that do not apply to it.

    Where the logits are not connected to the input, only attacks that need no gradient are left. `x` are images,
    also for a suite in encoded space. UserError if nothing is left, or if train mode alone has the gradient.
    """
    view, probed = model, x[:PROBE].to(device_of(model, x))
    first = probed[:1]
    with seeded(0, "fit"), torch.no_grad(), evaluating(model):  # what it draws here changes no numbers elsewhere
        classes = model(first).shape[-1]
        if suite.threat.space == "encoded":
            view = Encoded(model)
            probed = view.encode(probed)
            first = probed[:1]
        seen = connected(view, first)
        if not seen and (not any(a.black_box for _, a in suite.members()) or connected(view, first, train=True)):
            raise UserError(f"suite {suite.name!r}: {without_gradient(view, first)}")
        blind = suite.without_decisions() != suite and quantised(view, probed, suite.threat)
    if not seen:
        suite = suite.map(lambda attack: attack if attack.black_box else None)
    if not neuron_layers(model):
        suite = suite.without_rules()
    if suite.threat.space == "encoded" or not rounds(model):
        suite = suite.without_smoothing()
    if not blind:
        suite = suite.without_decisions()
    if first.ndim < 4:  # vectors have no squares
        suite = suite.map(lambda attack: None if isinstance(attack, Square) else attack)
    if judge.votes > 1:
        suite = suite.with_draws(EOT)
    return suite.for_classes(classes)


def most_passes(model: nn.Module, x: Tensor, suites: Sequence[Suite]) -> int:
    """The most passes of an image that survives these suites as they fit the model, see `Suite.passes`."""
    return sum(fit_to(model, suite, x, judge_of(model, x, suite)).passes for suite in suites)
