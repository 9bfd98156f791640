"""Running a suite: every attack's result is judged anew, per sample, and kept on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from robustsnn.attacks.attempt import Attacker, Attempt, goes_on
from robustsnn.attacks.streams import Streams
from robustsnn.attacks.suites import Suite
from robustsnn.attacks.threat import check_images, verify
from robustsnn.attacks.transfer import Transfer
from robustsnn.data.given import Data, labelled
from robustsnn.evaluation.crafting import Precision, check_precision
from robustsnn.evaluation.effort import USUAL, Effort
from robustsnn.evaluation.fingerprint import exact, fingerprint, model_digest
from robustsnn.evaluation.fitting import encode, fit_to, judge_of
from robustsnn.evaluation.judge import Judge, device_of
from robustsnn.evaluation.shards import Shard, batch_path, collect
from robustsnn.ground import modes
from robustsnn.ground.door import check_kind, check_meets, check_model
from robustsnn.ground.errors import UserError
from robustsnn.ground.files import write_json
from robustsnn.ground.progress import Callback, Progress, silent
from robustsnn.ground.seeds import derived, seeded
from robustsnn.models import Encoded
from robustsnn.neurons.fused import many_rules
from robustsnn.records.outcome import Outcomes


@modes.undisturbed()
@many_rules
def run_suite(
    model: nn.Module,
    data: Data,
    suite: Suite,
    effort: Effort = USUAL,
    *,
    candidates: Sequence[bool] | np.ndarray | None = None,
    after: Sequence[Suite] = (),
    shard: Shard | None = None,
    merge: Sequence[Path] | None = None,
    keep_images: bool = False,
    judge: Judge | None = None,
    progress: Progress = silent,
    on_attack: Callback | None = None,
) -> Outcomes:
    """Attack `data` with every attack of the suite, and judge each result by fresh forward passes.

    Shape, budget and data range of every attacked batch are checked. What a sample draws depends on (seed,
    attack, its index) alone. A model that does not repeat itself is judged by the majority of 21 passes, and
    its gradients are means of 10. With an `effort.out`, outcomes are saved after each batch and attack in a folder of
    their own there, named by suite, norm, eps and a fingerprint of all they depend on (weights, data, suite,
    sources, candidates, batch size, seed, versions). The same call finds them again: an interrupted
    evaluation continues and ends in identical arrays, and no other evaluation can pick them up.

    Args:
        model: images -> logits, on any device; its mode, gradients and rules are left as they were.
        data: labelled images, pixels also for a suite in encoded space.
        suite: what to run. Gradient rules are left out for a model without neuron layers.
        effort: batch size, seed, precision of crafting, where outcomes are kept, and whether saved ones are used.
        candidates: bool, which samples to attack at all (all, if None); of the shard's samples, with a shard.
        after: the suites whose survivors the candidates are. They stand for the candidates in the
            fingerprint, which is then the same for all shards.
        shard: only these batches; the outcomes returned are theirs alone.
        merge: folders like `effort.out` that hold shards of this very evaluation. Their batches are copied into
            `effort.out`, and nothing is attacked any more: UserError if a batch is missing, incomplete, or there twice
            with different content.
        keep_images: keep the worst image of each sample (first misclassified, or of largest margin).
        judge: how to judge; found out on the first images if None.
        progress: told about every batch and attack.
        on_attack: called after each attack on each batch with `suite`, `eps`, `attack` (its label), `column`,
            `batch` of `batches`, and how many images were `attacked`, `broken` and are `standing`.
    """
    check_model(model)
    check_kind("suite", suite, Suite, "robustsnn.attacks.quick(8/255)")
    check_kind("effort", effort, Effort, "robustsnn.evaluation.Effort(batch_size=64)")
    check_precision(effort.precision, suite)
    batch_size, seed, precision = effort.batch_size, effort.seed, effort.precision
    x, y = labelled(data)
    # A suite in encoded space sees the images behind the encoder, so the range is checked there again.
    encoded = suite.threat.space == "encoded"
    check_images(x, y, *((0.0, 1.0) if encoded else (suite.threat.low, suite.threat.high)), suite.threat.levels)
    device = device_of(model, x)
    check_meets(model, x[:1].to(device))  # of a batch that goes there later
    view = Encoded(model) if encoded else None
    judge = judge if judge is not None else judge_of(model, x, suite)
    own = model_digest(model)
    for source in {id(a.source): a.source for _, a in suite.members() if isinstance(a, Transfer)}.values():
        if model_digest(source.model) == own:
            raise UserError(
                f"the source {source.name or 'run'} is the attacked model itself, which makes no black box; "
                f"name a run of other weights"
            )
    suite = fit_to(model, suite, x, judge)
    members = suite.members()
    # Attacks that go on from the worst points find them in the files too, after an interruption.
    keeps = keep_images or (suite.survivors_only and any(goes_on(attack) for _, attack in members))
    chosen = None if candidates is None else np.asarray(candidates, dtype=bool)
    numbers = range(-(-len(x) // batch_size))
    shard = shard or Shard()
    mine = [number for number in numbers if shard.takes(number)]
    of_shard = sum(min(batch_size, len(x) - number * batch_size) for number in mine)
    if chosen is not None and chosen.shape != (of_shard,):
        raise UserError(f"candidates of shape {list(chosen.shape)}: give one bool for each of {of_shard} images")
    folder = None
    if effort.out is not None:
        marks = [x, y] if chosen is None or after else [x, y, torch.from_numpy(chosen)]
        settings = (exact(suite), exact(after), batch_size, seed, keep_images, judge.votes)
        # Outcomes that were saved before there was a choice of precision stay valid.
        mark = fingerprint(own, marks, settings if precision == "float32" else (*settings, precision))
        folder = Path(effort.out) / f"{suite.name}-{suite.threat.norm}-{suite.threat.eps:.6f}-{mark[:12]}"
        if not effort.resume and merge is None:  # the batches of other shards may lie in the same folder
            for number in mine:
                batch_path(folder, number).unlink(missing_ok=True)
        if merge is not None:
            collect(folder, merge, len(numbers), len(members))
        about = {"suite": suite.name, "attacks": [[column, repr(attack)] for column, attack in members]}
        about |= {"n": len(x), "batch_size": batch_size, "seed": seed, "precision": precision}
        write_json(folder / "evaluation.json", {**about, "fingerprint": mark})
    parts, taken = [], 0
    for position, number in enumerate(mine):
        start = number * batch_size
        xb, yb = x[start : start + batch_size].to(device), y[start : start + batch_size].to(device)
        wanted = None if chosen is None else chosen[taken : taken + len(xb)]
        taken += len(xb)
        if view is not None:
            xb = encode(view, xb, start, seed)
            check_images(xb, yb, suite.threat.low, suite.threat.high)

        def tell(row: int, attacked: int, broken: int, standing: int, position: int = position) -> None:
            column, attack = members[row]
            done = f"{attack.label} {row + 1}/{len(members)}, batch {position + 1}/{len(mine)}"
            figures = {"attacked": attacked, "broken": broken, "standing": standing}
            at = position * len(members) + row + 1
            progress(at, len(mine) * len(members), f"{done}, {broken} of {attacked} broken, {standing} standing")
            if on_attack is not None:
                about = {"suite": suite.name, "eps": suite.threat.eps, "attack": attack.label, "column": column}
                on_attack({**about, "batch": position + 1, "batches": len(mine), **figures})

        work = _AttackedBatch(view or model, judge, xb, yb, start, seed, precision)
        parts.append(work.outcomes(suite, wanted, keeps, None if folder is None else batch_path(folder, number), tell))
    if not parts:
        raise UserError(f"shard {shard.index}/{shard.count} is empty: there are fewer batches; use fewer shards")
    found = Outcomes.join(parts)
    return found if keep_images else replace(found, images=None)


def encode_images(model: nn.Module, x: Tensor, batch_size: int, seed: int) -> Tensor:
    """What `run_suite` attacks in encoded space: x behind the encoder `[N, T, C, H, W]`, with the same draws."""
    view, device = Encoded(model), device_of(model, x)
    starts = range(0, len(x), batch_size)
    return torch.cat([encode(view, x[i : i + batch_size].to(device), i, seed).cpu() for i in starts])


@dataclass
class _AttackedBatch:
    """One batch of an evaluation: attacks it and writes down what happened."""

    model: nn.Module
    judge: Judge
    x: Tensor
    y: Tensor
    start: int
    seed: int
    precision: Precision

    def outcomes(
        self,
        suite: Suite,
        wanted: np.ndarray | None,
        keeps: bool,
        path: Path | None,
        tell: Callable[[int, int, int, int], None],
    ) -> Outcomes:
        """What every attack of the suite makes of the samples `wanted` (all, if None), saved after each.

        What the file at `path` holds already is taken from there. `keeps`: with the worst images.
        """
        members = suite.members()
        part, done = Outcomes.empty(len(members), len(self.x), tuple(self.x.shape[1:]) if keeps else None), 0
        if path is not None and path.exists():
            shape = None if part.images is None else part.images.shape
            part, done = Outcomes.load(path, attacks=len(members), n=len(self.x))
            if shape != (None if part.images is None else part.images.shape):
                raise UserError(f"{path} is damaged (its images have another shape); delete it")
        else:
            self.clean(part)
        for row in range(done, len(members)):
            column, attack = members[row]
            before = [i for i in range(row) if suite.survivors_only or members[i][0] == column]
            standing = part.standing(before)
            at = np.flatnonzero(standing if wanted is None else standing & wanted)
            self.attack(attack, part, row, at, go_on=suite.survivors_only)
            if path is not None:
                part.save(path, row + 1)
            tell(row, len(at), int(part.broken[row].sum()), int(part.standing([*before, row]).sum()))
        return part

    def _seeded(self, *path: str | int) -> AbstractContextManager[None]:
        """For models that draw from torch's global generator."""
        return seeded(self.seed, *path, self.start)

    def _judged(
        self, x: Tensor, y: Tensor, *path: str | int, precision: Precision = "float32"
    ) -> tuple[Tensor, Tensor]:
        """Margins and predictions by fresh passes."""
        with self._seeded(*path), modes.precision(precision, x.device):
            return self.judge(self.model, x, y)

    def _craft(
        self, attack: Attacker, at: Tensor, precision: Precision, worst: Tensor | None
    ) -> tuple[Attempt, Tensor, Tensor]:
        """What an attack makes of the samples `at`, its distances and its margins; the same draws at each call.

        `worst` are the worst points so far of all samples, where they are kept.
        """
        name, x, y = repr(attack), self.x[at], self.y[at]
        streams = Streams([derived(self.seed, "attack", name, self.start + i) for i in at.tolist()], x.device)
        with self._seeded(name, "attack"), modes.precision(precision, x.device):
            known = {"worst": worst[at.cpu()].to(x)} if worst is not None and goes_on(attack) else {}
            attempt = attack.run(self.model, x, y, generator=streams, **known)
        distance = verify(attack.threat, attempt.images, x, attack)
        margins, _ = self._judged(attempt.images, y, name, "judge")
        attempt.forwards += self.judge.votes  # the judgement costs forwards too
        return attempt, distance, margins

    def _again(
        self,
        attack: Attacker,
        at: Tensor,
        worst: Tensor | None,
        attempt: Attempt,
        distance: Tensor,
        margins: Tensor,
    ) -> None:
        """Craft in float32, in place, what stands in float32 and was crafted as if it were misclassified."""
        stands = (margins < 0).nonzero()[:, 0]
        if not len(stands):
            return
        y = self.y[at[stands]]
        coarse, _ = self._judged(attempt.images[stands], y, repr(attack), "coarse", precision=self.precision)
        attempt.forwards[stands] += self.judge.votes
        hollow = stands[~(coarse < 0)]
        if not len(hollow):
            return
        found, far, judged = self._craft(attack, at[hollow], "float32", worst)
        attempt.images[hollow], distance[hollow], margins[hollow] = found.images, far, judged
        for count in ("forwards", "backwards"):
            getattr(attempt, count)[hollow] += getattr(found, count)
        for mark in ("zero_gradient", "nan_gradient"):
            getattr(attempt, mark)[hollow] |= getattr(found, mark)

    def clean(self, part: Outcomes) -> None:
        """Judge the images as they are."""
        margins, predicted = self._judged(self.x, self.y, "clean")
        part.label[:], part.predicted[:] = self.y.cpu(), predicted.cpu()
        part.clean_margin[:] = margins.cpu()
        if part.images is not None:
            part.images[:] = self.x.cpu()

    def attack(self, attack: Attacker, part: Outcomes, row: int, at: np.ndarray, go_on: bool) -> None:
        """Run one attack on the samples `at` and write its row.

        `go_on`: it may begin where others ended. Columns that are figures of their own share no points.
        """
        if not len(at):
            return
        which = torch.from_numpy(at).to(self.x.device)
        worst = None if part.images is None or not go_on else torch.from_numpy(part.images)
        attempt, distance, margins = self._craft(attack, which, self.precision, worst)
        if self.precision != "float32":
            self._again(attack, which, worst, attempt, distance, margins)
        judged = margins.cpu().numpy()
        part.attacked[row, at] = True
        if part.images is not None:
            before = np.where(part.attacked[:row, at], part.margin[:row, at], -np.inf)
            largest = np.maximum(before.max(0, initial=-np.inf), part.clean_margin[at])
            # Once broken, always the same image: that of the attack which broke it first.
            worse = at[~(judged <= largest) & (largest < 0)]
            part.images[worse] = attempt.images.cpu().numpy()[np.isin(at, worse)]
        part.margin[row, at] = judged
        part.broken[row, at] = ~(judged < 0)
        part.distance[row, at] = distance.cpu()
        part.forwards[row, at] = attempt.forwards.cpu()
        part.backwards[row, at] = attempt.backwards.cpu()
        part.zero_gradient[row, at] = attempt.zero_gradient.cpu()
        part.nan_gradient[row, at] = attempt.nan_gradient.cpu()
