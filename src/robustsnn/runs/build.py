"""The composition root: the only place where strings become objects."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from dataclasses import replace as changed
from typing import Any, Literal

import torch
from torch import nn

from robustsnn.attacks import Attack, Source, Suite, pgd
from robustsnn.attacks.attempt import Attacker
from robustsnn.attacks.presets import ball
from robustsnn.attacks.published import PAPER_RULES
from robustsnn.data.augment import Augment
from robustsnn.data.batches import ImageSet, Splits
from robustsnn.data.pad import padded
from robustsnn.encoders import Discretise
from robustsnn.ground.errors import UserError
from robustsnn.ground.units import fraction
from robustsnn.interop import Wrapped, wrap
from robustsnn.interop.frameworks import spiking_modules
from robustsnn.models import Classifier
from robustsnn.models.classifier import SpikeCounts, initialise
from robustsnn.models.time import Layers
from robustsnn.models.twin import relu_twin
from robustsnn.names import Entry, explained, find, known, load, registered, untwinned
from robustsnn.names.config import (
    DEVICE,
    Config,
    DataConfig,
    EncoderConfig,
    FramesConfig,
    ModelConfig,
    NeuronConfig,
    ObjectiveConfig,
    ScheduleConfig,
    SurrogateConfig,
    TrainConfig,
    TrainingAttackConfig,
)
from robustsnn.names.things import Thing, resolve
from robustsnn.names.values import shown
from robustsnn.neurons import LIF, STBP, GradientRule, Neurons, Surrogate
from robustsnn.objectives import Adversarial, Objective
from robustsnn.objectives.constraints import Constraint, ConvexShortcuts, OrthogonalRetraction
from robustsnn.objectives.perturbed import WeightPerturbed
from robustsnn.objectives.schedule import Changing, Scheduled
from robustsnn.training.epoch import Updating
from robustsnn.training.step import TrainingStep


def flag(name: str) -> Callable[..., Any]:
    """A check of somebody's own, see `evaluation.masking.Checking`."""
    found = load(find("flag", name, "flags"))
    if not callable(found):
        raise UserError(f"flags={name}: needed is a function of the probe and the outcomes, it is {found!r:.80}")
    return found


def suite(name: str, sources: Sequence[Source] = (), norm: str = "Linf") -> Callable[[float | str], Suite]:
    """The suite of that name, still to be given eps.

    NAME-encoded is its twin in encoded space, NAME-8bit the one whose images are on the grey levels of 8 bits. The
    name of an attack, with its steps behind it or without (pgd-50, fgsm), is the suite of this attack alone.
    """
    base = untwinned(name)
    twins = {base: lambda made: made, f"{base}-encoded": Suite.encoded, f"{base}-8bit": Suite.on_grid}
    if name not in twins:
        raise UserError(f"suite {name!r}: give one of -encoded and -8bit")
    alone, steps = _alone(base)
    if alone:
        if sources:
            raise UserError(f"suite {name!r} has no black-box columns; leave out the sources")

        def single(eps: float | str) -> Suite:
            made = attacker(alone, eps, norm=norm, steps=steps)
            return twins[name](Suite(base, ((made.label, (made,)),)))

        return single
    try:
        make = resolve("suite", base, option="suite", gives=Suite)
    except UserError as error:
        raise UserError(f"{error}; and each with -encoded or -8bit at its end") from None
    more: dict[str, Any] = {"sources": sources} if make.takes("sources") else {}
    if sources and not more:
        raise UserError(f"suite {name!r} has no black-box columns; leave out the sources")
    if norm != "Linf":
        if not make.takes("norm"):
            those = ", ".join(other for other in registered("suite") if resolve("suite", other).takes("norm"))
            raise UserError(f"suite {name!r} has its norm fixed; norm={norm!r} works with {those}")
        more["norm"] = norm

    def built(eps: float | str) -> Suite:
        return twins[name](make(eps, **more))

    return built


def about_suite(name: str) -> dict[str, Any]:
    """What the entry of a suite says, of its twins too; or of the attack that is one."""
    alone, _ = _alone(untwinned(name))
    return explained(find("attack", alone) if alone else find("suite", untwinned(name))).facts()


