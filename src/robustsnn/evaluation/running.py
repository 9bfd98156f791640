"""Running a suite: every attack's result is judged anew, per sample, and kept on disk."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robustsnn.attacks.attack import Attacker
from robustsnn.attacks.square import Square
from robustsnn.attacks.streams import Streams
from robustsnn.attacks.suites import Suite
from robustsnn.attacks.threat import check_images, verify
from robustsnn.attacks.transfer import Transfer
from robustsnn.errors import UserError
from robustsnn.evaluation.judge import Data, Judge, device_of, judge_for, tensors
from robustsnn.evaluation.probe import has_gradient
from robustsnn.files import write_atomic, write_json
from robustsnn.models import Encoded
from robustsnn.modes import evaluating
from robustsnn.neurons import neuron_layers
from robustsnn.outcome import Outcomes
from robustsnn.progress import Progress, silent
from robustsnn.provenance import versions
from robustsnn.seeds import derived, seeded

EOT = 10
"""Draws per gradient step against a random model (expectation over transformation)."""


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count`: the batches index - 1, index - 1 + count, ... of an evaluation."""

    index: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise UserError(f"shard {self.index}/{self.count}: the first number is 1 to the second, for example 2/4")

    def takes(self, batch: int) -> bool:
        """Whether that batch (from 0) is in it."""
        return batch % self.count == self.index - 1


def judge_of(model: nn.Module, x: Tensor, suite: Suite) -> Judge:
    """How to judge this model under this suite, found out on the first images.

    In encoded space what the encoder draws is given, so only what comes after it can be random.
    """
    first = x[:64].to(device_of(model, x))
    if suite.threat.space == "encoded":
        view = Encoded(model)
        return judge_for(view, _encode(view, first, 0, 0))
    return judge_for(model, first)


def fit_to(model: nn.Module, suite: Suite, x: Tensor, judge: Judge) -> Suite:
    """The suite as this model can be attacked: without rules, losses or single draws that do not apply to it.

    Where the logits are not connected to the input, only attacks that need no gradient are left. `x` are images,
    also for a suite in encoded space. UserError if nothing is left.
    """
    view, first = model, x[:1].to(device_of(model, x))
    with seeded(0, "fit"), torch.no_grad(), evaluating(model):  # what it draws here changes no numbers elsewhere
        classes = model(first).shape[-1]
        if suite.threat.space == "encoded":
            view = Encoded(model)
            first = view.encode(first)
        connected = has_gradient(view, first)
    if not connected:
        members = suite.members()
        if not any(attack.black_box for _, attack in members):
            raise UserError(
                f"{type(model).__name__} has no gradient with respect to its input, and all attacks of suite "
                f"{suite.name!r} need one; use a gradient-free attack, or BPDA for its discrete parts"
            )
        suite = suite.map(lambda attack: attack if attack.black_box else None)
    if not neuron_layers(model):
        suite = suite.without_rules()
    if first.ndim < 4:  # vectors have no squares
        suite = suite.map(lambda attack: None if isinstance(attack, Square) else attack)
    if judge.votes > 1:
        suite = suite.with_draws(EOT)
    return suite.for_classes(classes)


def _digest_of_model(model: nn.Module) -> str:
    """Of structure, parameters, buffers, plain attributes, and the code of classes that are not torch's or ours."""
    digest = hashlib.sha256(str(model).encode())
    for name, module in model.named_modules():
        plain = {k: _exact(v) for k, v in vars(module).items() if k != "training" and not k.startswith("_")}
        digest.update(repr((name, sorted(plain.items()))).encode())
        if type(module).__module__.split(".")[0] not in ("torch", "robustsnn"):
            digest.update(repr(_exact(type(module).forward)).encode())
    for name, tensor in sorted([*model.named_parameters(), *model.named_buffers()]):
        digest.update(name.encode())
        _feed(digest, tensor)
    return digest.hexdigest()


def _feed(digest: Any, tensor: Tensor) -> None:
    digest.update(str((tuple(tensor.shape), tensor.dtype)).encode())
    digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)


