"""How robust a model is: a suite at one radius, further radii, and the checks of what came out."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robustsnn.attacks.suites import Suite
from robustsnn.data.given import Data, labelled
from robustsnn.evaluation.depth import depth
from robustsnn.evaluation.effort import USUAL, Effort
from robustsnn.evaluation.fitting import fit_to, judge_of
from robustsnn.evaluation.judge import Judge, device_of, fresh_draws
from robustsnn.evaluation.masking import Checking, checks, rule_sets
from robustsnn.evaluation.probe import PROBE, Probe, untouched
from robustsnn.evaluation.result import Evaluation
from robustsnn.evaluation.rounded import rounded
from robustsnn.evaluation.running import encode_images, run_suite
from robustsnn.evaluation.shards import Shard
from robustsnn.ground.door import check_list, check_meets, check_model, check_number, said_of
from robustsnn.ground.errors import UserError
from robustsnn.ground.modes import undisturbed
from robustsnn.ground.progress import Callback, Progress, part, silent
from robustsnn.ground.seeds import seeded
from robustsnn.ground.units import show_fraction
from robustsnn.models import Encoded
from robustsnn.neurons import neuron_layers
from robustsnn.neurons.fused import many_rules
from robustsnn.records.outcome import Outcomes, breaks, rate, tabulate
from robustsnn.records.result import Right
from robustsnn.records.typed import plain


def asked(suite: Callable[[float], Suite], eps: float) -> Suite:
    """The suite of a radius; UserError where a function makes none."""
    try:
        inspect.signature(suite).bind(eps)
    except (TypeError, ValueError):
        raise UserError(f"suite={said_of(suite)}: a function of eps alone is needed, which returns a Suite") from None
    found = suite(eps)
    if not isinstance(found, Suite):
        raise UserError(f"suite={said_of(suite)} returned a {type(found).__name__} for eps={eps:g}; needed is a Suite")
    return found


def digest_of(x: Tensor, y: Tensor) -> str:
    """What names images and labels where it is told which of them are right."""
    return hashlib.sha256(x.cpu().contiguous().numpy().tobytes() + y.cpu().numpy().tobytes()).hexdigest()[:16]


def run_radii(
    model: nn.Module,
    data: Data,
    suite: Callable[[float], Suite],
    eps: float,
    effort: Effort = USUAL,
    *,
    curve: Sequence[float] = (),
    judge: Judge | None = None,
    shard: Shard | None = None,
    merge: Sequence[Path] | None = None,
    keep_images: bool = False,
    progress: Progress = silent,
    on_attack: Callback | None = None,
) -> Iterator[tuple[float, Suite, Outcomes, np.ndarray]]:
    """(radius, suite, outcomes, who stands at this and all smaller radii), in ascending order of the radii.

    Balls are nested, so at the further radii only samples that stood at all smaller ones are attacked.
    The worst images at `eps` are kept if asked for, or if the model draws random numbers (they are then judged by
    many more draws). The other arguments are those of `run_suite`.
    """
    check_list("curve", curve, "radii")
    for radius in (eps, *curve):
        check_number("a radius", radius)
    if eps <= 0:
        raise UserError(f"eps={eps!r}: an attack needs a radius above 0; clean accuracy is always reported")
    if any(radius < 0 for radius in curve):
        raise UserError(f"curve={list(curve)}: radii are above 0")
    made = {radius: asked(suite, radius) for radius in (*curve, eps) if radius > 0}
    suites = {radius: one if radius == eps else one.merged() for radius, one in made.items()}
    data = labelled(data)
    judge = judge or judge_of(model, data[0], suites[eps])
    keep_images = keep_images or judge.votes > 1
    standing: np.ndarray | None = None
    done: list[Suite] = []
    for number, (radius, at) in enumerate(sorted(suites.items())):

        def tell(part: int, total: int, text: str, number: int = number, radius: float = radius) -> None:
            progress(number * total + part, len(suites) * total, f"eps {show_fraction(radius)} {text}")

        found = run_suite(
            model,
            data,
            at,
            effort,
            candidates=standing if radius != eps else None,
            after=done if radius != eps else (),
            shard=shard,
            merge=merge,
            keep_images=keep_images and radius == eps,
            judge=judge,
            progress=tell,
            on_attack=on_attack,
        )
        done.append(at)
        now = found.standing()
        standing = now if standing is None else standing & now
        yield radius, at, found, standing


@undisturbed()
@many_rules
def evaluate(
    model: nn.Module,
    data: Data,
    suite: Callable[[float], Suite],
    eps: float,
    effort: Effort = USUAL,
    *,
    curve: Sequence[float] = (),
    merge: Sequence[Path] | None = None,
    keep_images: bool = False,
    flags: Sequence[Checking] = (),
    progress: Progress = silent,
    on_attack: Callback | None = None,
) -> Evaluation:
    """Robustness of a model.

    Args:
        suite: from eps to a `Suite`, for example `robustsnn.attacks.reliable`.
        eps: the threat's radius; columns and single attacks are reported for it.
        curve: further radii at which the worst case is measured, in ascending order; only samples that stood at
            all smaller radii are attacked. For the same reason the worst case at `eps` includes what fell at
            the smaller radii.
        effort, merge, progress, on_attack: as for `run_suite`. What else is looked at, the `checks` and `draws`, is
            computed in float32.
        keep_images: the outcomes hold the worst image of each sample at `eps`.
        flags: checks beside those that are always made, see `masking.Checking`.

    The record of what is returned has `clean`, `worst_case` and each of `columns` as {"accuracy", "interval", "n"},
    `attacks` by repr, `curve` as a list with `eps`, `breaks` (which attacks broke the same samples), `checks` and, of
    these, `flags`; `passes`, the most that an image costs which survives the suite at `eps`; `rounded`, where images
    are kept, see there; `draws` for a model that draws random numbers; `depth`, what was broken by how many passes and
    what more of them would break. `worst_case` says `at_most` where `depth` gives a reason to.
    """
    check_model(model)
    x, y = data = labelled(data)
    check_meets(model, x.to(device_of(model, x)))
    fresh = untouched(model)
    judge = judge_of(model, x, asked(suite, eps))
    images = digest_of(x, y)
    points: list[dict[str, Any]] = []
    clean: dict[str, Any] = {}
    made: Evaluation | None = None
    options: dict[str, Any] = {"curve": curve, "merge": merge, "keep_images": keep_images, "on_attack": on_attack}
    attacking = part(progress, 0, 19, 20)  # what follows the attacks takes seconds, and longer for few images
    for radius, at, found, standing in run_radii(
        model, data, suite, eps, effort, judge=judge, progress=attacking, **options
    ):
        if not points:
            clean = rate(found.correct)
            points.append({"eps": 0.0, **clean})
        points.append({"eps": radius, **rate(standing)})
        if radius == eps:
            used = fit_to(model, at, x, judge)
            threat = {"norm": at.threat.norm, "eps": eps, "space": at.threat.space, "levels": at.threat.levels}
            entry: dict[str, Any] = {
                "clean": {**clean, "right": plain(Right.of(images, found.correct))},
                "suite": at.name,
                **threat,
                "precision": {"crafting": effort.precision, "judging": "float32"},
                "survivors_only": at.survivors_only,
                "passes": used.passes,
                **tabulate(found, used.members(), eps, at.survivors_only),
                "worst_case": {**rate(standing), **threat, "right": plain(Right.of(images, standing))},
            }
            smaller = sum(0 < other <= eps for other in {eps, *curve})
            attacking(smaller, len({eps, *curve} - {0}), "attacked; now the checks whether this can be believed")
            entry["rounded"] = rounded(model, at.threat, found, judge, effort)
            left_out = 0 if neuron_layers(model) else len(at.members()) - len(at.without_rules().members())
            entry |= _inspect(model, fresh, x, y, used, found, judge, effort, flags, left_out)
            entry["depth"] = depth(found, standing, [flag["name"] for flag in entry["flags"]])
            entry["worst_case"]["at_most"] = bool(entry["depth"]["at_most"])
            entry["curve"] = points  # which goes on
            made = Evaluation(entry, found, standing, used)
    assert made is not None  # eps is among the radii
    progress(1, 1, "attacked and checked")
    return made


def _inspect(
    model: nn.Module,
    fresh: nn.Module | None,
    x: Tensor,
    y: Tensor,
    suite: Suite,
    found: Outcomes,
    judge: Judge,
    effort: Effort,
    flags: Sequence[Checking],
    left_out: int,
) -> dict[str, Any]:
    """What broke what, and the checks."""
    device, batch_size, seed = device_of(model, x), effort.batch_size, effort.seed
    view: nn.Module = Encoded(model) if suite.threat.space == "encoded" else model
    before = Encoded(fresh) if view is not model and fresh is not None else fresh
    draws, sets = None, None
    if judge.votes > 1 and found.images is not None:
        draws = fresh_draws(view, torch.from_numpy(found.images), y, seed=seed)
    at, left = np.flatnonzero(found.correct)[:PROBE], np.flatnonzero(found.standing())[:PROBE]
    if suite.threat.space == "encoded":
        # All batches up to the last probed image, so that a random encoder hands over what was attacked.
        batches = int(max(at.max(initial=0), left.max(initial=0))) // batch_size + 1
        x = encode_images(model, x[: batches * batch_size], batch_size, seed)

    def probed(which: np.ndarray, survivors: Probe | None = None) -> Probe:
        xp, yp = x[which].to(device), y[which].to(device)
        return Probe(view, xp, yp, found.standing()[which], suite, judge, seed, survivors, before, left_out)

    probe = probed(at, probed(left))
    with seeded(seed, "checks"):
        made = [check.report() for check in checks(probe, found, flags)]
        if suite.survivors_only and len(at):
            sets = rule_sets(probe)
    columns: dict[str, list[int]] = {}
    for row, (column, _) in enumerate(suite.members()):
        columns.setdefault(column, []).append(row)
    if not suite.survivors_only and len(columns) > 1:
        right = found.correct
        sets = breaks(
            {name: np.asarray(found.broken[rows].any(0))[right] for name, rows in columns.items()},
            "columns of the suite",
        )
    return {"breaks": sets, "draws": draws, "checks": made, "flags": [check for check in made if check["raised"]]}
