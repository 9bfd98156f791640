"""Small models with known answers, shared by the tests."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from robustsnn.models import Classifier, Plan, vgg
from robustsnn.neurons import IF


@contextmanager
def benchmark(name: str) -> Iterator[ModuleType]:
    """A script of benchmarks/ as a module; inside the block it finds its neighbours, and its dataclasses themselves."""
    folder = Path(__file__).parents[1] / "benchmarks"
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(folder))
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(folder))
        del sys.modules[name]


class Linear(nn.Module):
    """z = W x + b on flattened images: every worst case is known in closed form."""

    def __init__(self, classes: int = 3, image: tuple[int, int, int] = (1, 4, 4), seed: int = 0) -> None:
        super().__init__()
        draws = torch.Generator().manual_seed(seed)
        size = image[0] * image[1] * image[2]
        self.weight = nn.Parameter(torch.randn(classes, size, generator=draws))
        # The boundaries pass near the middle of the cube, where the test images lie.
        self.bias = nn.Parameter(0.3 * torch.randn(classes, generator=draws) - 0.5 * self.weight.detach().sum(1))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.T + self.bias


class Counting(Linear):
    """Counts the images that it is shown."""

    passes = 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += len(x)
        return super().forward(x)


def images(
    n: int, shape: tuple[int, int, int] = (1, 4, 4), seed: int = 0, low: float = 0.3, high: float = 0.7
) -> Tensor:
    """Random images with values in [low, high]."""
    return low + (high - low) * torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed))


def spiking(seed: int = 0, steps: int = 3, image: tuple[int, int, int] = (1, 8, 8), classes: int = 4) -> Classifier:
    """A tiny spiking VGG in eval mode, every layer of it active on `images`: its batch norms have settled on them."""
    torch.manual_seed(seed)
    model = vgg(Plan(((6,), (8,)), (12,)), image=image, classes=classes, neuron=IF(), steps=steps)
    model.train()
    with torch.no_grad():
        model.body[-1].bias.normal_(std=0.01)  # no ties for an image that leaves the hidden neurons silent
        for i in range(30):  # running statistics move by a tenth each time
            model(images(32, image, seed=i))
    return model.eval()


class Step(torch.autograd.Function):
    """Heaviside forward, the surrogate's slope backward, by operations that autograd records."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, surrogate: Any) -> Tensor:
        ctx.save_for_backward(v)
        ctx.surrogate = surrogate
        return (v >= 0).to(v.dtype)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Any:
        (v,) = ctx.saved_tensors
        return upstream[0] * ctx.surrogate.slope(v), None
