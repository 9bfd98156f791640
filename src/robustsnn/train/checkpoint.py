"""Weights and training state as safetensors files: atomic, checked, never pickled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from robustsnn.errors import UserError
from robustsnn.files import write_atomic


def _write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    dense = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    write_atomic(path, save(dense, {key: json.dumps(value) for key, value in metadata.items()}))


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; train the run first, or give its folder") from None
    except (SafetensorError, ValueError, OSError) as error:
        raise UserError(f"{path} is not a readable safetensors file ({error}); restore or retrain it") from None


def _load_into(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    own = model.state_dict()
    missing, unknown = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    wrong = [name for name in own.keys() & tensors.keys() if own[name].shape != tensors[name].shape]
    if missing or unknown or wrong:
        parts = [
            f"{what} {names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")
            for what, names in (("lacks", missing), ("has unknown", unknown), ("has another shape for", wrong))
            if names
        ]
        raise UserError(f"{path} does not fit the model: it {', '.join(parts)}; use the config it was made with")
    model.load_state_dict(tensors)


def save_weights(path: Path | str, model: nn.Module, **metadata: Any) -> None:
    """Write the model's parameters and buffers to `path`."""
    _write(Path(path), model.state_dict(), metadata)


def load_weights(path: Path | str, model: nn.Module) -> dict[str, Any]:
    """Read `path` into the model; returns the metadata.

    UserError if the file is damaged or any name or shape differs.
    """
    path = Path(path)
    tensors, metadata = _read(path)
    _load_into(model, tensors, path)
    return metadata


def save_state(path: Path | str, model: nn.Module, optimiser: torch.optim.Optimizer, **metadata: Any) -> None:
    """Write model and optimiser in one file, so that no crash can leave two halves of different age."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    scalars: dict[str, Any] = {}
    for index, entries in optimiser.state_dict()["state"].items():
        for key, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"optimiser.{index}.{key}"] = value
            else:
                scalars[f"{index}.{key}"] = value
    _write(Path(path), tensors, {**metadata, "optimiser_scalars": scalars})


def load_state(path: Path | str, model: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """Read what `save_state` wrote into model and optimiser; returns the metadata."""
    path = Path(path)
    tensors, metadata = _read(path)
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimiser": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        parts.setdefault(part, {})[rest] = tensor
    _load_into(model, parts["model"], path)
    state: dict[int, dict[str, Any]] = {}
    for name, value in {**parts["optimiser"], **metadata.pop("optimiser_scalars", {})}.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = value
    groups = optimiser.state_dict()["param_groups"]
    if state.keys() - {i for group in groups for i in group["params"]}:
        raise UserError(f"{path} does not fit the optimiser; use the config it was made with")
    optimiser.load_state_dict({"state": state, "param_groups": groups})
    return metadata
