"""Several processes that work on one task: who is who, which part is whose, and sums over all of them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed.rendezvous import rendezvous

from robustsnn.ground.errors import UserError

_PATIENCE = 3.0
"""Seconds that a process waits for the first one to fail too, before it speaks for itself."""
_SLOWEST = timedelta(days=1)
"""How long a process waits for another that works: parts of an evaluation differ. With gloo a dead one ends the
wait at once, with NCCL torchrun ends the others."""


class ProcessLost(UserError):
    """A process of the group is gone, and this one cannot go on without it."""


@dataclass(frozen=True)
class BatchShare:
    """What a process sees of a batch of `total` samples: the `rows`, whose mean enters the whole with `weight`.

    The mean over the batch is the sum over the processes of weight x mean over rows.
    """

    rows: slice
    total: int
    weight: float


@dataclass(frozen=True)
class Processes:
    """This process among `count`; its `rank` is 0 to count - 1. Alone, sums leave everything as it is."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether it is the one that writes files and speaks."""
        return self.rank == 0

    def share(self, n: int) -> BatchShare:
        """This process's rows of a batch of n: n/count of them, in order of the ranks, rounded either way.

        Of a batch of fewer than two samples per process, everyone sees the whole, with equal weights: nobody is
        left without samples, and batch norms not with a single one.
        """
        if self.count == 1 or n < 2 * self.count:
            return BatchShare(slice(0, n), n, 1 / self.count)
        start, stop = n * self.rank // self.count, n * (self.rank + 1) // self.count
        return BatchShare(slice(start, stop), n, (stop - start) / n)

    def sum(self, tensor: Tensor) -> Tensor:
        """`tensor`, a contiguous one, with the sum over all processes in place; the same bits in each.

        Raises ProcessLost if another process has stopped.
        """
        if self.count > 1:
            with _peers():
                dist.all_reduce(tensor)
        return tensor

    def wait(self, device: torch.device | str = "cpu") -> None:
        """Until all processes are here."""
        self.sum(torch.zeros(1, device=device)).cpu()

    def agree(self, what: str, value: int, device: torch.device | str = "cpu") -> None:
        """UserError, in each process, unless all have the same value (a whole number)."""
        values = torch.zeros(self.count, dtype=torch.int64, device=device)
        values[self.rank] = value
        found = self.sum(values).tolist()
        if len(set(found)) > 1:
            raise UserError(f"the processes differ in {what}: {found}; give all the same files and the same command")

    def spread(self, tensors: list[Tensor]) -> None:
        """Every process gets the values of the first."""
        for tensor in tensors if self.count > 1 else []:
            with _peers():
                dist.broadcast(tensor, 0)


ALONE = Processes()


@contextmanager
def _peers() -> Iterator[None]:
    """ProcessLost for what torch raises when another process is gone."""
    try:
        yield
    except RuntimeError as error:
        raise ProcessLost("another process of this run has stopped; its own message says why") from error


def local_device(device: torch.device) -> torch.device:
    """A GPU of its own for each process of a machine, by torchrun's LOCAL_RANK; other devices as they are."""
    if device.type != "cuda" or not started_together():
        return device
    index, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if max(index + 1, here) > there:  # all processes of the machine find it, so the first can say so
        raise UserError(
            f"{here} processes on this machine, but torch sees {there} GPUs; give torchrun --nproc_per_node {there}"
        )
    device = torch.device("cuda", index)
    torch.cuda.set_device(device)
    return device


@contextmanager
def joined(device: torch.device) -> Iterator[Processes]:
    """The group of processes that torchrun started, with NCCL on GPUs and gloo elsewhere; `ALONE` without torchrun.

    An error that process 0 has as well is raised there alone, the others end with SystemExit(2), and so do
    those that lost a process which has spoken: one error, one message.
    """
    if not started_together():
        yield ALONE
        return
    store, rank, count = next(iter(rendezvous("env://")))
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=_SLOWEST)
    try:
        yield Processes(rank, count)
    except Exception as error:
        if _said_elsewhere(store, rank, count, isinstance(error, ProcessLost)):
            raise SystemExit(2) from None
        if isinstance(error, UserError | OSError):
            vars(error)["alone"] = True  # so that `progress.one_voice` lets it speak
        raise
    finally:
        dist.destroy_process_group()


def started_together() -> bool:
    """Whether torchrun started this process and others."""
    return all(name in os.environ for name in ("RANK", "MASTER_ADDR")) and int(os.environ.get("WORLD_SIZE", "1")) > 1


def _said_elsewhere(store: Any, rank: int, count: int, lost: bool) -> bool:
    """Leaves word that this process failed, unless it only `lost` another; whether one has that speaks before it."""
    others = [f"failed/{other}" for other in range(count if lost else rank) if other != rank]
    try:
        if not lost:
            store.set(f"failed/{rank}", "1")
        end = time.monotonic() + _PATIENCE
        while others and time.monotonic() < end:
            if any(store.check([name]) for name in others):
                return True
            time.sleep(0.05)
    except RuntimeError:
        return True  # the store went with the first process, which has spoken
    return False
