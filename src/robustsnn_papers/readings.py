"""Three ways to read the papers: what their text says, what their released code does, what we would do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal, TypeAlias, get_args

from robustsnn.ground.errors import UserError
from robustsnn.names.config import Config, ModelConfig
from robustsnn.recipes.recipe import Scale

Reading: TypeAlias = Literal["ours", "paper", "released"]

WEAKER: dict[Scale, float] = {"digits": 40, "cpu": 25, "full": 1}
"""The released form of SR has 35 to 50 times the penalty's gradient at equal lambda (lambda .008, h .01). The lambdas
at digits and cpu scale were chosen for the form of the paper, so the released form takes them divided by this."""


def read_as(config: Config, reading: Reading, scale: Scale) -> Config:
    """The config of a network as a reading has it."""
    if reading not in READINGS:
        raise UserError(f"--as {reading}: allowed are {', '.join(READINGS)}")
    return READINGS[reading](config, scale)


def _paper(config: Config, scale: Scale) -> Config:
    """float32 throughout, and event frames are flipped as images are."""
    flip = config.train.flip or (_residual(config.model) and scale != "digits")
    return replace(config, train=replace(config.train, precision="float32", flip=flip))


def _released(config: Config, scale: Scale) -> Config:
    """The squared two-way form of SR, PyTorch's initialisation of linear layers, bare phase spikes, counted padding.

    Spiking-ResNets have a reset that carries gradient, and ResNets weight decay.
    """
    config, model = _paper(config, scale), replace(config.model, init="released")
    if _residual(model):
        encoder, options = model.encoder, dict(model.options)
        if encoder.name == "phase":
            encoder = replace(encoder, options={**encoder.options, "weighted": False})
        if options["pooling"] == "average":
            options["pooling"] = "average-with-padding"
        carries = model.name.startswith("spiking_")
        neuron = replace(model.neuron, detach_reset=model.neuron.detach_reset and not carries)
        model = replace(model, encoder=encoder, options=options, neuron=neuron)
        config = replace(config, train=replace(config.train, weight_decay=1e-3))
    objective = config.objective
    if objective.name == "sparsity" and objective.lam is not None:
        lam = objective.lam / WEAKER[scale]
        objective = replace(objective, lam=lam, options={**objective.options, "form": "reference-code"})
    return replace(config, model=model, objective=objective)


def _residual(model: ModelConfig) -> bool:
    """One of the trail paper's ResNets."""
    return model.name.startswith(("sew_", "spiking_"))


READINGS: dict[Reading, Callable[[Config, Scale], Config]] = {
    "ours": lambda config, scale: config,
    "paper": _paper,
    "released": _released,
}
assert set(READINGS) == set(get_args(Reading))

WORDS: dict[str, str] = {
    "ours": "",
    "paper": "Read as the papers' text: float32 throughout; at full and cpu scale event frames are flipped, too.",
    "released": (
        "Read as the papers' released code: the form of SR that is squared and compares two classes "
        f"(with lambda divided by {WEAKER['digits']} at digits, {WEAKER['cpu']} at cpu scale); linear layers "
        "initialised as PyTorch does; bare phase "
        "spikes, average pooling that counts its padding, a reset that carries gradient in Spiking-ResNets, weight "
        "decay 0.001 of ResNets; float32. Attacks are those of the recipe."
    ),
}
"""For the notes of an exhibit."""
