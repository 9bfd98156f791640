"""The memory of a step rule follows its samples, whatever it is kept in."""

import inspect
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from robustsnn.attacks import Attack, Linf, Streams, step
from robustsnn.attacks.state import select
from robustsnn.ground.errors import UserError

REGISTERED = [
    rule
    for _, rule in inspect.getmembers(step, inspect.isclass)
    if hasattr(rule, "update") and rule.__name__ != "StepRule"
]
EPS = 1 / 8


class Pair(NamedTuple):
    velocity: torch.Tensor
    count: int


@dataclass(frozen=True)
class Frozen:
    velocity: torch.Tensor
    count: int
    inner: dict = field(default_factory=dict)
    made: Any = field(init=False, default=0.5)


@dataclass(slots=True)
class Slotted:
    velocity: torch.Tensor
    count: torch.Tensor


# How the same memory, a velocity and the number of steps, can be kept: put it in, take it out.
KEPT = {
    "bare": (lambda v, k: v, lambda s: (s, None)),
    "tuple": (lambda v, k: (v,), lambda s: (s[0], None)),
    "pair": (lambda v, k: (v, k), lambda s: s),
    "named": (Pair, lambda s: s),
    "list": (lambda v, k: [k, [v]], lambda s: (s[1][0], s[0])),
    "dict": (lambda v, k: {"v": v, "k": torch.tensor(k)}, lambda s: (s["v"], int(s["k"]))),
    "ordered": (lambda v, k: OrderedDict(v=(v,), k=None), lambda s: (s["v"][0], None)),
    "frozen": (lambda v, k: Frozen(v.half(), k, {"v": [v]}), lambda s: (s.inner["v"][0], s.count)),
    "slotted": (lambda v, k: Slotted(v, torch.tensor(k)), lambda s: (s.velocity, int(s.count))),
}


@dataclass(frozen=True)
class Heavy:
    """A ball with momentum; it keeps its velocity in the container of that name."""

    kept: str
    alpha: float = EPS / 4
    label: ClassVar[str] = "heavy"

    def init(self, z):
        return KEPT[self.kept][0](torch.zeros_like(z), 0)

    def update(self, state, now):
        velocity, count = KEPT[self.kept][1](state)
        assert count in (None, now.k)
        velocity = 0.5 * velocity + now.gradient
        moved = now.z + now.threat.steepest(velocity, self.alpha)
        return now.threat.project(moved, now.x), KEPT[self.kept][0](velocity, now.k + 1)


class Rugged(nn.Module):
    """Exact in float64 whatever the batch: two classes whose margin bends, and samples that break at all times."""

    def __init__(self, entries=4):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([3.0, -5.0, 2.0, 7.0])[:entries].double())

    def forward(self, x):
        u = x.flatten(1).double()
        rise = ((u - 0.5) * self.weight).sum(1) - ((u[:, :2] - 0.5) ** 2).sum(1) * 8
        return torch.stack([torch.full_like(rise, 1.0), rise], 1)


@pytest.mark.parametrize("rule", [*(rule(EPS / 4) for rule in REGISTERED), *map(Heavy, KEPT)], ids=repr)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**20), n=st.integers(2, 9))
def test_attacking_a_batch_is_attacking_its_samples_one_by_one(rule, seed, n):
    model = Rugged()
    x = torch.randint(200, 2**10 - 200, (n, 1, 2, 2), generator=torch.Generator().manual_seed(seed)) / 2**10
    y = model(x).argmax(1)
    attack = Attack(Linf(EPS), rule, steps=6)
    whole = attack.run(model, x, y, generator=Streams(range(n)))
    for i in range(n):
        alone = attack.run(model, x[i : i + 1], y[i : i + 1], generator=Streams([i]))
        assert torch.equal(alone.images[0], whole.images[i])
        assert int(alone.backwards[0]) == int(whole.backwards[i])


def test_all_rules_are_found_and_samples_leave_the_batch_at_different_steps():
    assert {rule.__name__ for rule in REGISTERED} >= {"GradientStep", "APGD", "Momentum", "Adam", "SAPGD"}
    x = torch.randint(200, 2**10 - 200, (64, 1, 2, 2), generator=torch.Generator().manual_seed(0)) / 2**10
    y = Rugged()(x).argmax(1)
    for rule in [rule(EPS / 4) for rule in REGISTERED]:
        spent = Attack(Linf(EPS), rule, steps=6).run(Rugged(), x, y).backwards
        assert len(spent.unique()) >= 4


def test_one_memory_in_many_containers_is_one_attack():
    x = torch.randint(200, 2**10 - 200, (64, 1, 2, 2), generator=torch.Generator().manual_seed(1)) / 2**10
    y = Rugged()(x).argmax(1)
    found = [Attack(Linf(EPS), Heavy(kept), steps=6)(Rugged(), x, y) for kept in KEPT]
    assert all(torch.equal(images, found[0]) for images in found)


leaves = st.one_of(st.builds(lambda: torch.arange(5)), st.builds(lambda: torch.rand(5, 2)), st.integers(), st.none())
trees = st.recursive(
    leaves,
    lambda t: st.one_of(
        st.lists(t, max_size=3),
        st.lists(t, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=2), t, max_size=3),
        st.builds(Pair, t, t),
        st.builds(Slotted, t, t),
        st.builds(Frozen, t, t),
    ),
    max_leaves=8,
)


def flat(tree):
    """Every leaf, with the kinds of the containers around it."""
    if isinstance(tree, dict):
        return [type(tree), *((k, flat(v)) for k, v in tree.items())]
    if isinstance(tree, list | tuple):
        return [type(tree), *map(flat, tree)]
    if isinstance(tree, Slotted | Frozen):
        return [type(tree), *(flat(getattr(tree, name)) for name in type(tree).__dataclass_fields__)]
    return tree.tolist() if isinstance(tree, torch.Tensor) else tree


@given(tree=trees)
@settings(max_examples=60, deadline=None)
def test_selecting_is_a_choice_of_rows_that_composes_and_keeps_the_containers(tree):
    before, everyone = flat(tree), torch.arange(5)
    assert flat(select(tree, everyone, 5)) == before
    first, second = torch.tensor([0, 2, 3, 4]), torch.tensor([1, 3])
    assert flat(select(select(tree, first, 5), second, 4)) == flat(select(tree, first[second], 5))
    assert flat(tree) == before  # the tree that was given is left as it was


@pytest.mark.parametrize(
    ("state", "wrong"),
    [
        ((torch.zeros(3, 2),), r"shape \[3, 2\] in its state, in a batch of 5"),
        ({"v": [torch.zeros(1)]}, r"shape \[1\] in its state, in a batch of 5"),
        (object(), "keeps a object"),
        ([{torch.zeros(5)}], "keeps a set"),
    ],
)
def test_what_has_no_rows_is_refused(state, wrong):
    with pytest.raises(UserError, match=wrong):
        select(state, torch.tensor([0, 1]), 5)
