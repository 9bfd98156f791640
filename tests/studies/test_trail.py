"""Trails of whole networks: against autograd, along the chain, over batches and parts, and to files."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn

from helpers import images, spiking
from robustsnn.attacks import pgd
from robustsnn.attacks.attempt import Attacker
from robustsnn.encoders.rate import Poisson
from robustsnn.ground.errors import UserError
from robustsnn.ground.modes import frozen
from robustsnn.losses import cross_entropy, margin
from robustsnn.models.resnet_sew import sew_resnet18
from robustsnn.neurons import ASSG, BPTR, HART, IF, LIF, PDSG, RGA, STBP, Arctan, GradientRule, Neurons, gradient_rule
from robustsnn.records.typed import record_of
from robustsnn.studies.shared.tally import Tally
from robustsnn.studies.trail.measure import trail
from robustsnn.studies.trail.record import Operation, Trail, merge

RULES: list[GradientRule | None] = [None, STBP(Arctan()), BPTR(), RGA(), HART(), PDSG(), ASSG()]
X, Y = images(7, (1, 8, 8), low=0.0, high=1.0), torch.arange(7) % 4


def residual(connect: str = "iand") -> nn.Module:
    """A small SEW-ResNet whose batch norms have settled on random images."""
    torch.manual_seed(0)
    model = sew_resnet18(
        image=(1, 8, 8), classes=4, neuron=IF(), steps=2, width=1 / 16, stem="cifar", pooling="none", connect=connect
    )
    with torch.no_grad():
        for i in range(20):
            model.train()(images(32, (1, 8, 8), seed=i))
    return model.eval()


def counts(operation: Operation) -> tuple:
    """All integers of an operation."""
    tallies = (operation.passed, operation.architectural, operation.natural, operation.other)
    return operation.name, operation.input.zeros, operation.output.zeros, *tallies, operation.spiking


def assert_equal(mine: Trail, theirs: Trail) -> None:
    """Counts exactly, norms within rounding."""
    assert [counts(o) for o in mine.operations] == [counts(o) for o in theirs.operations]
    for a, b in zip(mine.operations, theirs.operations, strict=True):
        for side in ("input", "output"):
            for norm in ("l1", "l2"):
                x, y = getattr(getattr(a, side), norm), getattr(getattr(b, side), norm)
                assert (x.n, x.total, x.scatter) == pytest.approx((y.n, y.total, y.scatter), rel=1e-4, abs=1e-9)
    assert (mine.n, mine.input.zeros) == (theirs.n, theirs.input.zeros)
    assert [(w.name, w.zeros, w.entries) for w in mine.weights] == [
        (w.name, w.zeros, w.entries) for w in theirs.weights
    ]
    norms = [[w.l2.mean for w in found.weights] for found in (mine, theirs)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.label if rule else "own")
def test_the_input_is_what_autograd_gives(rule: GradientRule | None) -> None:
    model = spiking()
    found = trail(model, (X, Y), rule=rule, loss=margin)
    with frozen(model), gradient_rule(model, rule):
        leaf = X.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(margin(model(leaf), Y).sum(), leaf)
    flat = gradient.flatten(1)
    zeros = (flat == 0).sum(1)
    assert found.input.entries == 64
    assert found.input.zeros == Tally(7, int(zeros.sum()), 7 * int(zeros.square().sum()) - int(zeros.sum()) ** 2)
    assert found.input.l1.mean == pytest.approx(float(flat.abs().sum(1).mean()), rel=1e-5)
    assert found.input.l2.mean == pytest.approx(float(flat.norm(dim=1).mean()), rel=1e-5)
    assert found.operations[0].input == found.input


@pytest.mark.parametrize("batch_size", [3, 64])
def test_weights_have_the_gradients_of_the_first_samples_one_by_one(batch_size: int) -> None:
    model = spiking()
    found = trail(model, (X, Y), weights_of=5, batch_size=batch_size)
    zeros: dict[str, list[int]] = {}
    norms: dict[str, list[float]] = {}
    for i in range(5):
        model.zero_grad()
        cross_entropy(model(X[i : i + 1]), Y[i : i + 1]).sum().backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None
            zeros.setdefault(name, []).append(int((parameter.grad == 0).sum()))
            norms.setdefault(name, []).append(float(parameter.grad.norm()))
    assert [w.name for w in found.weights] == list(zeros)
    for weight in found.weights:
        counted = zeros[weight.name]
        assert weight.zeros == Tally(5, sum(counted), 5 * sum(z * z for z in counted) - sum(counted) ** 2)
        assert weight.sparsity == pytest.approx(np.mean(counted) / model.get_parameter(weight.name).numel())
        assert weight.l2.mean == pytest.approx(np.mean(norms[weight.name]), rel=1e-4)
    total = sum(sum(counted) for counted in zeros.values())
    assert total > 0
    assert found.weight_sparsity == pytest.approx(total / 5 / sum(p.numel() for p in model.parameters()))


def test_the_gradient_at_the_weights_of_one_sample_is_sparser_than_that_of_all() -> None:
    """One class per sample, one pixel each: a sample's gradient is in its own column, the sum of all is nowhere 0."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(8, 8))
    (weight, bias) = trail(model, (torch.eye(8).view(8, 1, 1, 8), torch.arange(8))).weights
    assert (weight.name, weight.entries, weight.sparsity, weight.zeros.interval()) == ("1.weight", 64, 7 / 8, (56, 56))
    assert bias.sparsity == 0


