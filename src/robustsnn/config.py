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
        validation: images taken out of the official training set for validation; null is 5000 of CIFAR, 900 of
            CIFAR10-DVS.
        seed: of the split and of generated images.
        frames: of event data.
    """

    name: Literal["digits", "procedural", "turned_digits", "cifar10", "cifar100", "digit_events", "cifar10_dvs"] = (
        "digits"
    )
    root: str | None = None
    download: bool = False
    validation: int | None = None
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
        value: width (triangle, rectangle) or sharpness (sigmoid, arctan, gaussian, exponential); null is the shape's
            usual one. Identity, the straight-through estimator, has none.
    """

    name: Literal["triangle", "sigmoid", "arctan", "rectangle", "gaussian", "exponential", "identity"] = "triangle"
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
    """PGD inside training, Linf, uniform start, last iterate.

    Args:
        eps: radius, as 0.00784 or 2/255.
        alpha: step size, likewise.
        steps: gradient steps.
    """

    eps: float | str
    alpha: float | str = 0.01
    steps: int = 5


@dataclass
class ScheduleConfig:
    """The regulariser's weight lambda over the epochs.

    Args:
        name: see `robustsnn list schedules`.
        options: those of the schedule, for example {share: 0.3} of warm_up.
    """

    name: str = "constant"
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
    """

    name: str = "natural"
    lam: float | None = None
    options: dict[str, Any] = field(default_factory=dict)
    attack: TrainingAttackConfig | None = None
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    retraction: float | None = None


@dataclass
class TrainConfig:
    """How it is trained.

    Args:
        epochs: passes over the training images.
        batch_size: images per step, of all processes together.
        optimiser: sgd or adam.
        lr: learning rate at the start.
        momentum: of sgd.
        weight_decay: L2 penalty.
        schedule: of the learning rate, per epoch.
        crop: pixels of zero padding for random crops; 0 is none.
        flip: random horizontal flips.
        roll: pixels of random circular shifts, usual for event frames; 0 is none.
        cutout: pixels per side of a square that is blanked; 0 is none.
        select: weights of the last epoch, or of the best one on validation images, clean or attacked.
        validation_attack: PGD that validation images are attacked with after each epoch; null is none.
        validation_attacked: how many validation images it gets; null is all.
        precision: float32, or bfloat16 autocast.
        device: auto takes a GPU if there is one.
        seed: of initial weights, order, augmentation and attacks.
        tensorboard: write TensorBoard event files too.
        sync_batchnorm: of several processes, batch norms take the statistics of the whole batch; otherwise each those
            of its share.
        recompute: keep less for the backward pass and compute it again: less memory, about 1.4 times the time, the
            same weights.
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
    roll: int = 0
    cutout: int = 0
    select: Literal["last", "validation", "validation-robust"] = "last"
    validation_attack: TrainingAttackConfig | None = None
    validation_attacked: int | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int = 0
    tensorboard: bool = False
    sync_batchnorm: bool = False
    recompute: bool = False


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
        attacked = "*" if self.objective.attack is not None else ""
        usual = {"natural": "vanilla", "adversarial": "AT", "sparsity": f"SR{attacked}", "trades": "TRADES"}
        title = usual.get(self.objective.name, self.objective.name + attacked)
        if self.objective.retraction is not None:
            # SNN-RAT puts the retraction in the place of weight decay.
            title = "RAT" if title == "AT" and self.train.weight_decay == 0 else f"{title}, retraction"
        return self.name or title

    def to_dict(self) -> dict[str, Any]:
        """Plain values, complete, for YAML."""
        return {**asdict(self), "name": self.title()}


DATASETS = {
    "digits": "1,797 handwritten digits, 8x8 grey, embedded",
    "turned_digits": "the digits, half of them turned by a quarter: twenty classes, embedded",
    "procedural": "32x32 RGB shapes and textures in ten classes, generated from a seed",
    "cifar10": "CIFAR-10 from data.root, either layout",
    "cifar100": "CIFAR-100 (fine labels) from data.root, either layout",
    "digit_events": "the digits moved before a simulated event camera, embedded; frames as data.frames says",
    "cifar10_dvs": "CIFAR10-DVS from data.root, AEDAT or npz; frames as data.frames says",
}


