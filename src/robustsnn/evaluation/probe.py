"""The probe: a few images that a model classifies correctly, and small attacks on them in the manner of a suite."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robustsnn.attacks.attack import Attack
from robustsnn.attacks.binary import Flips
from robustsnn.attacks.passes import connected
from robustsnn.attacks.sparse import SparseFlips
from robustsnn.attacks.start import AtImage, Uniform
from robustsnn.attacks.step import GradientStep
from robustsnn.attacks.streams import Streams
from robustsnn.attacks.suites import Suite
from robustsnn.attacks.threat import Threat
from robustsnn.evaluation.judge import Judge
from robustsnn.ground.modes import evaluating, frozen
from robustsnn.ground.seeds import derived, seeded
from robustsnn.losses import margin
from robustsnn.neurons import GradientRule, gradient_rule, neuron_layers

PROBE = 64
"""How many images are probed."""

NOISE, NOISY = 0.1, 8
"""Size, in units of the data range, and number of the noisy copies by which quantised outputs are known."""


def quantised(model: nn.Module, x: Tensor, threat: Threat) -> bool:
    """Whether a search that compares margins is blind: images mostly keep theirs, to the last bit, under noise.

    One-hot outputs and saturated probabilities are so, and logits rounded to a few levels. The noise is uniform, of
    `NOISE` times the data range whatever eps is: ordinary logits of a spiking network are constant on small
    neighbourhoods too, but not that far. Margins are those to the predicted class.
    """
    noise = 2 * Streams.of(None, x).uniform(NOISY, *x.shape[1:]).to(x).transpose(0, 1) - 1
    with torch.no_grad(), evaluating(model):
        predicted = model(x).argmax(1)
        margins = torch.stack(
            [
                margin(
                    model((x + NOISE * (threat.high - threat.low) * shift).clamp(threat.low, threat.high)), predicted
                )
                for shift in noise
            ]
        )
    kept = (margins == margins.mode(0).values).float().mean()
    return bool(kept > 0.4)


def untouched(model: nn.Module) -> nn.Module | None:
    """A copy of the model as it is now, to tell what calls have left in it; None for one that cannot be copied."""
    try:
        return copy.deepcopy(model)
    except Exception:  # whatever a module of somebody's has in it; the check is left out then
        return None


@dataclass
class Probe:
    """The images that are probed, and the attacks of the suite in a smaller form.

    Args:
        model: as it was attacked (for the encoded space, from behind the encoder).
        x, y: images that it classifies correctly, at most `PROBE`.
        standing: `[B]` bool, which of them the suite left standing.
        suite: what was run, fitted to the model.
        judge: who says what is broken.
        seed: of what is drawn.
        survivors: a probe of images of the whole evaluation that the suite left standing; None for those of x.
        fresh: the model as it was before anything was asked of it, if it can be copied.
        left_out: how many attacks of the suite were left out for want of layers that obey rules.
    """

    model: nn.Module
    x: Tensor
    y: Tensor
    standing: np.ndarray
    suite: Suite
    judge: Judge
    seed: int
    survivors: Probe | None = None
    fresh: nn.Module | None = None
    left_out: int = 0

    @cached_property
    def connected(self) -> bool:
        """Whether there is a gradient at all."""
        return connected(self.model, self.x)

    @cached_property
    def gradient_attacks(self) -> list[Any]:
        """The suite's gradient attacks, of any kind; none, if there is no gradient."""
        return [attack for _, attack in self.suite.members() if not attack.black_box and self.connected]

    @cached_property
    def rules(self) -> list[GradientRule | None]:
        """The suite's gradient rules, each once; None is the model's own."""
        rules = [getattr(attack, "rule", None) for attack in self.gradient_attacks]
        return list({repr(rule): rule for rule in rules}.values())

    @cached_property
    def draws(self) -> int:
        """Passes per gradient step or query, as in the suite."""
        return max((getattr(attack, "draws", 1) for _, attack in self.suite.members()), default=1)

    @cached_property
    def spiking(self) -> bool:
        """Whether rules can be swapped."""
        return bool(neuron_layers(self.model))

    def run(self, attack: Any, at: np.ndarray | None = None) -> np.ndarray:
        """Which of the probed images (of those at `at`) an attack breaks, by a fresh pass."""
        which = np.arange(len(self.x)) if at is None else at
        broken = np.zeros(len(self.x), bool)
        if len(which):
            x, y = self.x[which], self.y[which]
            name = repr(attack)
            streams = Streams([derived(self.seed, "probe", name, int(i)) for i in which], x.device)
            with seeded(self.seed, "probe", name):
                found = attack.run(self.model, x, y, generator=streams).images
                broken[which] = ~(self.judge(self.model, found, y)[0] < 0).cpu().numpy()
        return broken

    def gradient(self, rule: GradientRule | None, loss: Any = margin, at: Tensor | None = None) -> Tensor:
        """Input gradient of a loss under a rule, shape of x; at other images `at` of the same labels."""
        with frozen(self.model), gradient_rule(self.model, rule), torch.enable_grad():
            leaf = (self.x if at is None else at).detach().clone().requires_grad_()
            return torch.autograd.grad(loss(self.model(leaf), self.y).sum(), leaf)[0]

    @torch.no_grad()
    def margins(self, z: Tensor) -> Tensor:
        """Margins at z, `[B]`."""
        with evaluating(self.model):
            return margin(self.model(z), self.y)

    def pgd(self, rule: GradientRule | None, steps: int, eps: float | None = None, start: bool = True) -> Any:
        """PGD on the margin inside the suite's threat, or one of another radius.

        For binary inputs so many rounds of `SparseFlips`, since sign steps do not add up there.
        """
        threat = self.suite.threat
        if isinstance(threat, Flips):
            flips = threat if eps is None else replace(threat, eps=max(1, int(eps)))
            return SparseFlips(flips, rule, rounds=steps, queries=500 * self.draws, draws=self.draws)
        if eps is not None:
            threat = replace(threat, eps=eps)  # type: ignore[type-var]
        step = GradientStep(threat.eps if steps == 1 else 2.5 * threat.eps / steps)
        return Attack(threat, step, Uniform() if start else AtImage(), rule, margin, steps, draws=self.draws)
