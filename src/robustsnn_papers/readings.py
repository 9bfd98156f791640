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


def _init(config: Config, scale: Scale) -> Config:
    return replace(config, model=replace(config.model, init="released"))


def _bare(config: Config, scale: Scale) -> Config:
    encoder = config.model.encoder
    if not _residual(config.model) or encoder.name != "phase":
        return config
    bare = replace(encoder, options={**encoder.options, "weighted": False})
    return replace(config, model=replace(config.model, encoder=bare))


def _padding(config: Config, scale: Scale) -> Config:
    options = config.model.options
    if not _residual(config.model) or options["pooling"] != "average":
        return config
    return replace(config, model=replace(config.model, options={**options, "pooling": "average-with-padding"}))


def _reset(config: Config, scale: Scale) -> Config:
    if not config.model.name.startswith("spiking_"):
        return config
    return replace(config, model=replace(config.model, neuron=replace(config.model.neuron, detach_reset=False)))


def _decay(config: Config, scale: Scale) -> Config:
    return replace(config, train=replace(config.train, weight_decay=1e-3)) if _residual(config.model) else config


def _penalty(config: Config, scale: Scale) -> Config:
    objective = config.objective
    if objective.name != "sparsity" or objective.lam is None:
        return config
    options = {**objective.options, "form": "reference-code"}
    return replace(config, objective=replace(objective, lam=objective.lam / WEAKER[scale], options=options))


CHOICES: dict[str, Callable[[Config, Scale], Config]] = {
    "init": _init,
    "bare code": _bare,
    "counted padding": _padding,
    "attached reset": _reset,
    "weight decay": _decay,
    "squared penalty": _penalty,
}
"""What the released code does otherwise than ours, each alone; a network that it does not concern stays as it is."""


def _released(config: Config, scale: Scale) -> Config:
    """All `CHOICES`, and what `_paper` has."""
    config = _paper(config, scale)
    for choice in CHOICES.values():
        config = choice(config, scale)
    return config


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
