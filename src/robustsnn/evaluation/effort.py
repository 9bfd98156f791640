"""How an evaluation is computed and kept: what every call of it is given beside model, images and attacks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from robustsnn.evaluation.crafting import Precision
from robustsnn.ground.door import check_among, check_kind, check_seed, check_whole
from robustsnn.ground.files import path_of


@dataclass(frozen=True)
class Effort:
    """Computing, keeping and repeating of an evaluation.

    Args:
        batch_size: images per batch. It may change results by rounding, so it is part of the fingerprint.
        seed: of all random numbers.
        precision: of the products of convolutions and linear layers while attacks are crafted. Judging is in
            float32 always. An image that bfloat16 alone calls misclassified, so that the attack may have stopped
            too early there, is attacked once more in float32. UserError for bfloat16 with the suites
            `crafting.RELIABLE`.
        out: folder for outcomes, `NAME/evaluation.json` and `NAME/batch-NNNNN.npz`; None keeps none.
        resume: use saved outcomes of the very same evaluation; otherwise they are deleted first.
    """

    batch_size: int = 128
    seed: int = 0
    precision: Precision = "float32"
    out: Path | None = None
    resume: bool = True

    def __post_init__(self) -> None:
        check_whole("batch_size", self.batch_size)
        check_seed(self.seed)
        check_among("precision", self.precision, get_args(Precision))
        if self.out is not None:
            path_of("out", self.out)
        check_kind("resume", self.resume, bool, "True")


USUAL = Effort()
