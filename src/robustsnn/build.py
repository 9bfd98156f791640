"""The composition root: the only place where strings become objects."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import nn

from robustsnn import attacks
from robustsnn import config as registry
from robustsnn.attacks import Source, Suite, pgd
from robustsnn.config import DataConfig, EncoderConfig, Entry, ModelConfig, ObjectiveConfig, TrainConfig
from robustsnn.data import cifar
from robustsnn.data.batches import ImageSet, Splits
from robustsnn.data.digits import digits
from robustsnn.data.procedural import procedural
from robustsnn.errors import UserError
from robustsnn.models import Classifier
from robustsnn.neurons import LIF, STBP, surrogate
from robustsnn.objectives import Adversarial, Natural, Objective, SparsityRegularised
from robustsnn.units import fraction

SUITES: dict[str, Callable[..., Suite]] = {
    "quick": attacks.quick,
    "reliable": attacks.reliable,
    "autoattack": attacks.autoattack,
    "paper-sr": attacks.paper_sr,
    "paper-sr-10": attacks.paper_sr_10,
    "paper-trail": attacks.paper_trail,
    "paper-trail-train-mode": partial(attacks.paper_trail, batch_statistics=True),
    "flips": attacks.flips,
}
_OF_ANY_NORM = ("quick", "reliable", "autoattack")


def suite(name: str, sources: Sequence[Source] = (), norm: str = "Linf") -> Callable[[float | str], Suite]:
    """The suite of that name, still to be given eps; NAME-encoded is its twin in encoded space."""
    base = name.removesuffix("-encoded")
    more: dict[str, Any] = {"sources": sources}
    if base not in SUITES:
        raise UserError(f"suite {name!r}: allowed are {', '.join(SUITES)}, and each with -encoded at its end")

    if norm != "Linf":
        if base not in _OF_ANY_NORM:
            raise UserError(f"suite {name!r} has its norm fixed; norm={norm!r} works with {', '.join(_OF_ANY_NORM)}")
        more["norm"] = norm

    def built(eps: float | str) -> Suite:
        made = SUITES[base](eps, **more)
        return made if base == name else made.encoded()

    return built


def _check_seed(name: str, seed: int) -> None:
    if not 0 <= seed < 1 << 63:
        raise UserError(f"{name}={seed}: allowed is 0 to {(1 << 63) - 1}")


def build_data(config: DataConfig, progress: Callable[[int, int | None], None] | None = None) -> Splits:
    """The images, split into training, validation and test."""
    _check_seed("data.seed", config.seed)
    if config.name == "digits":
        return digits(seed=config.seed)
    if config.name == "procedural":
        return procedural(seed=config.seed)
    if config.root is None:
        raise UserError(f"data.name={config.name} needs data.root, the folder of its files (or where to put them)")
    load = cifar.cifar10 if config.name == "cifar10" else cifar.cifar100
    return load(
        config.root, validation=config.validation, seed=config.seed, download=config.download, progress=progress
    )


_IMAGE_LIKE = (None, "direct", "frequency")
"""Encoders whose output has the statistics of the pixels."""


def build_model(config: ModelConfig, data: Splits, seed: int) -> Classifier:
    """The network for these images, initialised from the seed, normalising by the training set's statistics."""
    _check_seed("train.seed", seed)
    shape = getattr(surrogate, config.surrogate.name.capitalize())
    value = config.surrogate.value
    # A code of spikes is no image: the statistics of pixels would not centre it, and the first batch norm does.
    shows_image = config.encoder.name in _IMAGE_LIKE and len(data.train.shape) == 3
    mean, std = _statistics(data.train) if shows_image else ([0.0], [1.0])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _made(
            "model",
            config.name,
            registry.MODELS,
            config.options,
            image=data.train.shape,
            classes=len(data.train.classes),
            neuron=LIF(**asdict(config.neuron)),
            steps=config.steps,
            rule=STBP(shape() if value is None else shape(value)),
            encoder=build_encoder(config.encoder, config.steps, data.train.shape),
            mean=mean,
            std=std,
        )


