"""A step rule, an attack, a loss and a suite."""

from dataclasses import dataclass
from typing import ClassVar

from torch.nn.functional import one_hot

from robustsnn.attacks import Attack, Linf, Suite, fgsm
from robustsnn.names import Entry


@dataclass(frozen=True)
class Cautious:
    """Half of the step along the steepest ascent."""

    alpha: float
    label: ClassVar[str] = "cautious"

    def init(self, z):
        return ()

    def update(self, state, now):
        return now.threat.project(now.z + now.threat.steepest(now.gradient, self.alpha / 2), now.x), state


def jump(eps: float, steps: int) -> Attack:
    """Cautious steps from the image."""
    return Attack(Linf(eps), Cautious(2 * eps / steps), steps=steps)


def brier(logits, y):
    """The squared distance of the probabilities from the truth."""
    return (logits.softmax(1) - one_hot(y, logits.shape[1])).square().sum(1)


def pair(eps: float) -> Suite:
    """One step, and cautious steps."""
    return Suite("pair", (("FGSM", (fgsm(eps),)), ("Cautious", (jump(eps, 4),))))


pair.entry = Entry(cite="P. Air. Two attacks. 2033")