@dataclass(frozen=True)
class Entry:
    """A name's line in `robustsnn list`, and the "module:attribute" that it stands for, imported on use."""

    text: str
    target: str


MODELS = {
    "vgg_small": Entry("VGG with 3 convolutions for 8x8 images; option width", "robustsnn.models.vgg:vgg_small"),
    "vgg11": Entry("VGG-11, average pooling, two hidden layers of 4096; option width", "robustsnn.models.vgg:vgg11"),
    "wide_resnet16": Entry(
        "WRN-16-4 with convex shortcuts; options depth, width", "robustsnn.models.wide_resnet:wide_resnet16"
    ),
}
for _family, _name, _options in (
    ("sew", "SEW-ResNet", "stem, pooling, share, connect, width"),
    ("spiking", "Spiking-ResNet", "stem, pooling, share, width"),
):
    for _depth in (18, 34, 50):
        _target = f"robustsnn.models.{_family}_resnet:{_family}_resnet{_depth}"
        MODELS[f"{_family}_resnet{_depth}"] = Entry(f"{_name}-{_depth}; options {_options}", _target)
OBJECTIVES = {
    "natural": Entry("cross-entropy on clean images (vanilla)", "robustsnn.objectives:Natural"),
    "adversarial": Entry(
        "cross-entropy on PGD images (AT); needs objective.attack.eps", "robustsnn.objectives:Adversarial"
    ),
    "sparsity": Entry(
        "gradient sparsity regularisation (SR): plus lambda |f_y(x + h d) - f_y(x)| / h; with an attack SR*; "
        "options h, form (paper, reference-code, double-backward)",
        "robustsnn.objectives:SparsityRegularised",
    ),
    "gradient": Entry(
        "gradient regularisation (GR): plus lambda/2 times the squared norm of the loss's input gradient; "
        "options h, norm (l2, l1)",
        "robustsnn.objectives:GradientRegularised",
    ),
    "trades": Entry(
        "TRADES: plus lambda KL(p(x) || p(x')), x' by attack; option temperature", "robustsnn.objectives:TRADES"
    ),
    "adversarial_pairing": Entry(
        "adversarial logit pairing: plus lambda ||z(x) - z(x')||^2, x' by attack; option share",
        "robustsnn.objectives:AdversarialLogitPairing",
    ),
    "clean_pairing": Entry(
        "clean logit pairing: plus lambda ||z(x_i) - z(x_j)||^2 on noisy images; option noise",
        "robustsnn.objectives:CleanLogitPairing",
    ),
    "membrane": Entry(
        "membrane guard (TGO): plus lambda times the share of potentials near the threshold; option delta",
        "robustsnn.objectives:MembraneGuard",
    ),
    "hire": Entry(
        "HIRE-SNN: noise crafted along the time steps, an update per period; options eps, step, periods",
        "robustsnn.objectives:Hire",
    ),
}
WITH_ANY_OBJECTIVE = {
    "retraction": "SNN-RAT: objective.retraction=BETA, with adversarial and train.weight_decay=0 in its paper",
    "discretisation": "fewer grey levels before the encoder: model.encoder.discretise=LEVELS",
    "encoders": "model.encoder.name=poisson, or frequency (FEEL)",
    "schedules": "of lambda: objective.schedule.name",
}
"""Defences that are no term of the loss."""
SCHEDULES = {
    "constant": Entry("the same in every epoch", "robustsnn.objectives.schedule:Constant"),
    "warm_up": Entry("from 0 along a line; option epochs or share", "robustsnn.objectives.schedule:WarmUp"),
    "cosine": Entry("half a cosine; option direction (up, down)", "robustsnn.objectives.schedule:Cosine"),
    "by_validation": Entry(
        "as much as clean accuracy bears, judged on attacked validation images; needs train.validation_attack.eps",
        "robustsnn.objectives.schedule:ByValidation",
    ),
}
ENCODERS = {
    "direct": Entry("the image at every step", "robustsnn.encoders:Direct"),
    "phase": Entry(
        "weighted phase code: binary digits of a pixel; options period (8), weighted (true)", "robustsnn.encoders:Phase"
    ),
    "latency": Entry("one spike, the earlier the brighter", "robustsnn.encoders:Latency"),
    "rate": Entry("a spike count in proportion to the pixel, without randomness", "robustsnn.encoders:Rate"),
    "poisson": Entry("random spikes with the pixel as probability", "robustsnn.encoders:Poisson"),
    "frequency": Entry(
        "low-pass images of falling bandwidth (FEEL); options shrink (2), part (modulus, real)",
        "robustsnn.encoders:Frequency",
    ),
    "frames": Entry("event frames as they are", "robustsnn.encoders:Frames"),
}
SUITES = {
    "quick": "a first look: about a tenth of the cost of reliable",
    "reliable": "the figure to report: all gradient rules, long runs, a search over corners, transfer from --source",
    "exhaustive": "reliable with ten times its budget: for a last table, and to see how deep reliable goes",
    "autoattack": "APGD-CE, APGD-T, a minimum-norm attack and Square by the network's own gradient",
    "paper-sr": "tables 1-2 of the SR paper: FGSM, RFGSM, PGD10/30/50, APGD10, each over four gradient rules; "
    "black-box columns with --source",
    "paper-sr-10": "the same with PGD10 alone: a fifth of the cost",
    "paper-trail": "section 4.2 of the sparsity-trail paper: FGSM and PGD7 by the network's own gradient",
    "paper-trail-train-mode": "the same crafted with batch statistics, as its released code does",
    "flips": "L0: at most eps flipped entries of binary inputs, such as event frames",
    "NAME-encoded": "any of them on the encoder's output instead of the image",
    "NAME-8bit": "any of them for Linf, on the 8-bit grey levels of an image file: searched there, not rounded after",
}
ATTACKS = {
    "fgsm": "one step of size eps",
    "rfgsm": "sign noise of eps/2, then one step of eps/2",
    "pgd": "projected gradient descent from a uniform start",
    "mi_fgsm": "signed steps along accumulated momentum",
    "apgd": "Auto-PGD: momentum, halving step, restart from the best point",
    "sa_pgd": "stable adaptive PGD: per-entry step, halved on schedule",
    "MinimumNorm": "fast minimum-norm attack: the nearest misclassified point",
    "Square": "random search with square windows; sees no gradient",
    "RayS": "search over sign directions by decisions alone, for one-hot or quantised outputs",
    "RandomSearch": "uniform, Gaussian or corner noise; sees no gradient",
    "SparseFlips": "L0: flips as few entries of binary inputs as possible",
    "Transfer": "any gradient attack, crafted on another model",
}
RECIPES = {
    "p1-table1": "SR paper, table 1: SR* against AT and RAT, white and black box",
    "p1-table2": "SR paper, table 2: what SR and AT contribute",
    "p1-table4": "SR paper, table 4: cost of each regime",
    "p1-fig1": "SR paper, figure 1 and theorem 1: random against adversarial vulnerability",
    "p1-fig2": "SR paper, figure 2: lambda against accuracy and gradient norms, CIFAR-10",
    "p1-fig3": "SR paper, figure 3: distribution of the input gradient",
    "p1-fig4": "SR paper, figure 4: lambda against accuracy and gradient norms, CIFAR-100",
    "p1-fig5": "SR paper, figure 5: heat maps of the input gradient",
    "p2-table1": "trail paper, table 1: undefended ResNets against defences, CIFAR-100",
    "p2-table2": "trail paper, table 2: undefended SEW-ResNets against RAT, three data sets",
    "p2-table3": "trail paper, table 3: average against max pooling",
    "p2-fig1": "trail paper, figure 1: pictures of perturbed images",
    "p2-fig2": "trail paper, figure 2: accuracy over eps",
    "p2-fig3": "trail paper, figure 3: gradient sparsity trail with max pooling",
    "p2-fig5": "trail paper, figure 5: gradient sparsity trail with average pooling",
}