def is_outside(name: str) -> bool:
    """Whether the suite of that name is somebody's own code."""
    alone, _ = _alone(untwinned(name))
    return not alone and find("suite", untwinned(name)).outside


def _alone(name: str) -> tuple[str, int | None]:
    """(attack, its steps) of a suite that is one attack, as pgd-50 or fgsm say it; "" for any other."""
    word, _, steps = name.rpartition("-")
    if steps.isdecimal() and known("attack", word):
        return word, int(steps)
    return (name, None) if known("attack", name) and not known("suite", name) else ("", None)


def attacker(name: str, eps: float | str, *, norm: str = "Linf", steps: int | None = None) -> Attacker:
    """The attack of that name within eps: made of the radius or of the threat, and of 10 steps if it asks for some."""
    given: dict[str, str] = dict.fromkeys(("eps", "threat", "norm"), "")
    make = resolve("attack", name, {} if steps is None else {"steps": steps}, option="--attack", given=given)
    if norm != "Linf" and not (make.takes("norm") or make.takes("threat")):
        raise UserError(f"{name} is for Linf alone; leave out norm={norm}")
    asks = steps is None and make.takes("steps") and make.parameters["steps"].default is inspect.Parameter.empty
    threat = ball(norm, eps)  # type: ignore[arg-type]
    return make(threat=threat, eps=threat.eps, norm=norm, **({"steps": 10} if asks else {}))


def rule_named(name: str) -> GradientRule:
    """The gradient rule of that label, as suites show it ("sigmoid-4"), or else of that name, with usual options."""
    usual = (resolve("rule", other)() for other in registered("rule"))
    labels = {rule.label: rule for rule in (*PAPER_RULES, *usual)}
    if name in labels:
        return labels[name]
    find("rule", name, "--rule", more=("own", *labels))
    return resolve("rule", name, option="--rule")()


def check(config: Config) -> None:
    """UserError where a name or an option of a config cannot be; what it names is imported, no data are read."""
    _data(config.data)
    _model(config.model).check(*_OF_A_MODEL)
    _check_readout(config.model)
    build_neuron(config.model.neuron)
    build_rule(config.model)
    events = find("data", config.data.name).event
    _encoder(config.model.encoder.name or ("frames" if events else "direct"), config.model.encoder)
    build_objective(config.objective)
    build_optimiser(config.train, nn.Linear(1, 1))
    load(find("learning_rate", config.train.schedule, "train.schedule"))
    build_constraints(config.objective, nn.Linear(1, 1))
    if config.train.validation_attack is not None:
        build_attack(config.train.validation_attack)


def _check_readout(config: ModelConfig) -> None:
    if config.activation == "relu" and config.readout == "spikes":
        raise UserError("model.activation=relu leaves no spikes for model.readout=spikes; use average")


def _check_seed(name: str, seed: int) -> None:
    if not 0 <= seed < 1 << 63:
        raise UserError(f"{name}={seed}: allowed is 0 to {(1 << 63) - 1}")


def _effective(values: Mapping[str, Any], usual: Mapping[str, Any], thing: Thing, group: str) -> None:
    """UserError where an option was given another value than the usual one, and the thing does not take it."""
    for name, value in values.items():
        if value != usual[name] and not thing.takes(name):
            said = f"{group}.{name}={shown(value)} has no effect on {thing.option}={thing.entry.name}"
            raise UserError(f"{said}; leave {group}.{name} out")


def _data(config: DataConfig) -> tuple[Thing, dict[str, Any]]:
    """What loads the images, and what it is given."""
    _check_seed("data.seed", config.seed)
    cut = config.frames
    places: dict[str, str] = dict.fromkeys(
        ("download", "validation", "seed", "frames", "by", "levels", "size", "progress"), ""
    )
    places["root"] = "data.root, the folder of its files (or where to put them)"
    load = resolve("data", config.name, config.options, option="data.name", given=places, gives=Splits)
    if cut != FramesConfig() and not load.takes("frames"):
        said = f"data.frames has no effect on data.name={config.name}; it is for event data"
        raise UserError(f"{said}, leave it out")
    given: dict[str, Any] = {key: getattr(config, key) for key in ("root", "download", "validation", "seed")}
    if load.takes("frames"):
        given |= {"frames": cut.steps, "by": cut.by, "levels": cut.levels, "size": cut.size}
    given = {key: value for key, value in given.items() if value is not None}
    load.check(*given)
    return load, given


