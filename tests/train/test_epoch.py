"""Several updates per batch, constraints, and what a batch of either does to the weights."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from helpers import Linear
from robustsnn.data.augment import Augment
from robustsnn.data.batches import ImageSet
from robustsnn.ground.errors import UserError
from robustsnn.losses import cross_entropy
from robustsnn.objectives import Natural
from robustsnn.objectives.constraints import OrthogonalRetraction
from robustsnn.training.fit import constant, fit
from robustsnn.training.step import TrainingStep


def data(n=24, shape=(1, 4, 4)):
    draws = torch.Generator().manual_seed(3)
    images = torch.randint(0, 256, (n, *shape), generator=draws, dtype=torch.uint8)
    return ImageSet(images, torch.arange(n) % 3, ("a", "b", "c"), "noise")


def train(objective, model, *, epochs=2, batch_size=8, lr=0.1, **step):
    optimiser = torch.optim.SGD(model.parameters(), lr)
    options = {"epochs": epochs, "batch_size": batch_size, "schedule": constant, "step": TrainingStep(**step)}
    return fit(model, data(), objective, optimiser, **options)


@dataclass(frozen=True)
class Free(Natural):
    """Free adversarial training on a small scale: the input gradient is what the weights' backward left over."""

    replays: int = 2
    eps: float = 0.1

    def updates(self, model, x, y, *, generator):
        delta = torch.zeros_like(x)
        for _ in range(self.replays):
            leaf = (x + delta).clamp(0, 1).requires_grad_()
            logits = model(leaf)
            yield self.terms(logits, y), logits
            delta = (delta + self.eps * leaf.grad.sign()).clamp(-self.eps, self.eps)


class Once(Natural):
    """Natural training, said as one update."""

    def updates(self, model, x, y, *, generator):
        yield self(model, x, y, generator=generator)


def test_one_update_is_the_call():
    one, other = Linear(), Linear()
    assert train(Once(), one)[-1]["train"] == train(Natural(), other)[-1]["train"]
    assert torch.equal(one.weight, other.weight)


def test_updates_are_steps_of_their_own_each_from_the_weights_that_the_last_one_left():
    model, twin = Linear(), Linear()
    history = train(Free(), model, epochs=1, batch_size=24)
    x, y = data().floats()
    moved, losses, hits = x, [], []
    for _ in range(2):  # by hand, in closed form: loss, step, then the sign of the gradient at the OLD weights
        old = twin.weight.detach().clone()
        logits = twin(moved)
        error = torch.softmax(logits, 1) - nn.functional.one_hot(y, 3)
        losses.append(cross_entropy(logits, y).mean().item())
        hits.append((logits.argmax(1) == y).float().mean().item())
        with torch.no_grad():
            twin.weight -= 0.1 * error.T @ moved.flatten(1) / 24
            twin.bias -= 0.1 * error.mean(0)
        moved = (x + 0.1 * (error.detach() @ old).sign().view_as(x)).clamp(0, 1)
    torch.testing.assert_close(model.weight, twin.weight)
    torch.testing.assert_close(model.bias, twin.bias)
    # What is logged is the mean over the updates.
    assert history[0]["train"]["loss"] == pytest.approx(sum(losses) / 2, rel=1e-5)
    assert history[0]["train"]["accuracy"] == pytest.approx(sum(hits) / 2)


def test_a_term_of_some_updates_is_a_mean_over_those():
    class Uneven(Natural):
        def updates(self, model, x, y, *, generator):
            for extra in ({}, {"extra": torch.full((len(x),), 5.0)}, {"extra": torch.full((len(x),), 7.0)}):
                logits = model(x)
                yield {**self.terms(logits, y), **extra}, logits

    assert train(Uneven(), Linear())[-1]["train"]["extra"] == pytest.approx(6.0)


def test_autocast_is_on_where_the_objective_works_and_off_where_the_weights_move():
    seen = []

    class Asks(Free):
        def updates(self, model, x, y, *, generator):
            for one in super().updates(model, x, y, generator=generator):
                seen.append(torch.is_autocast_enabled("cpu"))
                yield one
                seen.append(torch.is_autocast_enabled("cpu"))

    def constraint(model, *, generator):
        assert not torch.is_autocast_enabled("cpu")

    train(Asks(), Linear(), epochs=1, batch_size=24, precision="bfloat16", constraints=(constraint,))
    assert seen == [True] * 4
    seen.clear()
    train(Asks(), Linear(), epochs=1, batch_size=24)
    assert seen == [False] * 4


def test_constraints_follow_each_step_in_their_order():
    calls = []

    def first(model, *, generator):
        calls.append(("first", model.weight.detach().clone()))
        with torch.no_grad():
            model.weight.clamp_(-0.5, 0.5)

    def second(model, *, generator):
        calls.append(("second", model.weight.detach().clone()))

    model = Linear()
    train(Free(), model, epochs=1, constraints=(first, second))
    assert [name for name, _ in calls] == ["first", "second"] * 6  # 3 batches, 2 updates each
    assert all(bool((w.abs() <= 0.5).all()) for name, w in calls if name == "second")
    assert any(bool((w.abs() > 0.5).any()) for name, w in calls if name == "first")  # the step had been made
    assert torch.equal(model.weight, calls[-1][1])


def test_constraints_draw_from_a_stream_of_their_own():
    """Rows drawn at random change neither the order of the images nor what an objective draws."""

    def draw(model, *, generator):
        torch.rand(7, generator=generator)

    one, other = Linear(), Linear()
    train(Natural(), one, constraints=(draw,), augment=Augment(crop=1))
    train(Natural(), other, augment=Augment(crop=1))
    assert torch.equal(one.weight, other.weight)


def test_retraction_keeps_singular_values_near_one_while_the_loss_pulls():
    found = []
    for constraints in ((), (OrthogonalRetraction(0.3),)):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
        train(Natural(), model, epochs=20, lr=0.05, constraints=constraints)
        found.append((torch.linalg.svdvals(model[1].weight.detach()) - 1).abs().max().item())
    assert found[1] < 0.1 < found[0]


def test_a_retraction_that_would_explode_says_where():
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    with torch.no_grad():
        model[1].weight.copy_(100 * torch.eye(3, 16))
    with pytest.raises(UserError, match="singular value of 1 is 10"):
        train(Natural(), model, constraints=(OrthogonalRetraction(0.004),))
