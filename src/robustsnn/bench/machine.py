"""Where a measurement was made, and how busy the machine was before."""

from __future__ import annotations

import logging
import os
import platform
import shlex
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from robustsnn.bench.timing import clock
from robustsnn.ground.errors import UserError
from robustsnn.ground.provenance import processor, provenance


def pick(name: str) -> torch.device:
    """auto, cpu or cuda as a torch device; UserError for a GPU that is not there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda, but torch sees no GPU here; use auto or cpu (see `robustsnn doctor`)")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def quiet() -> None:
    """Drop the compiler's remarks on disabled caches and on optional parts that are not there."""
    warnings.filterwarnings("ignore", message="dynamo_pgo force disabled")
    logging.getLogger("torch._library.triton").setLevel(logging.ERROR)


@contextmanager
def prepared(threads: int | None) -> Iterator[None]:
    """So many threads (as it is, if None), and `quiet`, inside the block."""
    before, logger = torch.get_num_threads(), logging.getLogger("torch._library.triton")
    level = logger.level
    try:
        torch.set_num_threads(threads or before)
        with warnings.catch_warnings():
            quiet()
            yield
    finally:
        torch.set_num_threads(before)
        logger.setLevel(level)


def machine(device: torch.device) -> dict[str, Any]:
    """Processor, threads, device, clock, and the load of the last minute."""
    return {
        "cpu": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "clock": clock(device),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def context(device: torch.device, command: str | None = None) -> dict[str, Any]:
    """Command, machine and versions of a result."""
    try:
        theirs = version("spikingjelly")
    except PackageNotFoundError:
        theirs = "missing"
    said = command or shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    system = f"{platform.system()} {platform.machine()}"
    return {**provenance(), "spikingjelly": theirs, "platform": system, "command": said, "machine": machine(device)}