def build_data(config: DataConfig, progress: Callable[..., None] | None = None) -> Splits:
    """The images, split into training, validation and test."""
    load, given = _data(config)
    made = load(**given, progress=progress)
    return made if config.pad is None else padded(made, config.pad)


_OF_A_MODEL: tuple[str, ...] = ("image", "classes", "neuron", "steps", "rule", "encoder", "mean", "std")


def _model(config: ModelConfig) -> Thing:
    given = dict.fromkeys(_OF_A_MODEL, "")
    return resolve("model", config.name, config.options, option="model.name", given=given, gives=nn.Module)


def build_model(config: ModelConfig, data: Splits, seed: int) -> Classifier:
    """The network for these images, initialised from the seed, normalising by the training set's statistics.

    One of another framework is wrapped, so that rules reach its neurons.
    """
    _check_seed("train.seed", seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = make_for(config, data)
        if config.init != ModelConfig.init:
            initialise(model, config.init)
        return reached(model)  # type: ignore[return-value]


def make_for(config: ModelConfig, data: Splits) -> Classifier:
    """The network for these images, normalising by the training set's statistics."""
    encoder = _encoder_entry(config.encoder, data.train.shape)
    # A code of spikes is no image: the statistics of pixels would not centre it, and the first batch norm does.
    mean, std = _statistics(data.train) if encoder.pixels else ([0.0], [1.0])
    return make_model(config, data.train.shape, len(data.train.classes), mean, std)


def reached(model: nn.Module) -> nn.Module:
    """The model itself, or `interop.wrap` of it where it has neurons of another framework and is not wrapped."""
    if any(isinstance(module, Wrapped) for module in model.modules()) or not spiking_modules(model):
        return model
    return wrap(model)


def make_model(
    config: ModelConfig, image: tuple[int, ...], classes: int, mean: Sequence[float], std: Sequence[float]
) -> Classifier:
    """The network for images of that shape."""
    neuron, rule = build_neuron(config.neuron), build_rule(config)
    _check_readout(config)
    model = _model(config)(
        image=image,
        classes=classes,
        neuron=neuron,
        steps=config.steps,
        rule=rule,
        encoder=build_encoder(config.encoder, config.steps, image),
        mean=mean,
        std=std,
    )
    if config.readout == "spikes":
        if not isinstance(model, Classifier):
            raise UserError(f"model.readout=spikes: {type(model).__name__} reads out by itself; use average")
        layers = [*model.body] if isinstance(model.body, nn.Sequential) else [model.body]
        model.body = Layers(*layers, SpikeCounts(Neurons(neuron, config.steps, rule), config.steps))
    return relu_twin(model) if config.activation == "relu" else model


def build_neuron(config: NeuronConfig) -> LIF:
    """The dynamics of the neurons."""
    values = {key: value for key, value in asdict(config).items() if key not in ("name", "options")}
    given = dict.fromkeys(values, "")
    make = resolve("neuron", config.name, config.options, option="model.neuron.name", given=given, gives=LIF)
    _effective(values, asdict(NeuronConfig()), make, "model.neuron")
    return make(**values)


def build_rule(config: ModelConfig) -> GradientRule:
    """How the neurons are differentiated, with the surrogate where the rule has one."""
    if config.rule.name is None:
        if config.rule.options:
            raise UserError("model.rule.options needs model.rule.name, for example rga")
        return STBP(build_surrogate(config.surrogate))
    at: Any = {"option": "model.rule.name", "given": {"surrogate": ""}, "gives": GradientRule}
    make = resolve("rule", config.rule.name, config.rule.options, **at)
    _effective({"surrogate": config.surrogate}, {"surrogate": SurrogateConfig()}, make, "model")
    return make(surrogate=build_surrogate(config.surrogate))


def build_surrogate(config: SurrogateConfig) -> Surrogate:
    """The slope that stands in for that of the step."""
    make = resolve("surrogate", config.name, config.options, option="model.surrogate.name", gives=Surrogate)
    if config.value is None:
        return make()
    if not make.parameters:
        said = f"model.surrogate.value={config.value} has no effect on model.surrogate.name={config.name}"
        raise UserError(f"{said}; leave it out")
    return make(**{next(iter(make.parameters)): config.value})


def _encoder_entry(config: EncoderConfig, image: tuple[int, ...]) -> Entry:
    """The entry of the encoder; UserError if it does not fit these images, or event frames."""
    events = len(image) == 4
    name = config.name or next(e.name for e in registered("encoder").values() if e.event == events)
    entry = explained(find("encoder", name, "model.encoder.name"))
    if events != entry.event:
        raise UserError(f"model.encoder.name={name} does not fit {'event frames' if events else 'images'}")
    return entry


def _encoder(name: str, config: EncoderConfig) -> Thing:
    at: Any = {"option": "model.encoder.name", "given": {"steps": "model.steps"}, "gives": nn.Module}
    return resolve("encoder", name, config.options, **at)


def build_encoder(config: EncoderConfig, steps: int, image: tuple[int, ...]) -> nn.Module:
    """The encoder of these images (or event frames) to T = `steps`, after rounding to levels if asked for."""
    name = _encoder_entry(config, image).name
    if len(image) == 4 and image[0] != steps:
        raise UserError(f"data.frames.steps={image[0]} and model.steps={steps} differ; give both the same")
    encoder = _encoder(name, config)(steps=steps)
    if config.discretise is None:
        return encoder
    return nn.Sequential(Discretise(config.discretise), encoder)


def _statistics(data: ImageSet) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of the pixels of each channel, on the scale [0, 1]."""
    if data.images.is_floating_point():
        channels = data.images.double().movedim(-3, 0).flatten(1)
        return channels.mean(1).tolist(), channels.std(1, correction=0).clamp_min(1e-3).tolist()
    levels = torch.arange(256, dtype=torch.float64) / data.levels
    means, deviations = [], []
    for channel in range(data.shape[-3]):
        # A histogram of the grey levels is exact, and needs no float copy of images that may be larger than memory.
        share = torch.zeros(256, dtype=torch.float64)
        for some in data.images.select(-3, channel).split(4096):
            share += torch.bincount(some.flatten(), minlength=256)
        share /= share.sum()
        mean = (share * levels).sum()
        means.append(mean.item())
        deviations.append(max((share * (levels - mean) ** 2).sum().sqrt().item(), 1e-3))
    return means, deviations


def _objective(name: str, options: Mapping[str, Any] | None = None) -> Thing:
    places = {"lam": "objective.lam", "attack": "objective.attack.eps, for example 2/255", "over": ""}
    return resolve("objective", name, options, option="objective.name", given=places)


def own_options(kind: Literal["model", "objective"], name: str) -> dict[str, Any]:
    """The options that a network or an objective has of its own, and their defaults."""
    thing = _model(ModelConfig(name)) if kind == "model" else _objective(name)
    return {key: at.default for key, at in thing.parameters.items() if key not in thing.given}


def build_objective(config: ObjectiveConfig) -> Objective | Updating | Changing:
    """The training objective; UserError where an option is missing or would have no effect."""
    attack = None if config.attack is None else build_attack(config.attack)
    # Radii may be written as 8/255 here too.
    options = {n: _fraction(v) if isinstance(v, str) and "/" in v else v for n, v in config.options.items()}
    make = _objective(config.name, options)
    given: dict[str, Any] = {} if config.lam is None else {"lam": config.lam}
    if attack is not None:
        # An objective without an attack of its own is put over adversarial training.
        own = make.takes("attack") or not make.takes("over")
        given |= {"attack": attack} if own else {"over": Adversarial(attack)}
    _effective(given, dict.fromkeys(given), make, "objective")
    objective = make(**given)
    if config.schedule != ScheduleConfig():
        schedule = resolve("schedule", config.schedule.name, config.schedule.options, option="objective.schedule.name")
        objective = Scheduled(objective, schedule())
    if config.perturbation is None:
        return objective
    try:
        return WeightPerturbed(objective, config.perturbation)
    except UserError as error:
        raise UserError(f"objective.perturbation={config.perturbation:g}: {error}") from None


PUBLISHED_LAMBDAS = {"cifar10": (0.008, 0.002), "cifar100": (0.002, 0.001)}
"""Of SR and SR*, app. C of the SR paper; its experiments ran the form of its released code."""


def weak_lambda(config: Config) -> str | None:
    """Advice where a published lambda of SR meets the form that it was not used with."""
    objective = config.objective
    names = {find("objective", objective.name).name, find("data", config.data.name).name}
    published = [lam for name, lams in PUBLISHED_LAMBDAS.items() if name in names for lam in lams]
    form = objective.options.get("form", "paper")
    if "sparsity" not in names or form != "paper" or objective.lam not in published:
        return None
    return (
        f"objective.lam={objective.lam:g} is the SR paper's, whose experiments ran objective.options.form="
        "reference-code; in the form paper its penalty has a gradient 35 to 50 times smaller"
    )


def _fraction(value: str) -> float | str:
    """The number that a text says; the text, where it says none, which the option may refuse."""
    try:
        return fraction(value)
    except UserError:
        return value


def build_attack(config: TrainingAttackConfig) -> Attack:
    """The PGD of these options."""
    attack = pgd(fraction(config.eps), config.steps, alpha=fraction(config.alpha), keep="last")
    if config.step is None:
        return attack
    return changed(attack, step=resolve("step", config.step, option="attack.step")(alpha=fraction(config.alpha)))


def build_constraints(config: ObjectiveConfig, model: nn.Module) -> tuple[Constraint, ...]:
    """What is done to the weights after each step: SNN-RAT's retraction, with shortcuts if there are; one by name."""
    found: list[Constraint] = []
    if config.retraction is not None:
        shortcuts = ConvexShortcuts()
        found += [OrthogonalRetraction(config.retraction), *([shortcuts] if shortcuts.mixtures(model) else [])]
    if config.constraint.name is not None:
        option = "objective.constraint.name"
        found.append(resolve("constraint", config.constraint.name, config.constraint.options, option=option)())
    elif config.constraint.options:
        raise UserError("objective.constraint.options needs objective.constraint.name, for example retraction")
    return tuple(found)


def build_step(config: Config, model: nn.Module) -> TrainingStep:
    """What is done with each batch, beside loss and optimiser."""
    options = config.train
    augment = Augment(options.crop, options.flip, options.roll, options.cutout)
    constraints = build_constraints(config.objective, model)
    return TrainingStep(
        None if augment == Augment() else augment, options.precision, constraints, options.graphs, options.average
    )


def build_optimiser(config: TrainConfig, model: torch.nn.Module) -> torch.optim.Optimizer:
    """The optimiser of all weights of the model, with those options that it has; in one kernel, if it can."""
    if not 0 < config.lr < 1e37:
        raise UserError(f"train.lr={config.lr}: must be positive (and finite in float32)")
    for name in ("momentum", "weight_decay"):
        if not 0 <= getattr(config, name) < 1e37:
            raise UserError(f"train.{name}={getattr(config, name)}: must be a number >= 0")
    given = {name: getattr(config, name) for name in ("lr", "momentum", "weight_decay")}
    make = resolve("optimiser", config.optimiser, option="train.optimiser", gives=torch.optim.Optimizer)
    return make(model.parameters(), **given, fused=True)


def pick_device(name: str) -> torch.device:
    """auto, cpu, cuda or mps as a torch device; what `--device` says goes first. auto is never mps, see docs."""
    name = os.environ.get(DEVICE, name)
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(name, True):
        raise UserError(f"device {name}, but torch sees no such GPU here; use auto or cpu (see `robustsnn doctor`)")
    return torch.device(name if name in there else "cuda" if there["cuda"] else "cpu")
