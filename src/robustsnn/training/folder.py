"""What makes a folder a run where Python made the network: its config, its weights, and a witness of what it computes.

A config names the model and the data, and a program that is given the folder makes them again. What was made in Python
may be named too; whoever names it may err, so the folder keeps what the network answered to a few images.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from robustsnn.ground.errors import UserError
from robustsnn.ground.files import own_name, write_atomic
from robustsnn.ground.modes import evaluating
from robustsnn.ground.provenance import provenance
from robustsnn.ground.seeds import seeded
from robustsnn.ground.tensors import read_tensors, write_tensors
from robustsnn.models.classifier import renamed
from robustsnn.names.config import about
from robustsnn.names.parsing import parse_config, read_config
from robustsnn.names.values import nested
from robustsnn.training.checkpoint import save_weights

_ADVICE = "delete it if the config.yaml beside it names the network that was trained"
_IMAGES, _CLOSE = 8, 0.05


def write_config(run: Path, config: Mapping[str, Any] | None, model: nn.Module, **known: Any) -> None:
    """Write the `config.yaml` of a run that Python makes.

    Args:
        config: options of a config that are true of this run; of `model` and `data` at least the names, if others are
            to load it. What it leaves out is not claimed. A config with `provenance` is written as it is.
        known: what else is to stand in the provenance.
    """
    config = {"name": own_name(run), **(config or {})}
    if "provenance" not in config:
        parsed = parse_config(config, "config", trust_code=True)
        said = {
            option: facts for option, facts in about(parsed).items() if nested(config, *option.split(".")) is not None
        }
        parameters = sum(p.numel() for p in model.parameters())
        config |= {"about": said, "provenance": {**provenance(), "parameters": parameters, **known}}
    write_atomic(run / "config.yaml", yaml.safe_dump(config, sort_keys=False, allow_unicode=True))


def check_mapping(config: Any) -> None:
    """UserError for a config that is neither None nor a mapping."""
    if config is not None and not isinstance(config, Mapping):
        raise UserError(f"config of type {type(config).__name__}: give a mapping of options, as a YAML file has it")


def check_config(config: Mapping[str, Any] | None) -> None:
    """UserError where `write_config` would refuse it."""
    check_mapping(config)
    if config is not None and "provenance" not in config:
        parse_config(dict(config), "config", trust_code=True)


def settle(run: Path, model: nn.Module, x: Tensor, config: Mapping[str, Any] | None, **known: Any) -> str:
    """Make `run` a run of this model if it is none yet, and return its name; `known` as in `write_config`.

    UserError if it is one of other weights, or its config says something else than `config`.
    """
    path = run / "weights.safetensors"
    if not path.exists():
        write_config(run, config, model, **known)
        save_weights(path, model)
        write_witness(run, model, x)
    saved, _ = read_tensors(path, "give another folder")
    own, saved = model.state_dict(), renamed(saved, model)
    if saved.keys() != own.keys() or any(not torch.equal(saved[name], own[name].cpu()) for name in own):
        raise UserError(f"{run} is a run of other weights than this model has; give another folder")
    document = read_config(run / "config.yaml")
    for name, value in (config or {}).items():
        if document.get(name) != value:
            raise UserError(f"{run / 'config.yaml'} has another {name} than config says; leave it out, or correct one")
    return str(document.get("name") or own_name(run))


def check_named(document: Mapping[str, Any], run: Path) -> None:
    """UserError if a run's config does not say which model and which data it is of."""
    for name in ("model", "data"):
        if name not in document:
            how = f"name it there ({name}: name: ...), or give model and data again in Python, with out={str(run)!r}"
            raise UserError(f"{run}: its {name} was made in Python and is not named in config.yaml; {how}")


def write_witness(run: Path, model: nn.Module, x: Tensor) -> None:
    """Keep what the network answers to some images; nothing of one that does not repeat itself."""
    x = x[:_IMAGES].cpu()
    (run / "witness.safetensors").unlink(missing_ok=True)
    logits = _logits(model, x, 0)
    if torch.equal(logits, _logits(model, x, 1)):
        write_tensors(run / "witness.safetensors", {"image": x, "logits": logits}, {})


def check_witness(run: Path, model: nn.Module) -> None:
    """UserError if the network made for a run answers otherwise than the one that its weights are of.

    On another machine rounding may flip single spikes, so half of the images must agree, each within 5 % of the span
    of its logits.
    """
    path = run / "witness.safetensors"
    if not path.exists():
        return
    saved, _ = read_tensors(path, _ADVICE)
    if saved.keys() != {"image", "logits"}:
        raise UserError(f"{path} is no witness of a network; {_ADVICE}")
    try:
        found, logits = _logits(model, saved["image"], 0), saved["logits"]
        close = (found - logits).abs().amax(1) <= _CLOSE * (logits.amax(1) - logits.amin(1)) + 1e-6
    except (RuntimeError, IndexError, UserError):  # another input or other classes
        close = torch.zeros(1)
    if close.float().mean() < 0.5:
        where = f"{run / 'config.yaml'} names a network that answers otherwise than the one whose weights are there"
        raise UserError(f"{where}; correct its name and options")


def _logits(model: nn.Module, x: Tensor, seed: int) -> Tensor:
    device = next((t.device for t in (*model.parameters(), *model.buffers())), x.device)
    with evaluating(model), torch.no_grad(), seeded(seed, "witness"):
        return model(x.to(device)).float().cpu()  # type: ignore[no-any-return]
