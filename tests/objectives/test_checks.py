"""What objectives refuse to be put over."""

from collections.abc import Callable

import pytest

from robustsnn.attacks import pgd
from robustsnn.ground.errors import UserError
from robustsnn.objectives import (
    TRADES,
    Adversarial,
    AdversarialLogitPairing,
    CleanLogitPairing,
    GradientRegularised,
    MembraneGuard,
    Natural,
    Objective,
    SparsityRegularised,
)

ATTACK = pgd(0.1, 2, keep="last")
WRAPPERS: dict[str, Callable[..., Objective]] = {
    "SparsityRegularised": lambda over: SparsityRegularised(0.1, over),
    "GradientRegularised": lambda over: GradientRegularised(0.1, over),
    "TRADES": lambda over: TRADES(0.1, ATTACK, over),
    "AdversarialLogitPairing": lambda over: AdversarialLogitPairing(0.1, ATTACK, over),
    "CleanLogitPairing": lambda over: CleanLogitPairing(0.1, 0.1, over),
    "MembraneGuard": lambda over: MembraneGuard(0.1, 0.1, over),
}


@pytest.mark.parametrize("outer", WRAPPERS)
@pytest.mark.parametrize("inner", WRAPPERS)
def test_only_objectives_at_points_are_wrapped(outer: str, inner: str) -> None:
    over = WRAPPERS[inner](Natural())
    with pytest.raises(UserError, match=rf"^{outer}\(over={inner}\(.*: allowed is a PointObjective of robustsnn.obj"):
        WRAPPERS[outer](over)
    for allowed in (Natural(), Adversarial(ATTACK)):
        WRAPPERS[outer](allowed)
