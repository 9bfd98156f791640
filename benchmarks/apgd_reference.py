"""Our APGD against that of AutoAttack, step by step, and our minimum norms against those of its FAB-T.

    python benchmarks/apgd_reference.py                     in the environment that referees.py describes

Steps: both begin at the same points of the same small smooth network, and every iterate is compared. Norms: the
smallest perturbations that either finds on networks of referees.py, trained into --out/runs or taken from there.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from arguments import Parser, context, output, positive
from referees import CPU, PACKAGES, Counted, Trial, subjects, timer
from robustsnn.attacks.minimum import MinimumNorm
from robustsnn.attacks.presets import ball
from robustsnn.attacks.start import Boundary
from robustsnn.attacks.step import APGD, Iterate
from robustsnn.attacks.threat import Threat
from robustsnn.bench.show import heading
from robustsnn.ground.errors import UserError
from robustsnn.ground.files import write_json
from robustsnn.ground.modes import frozen
from robustsnn.ground.units import fraction, show_fraction
from robustsnn.losses import correct, cross_entropy

from pyautoattack.autopgd_base import APGDAttack  # isort: skip  (referees says how to install it)
from pyautoattack.fab_pt import FABAttack_PT  # isort: skip

RADII = {"Linf": 0.1, "L2": 1.0}
STEPS = (10, 50, 100)


class Recorded(nn.Module):
    """A network that keeps every input."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.inputs: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.inputs.append(x.detach().clone())
        return self.model(x)


