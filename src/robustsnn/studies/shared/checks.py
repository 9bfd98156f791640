"""Checks of what a study is asked for from Python, before it works; see `robustsnn.ground.door`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from robustsnn.ground.door import check_callable, check_kind, check_model, check_progress, check_seed, check_whole
from robustsnn.losses import cross_entropy
from robustsnn.neurons import GradientRule


def check_asked(
    model: Any, seed: Any, progress: Any, *, loss: Any = cross_entropy, rules: Iterable[Any] = (), **least: Any
) -> None:
    """UserError unless all are of their kinds; a rule may be None. `least`: by name (whole number, its least value)."""
    check_model(model)
    check_seed(seed)
    check_progress(progress)
    check_callable("loss", loss, "robustsnn.losses.cross_entropy")
    for rule in rules:
        if rule is not None:
            check_kind("rule", rule, GradientRule, "robustsnn.neurons.STBP()")
    for name, (value, low) in least.items():
        check_whole(name, value, low)