def test_weights_of_no_samples() -> None:
    model = spiking()
    none = trail(model, (X, Y), weights_of=0)
    assert (none.weights, none.weight_sparsity) == ((), None)
    some = trail(model, (X, Y), weights_of=2)
    assert merge(none, some).weights == merge(some, none).weights == some.weights
    assert trail(model, (X, Y), weights_of=9, first=7).weights[0].zeros.n == 2


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.label if rule else "own")
def test_zeros_are_split_without_remainder(rule: GradientRule | None) -> None:
    for operation in trail(spiking(), (X, Y), rule=rule).operations:
        parts = [operation.passed, operation.architectural, operation.natural, operation.other]
        assert sum(part.total for part in parts if part) == operation.input.zeros.total
        if operation.spiking is not None:
            inside = operation.spiking.in_silent + operation.spiking.in_saturated + operation.spiking.in_others
            assert operation.added == inside
        elif operation.kind != "loss":
            assert operation.added == 0  # convolutions without stride, norms, averages and linear layers


@pytest.mark.parametrize("rule", [STBP(Arctan()), HART(Arctan())])
def test_arctan_adds_none_in_any_layer(rule: GradientRule) -> None:
    found = trail(spiking(), (X, Y), rule=rule)
    assert all(o.added == 0 for o in found.operations)
    assert sum(o.spiking.silent for o in found.operations if o.spiking) > 0


def test_the_chain_has_no_gaps() -> None:
    operations = trail(spiking(), (X, Y)).operations
    for before, after in pairwise(operations):
        if before.kind == "neurons" or before.output.entries == after.input.entries:
            assert (before.output.zeros, before.output.entries) == (after.input.zeros, after.input.entries)
            assert before.output.l2.total == pytest.approx(after.input.l2.total)
    assert [o.kind for o in operations[2:5]] == ["convolution", "norm", "neurons"]


class Forked(nn.Module):
    """z = sum of 3 h - h^2, h = ReLU(x): the gradient at h is 3 from one branch, -2 h from the other."""

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(x)
        z = (h * 3 - h.square()).flatten(1).sum(1)
        return torch.stack([z, torch.zeros_like(z)], 1)


def test_a_fork_adds_the_gradients_of_its_branches() -> None:
    x = torch.tensor([0.5, 1.0, 1.5, 2.0]).view(1, 1, 2, 2)
    relu, triple, square = trail(Forked(), (x, Y[:1])).operations[:3]
    unit = triple.output.l1.total / 4
    assert (triple.kind, square.kind) == ("multiply", "pow")
    assert triple.input.l1.total == pytest.approx(unit * 12)
    assert square.input.l1.total == pytest.approx(unit * 10)
    assert relu.output.l1.total == pytest.approx(unit * (2 + 1 + 0 + 1))
    assert (triple.input.zeros.total, square.input.zeros.total, relu.output.zeros.total) == (0, 0, 1)


@pytest.mark.parametrize("connect", ["add", "and", "iand"])
def test_a_connection_hands_to_each_branch_what_the_branch_gets(connect: str) -> None:
    """The gradient at a branch's last neurons is what the connection sent there; the shortcut got the rest."""
    operations = {o.name: o for o in trail(residual(connect), (X, Y), rule=STBP(Arctan())).operations}
    block = "body.stage2.0"
    branch, shortcut = operations[f"{block}.branch.3 neurons"], operations[f"{block}.shortcut.1 neurons"]
    joined = operations[f"{block}.connect {'add' if connect == 'add' else 'multiply'}"]
    assert branch.output.l1.total + shortcut.output.l1.total == pytest.approx(joined.input.l1.total)
    assert branch.output.zeros.total + shortcut.output.zeros.total == joined.input.zeros.total


