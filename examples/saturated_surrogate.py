"""A network that looks robust because its attacker is blind.

One vanilla spiking network on the embedded digits, and two copies that classify every image exactly as it does:
"narrow" has a surrogate of width 0.05, so that most neurons have no gradient; "scaled" has its last weights
multiplied by 20, so that the cross-entropy is zero to rounding and has no gradient either. Plain PGD with 50 steps
by the network's own gradient reports both as robust. The suite `reliable` breaks all three alike.

    python examples/saturated_surrogate.py --out runs/saturated

prints the table and writes report.html with the curves and the flags. About ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import torch
import yaml

import robustsnn
from robustsnn.attacks import Suite, pgd, reliable
from robustsnn.data.digits import digits
from robustsnn.evaluation import Effort, evaluate
from robustsnn.ground.files import write_atomic
from robustsnn.ground.progress import Display, part
from robustsnn.ground.units import show_fraction
from robustsnn.neurons import IF, STBP, Triangle, neuron_layers
from robustsnn.records.result import Results
from robustsnn.reporting.page import write_report

CURVE = (16 / 255, 28 / 255)
EPS = 40 / 255


def plain_pgd(eps: float) -> Suite:
    """PGD with 50 steps on the cross-entropy by the network's own gradient, as many papers report it."""
    return Suite("pgd-50", (("PGD50", (pgd(eps, 50),)),))


def networks(seed: int, epochs: int) -> dict[str, torch.nn.Module]:
    """The vanilla network and its two copies with saturated gradients; all have the same predictions."""
    torch.manual_seed(seed)
    data = digits()
    vanilla = robustsnn.models.vgg("vgg_small", image=(1, 8, 8), classes=10, neuron=IF(), steps=4)
    optimiser = torch.optim.SGD(vanilla.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    objective = robustsnn.objectives.Natural()
    robustsnn.fit(vanilla, data.train, objective, optimiser, epochs=epochs, batch_size=64, seed=seed)
    narrow, scaled = copy.deepcopy(vanilla), copy.deepcopy(vanilla)
    for layer in neuron_layers(narrow):
        layer.rule = STBP(Triangle(0.05))
    last = [module for module in scaled.modules() if isinstance(module, torch.nn.Linear)][-1]
    with torch.no_grad():
        for parameter in last.parameters():
            parameter.mul_(20)
    return {"vanilla": vanilla, "narrow": narrow, "scaled": scaled}


def main() -> None:
    """Attack the three networks in two ways and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/saturated"), help="folder of the results")
    parser.add_argument("--n", type=int, default=200, help="test images")
    parser.add_argument("--epochs", type=int, default=12, help="of training")
    parser.add_argument("--seed", type=int, default=0, help="of training and attacks")
    options = parser.parse_args()
    test = digits().test.take(options.n)
    nets = networks(options.seed, options.epochs)
    ways = {"PGD50 by its own gradient": plain_pgd, "reliable": reliable}
    folders = []
    with Display() as display:
        for number, (name, net) in enumerate(nets.items()):
            for position, (way, suite) in enumerate(ways.items()):
                tell = part(display, len(ways) * number + position, 1, len(nets) * len(ways))
                found = evaluate(
                    net,
                    test,
                    suite,
                    EPS,
                    Effort(batch_size=options.n, seed=options.seed, out=options.out / "outcomes"),
                    curve=CURVE,
                    progress=tell,
                )
                title = f"{name}, {suite(EPS).name}"
                folder = options.out / title.replace(", ", "-")
                write_atomic(folder / "config.yaml", yaml.safe_dump({"name": title, "data": {"name": "digits"}}))
                Results.write(folder / "results.json", {title: found.to_dict()})
                folders.append(folder)
                points = ", ".join(
                    f"{show_fraction(p['eps'])}: {100 * p['accuracy']:.1f} %" for p in found.to_dict()["curve"]
                )
                raised = ", ".join(flag["name"] for flag in found.flags) or "none"
                print(f"{name:8} {way:26} n={options.n} {points}; flags: {raised}", flush=True)
    write_report(folders, options.out / "report.html", title="Robust, or attacked badly?")
    print(options.out / "report.html")


if __name__ == "__main__":
    main()
