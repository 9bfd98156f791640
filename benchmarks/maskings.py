"""Which maskings an evaluation sees through, and whether honest networks are left in peace.

    python benchmarks/maskings.py --json benchmarks/results/maskings.json

Each masking of `masked_models` is put around one small spiking network on digits and evaluated; so is its honest twin,
which decides as it does. A masking is caught if a sign of masking is raised, or if it is broken anyway: its worst case
is at most one image above its twin's. One that answers otherwise when asked again is refused, and measured all the same
as who insists would (`Stateful`). Then forty honest evaluations of thirty-three networks, which must raise no
such sign. Rows that are in the JSON file are not measured again. About a quarter of an hour of one core.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

import robustsnn
from arguments import Parser, context, output, positive
from masked_models import MASKINGS
from networks import honest, network
from robustsnn.data.digits import digits
from robustsnn.ground.errors import UserError
from robustsnn.ground.files import write_json
from robustsnn.ground.steady import Stateful, check_steady

PARTS = ("maskings", "honest")


def measure(model: nn.Module, options: Any, eps: int) -> dict[str, Any]:
    """What an evaluation on the first test images says: images, no accuracies."""
    x, y = digits().test.floats()
    images = (x[: options.n], y[: options.n])
    model, refused = model.eval(), False
    try:
        check_steady(model, images[0])
    except UserError:  # a network with a state between calls; whoever insists is let through
        model, refused = Stateful(model), True
    found = robustsnn.evaluate(model, images, options.suite, f"{eps}/255", seed=options.seed)
    raised = {kind: [flag["name"] for flag in found.flags if flag["masking"] is kind] for kind in (True, False)}
    worst, clean = (round(rate.accuracy * options.n) for rate in (found.worst_case, found.clean))
    counts = {"n": options.n, "clean": clean, "worst": worst, "refused": refused}
    return {**counts, "masking": raised[True], "notes": raised[False]}


def show(name: str, row: dict[str, Any], *more: str) -> None:
    signs = ["refused"] * row["refused"] + row["masking"]
    told = (f"clean {row['clean']:2}", f"worst case {row['worst']:2} of {row['n']}", *more, ", ".join(signs))
    print(f"{name:46}", "  ".join(told), flush=True)


def main() -> None:
    parser = Parser(description=__doc__.split("\n")[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--only", nargs="*", default=[], help="names, or the beginnings of names")
    parser.add_argument("--n", type=positive, default=24, help="test images (%(default)s)")
    parser.add_argument("--eps", type=positive, default=24, help="radius of the maskings, in 255ths (%(default)s)")
    parser.add_argument("--suite", default="quick")
    parser.add_argument("--seed", type=int, default=0, help="of the evaluation (%(default)s)")
    parser.add_argument("--json", type=output)
    options = parser.parse_args()
    torch.set_num_threads(1)
    known: dict[str, Any] = {}
    if options.json and Path(options.json).exists():
        known = json.loads(Path(options.json).read_text())["rows"]

    def row(key: str, model: nn.Module, eps: int) -> dict[str, Any]:
        key = f"{key}, {options.suite} at {eps}/255, seed {options.seed}, n = {options.n}"
        if key not in known:
            known[key] = measure(model, options, eps)
            if options.json:
                write_json(options.json, {"context": context(torch.device("cpu")), "rows": known})
        return known[key]

    def chosen(name: str) -> bool:
        return not options.only or any(name.startswith(beginning) for beginning in options.only)

    caught = raised = broken = refused = silent = evaluations = 0
    base = network()
    rows = [masking for masking in MASKINGS if "maskings" in options.parts and chosen(masking.name)]
    for masking in rows:
        twin = masking.honest(base)
        truth = row("the network itself" if twin is base else f"{masking.name}, twin", twin, options.eps)
        found = row(masking.name, masking.masked(base), options.eps)
        is_broken = found["worst"] <= truth["worst"] + 1
        raised += bool(found["masking"])
        refused += found["refused"]
        broken += is_broken
        caught += bool(found["masking"]) or is_broken
        show(f"{masking.hides}: {masking.name}", found, f"twin {truth['worst']:2} ({len(truth['masking'])} signs)")
    if rows:
        told = f"{raised} raise a sign, {broken} are broken anyway"
        print(f"{caught} of {len(rows)} maskings are caught: {told}; {refused} are refused at first\n")
    for recipe in honest() if "honest" in options.parts else ():
        for eps in recipe.radii if chosen(recipe.name) else ():
            found = row(f"honest: {recipe.name}", recipe.build(), eps)
            silent += not (found["masking"] or found["refused"])
            evaluations += 1
            show(f"{recipe.name}, {eps}/255", found)
    if evaluations:
        print(f"{silent} of {evaluations} honest evaluations raise no sign of masking")


if __name__ == "__main__":
    sys.exit(main())
