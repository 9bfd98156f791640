"""The networks of both papers: what was trained on what, as a config at each scale."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from robustsnn.models.pooling import Pooling
from robustsnn.names.config import (
    Config,
    DataConfig,
    EncoderConfig,
    FramesConfig,
    ModelConfig,
    NeuronConfig,
    ObjectiveConfig,
    SurrogateConfig,
    TrainConfig,
    TrainingAttackConfig,
)
from robustsnn.recipes.recipe import Scale
from robustsnn_papers.readings import CHOICES, Reading, read_as

Data: TypeAlias = Literal["CIFAR-10", "CIFAR-100", "CIFAR10-DVS"]
Defence: TypeAlias = Literal[
    "vanilla", "SR", "AT", "SR*", "RAT", "HIRE", "discretised", "one-step AT", "GR", "TRADES", "clean pairing",
    "adversarial pairing",
]  # fmt: skip

STAND_IN = {"CIFAR-10": "digits", "CIFAR-100": "turned_digits", "CIFAR10-DVS": "digit_events"}
"""What stands for a data set of the papers at digits scale."""

TIMES = 5
"""At digits scale eps is so many times the papers': grey levels of the 8x8 images are 0.06 apart."""

TRAINED = 24_000
"""Images that networks are trained on at cpu scale, of the 50,000 of CIFAR; event frames are few and all are used."""

# lambda as the SR paper has it, app. C, and at digits scale: chosen for digits on validation images by
# `benchmarks/digits.py --tune`; at cpu scale by hand for the small VGG on CIFAR-10 (benchmarks/README.md, "Networks on
# CIFAR-10"). For turned digits, and CIFAR-100 at cpu scale, in the proportion of the paper's own two.
_LAM = {
    "full": {
        ("SR", "CIFAR-10"): 0.008,
        ("SR", "CIFAR-100"): 0.002,
        ("SR*", "CIFAR-10"): 0.002,
        ("SR*", "CIFAR-100"): 0.001,
    },
    "cpu": {
        ("SR", "CIFAR-10"): 0.05,
        ("SR", "CIFAR-100"): 0.0125,
        ("SR*", "CIFAR-10"): 0.02,
        ("SR*", "CIFAR-100"): 0.01,
    },
    "digits": {
        ("SR", "CIFAR-10"): 0.3,
        ("SR", "CIFAR-100"): 0.075,
        ("SR*", "CIFAR-10"): 0.1,
        ("SR*", "CIFAR-100"): 0.05,
    },
}
LAMBDAS = {
    ("full", "CIFAR-10"): (0.0, 0.002, 0.004, 0.006, 0.008),
    ("full", "CIFAR-100"): (0.0, 0.0005, 0.001, 0.0015, 0.002),
    ("cpu", "CIFAR-10"): (0.0, 0.025, 0.05, 0.1),
    ("cpu", "CIFAR-100"): (0.0, 0.00625, 0.0125, 0.025),
    ("digits", "CIFAR-10"): (0.0, 0.1, 0.3, 0.9),
    ("digits", "CIFAR-100"): (0.0, 0.025, 0.075, 0.225),
}
"""The weights of figures 2 and 4; at full scale up to the one that the paper chose. 0 is the vanilla network."""

STEPS = {"digits": (0.1, 0.3, 0.6), "cpu": (0.01, 0.03, 0.06), "full": (0.01, 0.03, 0.06)}
"""Of appendix G: h of SR, the usual one first, and the radius of one-step adversarial training."""

# Lambda and options of what appendix H compares SR with. The paper gives none; those of digits were chosen on
# validation images (benchmarks/defences.py --tune), the others are their sources' or follow from digits, and were not
# tried.
_RIVALS: dict[Defence, tuple[str, dict[str, float], float, float]] = {
    "GR": ("gradient", {"h": 0.5}, 0.1, 0.1),
    "clean pairing": ("clean_pairing", {"noise": 0.1}, 0.01, 0.01),
    "adversarial pairing": ("adversarial_pairing", {}, 0.1, 0.5),
    "TRADES": ("trades", {}, 1.0, 6.0),
}
"""Objective, options, lambda at digits scale and at the others."""

_UNITS: dict[Defence, float] = {
    "vanilla": 3, "SR": 7, "AT": 13, "SR*": 17, "RAT": 7, "HIRE": 4, "discretised": 3, "one-step AT": 5, "GR": 8,
    "TRADES": 16, "clean pairing": 3, "adversarial pairing": 16,
}  # fmt: skip
_SIZE = {"VGG-11": 1.0, "WRN-16": 1.6, "18": 2.0, "34": 3.5, "50": 7.0}
_DATA = {"CIFAR-10": 1.0, "CIFAR-100": 1.0, "CIFAR10-DVS": 0.8}


