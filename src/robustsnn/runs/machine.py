"""What of a machine decides the bits of a training, for the record of a run; and what differs when it is resumed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from robustsnn.ground.provenance import processor, versions
from robustsnn.names.documents import read_document

_COMPARED = ("device", "gpu", "threads", "cpu", "cpu_capability", "processes", "torch", "numpy", "robustsnn")


def machine(device: torch.device) -> dict[str, Any]:
    """Device, threads, processor and the instructions that torch uses of it."""
    found = {
        "device": str(device),
        "threads": torch.get_num_threads(),
        "cpu": processor(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }
    return found | ({"gpu": torch.cuda.get_device_name(device)} if device.type == "cuda" else {})


def moved(config: Path, device: torch.device) -> str:
    """What to say where a run goes on elsewhere than it was begun, by its `config.yaml`; "" if nothing differs."""
    record = read_document(config, "a config").get("provenance")
    now = {**versions(), **machine(device)}
    was = record if isinstance(record, Mapping) else {}
    other = [
        f"{name} {was[name]} then, {now[name]} now"
        for name in _COMPARED
        if name in was and name in now and str(was[name]) != str(now[name])
    ]
    if not other:
        return ""
    return (
        f"bits may differ from those of a training in one go: {'; '.join(other)} (see robustsnn doctor --determinism)"
    )
