"""The public functions in which a name may stand for an object."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from robustsnn import evaluation
from robustsnn.attacks import Source, Suite
from robustsnn.evaluation.crafting import Precision
from robustsnn.ground.errors import UserError
from robustsnn.ground.progress import Progress, silent
from robustsnn.ground.units import fraction
from robustsnn.runs import build


def evaluate(
    model: nn.Module,
    data: evaluation.Data,
    suite: str | Callable[[float], Suite],
    eps: float | str,
    *,
    norm: str = "Linf",
    sources: Sequence[Source] = (),
    curve: Sequence[float | str] = (),
    batch_size: int = 128,
    seed: int = 0,
    precision: Precision = "float32",
    out: Path | None = None,
    resume: bool = True,
    progress: Progress = silent,
) -> dict[str, Any]:
    """How robust a model is: `evaluation.evaluate` with the suite by name ("paper-sr") and eps as "8/255".

    `model` is anything that maps images `[B, C, H, W]` in [0, 1] to logits `[B, K]`, with its normalisation
    inside; `data` is an `ImageSet` or a pair (x, y). `precision` is that of crafting: "bfloat16" is for a quick look
    on hardware that is faster in it, and every verdict is made in float32. Returns an entry of `results.json`: `clean`,
    `worst_case` and each of `columns` as {"accuracy", "interval", "n"}, `attacks` by repr, `curve`, `flags`.
    """
    if isinstance(suite, str):
        chosen = build.suite(suite, sources, norm)
    elif callable(suite):
        chosen = suite
    else:
        raise UserError("suite: give a name or a function from eps to a Suite, such as robustsnn.attacks.reliable")
    if sources and not isinstance(suite, str):
        raise UserError("sources are for suites given by name; a suite of your own holds its Transfer attacks itself")
    return evaluation.evaluate(
        model,
        data,
        chosen,
        fraction(eps),
        curve=[fraction(value) for value in curve],
        batch_size=batch_size,
        seed=seed,
        precision=precision,
        out=out,
        resume=resume,
        progress=progress,
    )