@dataclass(frozen=True)
class Network:
    """One trained network.

    Args:
        data: data set, as the papers name it.
        architecture: VGG-11, WRN-16, SEW-ResNet18/34/50 or Spiking-ResNet18/34/50.
        defence: how it is trained, or what stands before it.
        lam: weight of SR where it is not the paper's choice.
        step: h of SR where it is not the usual one, and the radius of one-step AT.
        pooling: of the ResNets.
        reading: of the papers, see `readings`.
        choice: one of `readings.CHOICES` in place of ours.
    """

    data: Data
    architecture: str
    defence: Defence = "vanilla"
    lam: float | None = None
    pooling: Pooling = "max"
    reading: Reading = "ours"
    step: float | None = None
    choice: str = ""

    @property
    def residual(self) -> bool:
        """One of the trail paper's undefended ResNets."""
        return "ResNet" in self.architecture

    def name(self) -> str:
        """As a row of a table: architecture and defence."""
        if self.residual:
            return self.architecture + ("" if self.pooling == "max" else f", {self.pooling} pooling")
        lam = "" if self.lam is None else f" {self.lam:g}"
        step = "" if self.step is None else f" {'h' if self.defence == 'SR' else 'eps'} = {self.step:g}"
        return f"{self.defence}{lam}{step} {self.architecture}"

    def folder(self, scale: Scale, seed: int) -> str:
        """Of its run."""
        data = STAND_IN[self.data] if scale == "digits" else self.data
        parts = [data, self.architecture, self.pooling if self.residual else self.defence]
        parts += [] if self.lam is None else [f"{self.lam:g}"]
        parts += [] if self.step is None else [f"step-{self.step:g}"]
        parts += [] if self.reading == "ours" else [f"as-{self.reading}"]
        parts += [self.choice] if self.choice else []
        return "-".join([*parts, str(seed)]).lower().replace("*", "-at").replace("_", "-").replace(" ", "-")

    def read_as(self, reading: str) -> Network:
        """The same network by another reading of the papers; one that is there to compare readings stays as it is."""
        compares = self.choice or self.reading != "ours"
        return self if compares else replace(self, reading=reading)  # type: ignore[arg-type]

    def radius(self, eps: int, scale: Scale) -> str:
        """See `radius`."""
        return radius(eps, scale)

    def cost(self) -> tuple[float, float]:
        """Roughly, see `recipe.Network`."""
        size = next(cost for end, cost in _SIZE.items() if self.architecture.endswith(end)) * _DATA[self.data]
        return size * _UNITS[self.defence], size

    def config(self, scale: Scale, seed: int, root: Path | None = None) -> Config:
        """How it is trained. `root` is the folder with the papers' data sets, each in a folder of its name."""
        build = {"digits": _digits, "cpu": _cpu, "full": _full}[scale]
        config = read_as(build(self, seed), self.reading, scale)
        config = CHOICES[self.choice](config, scale) if self.choice else config
        if scale != "digits" and root is not None:
            config = replace(config, data=replace(config.data, root=str(root / self.data.lower())))
        return replace(config, name=self.name())


def radius(eps: int, scale: Scale) -> str:
    """The papers' radius eps/255 at a scale."""
    return f"{eps * (TIMES if scale == 'digits' else 1)}/255"


def sweep(data: Data, scale: Scale) -> list[tuple[float, Network]]:
    """Each weight of `LAMBDAS` and the network that is trained with it; those of tables are not trained again."""
    usual = _LAM[scale]["SR", data]
    return [
        (lam, Network(data, "WRN-16", "SR" if lam else "vanilla", lam if lam not in (0.0, usual) else None))
        for lam in LAMBDAS[scale, data]
    ]


def _lam(network: Network, scale: Scale) -> float:
    return _LAM[scale][network.defence, network.data] if network.lam is None else network.lam


def _trained_by(
    network: Network, scale: Scale, attack: tuple[str, str | float], hire: int, beta: float
) -> ObjectiveConfig:
    """The objective of a defence; `attack`: radius and step of adversarial training."""
    five, two = (TrainingAttackConfig(attack[0], attack[1], steps) for steps in (5, 2))
    step = STEPS[scale][0] if network.step is None else network.step
    if network.defence in _RIVALS:
        name, options, small, large = _RIVALS[network.defence]
        lam = small if scale == "digits" else large
        attacked = network.defence in ("TRADES", "adversarial pairing")
        return ObjectiveConfig(name, lam=lam, options=dict(options), attack=five if attacked else None)
    match network.defence:
        case "one-step AT":
            return ObjectiveConfig("adversarial", attack=TrainingAttackConfig(step, step, 1))
        case "SR":
            return ObjectiveConfig("sparsity", lam=_lam(network, scale), options={"h": step})
        case "SR*":
            return ObjectiveConfig("sparsity", lam=_lam(network, scale), options={"h": step}, attack=five)
        case "AT":
            return ObjectiveConfig("adversarial", attack=five)
        case "RAT":
            half = attack[1] if scale == "digits" else "1/255"
            return ObjectiveConfig("adversarial", attack=replace(two, alpha=half), retraction=beta)
        case "HIRE":
            return ObjectiveConfig("hire", options={"eps": hire / 255, "periods": 2})
    return ObjectiveConfig()


