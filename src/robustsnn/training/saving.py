"""The folder of a run while it is trained: what is found there, and what is written after each epoch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from robustsnn.ground.errors import UserError
from robustsnn.ground.fields import check_fields
from robustsnn.ground.files import path_of, write_atomic
from robustsnn.training import log
from robustsnn.training.average import Average
from robustsnn.training.checkpoint import load_state, load_weights, save_state, save_weights
from robustsnn.training.folder import check_config
from robustsnn.training.log import History


@dataclass(frozen=True)
class RunFolder:
    """Where a training is kept, and what is done with what lies there.

    Args:
        path: for `config.yaml`, `metrics.jsonl`, `state/` (after every epoch) and `weights.safetensors` (at the end).
        config: what its `config.yaml` says, in the form of a config: {"model": {"name": "mine:Net", "options": {}},
            "data": {"name": "digits"}} is enough for the command line to load the run.
        resume: continue from `state/` if there is one.
        overwrite: replace files of others that are in a folder which is no run; UserError otherwise.
        tensorboard: write event files to `tensorboard/` too (extra `tensorboard`).
        identity: what the run depends on (digests of config and data, say). It is written into weights and
            state, and a state with another identity is not resumed.
    """

    path: Path | str
    config: Mapping[str, Any] | None = None
    resume: bool = False
    overwrite: bool = False
    tensorboard: bool = False
    identity: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        path_of("run", self.path)
        check_config(self.config)
        check_fields(self)

    @property
    def place(self) -> Path:
        """The folder, however it was written."""
        return Path(self.path)

    def epochs_done(
        self, model: nn.Module, optimiser: torch.optim.Optimizer, average: Average | None, epochs: int, judged: bool
    ) -> History:
        """What was done before and is to be gone on with: it is put into model, optimiser and average.

        UserError for the state of another training; one of so many `epochs` at most is, `judged` by validation images.
        """
        path = self.place / "state/last.safetensors"
        if not self.resume or not path.exists():
            return []
        saved = load_state(path, model, optimiser, average)
        for name, value in (self.identity or {}).items():
            if saved.get(name) != value:
                raise UserError(f"{self.path} was begun with another {name}; restore it, or train into another folder")
        return log.checked(saved.get("history"), path, epochs, judged)

    def keep_best(self, model: nn.Module, epoch: int) -> None:
        """Write the weights, of that epoch, as the best ones so far."""
        save_weights(self.place / "state/best.safetensors", model, epoch=epoch)

    def keep(
        self, model: nn.Module, optimiser: torch.optim.Optimizer, average: Average | None, history: History
    ) -> None:
        """Write what an epoch left."""
        lines = (json.dumps(line, sort_keys=True) + "\n" for line in history)
        write_atomic(self.place / "metrics.jsonl", "".join(lines))
        about = {"history": history, **(self.identity or {})}
        save_state(self.place / "state/last.safetensors", model, optimiser, average, **about)

    def load_best(self, model: nn.Module) -> None:
        """Put the best weights, of an epoch before this process began, into the model."""
        load_weights(self.place / "state/best.safetensors", model)

    def end(self, model: nn.Module, epoch: int) -> None:
        """Write the weights that the training ends with, those of an epoch."""
        save_weights(self.place / "weights.safetensors", model, epoch=epoch, **(self.identity or {}))
