"""Looking into a run's network: what `robustsnn analyze` computes and writes, for the report and for reading."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustsnn.analysis import (
    density_bound,
    energy,
    finite_difference,
    gradients,
    sharing,
    signal_to_noise,
    trail,
    vulnerability,
)
from robustsnn.attacks.attempt import Attacker
from robustsnn.attacks.published import PAPER_RULES
from robustsnn.data.batches import ImageSet
from robustsnn.encoders import rounds
from robustsnn.ground.errors import UserError
from robustsnn.ground.files import write_arrays, write_json
from robustsnn.ground.progress import Progress, part, silent
from robustsnn.ground.provenance import versions
from robustsnn.ground.types import Loss
from robustsnn.ground.units import fraction
from robustsnn.models import Classifier
from robustsnn.names import find, load, near
from robustsnn.neurons import GradientRule
from robustsnn.runs.build import attacker, rule_named
from robustsnn.runs.folder import load_run, weights_digest

WORK = 1e12
"""Multiply-accumulates, of forward passes that take as long, that a part may cost; some 20 s on two cores."""
RADII = ("2/255", "8/255", "32/255")
_DRAWS, _STEPS = 16, 5


@dataclass(frozen=True)
class _Task:
    """What all parts share."""

    model: Classifier
    images: ImageSet
    macs: float
    work: float
    loss: Loss
    attack: Attacker | None
    rule: GradientRule | None
    radii: tuple[float, ...]
    mac: float
    ac: float
    batch_size: int
    seed: int
    progress: Progress

    def some(self, passes: float, least: int) -> ImageSet:
        """As many first images as the work allows, and at least so many.

        `passes`: what an image costs, in forward passes that take as long (measured on a WRN-16-4 on a CPU).
        """
        return self.images.take(min(len(self.images), max(least, int(self.work / (self.macs * passes)))))


def _trail(task: _Task) -> tuple[dict[str, Any], dict[str, Any]]:
    options: dict[str, Any] = {
        "attack": task.attack,
        "rule": task.rule,
        "batch_size": task.batch_size,
        "seed": task.seed,
    }
    found = trail(task.model, task.some(25, 8), loss=task.loss, progress=task.progress, **options)
    return found.to_dict(), {}


def _gradients(task: _Task) -> tuple[dict[str, Any], dict[str, Any]]:
    asked = () if task.rule is None else (task.rule,)
    rules = {"own": None, **{rule.label: rule for rule in (*asked, *PAPER_RULES)}}
    images = task.some(4 * len(rules), 8)
    found = gradients(
        task.model, images, rules=rules, batch_size=task.batch_size, seed=task.seed, progress=task.progress
    )
    return found.to_dict(), found.heatmaps()


def _vulnerability(task: _Task) -> tuple[dict[str, Any], dict[str, Any]]:
    passes = 8 + len(task.radii) * (2 * _DRAWS + 2 * (_STEPS + 1) + 5 + 2.5 * 2 * _STEPS)
    found = vulnerability(
        task.model,
        task.some(passes, 2),
        eps=task.radii,
        draws=_DRAWS,
        steps=_STEPS,
        rule=task.rule,
        batch_size=task.batch_size,
        seed=task.seed,
        progress=task.progress,
    )
    return found.to_dict(), {}


def _theory(task: _Task) -> tuple[dict[str, Any], dict[str, Any]]:
    images = task.some(80, 4)
    images = images.take(min(32, len(images)))
    model, options = task.model, {"rule": task.rule, "seed": task.seed}
    sampled: dict[str, Any] = {**options, "samples": len(images)}
    tell = [part(task.progress, before, weight, 8) for before, weight in ((0, 4), (4, 1), (5, 1), (6, 1), (7, 1))]
    return {
        "signal": _asked(signal_to_noise, model, images, steps=(1, 2, 4, 8), progress=tell[0], **sampled),
        "sharing": _asked(sharing, model, images, progress=tell[1], **sampled),
        "density": _asked(density_bound, model, images, progress=tell[2], **sampled),
        "difference": {
            "spiking": _asked(finite_difference, model, images, progress=tell[3], **options),
            # Smooth neurons behind an encoder that rounds are no smooth network.
            "smooth": {"refused": "the encoder rounds, so the network is not smooth whatever its neurons are"}
            if rounds(model)
            else _asked(finite_difference, model, images, smooth=True, progress=tell[4], **options),
        },
    }, {}


def _asked(look: Callable[..., Any], *arguments: Any, **options: Any) -> dict[str, Any]:
    """What was found, or what was refused and why: too few images, steps that are fixed, a rule without surrogate."""
    try:
        return look(*arguments, **options).to_dict()
    except UserError as error:
        return {"refused": str(error)}


def _energy(task: _Task) -> tuple[dict[str, Any], dict[str, Any]]:
    options: dict[str, Any] = {"batch_size": task.batch_size, "seed": task.seed, "progress": task.progress}
    return energy(task.model, task.some(2.5, 8), mac=task.mac, ac=task.ac, **options).to_dict(), {}


PARTS: dict[str, tuple[Callable[[_Task], tuple[dict[str, Any], dict[str, Any]]], float]] = {
    "trail": (_trail, 4),
    "gradients": (_gradients, 3),
    "vulnerability": (_vulnerability, 5),
    "theory": (_theory, 4),
    "energy": (_energy, 1),
}
"""What there is to analyse, and about how long it takes."""


def analyze_run(
    run: Path,
    parts: Sequence[str] = tuple(PARTS),
    *,
    loss: str = "cross_entropy",
    attack: str = "none",
    eps: float | str | None = None,
    rule: str = "own",
    radii: Sequence[float | str] = RADII,
    mac: float = 4.6,
    ac: float = 0.9,
    limit: int = 200,
    work: float = WORK,
    batch_size: int = 8,
    seed: int = 0,
    trust_code: bool | Collection[str] = False,
    progress: Progress = silent,
) -> dict[str, dict[str, Any]]:
    """Look into a run's network on its test images; write each part to `analysis/PART.json`, and return them.

    Args:
        parts: of `PARTS`: the gradient sparsity trail; norms and distribution of the input gradient; random and
            adversarial vulnerability; theorems and propositions of the papers; firing rates and energy.
        loss: the name of what the trail differentiates.
        attack: where the trail does: on clean images (none), or on images that this attack finds within eps, Linf.
        rule: how neurons are differentiated: own, as they are trained, or the label or name of another gradient rule.
        radii: of the vulnerabilities, Linf.
        mac, ac: picojoule of a multiply-accumulate and of an accumulate.
        limit: the first so many test images at most.
        work: multiply-accumulates that each part may spend: costly parts of large networks take fewer images.
        trust_code: of the run, see `load_run`.

    UserError for wrong options, and if a part cannot be had of this network, after the others are written.
    """
    which = load(find("loss", loss, "--loss"))
    by = None if rule == "own" else rule_named(rule)
    if (attack == "none") != (eps is None):
        raise UserError("--eps goes with --attack fgsm or pgd; give both or neither")
    found_by = None if eps is None else attacker(attack, eps)
    for name, value in (("limit", limit), ("batch_size", batch_size)):
        if value < 1:
            raise UserError(f"--{name} {value}: at least 1 is needed")
    for name, value in (("mac", mac), ("ac", ac), ("work", work)):
        if not 0 < value < float("inf"):
            raise UserError(f"--{name} {value}: a number > 0 is needed")
    for name in parts:
        if name not in PARTS:
            raise UserError(f"--parts={name}: allowed are {', '.join(PARTS)}{near(name, PARTS)}")
    if not parts:
        raise UserError(f"--parts: give at least one of {', '.join(PARTS)}")
    tasks = {name: PARTS[name] for name in parts}
    radii = tuple(fraction(value) for value in radii)
    if not radii or not all(0 < radius <= 1 for radius in radii):
        raise UserError(f"--radii {', '.join(map(str, radii))}: give at least one, each above 0 and at most 1")
    _, model, data = load_run(run, trust_code=trust_code)
    images = data.test.take(min(limit, len(data.test)))
    counted = energy(model, images.take(1))
    macs = sum(layer.macs * layer.runs for layer in counted.layers)
    digest = weights_digest(run)
    found: dict[str, dict[str, Any]] = {}
    refused: list[str] = []
    before, whole = 0.0, sum(weight for _, weight in tasks.values())
    for name, (look, weight) in tasks.items():
        told = part(progress, before, weight, whole)
        task = _Task(
            model, images, macs, work, which, found_by, by, radii, mac * 1e-12, ac * 1e-12, batch_size, seed, told
        )
        before += weight
        try:
            found[name], arrays = look(task)
        except UserError as error:  # of this part; the others may still be asked
            refused.append(f"{name}: {error}")
            continue
        # The version of a part's own form stands in it, if it has one.
        content = {"schema": 1, **found[name], "made_with": digest, "versions": versions()}
        write_json(run / "analysis" / f"{name}.json", content)
        if arrays:
            write_arrays(run / "analysis" / f"{name}.npz", weights=digest, **arrays)
    if refused:
        raise UserError("; ".join(refused) + (f"; done: {', '.join(found)}" if found else ""))
    return found