def _encoder(network: Network, levels: int) -> EncoderConfig:
    return EncoderConfig(discretise=levels if network.defence == "discretised" else None)


def _full(network: Network, seed: int, scale: Scale = "full") -> Config:
    """The papers' settings: app. C of the SR paper, section 4.1 of the trail paper. `scale` is that of lambda alone."""
    data = DataConfig(name="cifar10_dvs" if network.data == "CIFAR10-DVS" else network.data.lower().replace("-", ""))  # type: ignore[arg-type]
    events = network.data == "CIFAR10-DVS"
    if events:
        data = replace(data, frames=FramesConfig(steps=10))
    if network.residual:
        train = TrainConfig(
            epochs=100,
            batch_size=16,
            optimiser="adam",
            lr=1e-3,
            weight_decay=0.0,
            schedule="constant",
            crop=0,
            flip=not events,
            precision="bfloat16",
            seed=seed,
        )
        encoder = EncoderConfig() if events else EncoderConfig("phase", {"period": 8})
        return Config(None, data, _resnet(network, 10, encoder, {}), ObjectiveConfig(), train)
    objective = _trained_by(network, scale, ("2/255", 0.01), 8, 5e-4)
    decay = 0.0 if network.defence == "RAT" else 5e-4
    train = TrainConfig(
        epochs=200, batch_size=64, weight_decay=decay, crop=4, flip=not events, precision="bfloat16", seed=seed
    )
    name = {"VGG-11": "vgg11", "WRN-16": "wide_resnet16"}[network.architecture]
    model = ModelConfig(name=name, steps=10 if events else 8, encoder=_encoder(network, 4))
    return Config(None, data, model, objective, train)


def _cpu(network: Network, seed: int) -> Config:
    """The papers' data, radii and objectives with networks that two cores can train in hours.

    The VGG-11 and its training are those of `benchmarks/cifar10.py`; the others follow it and were not tried.
    """
    config = _full(network, seed, "cpu")
    data, model, train = config.data, config.model, config.train
    if data.name == "cifar10_dvs":
        data = replace(data, frames=FramesConfig(steps=4, size=32))
    else:
        data = replace(data, validation=50_000 - TRAINED)
    if network.residual:
        small = {**model.options, "stem": "cifar", "width": 0.25}
        model = replace(model, steps=data.frames.steps if data.name == "cifar10_dvs" else model.steps, options=small)
        train = replace(train, epochs=20, batch_size=64, lr=2e-3)
    else:
        small = {"width": 0.375, "hidden": [192]} if network.architecture == "VGG-11" else {"width": 1}
        model = replace(model, steps=4, options=small, init="released")
        train = replace(train, epochs=12, batch_size=128, lr=0.05)
    return replace(config, data=data, model=model, train=train)


def _digits(network: Network, seed: int) -> Config:
    """The same on embedded data of 8x8 pixels, with small networks and few epochs."""
    events = network.data == "CIFAR10-DVS"
    data = DataConfig(name=STAND_IN[network.data])  # type: ignore[arg-type]
    if events:
        data = replace(data, frames=FramesConfig(steps=4, size=8))
    if network.residual:
        train = TrainConfig(
            epochs=14 if network.architecture.endswith("18") else 18,  # the deeper learn more slowly
            batch_size=32,
            optimiser="adam",
            lr=6e-3,
            weight_decay=0.0,
            schedule="constant",
            crop=0,
            seed=seed,
        )
        encoder = EncoderConfig() if events else EncoderConfig("phase", {"period": 8})
        model = _resnet(network, 4 if events else 10, encoder, {"stem": "cifar", "width": 0.125})
        return Config(None, data, model, ObjectiveConfig(), train)
    objective = _trained_by(network, "digits", ("16/255", "8/255"), 40, 0.01)
    decay = 0.0 if network.defence == "RAT" else 5e-4
    train = TrainConfig(epochs=12, weight_decay=decay, crop=0 if events else 1, seed=seed)
    if network.architecture == "VGG-11":
        model = ModelConfig(encoder=_encoder(network, 2))
    else:
        model = ModelConfig(name="wide_resnet16", options={"width": 1}, encoder=_encoder(network, 2))
    return Config(None, data, model, objective, train)


def _resnet(network: Network, steps: int, encoder: EncoderConfig, options: dict[str, object]) -> ModelConfig:
    name = network.architecture.lower().replace("sew-", "sew_").replace("spiking-", "spiking_")
    return ModelConfig(
        name,
        steps,
        options={**options, "pooling": network.pooling},
        encoder=encoder,
        neuron=NeuronConfig(detach_reset=True),
        surrogate=SurrogateConfig("arctan", 2.0),
    )
