"""How far the weights of a network are from its input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def depths(output: Tensor, source: Tensor, weights: Mapping[str, Tensor]) -> dict[str, int]:
    """For each weight that `output` depends on: itself and the weights before it, on the longest way from `source`.

    Read off the autograd graph of `output`, so names and order of registration do not matter; the first layer has 1.
    A weight that is used several times counts where it is used first. What does not meet the data is left out.

    Args:
        output: a tensor with a graph, of logits for example.
        source: the leaf that the data are.
        weights: leaves by name.
    """
    if output.grad_fn is None:
        return {}
    of = {id(weight): name for name, weight in weights.items()}
    order = _after_their_inputs(output.grad_fn)
    reached: dict[Any, int] = {}  # of operations on the data: weights up to here
    carried: dict[Any, set[str]] = {}  # of operations on weights alone: which
    found: dict[str, int] = {}
    for node in order:
        variable = getattr(node, "variable", None)
        if variable is not None:
            if variable is source:
                reached[node] = 0
            elif id(variable) in of:
                carried[node] = {of[id(variable)]}
            continue
        children = [child for child, _ in node.next_functions if child is not None]
        used = set().union(*(carried.get(child, set()) for child in children))
        before = [reached[child] for child in children if child in reached]
        if before:
            reached[node] = max(before) + bool(used)
            for name in used:
                found[name] = min(found.get(name, reached[node]), reached[node])
        elif used:
            carried[node] = used
    return found


def _after_their_inputs(root: Any) -> list[Any]:
    """All nodes of a graph, each behind those that it was computed from."""
    order: list[Any] = []
    seen: set[Any] = set()
    stack: list[tuple[Any, bool]] = [(root, False)]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend((child, False) for child, _ in node.next_functions if child is not None)
    return order