def build_encoder(config: EncoderConfig, steps: int, image: tuple[int, ...]) -> nn.Module:
    """The encoder of these images (or event frames) to T = `steps`, after rounding to levels if asked for."""
    events = len(image) == 4
    name = config.name or ("frames" if events else "direct")
    if events != (name == "frames"):
        raise UserError(f"model.encoder.name={name} does not fit {'event frames' if events else 'images'}")
    if events and image[0] != steps:
        raise UserError(f"data.frames.steps={image[0]} and model.steps={steps} differ; give both the same")
    common = {} if name == "direct" else {"steps": steps}
    encoder = _made("model.encoder", name, registry.ENCODERS, config.options, **common)
    if config.discretise is None:
        return encoder
    from robustsnn.encoders import Discretise

    return nn.Sequential(Discretise(config.discretise), encoder)


def _made(what: str, name: str, entries: dict[str, Entry], options: dict[str, Any], **common: Any) -> Any:
    """What the registry's entry makes of the common arguments and the user's options."""
    if name not in entries:
        raise UserError(f"{what}.name={name}: allowed are {', '.join(entries)}")
    module, attribute = entries[name].target.split(":")
    make = getattr(import_module(module), attribute)
    allowed = [parameter for parameter in inspect.signature(make).parameters if parameter not in common]
    for option in options:
        if option not in allowed:
            raise UserError(f"{what}.options.{option} is no option of {name}; allowed: {', '.join(allowed) or 'none'}")
    try:
        return make(**common, **options)
    except TypeError as error:
        raise UserError(f"{what}.options={options} of {name}: {error}") from None


def _statistics(data: ImageSet) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of the pixels of each channel, on the scale [0, 1]."""
    levels = torch.arange(256, dtype=torch.float64) / data.levels
    means, deviations = [], []
    for channel in range(data.shape[-3]):
        # A histogram of the grey levels is exact and needs no float copy of the images.
        share = torch.bincount(data.images.select(-3, channel).flatten(), minlength=256).double()
        share /= share.sum()
        mean = (share * levels).sum()
        means.append(mean.item())
        deviations.append(max((share * (levels - mean) ** 2).sum().sqrt().item(), 1e-3))
    return means, deviations


def build_objective(config: ObjectiveConfig) -> Objective:
    """The training objective; UserError where an option is missing or would have no effect."""
    inner: Natural = Natural()
    if config.attack is not None:
        if config.name == "natural":
            raise UserError("objective.attack has no effect on objective.name=natural; use adversarial or sparsity")
        attack = config.attack
        eps, alpha = fraction(attack.eps), fraction(attack.alpha)
        inner = Adversarial(pgd(eps, attack.steps, alpha=alpha, keep="last"))
    if config.name == "sparsity":
        if config.lam is None:
            raise UserError("objective.name=sparsity needs objective.lam (the paper: 0.002 to 0.008)")
        return SparsityRegularised(config.lam, inner, config.h, config.form)
    if config.lam is not None:
        raise UserError(f"objective.lam has no effect on objective.name={config.name}; use sparsity")
    if config.name == "adversarial" and config.attack is None:
        raise UserError("objective.name=adversarial needs objective.attack.eps, for example 2/255")
    return inner


def build_optimiser(config: TrainConfig, model: torch.nn.Module) -> torch.optim.Optimizer:
    """SGD with momentum, or Adam."""
    if not 0 < config.lr < 1e37:
        raise UserError(f"train.lr={config.lr}: must be positive (and finite in float32)")
    for name in ("momentum", "weight_decay"):
        if not 0 <= getattr(config, name) < 1e37:
            raise UserError(f"train.{name}={getattr(config, name)}: must be a number >= 0")
    if config.optimiser == "adam":
        return torch.optim.Adam(model.parameters(), config.lr, weight_decay=config.weight_decay)
    return torch.optim.SGD(model.parameters(), config.lr, momentum=config.momentum, weight_decay=config.weight_decay)


def pick_device(name: str) -> torch.device:
    """auto, cpu or cuda as a torch device."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("train.device=cuda, but torch sees no GPU here; use auto or cpu (see `robustsnn doctor`)")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