def smooth(seed: int, n: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A random network without kinks, images and random labels."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(75, 32), nn.Tanh(), nn.Linear(32, 10)).eval()
    for parameter in model.parameters():
        parameter.data *= 3
    return model, torch.rand(n, 3, 5, 5), torch.randint(10, (n,))


def theirs(model: nn.Module, x: Tensor, y: Tensor, start: Tensor, threat: Threat, steps: int) -> list[Tensor]:
    """AutoAttack's iterates, the start first."""
    recorded = Recorded(model)
    attack = APGDAttack(recorded, n_iter=steps, norm=threat.norm, eps=threat.eps, loss="ce", device=CPU)
    attack.init_hyperparam(x)
    attack.attack_single_run(x, y, x_init=start)
    return recorded.inputs


def ours(model: nn.Module, x: Tensor, y: Tensor, start: Tensor, threat: Threat, steps: int) -> list[Tensor]:
    """The iterates of our step rule, with no sample left out once it is misclassified."""
    rule, z, found = APGD(2 * threat.eps), start, [start]
    state = rule.init(z)
    for k in range(steps):
        leaf = z.clone().requires_grad_()
        loss = cross_entropy(model(leaf), y)
        (gradient,) = torch.autograd.grad(loss.sum(), leaf)
        z, state = rule.update(state, Iterate(k, steps, x, z, loss.detach(), gradient, threat))
        found.append(z)
    return found


def largest(some: list[Tensor], others: list[Tensor]) -> Tensor:
    """Largest difference of any pixel of any iterate, `[n]`."""
    apart = [(a - b).abs().flatten(1).amax(1) for a, b in zip(some, others, strict=True)]
    return torch.stack(apart).amax(0)


def compare_steps(seed: int, n: int) -> list[dict[str, Any]]:
    """How far the iterates of the two lie apart."""
    rows = []
    for norm, eps in RADII.items():
        for steps in STEPS:
            threat = ball(norm, eps)  # type: ignore[arg-type]
            model, x, y = smooth(seed, n)
            with frozen(model):
                start = Boundary()(threat, x, torch.Generator().manual_seed(seed))
                mine = ours(model, x, y, start, threat, steps)
                other = theirs(model, x, y, start, threat, steps)
                # How far rounding alone drives two runs apart: the same start but for its last digits.
                moved = ours(model, x, y, threat.project(start + 1e-7 * torch.randn_like(start), x), threat, steps)
            apart, control = largest(mine, other), largest(mine, moved)
            parted = apart > 1e-3 * eps
            rows.append(
                {
                    "norm": norm,
                    "eps": eps,
                    "steps": steps,
                    "n": n,
                    "largest": apart.max().item(),
                    "parted": int(parted.sum()),
                    "largest_of_others": torch.where(parted, 0.0, apart).max().item(),
                    "parted_by_rounding": int((control > 1e-3 * eps).sum()),
                }
            )
    return rows


def fab(model: nn.Module, x: Tensor, y: Tensor, threat: Threat, seed: int) -> Tensor:
    """Smallest norm over FAB's nine targets, inf where none was found; its stop at eps is left out."""
    attack = FABAttack_PT(model, norm=threat.norm, eps=threat.eps, seed=seed, targeted=True, device=CPU)
    torch.manual_seed(seed)
    least = torch.full((len(x),), torch.inf, dtype=torch.float64)
    for target in range(2, 11):
        attack.target_class = target
        z = attack.attack_single_run(x, y, is_targeted=True)
        with torch.no_grad():
            wrong = ~correct(model(z), y)
        least = torch.where(wrong, torch.minimum(least, threat.distance(z, x)), least)
    return least


def compare_norms(trial: Trial, eps: float, seed: int) -> list[dict[str, Any]]:
    """Median and number within eps of the smallest norms, over images that are classified correctly."""
    x, y = trial.x[trial.standing], trial.y[trial.standing]
    threat = ball("Linf", eps)
    attacks = {
        "FMN": MinimumNorm(threat),
        "FMN, 2 restarts": MinimumNorm(threat, restarts=2),
        "FMN-T, 9 targets": MinimumNorm(threat, targets=9),
    }
    rows, norms = [], {}
    for name in ("AutoAttack FAB-T", *attacks):
        model = Counted(trial.network, "float32")
        started = timer()
        with frozen(model):
            if name in attacks:
                generator = torch.Generator().manual_seed(seed)
                norms[name] = attacks[name].distances(model, x, y, generator=generator)[1]
            else:
                norms[name] = fab(model, x, y, threat, seed)
        rows.append(
            {
                "model": trial.name,
                "attack": name,
                "n": len(x),
                "median": norms[name].median().item(),
                "not_found": int(norms[name].isinf().sum()),
                "eps": show_fraction(eps),
                "within_eps": int((norms[name] <= eps).sum()),
                "nearer_than_fab": int((norms[name] < norms["AutoAttack FAB-T"]).sum()),
                "further_than_fab": int((norms[name] > norms["AutoAttack FAB-T"]).sum()),
                "seconds": round(timer() - started, 1),
                "forwards": model.forwards,
                "gradients": model.backwards,
            }
        )
        print(f"{trial.name}, {name}: {rows[-1]['seconds']:.0f} s", file=sys.stderr, flush=True)
    return rows


def main() -> None:
    known = subjects()
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", choices=known, default=["vanilla", "SR*"], help="default %(default)s")
    parser.add_argument("--n", type=positive, default=64, help="images; default %(default)s")
    parser.add_argument("--eps", default="16/255", help="for the norms; default %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default %(default)s")
    parser.add_argument("--out", type=Path, default=Path("runs/referees"), help="runs; default %(default)s")
    parser.add_argument("--threads", type=positive, help="of torch")
    parser.add_argument("--json", type=output, metavar="OUT", help="write all figures to this file")
    options = parser.parse_args()
    options.precision = "float32"
    if options.threads:
        torch.set_num_threads(options.threads)
    versions = {name: module.__version__ for name, module in PACKAGES.items()}
    document: dict[str, Any] = {**context(CPU), **versions, "seed": options.seed}
    print(heading(document), flush=True)
    document["steps"] = compare_steps(options.seed, 256)
    for row in document["steps"]:
        print(
            f"APGD {row['norm']:4} {row['steps']:3} steps: {row['parted']} of {row['n']} samples part by more than "
            f"eps/1000 (two runs of ours from starts 1e-7 apart: {row['parted_by_rounding']}); the others differ by "
            f"at most {row['largest_of_others']:.1e}"
        )
    document["norms"] = []
    try:
        for name in options.models:
            trial = Trial(name, known[name], options)
            document["norms"] += compare_norms(trial, fraction(options.eps), options.seed)
    except UserError as error:
        parser.error(str(error))
    for row in document["norms"]:
        print(
            f"{row['model']:12} {row['attack']:18} median {255 * row['median']:.2f}/255, {row['within_eps']} of "
            f"{row['n']} within {row['eps']}, nearer than FAB-T {row['nearer_than_fab']}, further "
            f"{row['further_than_fab']}, {row['seconds']:.0f} s, {row['gradients'] / 1e3:.0f} thousand gradients"
        )
    if options.json:
        write_json(options.json, document)


if __name__ == "__main__":
    main()