@pytest.mark.parametrize(("make", "rule"), [(residual, None), (spiking, ASSG()), (spiking, BPTR())])
def test_batches_and_parts_make_no_difference(make: Callable[[], nn.Module], rule: GradientRule | None) -> None:
    model = make()
    whole = trail(model, (X, Y), rule=rule)
    assert_equal(trail(model, (X, Y), rule=rule, batch_size=3), whole)
    assert_equal(merge(trail(model, (X[:2], Y[:2]), rule=rule), trail(model, (X[2:], Y[2:]), rule=rule)), whole)


def poisson() -> nn.Module:
    """Spikes drawn from torch's global generator in every call."""
    model = spiking()
    model.encoder = Poisson(3)
    return model


@pytest.mark.parametrize("attack", [None, pgd(0.1, steps=2)], ids=["clean", "pgd"])
def test_random_networks_draw_by_the_position_of_a_sample(attack: Attacker | None) -> None:
    model = poisson()
    assert not torch.equal(model(X), model(X))
    torch.manual_seed(1)
    before = torch.get_rng_state()
    whole = trail(model, (X, Y), attack=attack)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert trail(model, (X, Y), attack=attack, batch_size=3) == whole
    head = trail(model, (X[:2], Y[:2]), attack=attack)
    assert_equal(merge(head, trail(model, (X[2:], Y[2:]), attack=attack, first=2)), whole)
    assert trail(model, (X, Y), attack=attack, seed=1) != whole
    again = trail(model, (X[:1].expand(2, -1, -1, -1), Y[:1].expand(2)), attack=attack)
    assert again.input.l2.interval() != pytest.approx((again.input.l2.mean,) * 2)  # one image, drawn twice


class SamplesFirst(nn.Module):
    """A foreign network of T = 3 that folds samples and steps as [B * T]."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 3, 3, stride=2)
        self.head = nn.Linear(27, 4)

    def forward(self, x: Tensor) -> Tensor:
        times = torch.tensor([0.2, 1.0, 3.0]).view(1, 3, 1, 1, 1)
        h = torch.relu(self.convolution((x[:, None] * times).flatten(0, 1)))
        return self.head(h.flatten(1)).unflatten(0, (-1, 3)).mean(1)


class Coupled(nn.Module):
    """A foreign network in which all samples of a batch share one row."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        return (torch.relu(x - 0.5).reshape(1, -1) * 2).reshape(len(x), -1) @ self.mix.weight.T


def the_relu(found: Trail) -> Operation:
    (operation,) = [o for o in found.operations if o.kind == "relu"]
    return operation


@pytest.mark.parametrize("network", [SamplesFirst, Coupled])
def test_samples_are_told_apart_in_any_layout(network: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = network()
    relu = the_relu(trail(model, (X, Y)))
    alone = [the_relu(trail(model, (X[i : i + 1], Y[i : i + 1]))) for i in range(7)]
    zeros = [o.input.zeros.total for o in alone]
    assert len(set(zeros)) > 1
    assert relu.input.zeros == Tally(7, sum(zeros), 7 * sum(z * z for z in zeros) - sum(zeros) ** 2)


def test_calls_of_one_layer_are_one_operation() -> None:
    class Looped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.head = nn.Sequential(nn.Linear(64, 64), nn.ReLU()), nn.Linear(64, 4)

        def forward(self, x: Tensor) -> Tensor:
            h = x.flatten(1)
            for _ in range(3):
                h = self.layer(h)
            return self.head(h)

    found = trail(Looped(), (X, Y))
    assert [o.name for o in found.operations] == ["layer.0 linear", "layer.1 relu", "head linear", "model loss"]
    assert found.operations[1].input.entries == 3 * 64


def test_attacked_images() -> None:
    model = spiking()
    attack = pgd(0.1, steps=3)
    found = trail(model, (X, Y), attack=attack, batch_size=2)
    assert found.attack == repr(attack)
    assert_equal(found, trail(model, (X, Y), attack=attack))
    assert found.operations[-1].input.l2.mean > trail(model, (X, Y)).operations[-1].input.l2.mean


def test_the_model_is_left_as_it_was() -> None:
    model = spiking().train()
    weight = next(model.parameters())
    weight.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trail(model, (X, Y), rule=BPTR())
    assert model.training
    assert not weight.requires_grad
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all(isinstance(m.rule, STBP) for m in model.modules() if isinstance(m, Neurons))


def test_trails_survive_json() -> None:
    found = trail(residual(), (X, Y))
    again = record_of(Trail, json.loads(json.dumps(found.to_dict(), allow_nan=False)), "here")
    assert again == found
    assert merge(again, found).weights[0].zeros == found.weights[0].zeros + found.weights[0].zeros
    value = found.to_dict()
    del value["operations"][0]["kind"]
    with pytest.raises(UserError, match="kind = None is not a string"):
        record_of(Trail, value, "here")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 1000), min_size=2, max_size=30), st.integers(1, 29))
