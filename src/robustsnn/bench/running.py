"""All parts of a measurement, one after the other, as one document of plain values."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from robustsnn.bench import attack, data, growth, neuron, step
from robustsnn.bench.machine import context, pick, prepared
from robustsnn.bench.options import PARTS, Options
from robustsnn.bench.timing import titled
from robustsnn.ground.files import write_json
from robustsnn.ground.ours import check_files
from robustsnn.ground.progress import Progress, part, silent

MEASURES: dict[str, Callable[..., dict[str, Any]]] = {
    "neuron": neuron.measure,
    "step": step.measure,
    "attack": attack.measure,
    "growth": growth.measure,
    "data": data.measure,
}
_WEIGHTS = {"neuron": 2.0, "step": 4.0, "attack": 2.0, "growth": 1.5, "data": 0.5}
"""About how long the parts take, for the estimate alone."""


def bench(
    options: Options,
    *,
    out: Path | None = None,
    document: dict[str, Any] | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Measure what is asked for.

    Args:
        options: parts and sizes.
        out: a JSON file of the figures, written anew after each part.
        overwrite: replace an `out` that is no such file.
        document: filled as parts are done, so that the caller has what is complete if this is interrupted.
        progress: told about every timed call.

    Returns {"command", versions, "machine", "options", "results": {part: {case: figures}}}. A figure is a number or
    {"min", "median", "max"} over the rounds; the name of its case holds all sizes that it depends on.

    UserError for a GPU that is not there, a network that does not fit the image, and neurons that disagree.
    """
    document = {} if document is None else document
    check_files([] if out is None else [out], overwrite)
    device = pick(options.device)
    chosen = [name for name in PARTS if name in options.several("parts")]
    with prepared(options.threads):
        document |= {**context(device), "options": asdict(options), "results": {}}
        before, every = 0.0, sum(_WEIGHTS[name] for name in chosen)
        for name in chosen:
            tell = titled(part(progress, before, _WEIGHTS[name], every), name)
            document["results"][name] = MEASURES[name](options, device, tell)
            before += _WEIGHTS[name]
            gc.collect()
            if out is not None:
                write_json(out, document)
    return document