def _exact(value: Any) -> Any:
    """A value by its type and content, for the fingerprint; a repr may round, and may name an address."""
    if isinstance(value, nn.Module):
        return _digest_of_model(value)
    if isinstance(value, torch.Tensor):
        digest = hashlib.sha256()
        _feed(digest, value)
        return digest.hexdigest()
    if is_dataclass(value) and not isinstance(value, type):
        return type(value).__qualname__, *(_exact(getattr(value, field.name)) for field in fields(value))
    if isinstance(value, tuple | list):
        return tuple(_exact(item) for item in value)
    if isinstance(value, FunctionType):
        code, cells = value.__code__, [cell.cell_contents for cell in value.__closure__ or ()]
        constants = [c for c in code.co_consts if not isinstance(c, CodeType)]
        bound = (value.__defaults__ or (), tuple(cells))
        return value.__qualname__, code.co_code.hex(), repr(constants), code.co_names, _exact(bound)
    if isinstance(value, partial):
        return "partial", _exact(value.func), _exact(value.args), _exact(tuple(sorted(value.keywords.items())))
    named = getattr(value, "__qualname__", None)
    return named or (repr(value) if " at 0x" not in repr(value) else type(value).__qualname__)


def _fingerprint(model: nn.Module, marks: Sequence[Tensor], identity: object) -> str:
    """Digest of all that the outcomes depend on: network, data, suite, batches, seed, versions."""
    packages = {name: versions()[name] for name in ("robustsnn", "torch")}
    digest = hashlib.sha256(repr((_digest_of_model(model), identity, packages)).encode())
    for tensor in marks:
        _feed(digest, tensor)
    return digest.hexdigest()


