"""Host time of a training step: what Python and launches cost where a device needs no time for the arithmetic.

    python benchmarks/launches.py --json OUT

Networks of a fraction of the width, on a batch of two, with all kernels compiled: next to nothing is left to compute,
but everything is launched. On a GPU faster than its CPU a step takes no less than this; with the full network, the
larger of this and of its arithmetic. Counts are of one step: compiled kernels, and operations of torch but views.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from arguments import THREADS_HELP, Parser, context, output, positive
from robustsnn.bench.machine import prepared
from robustsnn.bench.show import heading, text
from robustsnn.bench.timing import paired
from robustsnn.bench.trainee import REGIMES, Trainee
from robustsnn.ground.files import write_json
from robustsnn.models import mixing
from robustsnn.neurons import compilation, fused, normed


class Counted(TorchDispatchMode):
    """Counts torch's operations in the block that are no mere views."""

    operations = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operations += not function.is_view
        return function(*args, **(kwargs or {}))


def counts(step: Callable[[], object]) -> dict[str, int]:
    """Calls of compiled kernels and of operations in one step; those inside a compiled kernel are not counted."""
    kernels = 0
    run = fused.run

    def counting(*arguments: Any) -> Any:
        nonlocal kernels
        kernels += 1
        with torch.utils._python_dispatch._disable_current_modes():
            return run(*arguments)

    patches = [mock.patch.object(module, "run", counting) for module in (fused, normed, mixing)]
    for patch in patches:
        patch.start()
    try:
        with Counted() as counted:
            step()
    finally:
        for patch in patches:
            patch.stop()
    return {"kernels": kernels, "operations": counted.operations}


def main() -> None:
    parser = Parser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--steps", type=positive, default=8, help="time steps T; default %(default)s")
    parser.add_argument("--rounds", type=positive, default=25, help="default %(default)s")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="bfloat16", help="default %(default)s")
    parser.add_argument("--threads", type=positive, default=1, help=THREADS_HELP)
    parser.add_argument("--json", type=output, metavar="OUT", help="write all figures to this file")
    options = parser.parse_args()
    device = torch.device("cpu")
    narrow = {"vgg11": {"width": 1 / 64}, "wide_resnet16": {"width": 1}}
    with prepared(options.threads), compilation("always"):
        document = context(device) | {k: getattr(options, k) for k in ("steps", "rounds", "precision")}
        print(heading(document), flush=True)
        document["results"] = {}
        for name, sizes in narrow.items():
            trainee = Trainee(name, options.precision, (3, 32, 32), options.steps, 2, 0, device, sizes)
            works = {regime: partial(trainee.step, regime) for regime in REGIMES}
            times = paired(works, options.rounds, device, settle=1)
            found = {regime: {"ms": times.ms(regime), **counts(work)} for regime, work in works.items()}
            document["results"][name] = found
            for regime, row in found.items():
                made = f"{row['kernels']} kernels, {row['operations']} operations"
                print(f"{name}, {regime}: {text(row['ms'])} ms; {made}", flush=True)
    if options.json:
        write_json(options.json, document)


if __name__ == "__main__":
    main()
