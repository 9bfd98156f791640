"""Moved statistics: an attack in train mode that moves the batch statistics of the network that then judges it.

The released code of the gradient-sparsity-trail paper does so. It crafts all attacks on a batch in train mode, where
each pass moves the running statistics of batch norms towards those of attacked inputs, and judges them in eval mode by
these statistics, which go on to the next batch. What is judged has adapted to its attack, and is no network that
anybody trained: such figures reproduce published ones, and are no robustness.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import torch
from torch import nn

from robustsnn.attacks.attack import Attack
from robustsnn.attacks.streams import Streams
from robustsnn.attacks.suites import Suite
from robustsnn.data.given import Data, labelled
from robustsnn.evaluation.fitting import encode
from robustsnn.evaluation.judge import Judge, device_of
from robustsnn.ground.errors import UserError
from robustsnn.ground.modes import statistics, undisturbed
from robustsnn.ground.seeds import derived
from robustsnn.models import Encoded


@contextmanager
def _moving(model: nn.Module) -> Iterator[None]:
    """Passes of batch norms in train mode move their running statistics, also in attacks with batch statistics."""

    def track(norm: nn.Module, _: object) -> None:
        norm.track_running_stats = True  # type: ignore[assignment, arg-type]

    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    with ExitStack() as hooks:
        for norm in norms:
            hooks.callback(norm.register_forward_pre_hook(track).remove)
        yield


@undisturbed()
def moved_statistics(
    model: nn.Module, data: Data, suite: Suite, *, batch_size: int = 128, seed: int = 0
) -> dict[str, list[bool]]:
    """Which images stand, by column of the suite, when its attacks move the batch statistics that judge them.

    All images are attacked, also misclassified ones. Order and `batch_size` matter. The statistics are given back as
    they were, after an exception too. UserError for a suite with others than `Attack`s.
    """
    x, y = labelled(data)
    members = [(column, attack) for column, attack in suite.members() if isinstance(attack, Attack)]
    if len(members) < len(suite.members()):
        raise UserError(f"suite {suite.name!r}: statistics are moved by gradient attacks alone; use paper-trail")
    held = [(buffer, buffer.clone()) for buffer in statistics(model)]
    view = Encoded(model) if suite.threat.space == "encoded" else model
    stands: dict[str, list[bool]] = {column: [] for column, _ in suite.columns}
    try:
        for start in range(0, len(x), batch_size):
            xb, yb = (part[start : start + batch_size].to(device_of(model, x)) for part in (x, y))
            xb = encode(view, xb, start, seed) if isinstance(view, Encoded) else xb
            crafted = []
            for column, attack in members:
                attack = replace(attack, batch_statistics=True, keep="last")
                streams = Streams([derived(seed, "attack", repr(attack), start + i) for i in range(len(xb))], xb.device)
                with _moving(model):
                    crafted.append((column, attack.run(view, xb, yb, generator=streams).images))
            alive = {column: torch.ones(len(xb), dtype=torch.bool) for column in stands}
            for column, images in crafted:
                alive[column] &= (Judge()(view, images, yb)[0] < 0).cpu()
            for column in stands:
                stands[column] += alive[column].tolist()
    finally:
        for buffer, before in held:
            buffer.copy_(before)
    return stands
