"""The composition root: the only place where strings become objects."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from functools import partial
from importlib import import_module
from typing import Any, TypeVar, get_type_hints

import torch
from torch import nn

from robustsnn import attacks
from robustsnn import config as registry
from robustsnn.attacks import Attack, Source, Suite, pgd
from robustsnn.attacks.published import PAPER_RULES
from robustsnn.config import (
    DataConfig,
    EncoderConfig,
    Entry,
    FramesConfig,
    ModelConfig,
    ObjectiveConfig,
    ScheduleConfig,
    TrainConfig,
    TrainingAttackConfig,
)
from robustsnn.data import cifar
from robustsnn.data.batches import ImageSet, Splits
from robustsnn.data.cifar10_dvs import cifar10_dvs
from robustsnn.data.digit_events import digit_events
from robustsnn.data.digits import digits
from robustsnn.data.procedural import procedural
from robustsnn.data.turned_digits import turned_digits
from robustsnn.encoders import Discretise
from robustsnn.errors import UserError
from robustsnn.losses import cross_entropy, dlr, margin, true_probability
from robustsnn.models import Classifier
from robustsnn.neurons import ASSG, BPTR, HART, LIF, PDSG, STBP, GradientRule, surrogate
from robustsnn.objectives import Adversarial, Objective
from robustsnn.objectives.constraints import Constraint, ConvexShortcuts, OrthogonalRetraction
from robustsnn.objectives.schedule import Changing, Scheduled
from robustsnn.parsing import fitted
from robustsnn.train.epoch import Updating
from robustsnn.types import Loss
from robustsnn.units import fraction

T = TypeVar("T")

SUITES: dict[str, Callable[..., Suite]] = {
    "quick": attacks.quick,
    "reliable": attacks.reliable,
    "exhaustive": attacks.exhaustive,
    "autoattack": attacks.autoattack,
    "paper-sr": attacks.paper_sr,
    "paper-sr-10": attacks.paper_sr_10,
    "paper-trail": attacks.paper_trail,
    "paper-trail-train-mode": partial(attacks.paper_trail, batch_statistics=True),
    "flips": attacks.flips,
}
RULES: dict[str, GradientRule] = {rule.label: rule for rule in (*PAPER_RULES, BPTR(), HART(), PDSG(), ASSG())}
"""Gradient rules by their label."""
LOSSES: dict[str, Loss] = {loss.__name__: loss for loss in (cross_entropy, margin, dlr, true_probability)}
_OF_ANY_NORM = ("quick", "reliable", "exhaustive", "autoattack")


def suite(name: str, sources: Sequence[Source] = (), norm: str = "Linf") -> Callable[[float | str], Suite]:
    """The suite of that name, still to be given eps.

    NAME-encoded is its twin in encoded space, NAME-8bit the one whose images are on the grey levels of 8 bits.
    """
    base = name.removesuffix("-encoded").removesuffix("-8bit")
    twins = {base: lambda made: made, f"{base}-encoded": Suite.encoded, f"{base}-8bit": Suite.on_grid}
    more: dict[str, Any] = {"sources": sources}
    if base not in SUITES or name not in twins:
        raise UserError(f"suite {name!r}: allowed are {', '.join(SUITES)}, and each with -encoded or -8bit at its end")

    if norm != "Linf":
        if base not in _OF_ANY_NORM:
            raise UserError(f"suite {name!r} has its norm fixed; norm={norm!r} works with {', '.join(_OF_ANY_NORM)}")
        more["norm"] = norm

    def built(eps: float | str) -> Suite:
        return twins[name](SUITES[base](eps, **more))

    return built


def chosen(what: str, name: str, among: Mapping[str, T]) -> T:
    """The object of that name; UserError with the names there are."""
    if name not in among:
        raise UserError(f"{what}={name}: allowed are {', '.join(among)}")
    return among[name]


def _check_seed(name: str, seed: int) -> None:
    if not 0 <= seed < 1 << 63:
        raise UserError(f"{name}={seed}: allowed is 0 to {(1 << 63) - 1}")


def build_data(config: DataConfig, progress: Callable[[int, int | None], None] | None = None) -> Splits:
    """The images, split into training, validation and test."""
    _check_seed("data.seed", config.seed)
    cut = config.frames
    if cut != FramesConfig() and "events" not in config.name and "dvs" not in config.name:
        raise UserError(f"data.frames has no effect on data.name={config.name}; it is for event data")
    if config.name == "digits":
        return digits(seed=config.seed)
    if config.name == "turned_digits":
        return turned_digits(seed=config.seed)
    if config.name == "procedural":
        return procedural(seed=config.seed)
    frames: dict[str, Any] = {"frames": cut.steps, "by": cut.by, "levels": cut.levels, "seed": config.seed}
    if cut.size is not None:
        frames["size"] = cut.size
    if config.name == "digit_events":
        return digit_events(**frames)
    if config.root is None:
        raise UserError(f"data.name={config.name} needs data.root, the folder of its files (or where to put them)")
    held: dict[str, Any] = {} if config.validation is None else {"validation": config.validation}
    if config.name == "cifar10_dvs":
        tell = None if progress is None else lambda done, total, _: progress(done, total)
        return cifar10_dvs(config.root, progress=tell, **held, **frames)
    load = cifar.cifar10 if config.name == "cifar10" else cifar.cifar100
    return load(config.root, seed=config.seed, download=config.download, progress=progress, **held)


_IMAGE_LIKE = (None, "direct", "frequency")
"""Encoders whose output has the statistics of the pixels."""


def build_model(config: ModelConfig, data: Splits, seed: int) -> Classifier:
    """The network for these images, initialised from the seed, normalising by the training set's statistics."""
    _check_seed("train.seed", seed)
    shape = getattr(surrogate, config.surrogate.name.capitalize())
    value = config.surrogate.value
    if value is not None and not fields(shape):
        raise UserError(
            f"model.surrogate.value={value}: {config.surrogate.name} has no width or sharpness; leave it out"
        )
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
    return nn.Sequential(Discretise(config.discretise), encoder)


