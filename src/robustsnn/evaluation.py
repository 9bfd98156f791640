"""Robustness, measured: every attack's result is judged anew, per sample, and kept on disk."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from robustsnn.attacks.suites import Suite
from robustsnn.attacks.threat import check_images, verify
from robustsnn.data.batches import ImageSet
from robustsnn.errors import UserError
from robustsnn.files import write_json
from robustsnn.losses import check_logits, margin, true_probability
from robustsnn.modes import evaluating, frozen
from robustsnn.neurons import neuron_layers
from robustsnn.outcome import Outcomes, rate, tabulate
from robustsnn.progress import Progress, silent
from robustsnn.provenance import versions
from robustsnn.seeds import generator
from robustsnn.units import show_fraction

Data: TypeAlias = "ImageSet | tuple[Tensor, Tensor]"
"""Labelled images: a set, or (x float [N, C, H, W] in the threat's range, y int64 [N])."""


@torch.no_grad()
def _judge(model: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Fresh logits' margins and predictions, in eval mode."""
    with evaluating(model):
        logits = model(x)
        check_logits(logits, y)
        return margin(logits, y), logits.argmax(1)


def _tensors(data: Data) -> tuple[Tensor, Tensor]:
    x, y = data.floats() if isinstance(data, ImageSet) else data
    if len(x) == 0:
        raise UserError("there are no images to evaluate; give at least one")
    return x, y


def _exact(value: Any) -> Any:
    """A value by its type and fields, for the fingerprint; a repr may round."""
    if is_dataclass(value):
        return type(value).__qualname__, *(_exact(getattr(value, field.name)) for field in fields(value))
    if isinstance(value, tuple):
        return tuple(_exact(item) for item in value)
    return getattr(value, "__qualname__", None) or repr(value)


def _fingerprint(model: nn.Module, tensors: Sequence[Tensor], identity: object) -> str:
    """Digest of all that the outcomes depend on: network, data, suite, batches, seed, versions."""
    packages = {name: versions()[name] for name in ("robustsnn", "torch")}
    digest = hashlib.sha256(repr((str(model), identity, packages)).encode())
    for tensor in [*tensors, *(value for _, value in sorted(model.state_dict().items()))]:
        digest.update(str((tuple(tensor.shape), tensor.dtype)).encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def run_suite(
    model: nn.Module,
    data: Data,
    suite: Suite,
    *,
    candidates: Sequence[bool] | np.ndarray | None = None,
    batch_size: int = 128,
    seed: int = 0,
    out: Path | None = None,
    resume: bool = True,
    progress: Progress = silent,
) -> Outcomes:
    """Attack `data` with every attack of the suite, and judge each result by fresh forward passes.

    Shape, budget and data range of every attacked batch are checked. Random numbers derive from
    (seed, batch, attack). With `out`, outcomes are saved after each batch and attack in a folder of their
    own there, named by suite, norm, eps and a fingerprint of all they depend on (weights, data, suite,
    candidates, batch size, seed, versions). The same call finds them again: an interrupted evaluation
    continues and ends in identical arrays, and no other evaluation can pick them up.

    Args:
        model: images -> logits, on any device; its mode, gradients and rules are left as they were.
        data: labelled images.
        suite: what to run. Gradient rules are left out for a model without neuron layers.
        candidates: `[N]` bool, which samples to attack at all (all, if None).
        batch_size: images per batch. Part of the random numbers' identity.
        seed: of all random numbers.
        out: folder for outcomes, `NAME/evaluation.json` and `NAME/batch-NNNNN.npz`.
        resume: use saved outcomes of the same evaluation; otherwise they are deleted first.
        progress: told about every batch and attack.
    """
    if batch_size < 1:
        raise UserError(f"batch_size={batch_size}: at least 1 is needed")
    if not neuron_layers(model):
        suite = suite.without_rules()
    x, y = _tensors(data)
    check_images(x, y, suite.threat.low, suite.threat.high)
    members = suite.members()
    chosen = None if candidates is None else np.asarray(candidates, dtype=bool)
    folder = None
    if out is not None:
        marks = [x, y] if chosen is None else [x, y, torch.from_numpy(chosen)]
        fingerprint = _fingerprint(model, marks, (_exact(suite), batch_size, seed))
        folder = out / f"{suite.name}-{suite.threat.norm}-{suite.threat.eps:.6f}-{fingerprint[:12]}"
        if folder.exists() and not resume:
            shutil.rmtree(folder)
        attacks = [[column, repr(attack)] for column, attack in members]
        about = {"suite": suite.name, "attacks": attacks, "n": len(x), "batch_size": batch_size, "seed": seed}
        write_json(folder / "evaluation.json", {**about, "fingerprint": fingerprint})
    device = next((p.device for p in model.parameters()), x.device)
    starts = range(0, len(x), batch_size)
    parts = []
    for number, start in enumerate(starts):
        xb, yb = x[start : start + batch_size].to(device), y[start : start + batch_size].to(device)
        wanted = None if chosen is None else chosen[start : start + batch_size]
        path = folder / f"batch-{number:05d}.npz" if folder is not None else None
        part, done = Outcomes.empty(len(members), len(xb)), 0
        if path is not None and path.exists():
            part, done = Outcomes.load(path)
        else:
            clean, predicted = _judge(model, xb, yb)
            part.label[:], part.predicted[:] = yb.cpu(), predicted.cpu()
            part.clean_margin[:] = clean.cpu()
        for row in range(done, len(members)):
            column, attack = members[row]
            before = [i for i in range(row) if members[i][0] == column]
            standing = part.standing(before)
            at = np.flatnonzero(standing if wanted is None else standing & wanted)
            _attack(model, attack, xb, yb, part, row, at, generator(seed, "attack", number, row))
            if path is not None:
                part.save(path, row + 1)
            left = int(part.standing([*before, row]).sum())
            progress(
                number * len(members) + row + 1,
                len(starts) * len(members),
                f"{column}/{getattr(attack, 'rule', None) or 'own gradient'}, batch {number + 1}/{len(starts)}: "
                f"{len(at)} attacked, {left} of {len(xb)} standing",
            )
        parts.append(part)
    return Outcomes.join(parts)


def _attack(
    model: nn.Module,
    attack: Any,
    x: Tensor,
    y: Tensor,
    part: Outcomes,
    row: int,
    at: np.ndarray,
    draws: torch.Generator,
) -> None:
    """Run one attack on the samples `at` of a batch and write its row."""
    if not len(at):
        return
    which = torch.from_numpy(at).to(x.device)
    attempt = attack.run(model, x[which], y[which], generator=draws)
    distance = verify(attack.threat, attempt.images, x[which], attack)
    judged, _ = _judge(model, attempt.images, y[which])
    part.attacked[row, at] = True
    part.margin[row, at] = judged.cpu()
    part.broken[row, at] = ~(judged < 0).cpu().numpy()
    part.distance[row, at] = distance.cpu()
    # One forward more than the attack's own: the judgement.
    part.forwards[row, at] = attempt.forwards.cpu() + 1
    part.backwards[row, at] = attempt.backwards.cpu()
    part.zero_gradient[row, at] = attempt.zero_gradient.cpu()
    part.nan_gradient[row, at] = attempt.nan_gradient.cpu()


def evaluate(
    model: nn.Module,
    data: Data,
    suite: Callable[[float], Suite],
    eps: float,
    *,
    curve: Sequence[float] = (),
    batch_size: int = 128,
    seed: int = 0,
    out: Path | None = None,
    resume: bool = True,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Robustness of a model, as an entry of `results.json`.

    Args:
        suite: from eps to a `Suite`, for example `robustsnn.attacks.paper_sr`.
        eps: the threat's radius; columns and single attacks are reported for it.
        curve: further radii at which the worst case is measured. They are attacked in ascending order, and
            only samples that stood at all smaller radii are attacked, since their balls are nested. For the
            same reason the worst case at `eps` includes what fell at the smaller radii.
        batch_size, seed, out, resume, progress: as in `run_suite`.

    Returns `clean`, `worst_case` and each of `columns` as {"accuracy", "interval", "n"}, `attacks` by repr,
    `curve` as a list with `eps`, and `flags`.
    """
    if eps <= 0:
        raise UserError(f"eps={eps!r}: an attack needs a radius above 0; clean accuracy is always reported")
    suites = {radius: suite(radius).merged() for radius in curve if radius > 0} | {eps: suite(eps)}
    standing: np.ndarray | None = None
    points: list[dict[str, Any]] = []
    clean: dict[str, Any] = {}
    entry: dict[str, Any] = {}
    flags: list[dict[str, str]] = []
    for number, (radius, at) in enumerate(sorted(suites.items())):

        def tell(done: int, total: int, text: str, number: int = number, radius: float = radius) -> None:
            progress(number * total + done, len(suites) * total, f"eps {show_fraction(radius)} {text}")

        found = run_suite(
            model,
            data,
            at,
            candidates=standing if radius != eps else None,
            batch_size=batch_size,
            seed=seed,
            out=out,
            resume=resume,
            progress=tell,
        )
        now = found.standing()
        standing = now if standing is None else standing & now
        if not points:
            clean = rate(found.correct)
            points.append({"eps": 0.0, **clean})
        points.append({"eps": radius, **rate(standing)})
        if radius == eps:
            used = at if neuron_layers(model) else at.without_rules()
            members = [(column, repr(attack)) for column, attack in used.members()]
            threat = {"norm": at.threat.norm, "eps": eps}
            entry = {
                "clean": clean,
                "suite": at.name,
                **threat,
                **tabulate(found, members, eps),
                "worst_case": {**rate(standing), **threat},
            }
            flags = _flags(model, data, found)
    return {**entry, "curve": points, "flags": flags}


def _flags(model: nn.Module, data: Data, found: Outcomes) -> list[dict[str, str]]:
    """Signs that the figures may flatter the model."""
    flags = []
    attacked = found.attacked.any(0)
    for name, rows in (("zero-gradient", found.zero_gradient), ("nan-gradient", found.nan_gradient)):
        hit = int((rows.any(0) & attacked).sum())
        if hit:
            flags.append(
                {
                    "name": name,
                    "message": f"{hit} of {int(attacked.sum())} attacked samples met a {name.replace('-', ' ')} "
                    f"under some rule; gradient attacks see little of them",
                }
            )
    x, y = _tensors(data)
    device = next((p.device for p in model.parameters()), x.device)
    xb, yb = x[:64].to(device), y[:64].to(device)
    first, second = _judge(model, xb, yb)[0], _judge(model, xb, yb)[0]
    if bool(first.isnan().any()):
        flags.append({"name": "nan-logits", "message": "the model answers NaN to clean images; they count as errors"})
    if not torch.equal(first.nan_to_num(), second.nan_to_num()):
        flags.append(
            {
                "name": "random",
                "message": "two forward passes of the same images differ; single draws are no judgement",
            }
        )
    return flags


def input_gradient(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """grad_x of the softmax probability of the true class, per sample, in eval mode; shape of x."""
    with frozen(model), torch.enable_grad():
        leaf = x.detach().requires_grad_()
        return torch.autograd.grad(true_probability(model(leaf), y).sum(), leaf)[0]


def pictures(model: nn.Module, data: ImageSet, suite: Suite, count: int = 6, seed: int = 0) -> dict[str, Any]:
    """Arrays for the report's pictures: the first `count` images, attacked, and their input gradients.

    They are attacked anew for the picture: the adversarial image is that of the first attack of the suite's
    last column that breaks the sample, or else the last one tried. Other columns may break more.
    """
    x, y = data.take(min(count, len(data))).floats(next(model.parameters()).device)
    if not neuron_layers(model):
        suite = suite.without_rules()
    column, attacks = suite.columns[-1]
    adversarial = x.clone()
    stands = _judge(model, x, y)[0] < 0
    for row, attack in enumerate(attacks):
        at = stands.nonzero()[:, 0]
        if len(at):
            found = attack.run(model, x[at], y[at], generator=generator(seed, "pictures", row)).images
            verify(attack.threat, found, x[at], attack)
            adversarial[at] = found
            stands[at] = _judge(model, adversarial[at], y[at])[0] < 0
    return {
        "image": x.cpu().numpy(),
        "adversarial": adversarial.cpu().numpy(),
        "gradient": input_gradient(model, x, y).cpu().numpy(),
        "label": y.cpu().numpy(),
        "predicted": _judge(model, x, y)[1].cpu().numpy(),
        "predicted_adversarial": _judge(model, adversarial, y)[1].cpu().numpy(),
        "classes": np.array(data.classes),
        "index": np.arange(len(x)),
        "attack": np.array(f"{column} of {suite.name}"),
        "eps": np.array(suite.threat.eps),
    }
