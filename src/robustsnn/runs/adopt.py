"""A run of a network that was built and trained elsewhere: a function that makes it, and a file of its weights."""

from __future__ import annotations

import hashlib
import inspect
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch import Tensor, nn

from robustsnn.ground.claim import claimed
from robustsnn.ground.errors import UserError
from robustsnn.ground.files import own_name
from robustsnn.ground.progress import Progress, silent
from robustsnn.ground.seeds import seeded
from robustsnn.ground.tensors import any_tensors
from robustsnn.interop import KNOWN, Wrapped
from robustsnn.interop.frameworks import reset
from robustsnn.names import find, load
from robustsnn.names.config import DataConfig, ModelConfig
from robustsnn.runs.build import build_data, make_for, reached
from robustsnn.training.folder import settle

_NESTED = ("state_dict", "model_state_dict", "model", "net")
_CONVERT = "in your own program: safetensors.torch.save_file(net.state_dict(), 'net.safetensors')"


def adopt(
    name: str,
    weights: Path,
    data: DataConfig,
    run: Path,
    *,
    overwrite: bool = False,
    progress: Progress = silent,
) -> None:
    """Make the folder `run` a run of the network that module:attribute `name` builds, with these weights.

    The builder is called with what it takes of image, classes, neuron, steps, rule, encoder, mean and std. A network of
    another framework is handed to `interop.wrap`, unless the builder has done so. The config of the run names builder
    and data, so whoever loads it runs the builder: its provenance has the digest of the source file and the versions of
    the frameworks. A folder that is such a run already is left as it is.

    UserError where the weights do not fit, or would have to be unpickled by running code.
    """
    splits = build_data(data, lambda done, total: progress(done, total or 1 << 28, "reading data"))
    config = ModelConfig(name)
    with seeded(0, "adopt"):
        net = make_for(config, splits)
    _load(net, read_weights(weights), weights)
    model = reached(net).eval()
    document = {
        "name": own_name(run),
        "model": {"name": name},
        "data": {key: value for key, value in asdict(data).items() if value is not None},
    }
    known = {"source": _source(name), "frameworks": _frameworks(model), "weights": str(weights)}
    with claimed(run, overwrite=overwrite):
        settle(run, model, splits.test.take(min(8, len(splits.test))).floats()[0], document, **known)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Names and tensors of a safetensors file, or of what torch.save wrote of a state dict.

    The latter is read by `torch.load(weights_only=True)`, which makes tensors and plain containers and nothing else.
    Its tensors stay in the file (`mmap`) until they are copied into the network: one that says to be larger than its
    file cannot take memory.
    """
    if path.suffix == ".safetensors":
        return any_tensors(path, f"save the weights {_CONVERT}")
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > path.stat().st_size:
                raise ValueError
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; give the weights as a .safetensors or .pt file") from None
    except Exception:  # whatever is wrong with a file of anybody
        # What torch says here tells people to load the file by running its code.
        what = "it is damaged, older than torch 1.6, or holds more than weights, which only running its code reads"
        raise UserError(f"{path} is not read: {what}; save the weights {_CONVERT}") from None
    while isinstance(found, Mapping) and (inner := [found[k] for k in _NESTED if isinstance(found.get(k), Mapping)]):
        found = inner[0]
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise UserError(f"{path} is no state dict, names with tensors; save one {_CONVERT}")
    return {str(key): value for key, value in found.items()}


def _load(net: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Put weights into a network, or into the one that is wrapped; with the prefix of DataParallel or without."""
    inner = next((module.net for module in net.modules() if isinstance(module, Wrapped)), net)
    if tensors and all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    reset(inner)
    # Sinabs keeps the membranes of its last batch among the weights, in the shape of that batch.
    tensors = tensors | {name: b for name, b in inner.named_buffers() if name in tensors and not b.numel()}
    try:
        inner.load_state_dict(tensors)
    except RuntimeError as error:
        said = " ".join(str(error).split())[:300]
        raise UserError(f"{path} does not fit the network: {said}") from None


def _source(name: str) -> dict[str, str]:
    """The file that a builder is in, and its SHA-256."""
    try:
        file = inspect.getsourcefile(inspect.unwrap(load(find("model", name))))
    except TypeError:
        file = None
    if file is None:
        return {}
    return {"file": Path(file).name, "sha256": hashlib.sha256(Path(file).read_bytes()).hexdigest()}


def _frameworks(model: nn.Module) -> dict[str, str]:
    """Versions of the frameworks that layers of a network come from."""
    packages = {kind.__module__.partition(".")[0] for module in model.modules() for kind in type(module).__mro__}
    found = {}
    for package in sorted(packages & {*KNOWN}):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found
