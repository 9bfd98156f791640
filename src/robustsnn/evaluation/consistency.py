"""The same question asked in another way: does the model give the same answer?

An attack asks with autograd recording, in batches that shrink, again and again; a judge asks once and without. A model
that answers them differently is not judged by what was attacked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from robustsnn.evaluation.flags import FLAGS, Check
from robustsnn.evaluation.points import corner, crossing
from robustsnn.evaluation.probe import Probe
from robustsnn.ground.modes import evaluating, frozen
from robustsnn.ground.seeds import derived, generator, seeded
from robustsnn.ground.widest import wide
from robustsnn.losses import margin
from robustsnn.neurons import gradient_rule
from robustsnn.records.outcome import Outcomes

REPEATS = 7
"""How often a gradient is asked for again."""
ALONE = 4
"""How many images are asked about one by one."""


def consistency(probe: Probe) -> list[Check]:
    """Flags call-dependent and unsteady-gradient."""
    places = {"the images": probe.x, "images near the boundary": crossing(probe), "corners": corner(probe)}
    points = {name: z for name, z in places.items() if z is not None}
    made = [_worst("call-dependent", "logits", points, lambda z: _logits(probe, z), len(probe.x))]
    if probe.gradient_attacks:
        points.pop("corners")
        made.append(_worst("unsteady-gradient", "gradients", points, lambda z: _gradients(probe, z), len(probe.x)))
    return made


def _worst(flag: str, what: str, points: dict[str, Tensor], changes: Callable[[Tensor], Any], n: int) -> Check:
    """The way of asking that changes most images."""
    most, told = 0, f"{what} are the same however they are asked for"
    for name, z in points.items():
        for way, changed in changes(z):
            count = int(changed.sum())
            if count > most:
                most, told = count, f"{what} of {count} of {n} images differ {way}, at {name}"
    # An image or two may be at a threshold that rounding crosses, which other shapes of a batch round differently.
    return Check(FLAGS[flag], most >= 2 and most > 0.1 * n, told, most / n)


def _logits(probe: Probe, z: Tensor) -> Iterator[tuple[str, Tensor]]:
    """(how it was asked, bool [B] whose logits differ from those of a plain pass)."""
    model, y, rule = probe.model, probe.y, probe.rules[0] if probe.gradient_attacks else None

    def plain(images: Tensor) -> Tensor:
        with torch.no_grad(), evaluating(model):
            return model(images).float().nan_to_num()

    def recorded(images: Tensor) -> Tensor:
        return model(images).detach().float().nan_to_num()

    usual = plain(z)

    def moved(other: Tensor, like: Tensor = usual) -> Tensor:
        return (other - like).abs().amax(1) > 1e-3 * (1 + like.abs().amax(1))

    leaf = z.detach().clone().requires_grad_()
    with frozen(model), torch.enable_grad():
        yield "while a gradient is recorded", moved(recorded(leaf))
        yield "for images that are no leaf of the graph", moved(recorded(leaf * 1))
        with gradient_rule(model, rule):
            logits = model(leaf)
        yield "under another gradient rule", moved(logits.detach().float().nan_to_num())
        if logits.requires_grad:
            torch.autograd.grad(margin(logits, y).sum(), leaf, allow_unused=True)
            yield "after a backward pass", moved(plain(z))
    with evaluating(model), torch.enable_grad():
        yield "with parameters that ask for a gradient", moved(recorded(z))
    with torch.no_grad(), evaluating(model):
        model.train()
        model.eval()
        yield "after a change to train mode and back", moved(recorded(z))
    yield "in another order", moved(plain(z.flip(0)).flip(0))
    yield "in a batch of half the size", moved(plain(z[: (len(z) + 1) // 2]), usual[: (len(z) + 1) // 2])
    alone = torch.cat([plain(image[None]) for image in z[:ALONE]])
    yield "in a batch of one", _share(moved(alone, usual[:ALONE]), len(z))


def _share(changed: Tensor, n: int) -> Tensor:
    """What holds for all of a few, said of n; otherwise of the few."""
    return changed.repeat(-(-n // len(changed)))[:n] if bool(changed.all()) else changed


def _gradients(probe: Probe, z: Tensor) -> Iterator[tuple[str, Tensor]]:
    """(how it was asked, bool [B] whose gradients differ from the first).

    The backward pass is a linear map of what comes from the loss, J^T v: so it is asked for v, -v, v/8 and sums too.
    """
    model, rule, n = probe.model, probe.rules[0], len(z)

    def pulled(images: Tensor, v: Tensor | None, labels: Tensor) -> Tensor:
        """J^T v at images, or the gradient of the margin."""
        with gradient_rule(model, rule), torch.enable_grad():
            leaf = images.detach().clone().requires_grad_()
            logits = model(leaf)
            told = margin(logits, labels).sum() if v is None else (logits * v.to(logits)).sum()
            return torch.autograd.grad(told, leaf)[0].nan_to_num()

    def moved(other: Tensor, like: Tensor) -> Tensor:
        a, b = wide(other.flatten(1)), wide(like.flatten(1))
        return (a - b).norm(dim=1) > 0.3 * torch.maximum(a.norm(dim=1), b.norm(dim=1))

    y, threat, draws = probe.y, probe.suite.threat, generator(probe.seed, "consistency")
    near = threat.project(z + threat.steepest(torch.randn(z.shape, generator=draws).to(z), threat.eps / 20), z)
    with frozen(model):
        first = pulled(z, None, y)
        again = torch.zeros(n, dtype=torch.bool, device=z.device)
        for _ in range(REPEATS):
            again |= moved(pulled(z, None, y), first)
        yield "when they are asked for again", again
        pulled(near, None, y)
        yield "after others of images nearby", moved(pulled(z, None, y), first)
        probe.margins(z.flip(0))
        yield "after a pass of other images", moved(pulled(z, None, y), first)
        yield "in another order", moved(pulled(z.flip(0), None, y.flip(0)).flip(0), first)
        half = (n + 1) // 2
        yield "in a batch of half the size", moved(pulled(z[:half], None, y[:half]), first[:half])
        alone = torch.cat([pulled(z[i : i + 1], None, y[i : i + 1]) for i in range(min(ALONE, n))])
        yield "in a batch of one", _share(moved(alone, first[:ALONE]), n)
        with torch.no_grad(), evaluating(model):
            classes = model(z[:1]).shape[1]
        v, w = (torch.randn(n, classes, generator=draws).to(z.device) for _ in range(2))
        one, two = pulled(z, v, y), pulled(z, w, y)
        yield "from J^T v, which is not linear in v (sums)", moved(pulled(z, v + w, y), one + two)
        yield "from J^T v, which is not linear in v (signs)", moved(pulled(z, -v, y), -one)
        yield "from J^T v, which is not linear in v (sizes)", moved(8 * pulled(z, v / 8, y), one)
        with torch.no_grad(), evaluating(model):
            logits = model(z).float()
        with torch.enable_grad():
            leaf = logits.requires_grad_()
            marks = torch.autograd.grad(margin(leaf, y).sum(), leaf)[0]  # shared by rivals that are equal
        rest = torch.randn(logits.shape, generator=draws).to(logits)
        yield (
            "from J^T v, which is not linear in v (margin)",
            moved(pulled(z, marks + rest, y) - pulled(z, rest, y), first),
        )
    with evaluating(model):
        yield "with parameters that ask for a gradient", moved(pulled(z, None, y), first)


@torch.no_grad()
def answers(probe: Probe) -> Tensor:
    """Logits of the probe as they are judged, under one seed."""
    with evaluating(probe.model), seeded(0, "repeats"):
        return probe.model(probe.x).float().nan_to_num()


def lasting(probe: Probe, found: Outcomes, first: Tensor, same: bool) -> Check:
    """Flag state: logits now against those before the checks, `first`, and margins against those before the attacks.

    And the margins at points of the ball that nobody has asked for, against those of the model as it was before the
    first call: a model that remembers what it was shown may answer for the neighbours too.

    `same` says that two passes in a row agreed. Other shapes of a batch round differently, so the margins may differ
    for a few.
    """
    strayed = sum(not torch.equal(answers(probe), first) for _ in range(REPEATS))
    text = f"logits {'repeat' if same else 'do not repeat'} under equal random seeds"
    text += f"; {strayed} of {REPEATS} later passes differ from the first" if strayed else ""
    changed = 0
    if probe.judge.votes == 1:
        before = torch.from_numpy(found.clean_margin[found.correct][: len(probe.x)]).to(probe.x.device)
        now = probe.margins(probe.x)
        changed = int(((now - before).abs() > 1e-3 * (1 + before.abs())).sum())
    text += f"; {changed} of {len(probe.x)} margins are others than before the attacks" if changed else ""
    remembered = 0
    if probe.judge.votes == 1 and probe.fresh is not None:
        z = probe.suite.threat.sample(probe.x, generator(derived(probe.seed, "lasting")))
        now, then = (replace(probe, model=model).margins(z) for model in (probe.model, probe.fresh))
        remembered = int(((now - then).abs() > 1e-3 * (1 + then.abs())).sum())
    text += f"; {remembered} of {len(probe.x)} margins nearby differ from those before all calls" if remembered else ""
    most = max(changed, remembered)
    raised = not same or strayed > 0 or (most >= 2 and most > 0.1 * len(probe.x))
    return Check(FLAGS["state"], raised, text)
