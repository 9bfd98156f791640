"""Train, attack and understand adversarially robust spiking neural networks.

    robustsnn.neurons     dynamics, surrogates, gradient rules
    robustsnn.encoders    images to input over time
    robustsnn.models      networks, from images to logits
    robustsnn.data        images and event frames
    robustsnn.objectives  natural, adversarial and sparsity-regularised training
    robustsnn.attacks     FGSM, RFGSM, PGD, APGD; suites
    robustsnn.evaluation  suites run, judged anew, counted per sample
    robustsnn.studies     the sparsity trail, gradients, vulnerability, theory, energy, corruptions, smoothing

    robustsnn.fit         the training loop
    robustsnn.wrap        a spiking network of another framework, as a model that every attack reaches
    robustsnn.evaluate    robustness of any model, or of a run's folder, with intervals
    robustsnn.train, robustsnn.analyze, robustsnn.report    the commands of these names

Every room, these and the others, is loaded when it is first used, so that importing the package is instant.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robustsnn import attacks as attacks
    from robustsnn import data as data
    from robustsnn import encoders as encoders
    from robustsnn import evaluation as evaluation
    from robustsnn import interop as interop
    from robustsnn import losses as losses
    from robustsnn import models as models
    from robustsnn import neurons as neurons
    from robustsnn import objectives as objectives
    from robustsnn import studies as studies
    from robustsnn.api import analyze as analyze
    from robustsnn.api import evaluate as evaluate
    from robustsnn.api import report as report
    from robustsnn.api import train as train
    from robustsnn.ground.errors import UserError as UserError
    from robustsnn.interop import wrap as wrap
    from robustsnn.training.fit import fit as fit

    __version__: str

_FROM = {"UserError": "ground.errors", "fit": "training.fit", "wrap": "interop"} | dict.fromkeys(
    ("train", "evaluate", "analyze", "report"), "api"
)
"""What the facade shows besides rooms, and where it is."""
_ROOMS = tuple(room.name for room in iter_modules(__path__) if not room.name.startswith("_"))
__all__ = [*_FROM, "__version__", *_ROOMS]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _FROM:
        return getattr(import_module(f"robustsnn.{_FROM[name]}"), name)
    if name in _ROOMS:
        return import_module(f"robustsnn.{name}")
    if name == "__version__":
        from importlib.metadata import version

        return version("robustsnn")
    raise AttributeError(f"module 'robustsnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__]
