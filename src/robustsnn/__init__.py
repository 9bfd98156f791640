"""Train, attack and understand adversarially robust spiking neural networks.

    robustsnn.models      networks, from images to logits
    robustsnn.neurons     dynamics, surrogates, gradient rules
    robustsnn.objectives  natural, adversarial and sparsity-regularised training
    robustsnn.attacks     FGSM, RFGSM, PGD, APGD; suites
    robustsnn.fit         the training loop
    robustsnn.evaluate    robustness of any model, with intervals

Everything is loaded when it is first used, so that importing the package is instant.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robustsnn import attacks as attacks
    from robustsnn import models as models
    from robustsnn import neurons as neurons
    from robustsnn import objectives as objectives
    from robustsnn.api import evaluate as evaluate
    from robustsnn.ground.errors import UserError as UserError
    from robustsnn.train.fit import fit as fit

_FROM = {"evaluate": "robustsnn.api", "fit": "robustsnn.train.fit", "UserError": "robustsnn.ground.errors"}
_ROOMS = ("attacks", "models", "neurons", "objectives")
__all__ = ["UserError", "attacks", "evaluate", "fit", "models", "neurons", "objectives"]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"robustsnn.{name}")
    if name in _FROM:
        return getattr(import_module(_FROM[name]), name)
    raise AttributeError(f"module 'robustsnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
