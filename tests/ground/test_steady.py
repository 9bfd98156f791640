"""A model that answers otherwise when it is asked again is refused, unless its user allows it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import robustsnn
from helpers import Counting, Linear, images
from robustsnn.attacks import Linf, Square, Stateful, Suite, pgd
from robustsnn.evaluation import run_suite
from robustsnn.ground.errors import UserError
from robustsnn.ground.steady import check_steady

X, Y = images(8), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])


class Leaky(Linear):
    """Keeps a part of what it answered before, as neurons do whose reset is forgotten."""

    membrane: torch.Tensor | float = 0.0

    def forward(self, x):
        logits = super().forward(x) + self.membrane
        self.membrane = 0.5 * logits.detach().mean(0)
        return logits


class Grown(Linear):
    """Keeps a membrane for each image of its first batch."""

    membrane: torch.Tensor | float = 0.0

    def forward(self, x):
        self.membrane = self.membrane + 0 * super().forward(x)[:, :1]
        if len(self.membrane) != len(x):
            raise RuntimeError(f"the size of tensor a ({len(x)}) must match that of b ({len(self.membrane)})")
        return super().forward(x)


class Drawing(Linear):
    """Draws from a generator of its own."""

    def __init__(self):
        super().__init__()
        self.draws = torch.Generator()

    def forward(self, x):
        return super().forward(x + torch.randn(x.shape, generator=self.draws))


class Trained(nn.Module):
    """A forward that calls train()."""

    def __init__(self):
        super().__init__()
        self.norm, self.last = nn.BatchNorm2d(1), Linear()

    def forward(self, x):
        self.norm.train()
        return self.last(self.norm(x))


class Noisy(Linear):
    """Draws from torch's global generator, as a random network may."""

    def forward(self, x):
        return super().forward(x + 0.1 * torch.randn_like(x))


REFUSED = {
    Leaky: "8 of 8 images otherwise when it is asked again under equal seeds",
    Grown: "fails when it is called again",
    Drawing: "random numbers elsewhere than in torch",
    Trained: "moves the running statistics",
}
WAYS = {
    "pgd": lambda model: pgd(0.1, 2)(model, X, Y),
    "square": lambda model: Square(Linf(0.1), 3)(model, X, Y),
    "evaluate": lambda model: robustsnn.evaluate(model, (X, Y), suite="quick", eps=0.1),
    "run_suite": lambda model: run_suite(model, (X, Y), Suite("s", (("a", (pgd(0.1, 2),)),))),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", REFUSED)
def test_it_is_refused_by_every_way_and_told_why(kind, way):
    with pytest.raises(UserError, match=REFUSED[kind]):
        WAYS[way](kind())


def test_its_statistics_are_given_back():
    model = Trained()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with pytest.raises(UserError, match="running statistics"):
        WAYS["pgd"](model)
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())


@pytest.mark.parametrize("kind", [Leaky, Drawing, Trained])
def test_its_user_may_allow_it(kind):
    assert pgd(0.1, 2)(Stateful(kind()), X, Y).shape == X.shape
    assert run_suite(Stateful(kind()), (X, Y), Suite("s", (("a", (pgd(0.1, 2),)),))).attacked.shape == (1, 8)


def test_random_numbers_of_torch_and_one_odd_image_of_many_are_no_state():
    WAYS["pgd"](Noisy())

    class Odd(Leaky):
        def forward(self, x):
            logits = Linear.forward(self, x)
            self.membrane = self.membrane + 1
            return torch.cat([logits[:1] + self.membrane, logits[1:]])

    check_steady(Odd(), images(20))
    with pytest.raises(UserError, match="1 of 4 images"):
        check_steady(Odd(), images(4))


def test_a_model_is_asked_once():
    model = Counting()
    check_steady(model, X)
    asked = model.passes
    assert asked == 2 * len(X) + 1
    check_steady(model, X)
    assert model.passes == asked
