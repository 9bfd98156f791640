"""The options of a run, as dataclasses that YAML files and flags fill. `build` turns them into objects.

Nothing heavy is imported here, so that help and errors about options are instant.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Annotated, Any, Literal, TypeAlias

from robustsnn.ground.ranges import Count, NotNegative, Positive, Radius, Seed, Share, Steps, Within
from robustsnn.names import explained, find

Device: TypeAlias = Literal["auto", "cpu", "cuda", "mps"]
DEVICE = "ROBUSTSNN_DEVICE"
"""The variable of the environment by which `--device` reaches every process; it goes before what a config says."""


def named(kind: str, default: str | None) -> Any:
    """An option that says the name of a thing of a kind, see `names`."""
    return field(default=default, metadata={"kind": kind})


@dataclass
class FramesConfig:
    """How events become frames; of event data alone.

    Args:
        steps: T, frames per recording; the network's model.steps must be the same.
        by: cut a recording into parts of equal duration (time) or with equal numbers of events (count).
        size: pixels per side, to which the sensor is binned; null is the data set's usual one.
        levels: events per pixel and frame that count, 1 to 255; 1 makes frames binary. A pixel is
            min(events, levels) / levels.
    """

    steps: Steps = 8
    by: Literal["time", "count"] = "time"
    size: Annotated[int, Within(least=1, most=4096)] | None = None
    levels: Annotated[int, Within(least=1, most=255)] = 1


@dataclass
class DataConfig:
    """Which images.

    Args:
        name: see `robustsnn list datasets`.
        root: the file or folder that holds the images, see docs/how-to/train-on-your-own-data.md.
        download: fetch the CIFAR archive into root if it is missing.
        validation: images drawn from the training images for validation; null is a tenth.
        seed: of the split and of generated images.
        pad: pixels per side to which images get a black border, for networks that halve them often (28 to 32); null is
            none.
        options: further ones of the data set, for example {resize: 64} of images.
        frames: of event data.
    """

    name: str = named("data", "digits")
    root: str | None = None
    download: bool = False
    validation: Count | None = None
    seed: Seed = 0
    pad: Annotated[int, Within(least=1, most=4096)] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    frames: FramesConfig = field(default_factory=FramesConfig)


@dataclass
class NeuronConfig:
    """The spiking neuron.

    Args:
        tau: share of the membrane potential kept per step, in (0, 1]; 1 is integrate-and-fire.
        theta: firing threshold.
        decay_input: scale the input current by 1 - tau.
        reset: to zero (hard) or by subtracting theta (soft).
        detach_reset: no gradient through the reset.
        name: see `robustsnn list neurons`.
        options: further ones of a neuron of your own.
    """

    tau: Share = 1.0
    theta: Positive = 1.0
    decay_input: bool = False
    reset: Literal["hard", "soft"] = "hard"
    detach_reset: bool = False
    name: str = named("neuron", "lif")
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class SurrogateConfig:
    """The derivative that stands in for that of the step in training.

    Args:
        name: its shape, see `robustsnn list surrogates`.
        value: width (triangle, rectangle) or sharpness (of the others); null is the shape's usual one.
        options: further ones of a shape of your own.
    """

    name: str = named("surrogate", "triangle")
    value: Positive | None = None
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class RuleConfig:
    """How neurons are differentiated in training.

    Args:
        name: see `robustsnn list rules`; null is through time, with the surrogate.
        options: those of the rule, for example {gamma: 0.2} of rga.
    """

    name: str | None = named("rule", None)
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class EncoderConfig:
    """How an image becomes input over time.

    Args:
        name: see `robustsnn list encoders`; null is direct coding, and frames for event data.
        options: those of the encoder, for example {period: 8} of phase.
        discretise: round pixels to so many levels before encoding; null leaves them.
    """

    name: str | None = named("encoder", None)
    options: dict[str, Any] = field(default_factory=dict)
    discretise: Annotated[int, Within(least=2, most=65536)] | None = None


@dataclass
class ModelConfig:
    """The network.

    Args:
        name: architecture, see `robustsnn list models`.
        steps: T, time steps.
        options: those of the architecture, for example {pooling: average, width: 0.25} of sew_resnet18.
        encoder: what the network sees of an image.
        neuron: dynamics.
        surrogate: gradient.
        rule: what is done with it.
        init: first weights: he (normal, by fan out) for convolutions and linear layers, or linear layers as PyTorch
            initialises them, as the papers' released code does (released).
        readout: logits are the last linear layer's outputs, averaged over time (average), as in released code; or it
            feeds neurons, whose spikes are counted (spikes), as in eq. 9 of the SR paper.
        activation: spikes, or relu: the network's twin with a ReLU in the place of every neuron layer; options of
            neuron, surrogate and rule have no effect on it, and under direct coding steps has none.
    """

    name: str = named("model", "vgg_small")
    steps: Steps = 4
    options: dict[str, Any] = field(default_factory=dict)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    neuron: NeuronConfig = field(default_factory=NeuronConfig)
    surrogate: SurrogateConfig = field(default_factory=SurrogateConfig)
    rule: RuleConfig = field(default_factory=RuleConfig)
    init: Literal["he", "released"] = "he"
    readout: Literal["average", "spikes"] = "average"
    activation: Literal["spikes", "relu"] = "spikes"


@dataclass
class TrainingAttackConfig:
    """PGD inside training, Linf, uniform start, last iterate.

    Args:
        eps: radius, as 0.00784 or 2/255.
        alpha: step size, likewise.
        steps: gradient steps.
        step: step rule, see `robustsnn list steps`; null is gradient.
    """

    eps: Radius
    alpha: Radius = 0.01
    steps: Annotated[int, Within(least=1, most=100_000)] = 5
    step: str | None = named("step", None)


@dataclass
class ScheduleConfig:
    """The regulariser's weight lambda over the epochs.

    Args:
        name: see `robustsnn list schedules`.
        options: those of the schedule, for example {share: 0.3} of warm_up.
    """

    name: str = named("schedule", "constant")
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class ConstraintConfig:
    """What is done to the weights after each step, besides objective.retraction.

    Args:
        name: see `robustsnn list constraints`; null is nothing.
        options: those of the constraint.
    """

    name: str | None = named("constraint", None)
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class ObjectiveConfig:
    """What training minimises: natural, adversarial (AT), sparsity (SR), sparsity with an attack (SR*), and others.

    Args:
        name: see `robustsnn list objectives`.
        lam: lambda, weight of the regularising term; regularised objectives need it.
        options: those of the objective, for example {h: 0.01, form: paper} of sparsity.
        attack: what training images are attacked with; adversarial needs it, with sparsity it makes SR*.
        schedule: of lambda.
        retraction: SNN-RAT's beta: after each step weights move towards orthogonal rows, and shortcuts to convex
            ones; works with every objective.
        constraint: another one.
        perturbation: AWP's gamma: each step is made at weights that are moved, by so large a share of themselves, to
            where the loss is larger; null is none.
    """

    name: str = named("objective", "natural")
    lam: NotNegative | None = None
    options: dict[str, Any] = field(default_factory=dict)
    attack: TrainingAttackConfig | None = None
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    retraction: Annotated[float, Within(above=0, most=0.5)] | None = None
    constraint: ConstraintConfig = field(default_factory=ConstraintConfig)
    perturbation: Share | None = None


@dataclass
class TrainConfig:
    """How it is trained.

    Args:
        epochs: passes over the training images.
        batch_size: images per step, of all processes together.
        optimiser: see `robustsnn list optimisers`.
        lr: learning rate at the start.
        momentum: of sgd, and of others that have one.
        weight_decay: L2 penalty.
        schedule: of the learning rate, per epoch, see `robustsnn list learning_rates`.
        crop: pixels of zero padding for random crops; 0 is none.
        flip: random horizontal flips.
        roll: pixels of random circular shifts, usual for event frames; 0 is none.
        cutout: pixels per side of a square that is blanked; 0 is none.
        select: weights of the last epoch, or of the best one on validation images, clean or attacked.
        validation_attack: PGD that validation images are attacked with after each epoch; null is none.
        validation_attacked: how many validation images it gets; null is all.
        precision: float32, or bfloat16 autocast.
        device: auto takes a GPU (CUDA) if there is one.
        seed: of initial weights, order, augmentation and attacks.
        tensorboard: write TensorBoard event files too.
        sync_batchnorm: of several processes, batch norms take the statistics of the whole batch; otherwise each those
            of its share.
        recompute: keep less for the backward pass and compute it again: less memory, about 1.4 times the time, the
            same weights.
        graphs: on a GPU, record steps as CUDA graphs (natural, adversarial, sparsity, one_step): the same weights, in
            half of the time at batches that leave the GPU waiting.
        average: decay per step of a moving average of the weights (EMA), for example 0.999; validation and the end of
            training take the averaged network, with batch statistics of its own. null is none.
    """

    epochs: Annotated[int, Within(least=1, most=1_000_000)] = 20
    batch_size: Count = 64
    optimiser: str = named("optimiser", "sgd")
    lr: Positive = 0.1
    momentum: NotNegative = 0.9
    weight_decay: NotNegative = 5e-4
    schedule: str = named("learning_rate", "cosine")
    crop: Annotated[int, Within(least=0, most=1024)] = 1
    flip: bool = False
    roll: Annotated[int, Within(least=0, most=1024)] = 0
    cutout: Annotated[int, Within(least=0, most=4096)] = 0
    select: Literal["last", "validation", "validation-robust"] = "last"
    validation_attack: TrainingAttackConfig | None = None
    validation_attacked: Count | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    device: Device = "auto"
    seed: Seed = 0
    tensorboard: bool = False
    sync_batchnorm: bool = False
    recompute: bool = False
    graphs: bool = False
    average: Annotated[float, Within(least=0, below=1)] | None = None


@dataclass
class Config:
    """A training run.

    Args:
        name: shown in reports; null makes one of the objective.
        data: images.
        model: network.
        objective: loss.
        train: optimisation.
    """

    name: str | None = None
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def title(self) -> str:
        """The given name, or the objective's usual abbreviation."""
        if self.name:
            return self.name
        objective = self.objective.name
        usual = find("objective", objective).title or f"{objective.rpartition(':')[2]}{{*}}"
        title = usual.replace("{*}", "*" if self.objective.attack is not None else "")
        if self.objective.retraction is not None:
            # SNN-RAT puts the retraction in the place of weight decay.
            title = "RAT" if title == "AT" and self.train.weight_decay == 0 else f"{title}, retraction"
        title += "-AWP" if self.objective.perturbation is not None else ""
        return f"{title}, ReLU" if self.model.activation == "relu" else title

    def to_dict(self) -> dict[str, Any]:
        """Plain values, complete, for YAML."""
        return {**asdict(self), "name": self.title()}


def names(options: Any, prefix: str = "") -> Iterator[tuple[str, str, Any, str]]:
    """(option, kind, the group and the field that hold its name) of every name that a config says."""
    for option in fields(options):
        value = getattr(options, option.name)
        if is_dataclass(value):
            yield from names(value, f"{prefix}{option.name}.")
        elif "kind" in option.metadata and value is not None:
            yield f"{prefix}{option.name}", option.metadata["kind"], options, option.name


def outside(config: Config) -> dict[str, str]:
    """The names that lead outside the registry, by option: code of others, once something is made of the config."""
    said = ((option, kind, getattr(group, key)) for option, kind, group, key in names(config))
    return {option: name for option, kind, name in said if find(kind, name, option).outside}


def about(config: Config) -> dict[str, dict[str, Any]]:
    """What the entries of a config's names say, by option, for files that are read where there is no such thing."""
    said = ((option, explained(find(kind, getattr(group, key)))) for option, kind, group, key in names(config))
    return {option: entry.facts() for option, entry in said if entry.facts()}
