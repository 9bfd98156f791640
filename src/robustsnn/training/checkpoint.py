"""Weights and training state as safetensors files: atomic, checked, never pickled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robustsnn.ground.errors import UserError
from robustsnn.ground.tensors import read_tensors, write_tensors
from robustsnn.models.classifier import renamed
from robustsnn.names.values import shown
from robustsnn.training.average import Average

_ADVICE = "train the run first, or give its folder; a damaged file must be restored or trained anew"


def _load_into(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    own, tensors = model.state_dict(), renamed(tensors, model)
    missing, unknown = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    wrong = [
        name
        for name in sorted(own.keys() & tensors.keys())
        if own[name].shape != tensors[name].shape or not _stands_for(tensors[name].dtype, own[name].dtype)
    ]
    if missing or unknown or wrong:
        parts = [
            f"{what} {names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")
            for what, names in (("lacks", missing), ("has unknown", unknown), ("has another shape or dtype for", wrong))
            if names
        ]
        raise UserError(f"{path} does not fit the model: it {', '.join(parts)}; use the config it was made with")
    model.load_state_dict(tensors)


def _stands_for(given: torch.dtype, own: torch.dtype) -> bool:
    """Whether weights of one kind stand for another: the same, or rounded to float16, which float32 holds exactly."""
    return given == own or (given, own) == (torch.float16, torch.float32)


def save_weights(path: Path | str, model: nn.Module, **metadata: Any) -> None:
    """Write the model's parameters and buffers to `path`."""
    write_tensors(path, model.state_dict(), metadata)


def load_weights(path: Path | str, model: nn.Module) -> dict[str, Any]:
    """Read `path` into the model; returns the metadata.

    UserError if the file is damaged or any name or shape differs.
    """
    path = Path(path)
    tensors, metadata = read_tensors(path, _ADVICE)
    _load_into(model, tensors, path)
    return metadata


def save_state(
    path: Path | str,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    average: Average | None = None,
    **metadata: Any,
) -> None:
    """Write model, optimiser and averaged weights in one file, so that no crash can leave parts of different age."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    if average is not None:
        tensors |= {f"average.{name}": tensor for name, tensor in average.weights.items()}
        metadata["averaged"] = average.steps
    scalars: dict[str, Any] = {}
    for index, entries in optimiser.state_dict()["state"].items():
        for key, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"optimiser.{index}.{key}"] = value
            else:
                scalars[f"{index}.{key}"] = value
    write_tensors(path, tensors, {**metadata, "optimiser_scalars": scalars})


def _fits(value: Any, weight: Tensor) -> bool:
    """Whether an optimiser may remember this of a weight: a number, or a tensor of its shape."""
    if isinstance(value, Tensor):
        return value.is_floating_point() and (value.shape == weight.shape or not value.ndim)
    return value is None or type(value) in (int, float, bool)


def load_state(
    path: Path | str, model: nn.Module, optimiser: torch.optim.Optimizer, average: Average | None = None
) -> dict[str, Any]:
    """Read what `save_state` wrote into model, optimiser and averaged weights; returns the metadata."""
    path = Path(path)
    tensors, metadata = read_tensors(path, _ADVICE)
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimiser": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        parts.setdefault(part, {})[rest] = tensor
    _load_into(model, parts["model"], path)
    if average is not None:
        average.restore(parts.get("average", {}), metadata.get("averaged"), path)
    scalars = metadata.pop("optimiser_scalars", {})
    if not isinstance(scalars, dict):
        raise UserError(f"{path} is damaged: its optimiser_scalars are {shown(scalars)}; train into another folder")
    groups = optimiser.state_dict()["param_groups"]
    weights = [weight for group in optimiser.param_groups for weight in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    for name, value in {**parts["optimiser"], **scalars}.items():
        index, _, key = name.partition(".")
        if not index.isdecimal() or int(index) >= len(weights) or not _fits(value, weights[int(index)]):
            raise UserError(f"{path} does not fit the optimiser (its {shown(name)}); use the config it was made with")
        state.setdefault(int(index), {})[key] = value
    optimiser.load_state_dict({"state": state, "param_groups": groups})
    # Files hold plain memory order; kernels that update all weights at once take what belongs to a weight in its order.
    for weight, kept in optimiser.state.items():
        for key, value in kept.items():
            if isinstance(value, Tensor) and value.shape == weight.shape and value.stride() != weight.stride():
                kept[key] = torch.empty_like(weight, dtype=value.dtype).copy_(value)
    return metadata