def test_intervals_are_those_of_all_values_together(values: list[int], cut: int) -> None:
    parts = [part for part in (values[:cut], values[cut:]) if part]
    tallies = [Tally.over(part) for part in parts]
    tally = tallies[0] if len(parts) == 1 else tallies[0] + tallies[1]
    ends = tally.interval()
    assert ends is not None
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    assert ends == pytest.approx((np.mean(values) - half, np.mean(values) + half), abs=1e-6)
    assert Tally(1, 3, 0).interval() is None


def test_means_per_kind() -> None:
    kinds = trail(spiking(), (X, Y)).kinds()
    assert kinds["norm"][1] == 0
    assert kinds["neurons"][1] == pytest.approx(kinds["neurons"][0])  # averages over pixels let no zero through
    assert kinds["norm"][0] > 0


def test_wrong_input_is_refused() -> None:
    model = spiking()
    with pytest.raises(UserError, match="give at least one"):
        trail(model, (X[:0], Y[:0]))
    with pytest.raises(UserError, match="at least 1"):
        trail(model, (X, Y), batch_size=0)
    with pytest.raises(UserError, match="weights_of=-1: a whole number of at least 0"):
        trail(model, (X, Y), weights_of=-1)
    with pytest.raises(UserError, match="label 12"):
        trail(model, (X, Y + 9))
    with pytest.raises(UserError, match="one loss per sample"):
        trail(model, (X, Y), loss=lambda z, y: z)
    with pytest.raises(UserError, match="no gradient"):
        trail(nn.Sequential(nn.Flatten(), nn.Threshold(9, 0), Detached(), nn.Linear(64, 4)), (X, Y))
    with pytest.raises(UserError, match="cannot be merged"):
        merge(trail(model, (X, Y)), trail(model, (X, Y), rule=BPTR()))
    with pytest.raises(UserError, match="different networks"):
        merge(trail(model, (X, Y)), trail(residual(), (X, Y)))