def _target(what: str, name: str, entries: dict[str, Entry]) -> tuple[Callable[..., Any], list[str]]:
    """What an entry of the registry stands for, and the names of its arguments."""
    module, attribute = chosen(f"{what}.name", name, entries).target.split(":")
    make = getattr(import_module(module), attribute)
    return make, list(inspect.signature(make).parameters)


def _made(what: str, name: str, entries: dict[str, Entry], options: dict[str, Any], **common: Any) -> Any:
    """What the registry's entry makes of the common arguments and the user's options."""
    make, parameters = _target(what, name, entries)
    allowed = [parameter for parameter in parameters if parameter not in (*common, "lam", "over", "attack")]
    # Of a partial the function, of a class its constructor.
    plain = getattr(make, "func", make)
    kinds = get_type_hints(plain.__init__ if isinstance(plain, type) else plain)
    given: dict[str, Any] = {}
    for option, value in options.items():
        if option not in allowed:
            raise UserError(f"{what}.options.{option} is no option of {name}; allowed: {', '.join(allowed) or 'none'}")
        try:
            given[option] = fitted(value, kinds.get(option, Any))
        except ValueError:
            needed = inspect.signature(make).parameters[option].annotation
            raise UserError(f"{what}.options.{option}={value!r} of {name}: needed is {needed}") from None
    try:
        return make(**common, **given)
    except TypeError as error:
        raise UserError(f"{what}.options={options} of {name}: {error}") from None
    except RuntimeError as error:
        if "allocate memory" in str(error):
            raise UserError(f"{what}.options={options} of {name}: there is not enough memory for it") from None
        raise


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


def build_objective(config: ObjectiveConfig) -> Objective | Updating | Changing:
    """The training objective; UserError where an option is missing or would have no effect."""
    make, allowed = _target("objective", config.name, registry.OBJECTIVES)
    given: dict[str, Any] = {} if config.lam is None else {"lam": config.lam}
    attack = None if config.attack is None else build_attack(config.attack)
    if attack is not None:
        # An objective without an attack of its own is put over adversarial training.
        own = "attack" in allowed or "over" not in allowed
        given |= {"attack": attack} if own else {"over": Adversarial(attack)}
    for name in given:
        if name not in allowed:
            raise UserError(f"objective.{name} has no effect on objective.name={config.name}")
    needed = [n for n, p in inspect.signature(make).parameters.items() if p.default is p.empty]
    for name in needed:
        if name not in given and name not in config.options:
            where = {"lam": "objective.lam", "attack": "objective.attack.eps, for example 2/255"}
            raise UserError(f"objective.name={config.name} needs {where.get(name, f'objective.options.{name}')}")
    # Radii may be written as 8/255 here too.
    options = {n: fraction(v) if isinstance(v, str) and "/" in v else v for n, v in config.options.items()}
    objective = _made("objective", config.name, registry.OBJECTIVES, options, **given)
    if config.schedule == ScheduleConfig():
        return objective
    schedule = _made("objective.schedule", config.schedule.name, registry.SCHEDULES, config.schedule.options)
    return Scheduled(objective, schedule)


def build_attack(config: TrainingAttackConfig) -> Attack:
    """The PGD of these options."""
    return pgd(fraction(config.eps), config.steps, alpha=fraction(config.alpha), keep="last")


def build_constraints(config: ObjectiveConfig, model: nn.Module) -> tuple[Constraint, ...]:
    """What is done to the weights after each step: nothing, or SNN-RAT's retraction, and its shortcuts if there are."""
    if config.retraction is None:
        return ()
    shortcuts = ConvexShortcuts()
    return (OrthogonalRetraction(config.retraction), *([shortcuts] if shortcuts.mixtures(model) else []))


def build_optimiser(config: TrainConfig, model: torch.nn.Module) -> torch.optim.Optimizer:
    """SGD with momentum, or Adam; all weights of a step in one kernel."""
    if not 0 < config.lr < 1e37:
        raise UserError(f"train.lr={config.lr}: must be positive (and finite in float32)")
    for name in ("momentum", "weight_decay"):
        if not 0 <= getattr(config, name) < 1e37:
            raise UserError(f"train.{name}={getattr(config, name)}: must be a number >= 0")
    if config.optimiser == "adam":
        return torch.optim.Adam(model.parameters(), config.lr, weight_decay=config.weight_decay, fused=True)
    return torch.optim.SGD(
        model.parameters(), config.lr, momentum=config.momentum, weight_decay=config.weight_decay, fused=True
    )


def pick_device(name: str) -> torch.device:
    """auto, cpu or cuda as a torch device."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("train.device=cuda, but torch sees no GPU here; use auto or cpu (see `robustsnn doctor`)")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
