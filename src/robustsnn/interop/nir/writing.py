"""A network of ours as a NIR graph."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robustsnn.ground.errors import UserError
from robustsnn.ground.files import path_of
from robustsnn.ground.modes import evaluating
from robustsnn.interop.nir.euler import DT, written
from robustsnn.interop.nir.library import library
from robustsnn.models.classifier import Classifier
from robustsnn.models.time import Fold
from robustsnn.neurons import LIF, Neurons


def write_nir(path: Path | str, model: Classifier, dt: float = DT) -> None:
    """Write a network whose body is a chain of layers; batch norms are folded into the layer before.

    The graph begins behind the encoder and the normalisation, which are noted in its metadata (`pixel_mean`,
    `pixel_std`): its input is (encode(x) - mean) / std, and its output [T, B, K] is to be averaged over time.
    """
    nir = library()
    path_of("path", path)
    nir.write(str(path), graph_of(model, dt))


def graph_of(model: Classifier, dt: float = DT) -> Any:
    """The `nir.NIRGraph` that `write_nir` writes."""
    nir = library()
    if not isinstance(model, Classifier) or not isinstance(model.body, nn.Sequential):
        raise UserError(f"{type(model).__name__} is no chain of layers, which alone can be written as NIR")
    image = model.image[-3:]
    with torch.no_grad(), evaluating(model):
        x = torch.zeros(1, 1, *image, device=model.pixel_mean.device)
        nodes: list[Any] = [nir.Input({"input": np.array(image)})]
        for layer in _flat(model.body):
            nodes += _nodes(nir, layer, tuple(x.shape[2:]), dt, nodes)
            x = layer(x) if not isinstance(layer, _OF_IMAGES) else layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])
            x = x[:1]
    nodes.append(nir.Output({"output": np.array(x.shape[2:])}))
    names = ["input", *(f"{i}_{type(node).__name__.lower()}" for i, node in enumerate(nodes[1:-1])), "output"]
    noted = {key: getattr(model, key).flatten().cpu().double().numpy() for key in ("pixel_mean", "pixel_std")}
    edges = list(pairwise(names))
    return nir.NIRGraph(nodes=dict(zip(names, nodes, strict=True)), edges=edges, metadata=noted)


_OF_IMAGES = (nn.Conv2d, nn.BatchNorm2d, nn.AvgPool2d)


def _flat(body: nn.Sequential) -> list[nn.Module]:
    """The layers one by one, without folds."""
    return [part for layer in body for part in (layer if isinstance(layer, Fold) else [layer])]


def _nodes(nir: Any, layer: nn.Module, shape: tuple[int, ...], dt: float, before: list[Any]) -> list[Any]:
    """The nodes of a layer whose input of one sample and step has that shape; a batch norm changes the node before."""
    match layer:
        case nn.Linear():
            bias = () if layer.bias is None else (_array(layer.bias),)
            return [(nir.Affine if bias else nir.Linear)(_array(layer.weight), *bias)]
        case nn.Conv2d(padding_mode="zeros"):
            bias = np.zeros(layer.out_channels, np.float32) if layer.bias is None else _array(layer.bias)
            sizes = layer.stride, layer.padding, layer.dilation, layer.groups
            return [nir.Conv2d(shape[-2:], _array(layer.weight), *sizes, bias)]
        case nn.BatchNorm2d(running_mean=Tensor() as mean, running_var=Tensor() as variance) if isinstance(
            before[-1], nir.Conv2d
        ):
            scale = (variance.cpu().double() + layer.eps).rsqrt()
            shift = -mean.cpu().double() * scale
            if layer.affine:
                weight, bias = layer.weight.cpu().double(), layer.bias.cpu().double()
                scale, shift = scale * weight, shift * weight + bias
            node, factor = before[-1], scale.numpy()
            node.weight = (node.weight * factor[:, None, None, None]).astype(np.float32)
            node.bias = (node.bias * factor + shift.numpy()).astype(np.float32)
            return []
        case nn.AvgPool2d(padding=0 | (0, 0), ceil_mode=False, divisor_override=None | 1):
            pool = nir.AvgPool2d if layer.divisor_override is None else nir.SumPool2d
            return [pool(_pair(layer.kernel_size), _pair(layer.stride), _pair(0))]
        case nn.Flatten(start_dim=2, end_dim=-1):
            return [nir.Flatten({"input": np.array(shape)}, 0, -1)]
        case nn.Identity():
            return []
        case Neurons() if type(layer.neuron) is LIF and layer.neuron.reset == "hard":
            return [written(nir, layer.neuron, shape, dt)]
    kinds = "linear, convolution, batch norm, average pool, flatten and LIF with hard reset"
    raise UserError(f"{str(layer)[:80]} has no node of NIR; what can be written is a chain of {kinds}")


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()


def _pair(value: int | tuple[int, int]) -> np.ndarray:
    return np.broadcast_to(np.asarray(value), 2).copy()
