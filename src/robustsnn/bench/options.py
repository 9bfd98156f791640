"""What `robustsnn bench` is asked for; checked without torch, so that a wrong value is refused at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from robustsnn.ground.errors import UserError
from robustsnn.ground.ranges import Seed, Within
from robustsnn.names import near, registered

PARTS = {
    "neuron": "a layer of neurons against a copy of its bytes, and against SpikingJelly",
    "step": "a training step of vanilla, SR, AT, SR*: time against the passes it needs, and memory",
    "attack": "gradient evaluations per second, and an evaluation from end to end",
    "growth": "time and memory of a step over T and over the batch",
    "data": "share of the data pipeline in a training step",
}
"""The parts and what they measure, in their order."""
PRECISIONS = ("float32", "bfloat16")
NEURONS = ("IF", "LIF", "LIF-decayed-input")
_MOST = 1 << 20
Size = Annotated[int, Within(least=1, most=_MOST)]


@dataclass(frozen=True)
class Options:
    """Which parts, on what, how often. Lists are written with commas, shapes with an x.

    Args:
        parts: some of neuron, step, attack, growth, data.
        device: auto takes a GPU if there is one.
        threads: of torch; with 1 on a CPU processor time is measured, which other programs disturb little.
        rounds: what is compared takes turns so often.
        seed: of weights, images and draws.
        networks: of step, attack and data; see `robustsnn list models`.
        precisions: float32, bfloat16.
        image: C x H x W.
        steps: T, time steps.
        batch: images per step.
        memory: measure peak memory too; on a CPU each case takes a fresh process.
        neurons: IF, LIF, LIF-decayed-input.
        neuron_shapes: batch and neurons of a layer.
        neuron_steps: T of a layer, one or several.
        neuron_rounds: of the layers alone, which take milliseconds.
        compiled: measure always-compiled forms of the layers too; compiling takes tens of seconds.
        pgd_steps: of the PGD whose gradient evaluations are counted.
        images: how many the suite quick attacks from end to end; all of them stand, so it does all it can.
        growth_network: the network of growth.
        growth_steps: T, at the smallest batch.
        growth_batches: images per step, at the smallest T.
    """

    parts: str = ",".join(PARTS)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Size | None = None
    rounds: Size = 3
    seed: Seed = 0
    networks: str = "vgg11"
    precisions: str = ",".join(PRECISIONS)
    image: str = "3x32x32"
    steps: Size = 4
    batch: Size = 4
    memory: bool = True
    neurons: str = "IF"
    neuron_shapes: str = "16x128x16x16"
    neuron_steps: str = "8"
    neuron_rounds: Size = 11
    compiled: bool = True
    pgd_steps: Size = 5
    images: Size = 4
    growth_network: str = "vgg_small"
    growth_steps: str = "4,8,16,32"
    growth_batches: str = "4,8,16,32"

    def __post_init__(self) -> None:
        for name in ("rounds", "steps", "batch", "neuron_rounds", "pgd_steps", "images"):
            _whole(name, getattr(self, name))
        if self.threads is not None:
            _whole("threads", self.threads)
        if not 0 <= self.seed < 1 << 63:
            raise UserError(f"--seed {self.seed}: allowed is 0 to {(1 << 63) - 1}")
        lists = {"parts": PARTS, "networks": registered("model"), "precisions": PRECISIONS, "neurons": NEURONS}
        for name, allowed in lists.items():
            _among(name, self.several(name), allowed)
        _among("growth_network", [self.growth_network], registered("model"))
        if self.image.count("x") != 2:
            said = self.image or "''"
            raise UserError(f"--image {said}: three numbers C x H x W are needed, for example 3x32x32; give them")
        self.shape  # noqa: B018
        for name in ("neuron_steps", "growth_steps", "growth_batches"):
            self.numbers(name)
        for name in ("growth_steps", "growth_batches"):
            if len(set(self.numbers(name))) < 2:
                raise UserError(f"--{name} {getattr(self, name)}: a growth needs two different sizes or more")
        self.layers  # noqa: B018

    def several(self, name: str) -> list[str]:
        """The items of a list, each once."""
        items = [item.strip() for item in getattr(self, name).split(",")]
        return list(dict.fromkeys(item for item in items if item))

    def numbers(self, name: str) -> list[int]:
        """The whole numbers of a list, ascending."""
        items = self.several(name)
        if not items:
            raise UserError(f"--{name}: nothing is named; give whole numbers, with commas")
        return sorted({_whole(name, item) for item in items})

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W)."""
        return _shape("image", self.image)

    @property
    def layers(self) -> list[tuple[int, ...]]:
        """(batch, neurons ...) of each layer."""
        shapes = [_shape("neuron_shapes", item) for item in self.several("neuron_shapes")]
        if not shapes:
            raise UserError("--neuron_shapes: nothing is named; give shapes such as 16x128x16x16, with commas")
        return shapes

    def size(self) -> str:
        """Name of the size, part of the name of every figure that depends on it."""
        return f"T={self.steps} B={self.batch} {self.image}"


def _whole(name: str, value: Any) -> int:
    """A whole number from 1 that a program can bear."""
    text = str(value).strip()
    if not text.isdecimal() or not 1 <= int(text) <= _MOST:
        wanted = f"a whole number from 1 to {_MOST} is needed; give one, or leave --{name} out"
        raise UserError(f"--{name} {text or repr(text)}: {wanted}")
    return int(text)


def _shape(name: str, text: str) -> tuple[int, ...]:
    return tuple(_whole(name, part) for part in text.split("x"))


def _among(name: str, items: list[str], allowed: Any) -> None:
    for item in items:
        if item not in allowed:
            hint = near(item, allowed) or "; give some of them"
            raise UserError(f"--{name} {item}: allowed are {', '.join(allowed)}{hint}")
    if not items:
        raise UserError(f"--{name}: nothing is named; allowed are {', '.join(allowed)}")
