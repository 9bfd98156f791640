"""A NIR graph as a network of ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robustsnn.ground.door import check_number, check_whole
from robustsnn.ground.errors import UserError
from robustsnn.interop.nir.euler import DT, cuba, lif, neuron, one
from robustsnn.interop.nir.library import library
from robustsnn.models.classifier import Classifier, classifier
from robustsnn.models.time import Fold, Layers
from robustsnn.neurons import LIF, GradientRule, Neurons

LARGEST = 4 << 30
"""Bytes of all numbers of a file that is read."""


def read_nir(
    source: Path | str | Any,
    steps: int,
    *,
    rule: GradientRule | None = None,
    encoder: nn.Module | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    dt: float = DT,
) -> Classifier:
    """The network of a NIR file or graph, in eval mode: images to the mean over time of what reaches its Output.

    Args:
        source: a file, or a `nir.NIRGraph`.
        steps: T.
        rule: how neurons are differentiated, see `Neurons`; NIR does not say.
        encoder: direct coding by default.
        mean, std: of the pixels; those that `write_nir` noted, or 0 and 1.
        dt: seconds per step.
    """
    nir = library()
    check_whole("steps", steps)
    check_number("dt", dt, above=0)
    graph = _load(nir, source) if isinstance(source, str | Path) else source
    if not isinstance(graph, nir.NIRGraph):
        raise UserError(f"source is a {type(graph).__name__}: give a NIR file, or a nir.NIRGraph")
    nodes = _chain(nir, graph)
    shape = tuple(int(n) for n in np.ravel(next(iter(nodes[0][1].input_type.values()))))
    if len(shape) not in (3, 4):
        raise UserError(f"the graph's Input has shape {shape}; needed is (C, H, W), or (T, C, H, W) of event frames")
    layers: list[nn.Module] = []
    for name, node in nodes[1:-1]:
        make = _MAKE.get(type(node).__name__)
        if make is None:
            raise UserError(f"node {name!r} is a {type(node).__name__}; known are {', '.join(_MAKE)}")
        try:
            layers += [Neurons(m, steps, rule) if isinstance(m, LIF) else m for m in make(node, dt, steps)]
        except (UserError, TypeError, ValueError, RuntimeError) as error:
            raise UserError(f"node {name!r}, {type(node).__name__}: {' '.join(str(error).split())[:200]}") from None
    noted = graph.metadata if isinstance(graph.metadata, dict) else {}
    centre = [float(v) for v in np.ravel(noted.get("pixel_mean", 0.0))] if mean is None else mean
    width = [float(v) for v in np.ravel(noted.get("pixel_std", 1.0))] if std is None else std
    # `classifier` would draw new weights.
    made = classifier(nn.Identity(), encoder, shape, centre, width)
    made.body = Layers(*layers)
    return made.eval()


def _conv(node: Any, *_: Any) -> list[nn.Module | LIF]:
    weight, padding = torch.as_tensor(node.weight), node.padding
    layer = nn.Conv2d(
        weight.shape[1] * int(node.groups),
        weight.shape[0],
        _two(weight.shape[2:]),
        _two(node.stride),
        padding if isinstance(padding, str) else _two(padding),
        _two(node.dilation),
        int(node.groups),
    )
    return [Fold(_filled(layer, weight, node.bias))]


def _linear(node: Any, *_: Any) -> list[nn.Module | LIF]:
    weight, bias = torch.as_tensor(node.weight), getattr(node, "bias", None)
    return [_filled(nn.Linear(*reversed(weight.shape), bias=bias is not None), weight, bias)]


def _pool(divisor: int | None) -> Callable[..., list[nn.Module | LIF]]:
    def make(node: Any, *_: Any) -> list[nn.Module | LIF]:
        if np.any(node.padding):
            raise UserError(
                f"padding={np.ravel(node.padding).tolist()}: NIR does not say what it averages; needed is 0"
            )
        size, stride = _two(node.kernel_size), _two(node.stride)
        return [Fold(nn.AvgPool2d(size, stride, divisor_override=divisor))]  # type: ignore[arg-type]

    return make


def _flatten(node: Any, *_: Any) -> list[nn.Module | LIF]:
    first, last = (int(end) + 2 * (int(end) >= 0) for end in (node.start_dim, node.end_dim))
    return [nn.Flatten(first, last)]  # after time and batch


_MAKE: dict[str, Callable[[Any, float, int], list[nn.Module | LIF]]] = {
    "Linear": _linear,
    "Affine": _linear,
    "Conv2d": _conv,
    "SumPool2d": _pool(1),
    "AvgPool2d": _pool(None),
    "Flatten": _flatten,
    "IF": lambda node, dt, _: [neuron(1.0, one(node, "r") * dt, node)],
    "LIF": lambda node, dt, _: lif(node, dt),
    "CubaLIF": cuba,
}
"""The layers, or the neuron, of a node."""


def _filled(layer: Any, weight: Tensor, bias: Any) -> nn.Module:
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias is not None:
            layer.bias.copy_(torch.as_tensor(bias))
    return layer  # type: ignore[no-any-return]


def _two(value: Any) -> tuple[int, int]:
    first, *rest = (int(v) for v in np.ravel(value))
    return first, rest[0] if rest else first


def _chain(nir: Any, graph: Any) -> list[tuple[str, Any]]:
    """The nodes from Input to Output; UserError where the graph is no chain."""
    ways: dict[str, list[str]] = {}
    for start, end in graph.edges:
        ways.setdefault(start, []).append(end)
    starts = [name for name, node in graph.nodes.items() if isinstance(node, nir.Input)]
    if len(starts) != 1:
        raise UserError(f"the graph has {len(starts)} inputs; needed is one")
    names = starts
    while not isinstance(graph.nodes[names[-1]], nir.Output):
        after = ways.get(names[-1], [])
        if len(after) != 1 or after[0] in names:
            raise UserError(f"node {names[-1]!r} leads to {after or 'nothing'}; only chains are read, without branches")
        names = [*names, *after]
    if len(names) != len(graph.nodes):
        left = sorted(set(graph.nodes) - set(names))
        raise UserError(f"nodes {left[:3]} are not on the way from Input to Output; only chains are read")
    return [(name, graph.nodes[name]) for name in names]


def _load(nir: Any, path: Path | str) -> Any:
    """The graph of a file. Links to other files are refused, and more numbers than a network has."""
    import h5py

    def size(group: Any) -> int:
        total = 0
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ValueError(f"{name} is a link")
            total += size(group[name]) if isinstance(group[name], h5py.Group) else group[name].nbytes
        return total

    try:
        with h5py.File(path, "r") as file:
            if size(file) > LARGEST:
                raise ValueError(f"it holds more than {LARGEST >> 30} GiB")
        return nir.read(path)
    except Exception as error:  # whatever h5py and nir raise for a damaged file; no list of it exists
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is no NIR graph that can be read ({reason}); give a file of nir.write") from None
