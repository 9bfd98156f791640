"""What works on this machine: versions, devices, precision, compiler, optional packages."""

from __future__ import annotations

import time
from importlib.util import find_spec
from pathlib import Path

import torch

from robustsnn.data.idx import DEBIAN
from robustsnn.ground.provenance import git_revision, versions
from robustsnn.neurons.fused import compiler_available

OPTIONAL = {
    "tensorboard": "robustsnn[tensorboard]",
    "PIL": "robustsnn[images]",
    "h5py": "robustsnn[hdf5]",
    "spikingjelly": "spikingjelly (benchmarks only)",
}


def _convolution_ms(dtype: torch.dtype, device: str) -> float:
    """Median time of a 3x3 convolution, 128 channels, 32 images of 16x16, channels last."""
    x = torch.randn(32, 128, 16, 16, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    layer = torch.nn.Conv2d(128, 128, 3, padding=1, device=device, dtype=dtype)
    times = []
    with torch.no_grad():
        for _ in range(8):
            started = time.perf_counter()
            layer(x)
            if device == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - started)
    return sorted(times[2:])[3] * 1e3


def findings() -> list[tuple[str, str]]:
    """(what, finding) pairs, measured or looked up here and now."""
    rows = [(name, found) for name, found in versions().items()]
    rows.append(("git revision", git_revision() or "not run from a checkout"))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    name = torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} threads"
    rows.append(("device", f"{device}, {name}"))
    if torch.backends.mps.is_available():
        rows.append(("mps", "there, and taken where it is named: --device mps"))
    full, half = _convolution_ms(torch.float32, device), _convolution_ms(torch.bfloat16, device)
    advice = "bfloat16 pays for large networks" if half < 0.7 * full else "stay with float32"
    rows.append(("precision", f"convolution float32 {full:.2f} ms, bfloat16 {half:.2f} ms: {advice}"))
    compiler = compiler_available(device)
    missing = "none found (install g++): neurons run eagerly, several times slower on large layers"
    rows.append(("compiler", "found: large neuron layers are compiled" if compiler else missing))
    for package, install in OPTIONAL.items():
        rows.append((package, "installed" if find_spec(package) else f"not installed: pip install {install}"))
    here = "not here: put the archive there, or train with --data.download true"
    folders = {
        "data/cifar10": here,
        "data/cifar100": here,
        str(DEBIAN): "not here: apt-get install dataset-fashion-mnist",
    }
    for folder, missing in folders.items():
        there = Path(folder).is_dir() and any(Path(folder).iterdir())
        rows.append((folder, "found (checked when it is read)" if there else missing))
    return rows