def run_suite(
    model: nn.Module,
    data: Data,
    suite: Suite,
    *,
    candidates: Sequence[bool] | np.ndarray | None = None,
    after: Sequence[Suite] = (),
    batch_size: int = 128,
    seed: int = 0,
    out: Path | None = None,
    resume: bool = True,
    shard: Shard | None = None,
    merge: Sequence[Path] | None = None,
    keep_images: bool = False,
    judge: Judge | None = None,
    progress: Progress = silent,
) -> Outcomes:
    """Attack `data` with every attack of the suite, and judge each result by fresh forward passes.

    Shape, budget and data range of every attacked batch are checked. What a sample draws depends on (seed,
    attack, its index) alone. A model that does not repeat itself is judged by the majority of 21 passes, and
    its gradients are means of 10. With `out`, outcomes are saved after each batch and attack in a folder of
    their own there, named by suite, norm, eps and a fingerprint of all they depend on (weights, data, suite,
    sources, candidates, batch size, seed, versions). The same call finds them again: an interrupted
    evaluation continues and ends in identical arrays, and no other evaluation can pick them up.

    Args:
        model: images -> logits, on any device; its mode, gradients and rules are left as they were.
        data: labelled images, pixels also for a suite in encoded space.
        suite: what to run. Gradient rules are left out for a model without neuron layers.
        candidates: bool, which samples to attack at all (all, if None); of the shard's samples, with a shard.
        after: the suites whose survivors the candidates are. They stand for the candidates in the
            fingerprint, which is then the same for all shards.
        batch_size: images per batch. It may change results by rounding, so it is part of the fingerprint.
        seed: of all random numbers.
        out: folder for outcomes, `NAME/evaluation.json` and `NAME/batch-NNNNN.npz`.
        resume: use saved outcomes of the same evaluation; otherwise they are deleted first.
        shard: only these batches; the outcomes returned are theirs alone.
        merge: folders like `out` that hold shards of this very evaluation. Their batches are copied into
            `out`, and nothing is attacked any more: UserError if a batch is missing, incomplete, or there twice
            with different content.
        keep_images: keep the worst image of each sample (first misclassified, or of largest margin).
        judge: how to judge; found out on the first images if None.
        progress: told about every batch and attack.
    """
    if batch_size < 1:
        raise UserError(f"batch_size={batch_size}: at least 1 is needed")
    x, y = tensors(data)
    # A suite in encoded space sees the images behind the encoder, so the range is checked there again.
    encoded = suite.threat.space == "encoded"
    check_images(x, y, *((0.0, 1.0) if encoded else (suite.threat.low, suite.threat.high)))
    device = device_of(model, x)
    view = Encoded(model) if encoded else None
    judge = judge if judge is not None else judge_of(model, x, suite)
    own = _digest_of_model(model)
    for _, attack in suite.members():
        if isinstance(attack, Transfer) and _digest_of_model(attack.source.model) == own:
            raise UserError(f"the source {attack.source.name} is the attacked model itself, which makes no black box")
    suite = fit_to(model, suite, x, judge)
    members = suite.members()
    chosen = None if candidates is None else np.asarray(candidates, dtype=bool)
    folder = None
    if out is not None:
        out = Path(out)
        marks = [x, y] if chosen is None or after else [x, y, torch.from_numpy(chosen)]
        history = tuple(_exact(previous) for previous in after)
        identity = (_exact(suite), history, batch_size, seed, keep_images, judge.votes)
        fingerprint = _fingerprint(model, marks, identity)
        folder = out / f"{suite.name}-{suite.threat.norm}-{suite.threat.eps:.6f}-{fingerprint[:12]}"
        if folder.exists() and not resume and merge is None:
            if shard is None:
                shutil.rmtree(folder)
            else:  # the other shards may lie in the same folder
                for path in folder.glob("batch-*.npz"):
                    if shard.takes(int(path.stem[6:])):
                        path.unlink()
        attacks = [[column, repr(attack)] for column, attack in members]
        about = {"suite": suite.name, "attacks": attacks, "n": len(x), "batch_size": batch_size, "seed": seed}
        if merge is not None:
            _collect(folder, merge, -(-len(x) // batch_size), len(members))
        write_json(folder / "evaluation.json", {**about, "fingerprint": fingerprint})
    shard = shard or Shard()
    numbers = [number for number in range(-(-len(x) // batch_size)) if shard.takes(number)]
    parts, taken = [], 0
    for position, number in enumerate(numbers):
        start = number * batch_size
        xb, yb = x[start : start + batch_size].to(device), y[start : start + batch_size].to(device)
        wanted = None if chosen is None else chosen[taken : taken + len(xb)]
        taken += len(xb)
        path = folder / f"batch-{number:05d}.npz" if folder is not None else None
        work = _Batch(view or model, judge, xb, yb, start, seed)
        part, done = Outcomes.empty(len(members), len(xb), tuple(xb.shape[1:]) if keep_images else None), 0
        if view is not None:
            work.x = _encode(view, xb, start, seed)
            check_images(work.x, yb, suite.threat.low, suite.threat.high)
            if keep_images:
                part = Outcomes.empty(len(members), len(xb), tuple(work.x.shape[1:]))
        if path is not None and path.exists():
            shape = part.images.shape if part.images is not None else None
            part, done = Outcomes.load(path, attacks=len(members), n=len(xb))
            if shape != (part.images.shape if part.images is not None else None):
                raise UserError(f"{path} is damaged (its images have another shape); delete it")
        else:
            work.clean(part)
        for row in range(done, len(members)):
            column, attack = members[row]
            before = [i for i in range(row) if suite.survivors_only or members[i][0] == column]
            standing = part.standing(before)
            at = np.flatnonzero(standing if wanted is None else standing & wanted)
            work.attack(attack, part, row, at)
            if path is not None:
                part.save(path, row + 1)
            left = int(part.standing([*before, row]).sum())
            progress(
                position * len(members) + row + 1,
                len(numbers) * len(members),
                f"{attack.label} {row + 1}/{len(members)}, batch {position + 1}/{len(numbers)}, "
                f"{int(part.broken[row].sum())} of {len(at)} broken, {left} standing",
            )
        parts.append(part)
    if not parts:
        raise UserError(f"shard {shard.index}/{shard.count} is empty: there are fewer batches; use fewer shards")
    return Outcomes.join(parts)


def _encode(view: Encoded, x: Tensor, start: int, seed: int) -> Tensor:
    with seeded(seed, "encode", start):
        return view.encode(x)


def encode_images(model: nn.Module, x: Tensor, batch_size: int, seed: int) -> Tensor:
    """What `run_suite` attacks in encoded space: x behind the encoder `[N, T, C, H, W]`, with the same draws."""
    view, device = Encoded(model), device_of(model, x)
    starts = range(0, len(x), batch_size)
    return torch.cat([_encode(view, x[i : i + batch_size].to(device), i, seed).cpu() for i in starts])


def _collect(folder: Path, others: Sequence[Path], batches: int, attacks: int) -> None:
    """Copy the batches of other shards into a folder of outcomes, and check that none is missing."""
    for other in others:
        theirs = other / folder.name
        if not theirs.is_dir():
            raise UserError(
                f"{other} holds no outcomes named {folder.name}: its shards are of another model, data, suite, eps, "
                f"batch size, seed or version; evaluate all shards by the same command but for --shard"
            )
        for path in sorted(theirs.glob("batch-*.npz")):
            mine = folder / path.name
            if not mine.exists() or Outcomes.load(mine)[1] < Outcomes.load(path)[1]:
                write_atomic(mine, path.read_bytes())
            elif Outcomes.load(path)[1] == attacks and not Outcomes.load(mine)[0].equals(Outcomes.load(path)[0]):
                raise UserError(f"{path} and {mine} differ; delete the one that is not to be trusted")
    paths = [folder / f"batch-{number:05d}.npz" for number in range(batches)]
    open_ = [path.name for path in paths if not path.exists() or Outcomes.load(path, attacks=attacks)[1] < attacks]
    if open_:
        raise UserError(
            f"{len(open_)} of {batches} batches are missing or incomplete in {folder}, the first is {open_[0]}; "
            f"evaluate the shards that are missing, or continue them with --resume"
        )


@dataclass
class _Batch:
    """One batch of an evaluation: attacks it and writes down what happened."""

    model: nn.Module
    judge: Judge
    x: Tensor
    y: Tensor
    start: int
    seed: int

    def _seeded(self, *path: str | int) -> AbstractContextManager[None]:
        """For models that draw from torch's global generator."""
        return seeded(self.seed, *path, self.start)

    def clean(self, part: Outcomes) -> None:
        """Judge the images as they are."""
        with self._seeded("clean"):
            margins, predicted = self.judge(self.model, self.x, self.y)
        part.label[:], part.predicted[:] = self.y.cpu(), predicted.cpu()
        part.clean_margin[:] = margins.cpu()
        if part.images is not None:
            part.images[:] = self.x.cpu()

    def attack(self, attack: Attacker, part: Outcomes, row: int, at: np.ndarray) -> None:
        """Run one attack on the samples `at` and write its row."""
        if not len(at):
            return
        name = repr(attack)
        which = torch.from_numpy(at).to(self.x.device)
        x, y = self.x[which], self.y[which]
        streams = Streams([derived(self.seed, "attack", name, self.start + int(i)) for i in at], x.device)
        with self._seeded(name, "attack"):
            attempt = attack.run(self.model, x, y, generator=streams)
        distance = verify(attack.threat, attempt.images, x, attack)
        with self._seeded(name, "judge"):
            margins, _ = self.judge(self.model, attempt.images, y)
        judged = margins.cpu().numpy()
        part.attacked[row, at] = True
        if part.images is not None:
            before = np.where(part.attacked[:row, at], part.margin[:row, at], -np.inf)
            worst = np.maximum(before.max(0, initial=-np.inf), part.clean_margin[at])
            # Once broken, always the same image: that of the attack which broke it first.
            worse = at[~(judged <= worst) & (worst < 0)]
            part.images[worse] = attempt.images.cpu().numpy()[np.isin(at, worse)]
        part.margin[row, at] = judged
        part.broken[row, at] = ~(judged < 0)
        part.distance[row, at] = distance.cpu()
        # The judgement costs forwards too.
        part.forwards[row, at] = attempt.forwards.cpu() + self.judge.votes
        part.backwards[row, at] = attempt.backwards.cpu()
        part.zero_gradient[row, at] = attempt.zero_gradient.cpu()
        part.nan_gradient[row, at] = attempt.nan_gradient.cpu()
