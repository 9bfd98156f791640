"""The options of a run, as dataclasses that YAML files and flags fill. `build` turns them into objects.

Nothing is imported here, so that help and errors about options are instant.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal


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

    steps: int = 8
    by: Literal["time", "count"] = "time"
    size: int | None = None
    levels: int = 1


@dataclass
class DataConfig:
    """Which images.

    Args:
        name: see `robustsnn list datasets`.
        root: folder of the files of CIFAR-10, CIFAR-100 or CIFAR10-DVS, archives or extracted folders.
        download: fetch the CIFAR archive into root if it is missing.
        validation: images taken out of the official training set for validation.
        seed: of the split and of generated images.
        frames: of event data.
    """

    name: Literal["digits", "procedural", "cifar10", "cifar100", "digit_events", "cifar10_dvs"] = "digits"
    root: str | None = None
    download: bool = False
    validation: int = 5000
    seed: int = 0
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
    """

    tau: float = 1.0
    theta: float = 1.0
    decay_input: bool = False
    reset: Literal["hard", "soft"] = "hard"
    detach_reset: bool = False


@dataclass
class SurrogateConfig:
    """The derivative that stands in for that of the step in training.

    Args:
        name: its shape.
        value: width (triangle, rectangle) or sharpness (sigmoid, arctan, gaussian); null is the shape's usual one.
    """

    name: Literal["triangle", "sigmoid", "arctan", "rectangle", "gaussian"] = "triangle"
    value: float | None = None


@dataclass
class EncoderConfig:
    """How an image becomes input over time.

    Args:
        name: see `robustsnn list encoders`; null is direct coding, and frames for event data.
        options: those of the encoder, for example {period: 8} of phase.
        discretise: round pixels to so many levels before encoding; null leaves them.
    """

    name: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    discretise: int | None = None


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
    """

    name: str = "vgg_small"
    steps: int = 4
    options: dict[str, Any] = field(default_factory=dict)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    neuron: NeuronConfig = field(default_factory=NeuronConfig)
    surrogate: SurrogateConfig = field(default_factory=SurrogateConfig)


@dataclass
class TrainingAttackConfig:
    """PGD inside adversarial training, Linf, uniform start, last iterate.

    Args:
        eps: radius, as 0.00784 or 2/255.
        alpha: step size, likewise.
        steps: gradient steps.
    """

    eps: float | str
    alpha: float | str = 0.01
    steps: int = 5


@dataclass
class ObjectiveConfig:
    """What training minimises: natural, adversarial (AT), sparsity (SR), or sparsity with an attack (SR*).

    Args:
        name: the objective.
        lam: lambda, weight of the sparsity term; sparsity needs it.
        h: step of the finite difference, in pixel units.
        form: paper (absolute, softmax) or reference-code (squared, two-way logistic).
        attack: adversarial needs it; with sparsity it makes SR*.
    """

    name: Literal["natural", "adversarial", "sparsity"] = "natural"
    lam: float | None = None
    h: float = 0.01
    form: Literal["paper", "reference-code"] = "paper"
    attack: TrainingAttackConfig | None = None


@dataclass
class TrainConfig:
    """How it is trained.

    Args:
        epochs: passes over the training images.
        batch_size: images per step.
        optimiser: sgd or adam.
        lr: learning rate at the start.
        momentum: of sgd.
        weight_decay: L2 penalty.
        schedule: of the learning rate, per epoch.
        crop: pixels of zero padding for random crops; 0 is none.
        flip: random horizontal flips.
        select: weights of the last epoch, or of the best one on validation images.
        precision: float32, or bfloat16 autocast.
        device: auto takes a GPU if there is one.
        seed: of initial weights, order, augmentation and attacks.
        tensorboard: write TensorBoard event files too.
    """

    epochs: int = 20
    batch_size: int = 64
    optimiser: Literal["sgd", "adam"] = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: Literal["cosine", "constant"] = "cosine"
    crop: int = 1
    flip: bool = False
    select: Literal["last", "validation"] = "last"
    precision: Literal["float32", "bfloat16"] = "float32"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int = 0
    tensorboard: bool = False


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
        attacked = self.objective.attack is not None
        usual = {"natural": "vanilla", "adversarial": "AT", "sparsity": "SR*" if attacked else "SR"}
        return self.name or usual[self.objective.name]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, complete, for YAML."""
        return {**asdict(self), "name": self.title()}


OBJECTIVES = {
    "natural": "cross-entropy on clean images (vanilla)",
    "adversarial": "cross-entropy on PGD images (AT); needs objective.attack.eps",
    "sparsity": "SR: natural plus lambda |f_y(x + h d) - f_y(x)| / h; needs objective.lam; with objective.attack SR*",
}
DATASETS = {
    "digits": "1,797 handwritten digits, 8x8 grey, embedded",
    "procedural": "32x32 RGB shapes and textures in ten classes, generated from a seed",
    "cifar10": "CIFAR-10 from data.root, either layout",
    "cifar100": "CIFAR-100 (fine labels) from data.root, either layout",
}


@dataclass(frozen=True)
class Entry:
    """A name's line in `robustsnn list`, and the "module:attribute" that it stands for, imported on use."""

    text: str
    target: str


MODELS = {
    "vgg_small": Entry("VGG with 3 convolutions for 8x8 images", "robustsnn.models.vgg:vgg_small"),
    "vgg11": Entry("VGG-11, average pooling, two hidden layers of 4096", "robustsnn.models.vgg:vgg11"),
    "wide_resnet16": Entry("WRN-16-4 with convex shortcuts", "robustsnn.models.wide_resnet:wide_resnet16"),
}
ENCODERS = {
    "direct": Entry("the image at every step", "robustsnn.encoders:Direct"),
}
SUITES = {
    "quick": "a first look: under a tenth of the cost of reliable",
    "reliable": "the figure to report: all gradient rules, losses and steps, Square, transfer from --source",
    "autoattack": "APGD-CE, APGD-T, a minimum-norm attack and Square by the network's own gradient",
    "paper-sr": "tables 1-2 of the SR paper: FGSM, RFGSM, PGD10/30/50, APGD10, each over four gradient rules; "
    "black-box columns with --source",
    "paper-sr-10": "the same with PGD10 alone: a fifth of the cost",
    "paper-trail": "section 4.2 of the sparsity-trail paper: FGSM and PGD7 by the network's own gradient",
    "paper-trail-train-mode": "the same crafted with batch statistics, as its released code does",
    "flips": "L0: at most eps flipped entries of binary inputs, such as event frames",
    "NAME-encoded": "any of them on the encoder's output instead of the image",
}
ATTACKS = {
    "fgsm": "one step of size eps",
    "rfgsm": "sign noise of eps/2, then one step of eps/2",
    "pgd": "projected gradient descent from a uniform start",
    "mi_fgsm": "signed steps along accumulated momentum",
    "apgd": "Auto-PGD: momentum, halving step, restart from the best point",
    "sa_pgd": "step-adaptive PGD: per-entry step, halved on schedule",
    "MinimumNorm": "fast minimum-norm attack: the nearest misclassified point",
    "Square": "random search with square windows; sees no gradient",
    "RandomSearch": "uniform, Gaussian or corner noise; sees no gradient",
    "SparseFlips": "L0: flips as few entries of binary inputs as possible",
    "Transfer": "any gradient attack, crafted on another model",
}
