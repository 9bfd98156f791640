"""The autograd graph of one forward pass: its operations, by kind and by the module in which they ran."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from robustsnn.studies.trail.private import next_number, number

Key = tuple[str, str, int]
"""Module path, kind, number among the operations of that kind in one call of that module."""

# What moves entries about, takes some of them or puts tensors together is no operation of the trail.
REARRANGING = re.compile(
    r"(Unsafe)?View|ReshapeAlias|Permute|Transpose|T|Unsqueeze|Squeeze|Clone|Alias|ToCopy|Flip|Roll|PixelShuffle|"
    r"PixelUnshuffle|Stack|Cat|Select|Slice|Unbind|(Unsafe)?Split(WithSizes)?"
)
KINDS = {
    "Convolution": "convolution",
    "NativeBatchNorm": "norm",
    "CudnnBatchNorm": "norm",
    "NativeLayerNorm": "norm",
    "NativeGroupNorm": "norm",
    "MaxPool2DWithIndices": "max-pool",
    "MaxPool3DWithIndices": "max-pool",
    "AdaptiveMaxPool2D": "max-pool",
    "AvgPool2D": "average-pool",
    "AvgPool3D": "average-pool",
    "AdaptiveAvgPool2D": "average-pool",
    "Fire": "neurons",
    "Addmm": "linear",
    "Mm": "linear",
    "Bmm": "linear",
    "Add": "add",
    "Sub": "add",
    "Rsub": "add",
    "Mul": "multiply",
    "Div": "divide",
    "ClampMin": "clamp",
    "ClampMax": "clamp",
    "Hardtanh": "clamp",
    "Swap": "straight-through",
}


def stem(node: Any) -> str:
    """The name of a node without decoration: "_FireBackward" is "Fire", "MulBackward0" is "Mul"."""
    return re.sub(r"Backward\d*$", "", node.name().split("::")[-1]).lstrip("_")


def kind_of(node: Any) -> str:
    """What the operation is called; one that has no entry in `KINDS` by its own name."""
    name = stem(node)
    return KINDS.get(name, name.lower())


@dataclass(frozen=True)
class Span:
    """One call of a module: the numbers of the nodes made meanwhile are in [start, end)."""

    path: str
    start: int
    end: int


@contextmanager
def calls(model: nn.Module) -> Iterator[list[Span]]:
    """Record the calls of all modules inside the block; the list is in the order in which they began."""
    spans: list[Span | None] = []
    running: list[tuple[int, str, int]] = []

    def enter(path: str) -> None:
        running.append((len(spans), path, next_number()))
        spans.append(None)

    def leave() -> None:
        place, path, start = running.pop()
        spans[place] = Span(path, start, next_number())

    found: list[Span] = []
    handles = []
    for path, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(lambda *_, path=path: enter(path), prepend=True))
        handles.append(module.register_forward_hook(lambda *_: leave(), always_call=True))
    try:
        yield found
        found += [span for span in spans if span is not None]
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True)
class Step:
    """A node of the graph through which the gradient passes to the pixels, and at which of its inputs."""

    node: Any
    key: Key
    edges: tuple[int, ...]


def steps(output: Tensor, leaf: Tensor, spans: list[Span]) -> list[Step]:
    """The nodes between `leaf` and `output`, in forward order, without rearrangements; empty if there are none."""
    if output.grad_fn is None:
        return []
    nodes, todo = {output.grad_fn}, [output.grad_fn]
    while todo:
        for node, _ in todo.pop().next_functions:
            if node is not None and node not in nodes:
                nodes.add(node)
                todo.append(node)
    on = {torch.autograd.graph.get_gradient_edge(leaf).node}
    found: list[Step] = []
    numbers: dict[tuple[int, str], int] = {}
    # The order in which nodes were made.
    for node in sorted((node for node in nodes if node not in on), key=number):
        edges = tuple(i for i, (other, _) in enumerate(node.next_functions) if other in on)
        if not edges:
            continue
        on.add(node)
        if REARRANGING.fullmatch(stem(node)):
            continue
        made = number(node)
        # The last to begin of those that were running is the innermost.
        call = max((i for i, span in enumerate(spans) if span.start <= made < span.end), default=-1)
        kind = kind_of(node)
        count = numbers[call, kind] = numbers.get((call, kind), -1) + 1
        found.append(Step(node, (spans[call].path if call >= 0 else "", kind, count), edges))
    return found