class Backward(torch.autograd.Function):
    """The identity, with a gradient of NaN."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx, *upstreams: Tensor) -> Tensor:
        return upstreams[0] * math.nan


class Broken(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return Backward.apply(x)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_named(value: float) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 4))
    with pytest.raises(UserError, match="the gradient of the loss at the logits is not finite"):
        trail(model, (X, Y), loss=lambda z, y: value * z.sum(1))
    with pytest.raises(UserError, match=r"the gradient at the input of 2 backward is not finite"):
        trail(nn.Sequential(*model[:2], Broken(), *model[2:]), (X, Y))
    with torch.no_grad():
        model[1].weight[:] = value
    with pytest.raises(UserError, match=r"a logit is not finite.*check the weights"):
        trail(model, (X, Y))


def test_a_gradient_at_a_weight_that_is_not_finite_is_named() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.zeros(4))

        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1)[:, :4] + self.scale.sqrt()  # of infinite slope at 0

    with pytest.raises(UserError, match="the gradient at scale is not finite"):
        trail(Scaled(), (X, Y))


class Detached(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.detach()


@pytest.mark.filterwarnings("ignore")  # of the import
def test_spikingjelly_networks() -> None:
    pytest.importorskip("spikingjelly")
    from spikingjelly.activation_based import functional, layer, neuron, surrogate

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = layer.Conv2d(1, 4, 3)
            self.spikes = neuron.ParametricLIFNode(surrogate_function=surrogate.PiecewiseQuadratic())
            self.head = layer.Linear(144, 4)

        def forward(self, x: Tensor) -> Tensor:
            functional.reset_net(self)
            return torch.stack([self.head(self.spikes(self.convolution(x)).flatten(1)) for _ in range(3)]).mean(0)

    torch.manual_seed(0)
    model = Net()
    found = trail(model, (X, Y))
    assert_equal(trail(model, (X, Y), batch_size=2), found)
    leaf = X.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(cross_entropy(model(leaf), Y).sum(), leaf)
    assert found.input.zeros.total == int((gradient == 0).sum())
    names = [o.name for o in found.operations]
    assert names[0] == "convolution convolution"
    (step,) = [o for o in found.operations if o.path == "spikes.surrogate_function"]
    assert step.input.entries == 3 * 144  # three time steps, one operation
    assert step.added is not None
    assert step.added > 0


def test_neurons_without_a_gradient_in_eval_mode_are_refused_and_told_so() -> None:
    """As those of SpikingJelly before 2.0, which leave out their surrogate there."""

    class Node(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            spikes = (x > 0).float()
            return spikes + torch.sigmoid(x) - torch.sigmoid(x).detach() if self.training else spikes

    model = nn.Sequential(nn.Flatten(), nn.Linear(X[0].numel(), 5), Node(), nn.Linear(5, 4))
    with pytest.raises(UserError, match=r"there is no trail: .* in eval mode, and has one in train mode"):
        trail(model, (X, Y))


@dataclass(frozen=True)
class Mine:
    """The rule of another, by a foreign class; it says what it connects, or not."""

    inner: GradientRule
    says: str | None
    elementwise: ClassVar[bool] = False

    @property
    def label(self) -> str:
        return f"mine-{self.inner.label}"

    def __getattr__(self, name: str) -> Any:
        if name == "connects" and self.says is not None:
            return self.says
        raise AttributeError(name)

    def input_gradient(self, upstream: Tensor, current: Tensor, neuron: LIF) -> Tensor:
        return self.inner.input_gradient(upstream, current, neuron)


@pytest.mark.parametrize(("inner", "says"), [(STBP(), "later"), (BPTR(), "same"), (HART(), "all"), (PDSG(), "later")])
def test_a_foreign_rule_that_says_what_it_connects_is_explained_like_one_of_ours(
    inner: GradientRule, says: str
) -> None:
    ours, theirs = trail(spiking(), (X, Y), rule=inner), trail(spiking(), (X, Y), rule=Mine(inner, says))
    assert [o.architectural for o in ours.operations] == [o.architectural for o in theirs.operations]
    assert [o.natural for o in ours.operations] == [o.natural for o in theirs.operations]
    assert all(o.natural is not None for o in theirs.operations)
    mute = trail(spiking(), (X, Y), rule=Mine(inner, None))
    assert {o.kind for o in mute.operations if o.natural is None} == {"neurons"}
    assert [o.input for o in mute.operations] == [o.input for o in ours.operations]


def test_a_rule_that_says_what_nobody_understands_is_refused() -> None:
    with pytest.raises(UserError, match=r"connects='sometimes'; allowed are 'later', 'same', 'all'"):
        trail(spiking(), (X, Y), rule=Mine(STBP(), "sometimes"))


def test_in_train_mode_a_norm_passes_no_zeros_on_and_in_eval_mode_all() -> None:
    """eq. 6 of the trail paper: g_in = (gamma / sigma) (g - mean(g) - x^ mean(g x^)), over batch and positions."""
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(2).eval()
    model = nn.Sequential(norm, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32, 4)).eval()
    x, y = images(6, (2, 8, 8), low=0.0, high=1.0), torch.arange(6) % 4

    def of_norm(found: Trail) -> Operation:
        return next(o for o in found.operations if o.kind == "norm")

    running, batch = trail(model, (x, y)), trail(model, (x, y), statistics="batch")
    assert of_norm(running).input.zeros.total == of_norm(running).output.zeros.total == 6 * 128 * 3 // 4
    assert of_norm(batch).output.zeros.total == 6 * 128 * 3 // 4
    assert of_norm(batch).input.zeros.total == 0
    leaf = x.clone().requires_grad_()
    scaled = (leaf - leaf.mean((0, 2, 3), keepdim=True)) / (
        leaf.var((0, 2, 3), unbiased=False, keepdim=True) + norm.eps
    ).sqrt()
    (gradient,) = torch.autograd.grad(cross_entropy(model[1:](scaled), y).sum(), leaf)
    assert batch.input.l2.total == pytest.approx(float(gradient.double().flatten(1).norm(dim=1).sum()), rel=1e-4)
    assert not batch.weights
    assert running.weights
    assert not norm.training
    assert norm.num_batches_tracked == 0
    assert record_of(Trail, batch.to_dict(), "") == batch
    with pytest.raises(UserError, match="cannot be merged"):
        merge(running, batch)
    for refused, text in (({"batch_size": 1}, "give 2 or more"), ({}, "'layer': allowed are")):
        with pytest.raises(UserError, match=text):
            trail(model, (x, y), statistics="batch" if refused else "layer", **refused)  # type: ignore[arg-type]
