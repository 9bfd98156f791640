"""Trails of networks so small that every zero is known by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from robustsnn.losses import margin
from robustsnn.neurons import BPTR, HART, IF, LIF, RGA, STBP, Arctan, GradientRule, Neurons, Rectangle, Triangle
from robustsnn.studies.trail.measure import trail
from robustsnn.studies.trail.record import Operation, Trail

Y = torch.tensor([0])


def readout(weights: Tensor) -> nn.Linear:
    """Logits (w . h, 0): the gradient of the margin at h is -w."""
    layer = nn.Linear(weights.numel(), 2, bias=False)
    with torch.no_grad():
        layer.weight.zero_()[0] = weights.flatten()
    return layer


def of(found: Trail, kind: str) -> Operation:
    (operation,) = [operation for operation in found.operations if operation.kind == kind]
    return operation


def zeros(operation: Operation) -> tuple[float, ...]:
    """(passed, architectural, natural, other) over all samples; they add up to the zeros at the input."""
    parts = [operation.passed, operation.architectural, operation.natural, operation.other]
    totals = tuple(part.total for part in parts if part is not None)
    assert len(totals) == 4
    assert sum(totals) == operation.input.zeros.total
    return totals


def pooled(layer: nn.Module, x: Tensor, weights: Tensor) -> Operation:
    return trail(nn.Sequential(layer, nn.Flatten(), readout(weights)), (x, Y), loss=margin).operations[0]


def test_max_pooling_without_overlap_adds_three_quarters_where_gradient_arrives() -> None:
    x = torch.rand(1, 1, 4, 4)
    assert zeros(pooled(nn.MaxPool2d(2), x, torch.ones(4))) == (0, 12, 0, 0)
    assert zeros(pooled(nn.MaxPool2d(2), x, torch.tensor([1.0, 0, 0, 2]))) == (8, 6, 0, 0)


def test_max_pooling_with_overlap_by_hand() -> None:
    middle = torch.zeros(1, 1, 5, 5)
    middle[..., 2, 2] = 1  # wins in all four windows
    assert zeros(pooled(nn.MaxPool2d(3, 2), middle, torch.ones(4))) == (0, 24, 0, 0)
    # Two of its four gradients cancel the others: a zero, but no loser.
    assert zeros(pooled(nn.MaxPool2d(3, 2), middle, torch.tensor([1.0, -1, 1, -1]))) == (0, 24, 0, 1)
    corners = torch.zeros(1, 1, 5, 5)
    corners[..., ::4, ::4] = 1
    assert zeros(pooled(nn.MaxPool2d(3, 2), corners, torch.ones(4))) == (0, 21, 0, 0)
    # Of the window at the top left, 4 pixels are in no other; those of the others get gradient or lose.
    assert zeros(pooled(nn.MaxPool2d(3, 2), corners, torch.tensor([0.0, 1, 1, 1]))) == (4, 18, 0, 0)
    # A last row and column that no window covers were never passed anything: added.
    assert zeros(pooled(nn.MaxPool2d(2), corners, torch.zeros(4))) == (16, 9, 0, 0)


def test_average_pooling_adds_none() -> None:
    x = torch.rand(1, 2, 6, 6)
    for layer in (nn.AvgPool2d(2), nn.AvgPool2d(3, 2, 1), nn.AdaptiveAvgPool2d(3)):
        operation = pooled(layer, x, torch.arange(18.0))
        assert operation.kind == "average-pool"
        passed, *added = zeros(operation)
        assert added == [0, 0, 0]
        assert passed > 0


def test_a_strided_convolution_of_one_pixel_adds_three_quarters() -> None:
    layer = nn.Conv2d(2, 3, 1, stride=2, bias=False)
    assert zeros(pooled(layer, torch.rand(1, 2, 4, 4), torch.ones(12))) == (0, 24, 0, 0)
    # The pixels that the stride skips get no gradient even of a network that has none.
    assert zeros(pooled(layer, torch.rand(1, 2, 4, 4), torch.zeros(12))) == (8, 24, 0, 0)


def test_a_convolution_passes_on_what_all_its_outputs_lack_and_adds_nothing() -> None:
    weights = torch.ones(4, 4)
    weights[:2] = 0  # a 1x3 convolution sees one row at a time
    operation = pooled(nn.Conv2d(1, 1, (1, 3), padding=(0, 1), bias=False), torch.rand(1, 1, 4, 4), weights)
    assert zeros(operation) == (8, 0, 0, 0)


def test_zero_weights_are_architecture_and_cancellation_is_neither() -> None:
    layer = nn.Conv2d(1, 2, 1, bias=False)
    with torch.no_grad():
        layer.weight[:, 0, 0, 0] = torch.tensor([1.0, 1.0])
    assert zeros(pooled(layer, torch.rand(1, 1, 2, 2), torch.tensor([1.0, 1, 1, 1, -1, 1, 1, 1]))) == (0, 0, 0, 1)
    with torch.no_grad():
        layer.weight.zero_()
    assert zeros(pooled(layer, torch.rand(1, 1, 2, 2), torch.ones(8))) == (0, 4, 0, 0)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 1), st.integers(1, 2), st.booleans(), st.integers(5, 7))
def test_windows_and_convolutions_are_connected_as_their_forward_pass_says(
    kernel: int, stride: int, padding: int, dilation: int, ceil: bool, size: int
) -> None:
    padding = min(padding, kernel // 2)
    pool = nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=ceil)
    convolution = nn.Conv2d(1, 1, kernel, stride, padding, dilation, bias=False)
    nn.init.ones_(convolution.weight)
    hot = torch.eye(size * size).view(-1, 1, size, size)
    for layer in (pool, convolution):
        jacobian = layer(hot).detach().flatten(1) > 0  # which outputs each input can be seen at
        lit = torch.rand(jacobian.shape[1], generator=torch.Generator().manual_seed(size)) < 0.3
        passed = int((jacobian.any(1) & ~(jacobian & lit).any(1)).sum())
        assert zeros(pooled(layer, torch.rand(1, 1, size, size), lit.float()))[0] == passed


class Currents(nn.Module):
    """Neurons with given currents `[T, N]`, moved by the image by nothing; a readout weight per step and neuron."""

    def __init__(self, currents: Tensor, weights: Tensor, rule: GradientRule, neuron: LIF) -> None:
        super().__init__()
        self.currents, self.weights = currents, weights
        self.neurons = Neurons(neuron, len(currents), rule)

    def forward(self, x: Tensor) -> Tensor:
        current = self.currents[:, None] + x.flatten(1)[None]
        z = (self.neurons(current) * self.weights[:, None]).sum((0, 2))
        return torch.stack([z, torch.zeros_like(z)], 1)


def neurons(currents: list[list[float]], rule: GradientRule, weights: list[list[float]] | None = None, **neuron):
    """The neuron layer of `Currents`: a row per step, a column per neuron."""
    given = torch.tensor(currents)
    weight = torch.ones_like(given) if weights is None else torch.tensor(weights)
    found = trail(Currents(given, weight, rule, IF(**neuron)), (torch.zeros(1, 1, 1, given.shape[1]), Y), loss=margin)
    operation = of(found, "neurons")
    assert operation.spiking is not None
    assert zeros(operation)[1:] == tuple(
        part.total for part in (operation.architectural, operation.natural, operation.other) if part
    )
    return operation


def test_triangle_neurons_add_zeros_outside_their_support() -> None:
    # One step, theta = 1: the potential is the current, and the support is (0, 2).
    operation = neurons([[-1.0, 0.0, 0.25, 1.0, 1.75, 2.0, 3.0]], STBP(Triangle()))
    assert zeros(operation) == (0, 0, 4, 0)
    assert vars(operation.spiking) == {
        "neurons": 7, "silent": 3, "saturated": 4, "in_silent": 2, "in_saturated": 2, "in_others": 0,
    }  # fmt: skip
    assert zeros(neurons([[-1.0, 0.0, 0.25, 1.0, 1.75, 2.0, 3.0]], STBP(Rectangle(4.5))))[2] == 0


def test_a_neuron_that_fires_sometimes_adds_architectural_zeros() -> None:
    # Potentials -5 and 2, both outside the support, with a spike at the second step.
    operation = neurons([[-5.0], [7.0]], STBP(Triangle()))
    assert zeros(operation) == (0, 2, 0, 0)
    assert operation.spiking is not None
    assert operation.spiking.in_others == 2


def test_a_reset_cuts_the_way_through_time() -> None:
    # A spike at step 1, and gradient at step 2 alone: it cannot go back through the reset.
    operation = neurons([[1.5], [0.5]], STBP(Triangle()), [[0.0], [1.0]], detach_reset=True)
    assert zeros(operation) == (0, 0, 1, 0)
    assert zeros(neurons([[0.25], [0.5]], STBP(Triangle()), [[0.0], [1.0]], detach_reset=True)) == (0, 0, 0, 0)


def test_what_a_step_is_connected_to_depends_on_the_rule() -> None:
    currents, first_alone = [[0.25], [1.0]], [[1.0], [0.0]]
    assert zeros(neurons(currents, STBP(), first_alone)) == (1, 0, 0, 0)  # step 2 cannot move the spike of step 1
    assert zeros(neurons(currents, BPTR(), first_alone)) == (1, 0, 0, 0)
    assert zeros(neurons(currents, BPTR(), [[0.0], [1.0]])) == (1, 0, 0, 0)
    assert zeros(neurons(currents, HART(), first_alone)) == (0, 0, 0, 0)


def test_the_gate_of_bptr_is_natural() -> None:
    operation = neurons([[0.1, 1.0, 0.0, 0.6], [0.1, 1.0, 0.0, 0.6]], BPTR())
    assert zeros(operation) == (0, 0, 4, 0)
    assert operation.spiking is not None
    assert (operation.spiking.silent, operation.spiking.in_silent) == (2, 4)


def test_rates_outside_the_range_of_rga() -> None:
    # Mean currents -1, 0.5, 3 and, in a neuron that fires once, 2.5.
    operation = neurons([[-1.0, 0.5, 3.0, -1.0], [-1.0, 0.5, 3.0, 6.0]], RGA())
    assert zeros(operation) == (0, 2, 4, 0)


def test_arctan_neurons_add_none_however_far_from_the_threshold() -> None:
    operation = neurons([[-50.0, 0.0, 3.0, 99.0], [0.0, -9.0, 3.0, 99.0]], STBP(Arctan()))
    assert zeros(operation) == (0, 0, 0, 0)


class Joined(nn.Module):
    """Spikes a and b of the two halves of an image (pixel above 1/2), joined element by element."""

    def __init__(self, kind: str, size: int) -> None:
        super().__init__()
        self.kind = kind
        self.first, self.second = (Neurons(IF(theta=0.5), 1, STBP(Arctan())) for _ in range(2))
        self.head = readout(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.first(x[None, :, 0].flatten(2)), self.second(x[None, :, 1].flatten(2))
        return self.head({"and": a * b, "iand": (1 - a) * b, "add": a + b}[self.kind]).mean(0)


@pytest.mark.parametrize(("kind", "first", "second"), [("and", 2, 1), ("iand", 2, 3), ("add", 0, 0)])
def test_connections_add_zeros_where_the_other_branch_is_zero(kind: str, first: int, second: int) -> None:
    # Spikes a = 1 1 0 1, b = 1 0 0 1: the gradient at a is b, the gradient at b is a, or 1 - a.
    x = torch.tensor([[[[0.9, 0.8, 0.1, 0.7]], [[0.9, 0.2, 0.3, 0.6]]]])
    found = trail(Joined(kind, 4), (x, Y))
    operation = of(found, "add" if kind == "add" else "multiply")
    assert zeros(operation) == (0, 0, first + second, 0)
    assert operation.input.entries == 8


class Halved(torch.autograd.Function):
    """The identity; of its gradient every second entry is lost."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx, *upstreams: Tensor) -> Tensor:
        mask = torch.arange(upstreams[0].numel()) % 2
        return upstreams[0] * mask.view_as(upstreams[0])


class Planted(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return Halved.apply(x)


def test_a_planted_defect_is_found_at_its_place() -> None:
    torch.manual_seed(0)
    plant = Planted()
    model = nn.Sequential(nn.Conv2d(1, 4, 3), plant, nn.BatchNorm2d(4), nn.Flatten(), readout(torch.ones(64)))
    found = trail(model, (torch.rand(3, 1, 6, 6), torch.tensor([0, 1, 0])))
    adding = {o.name: o.added for o in found.operations if o.added}
    assert adding == {"1 halved": 3 * 32}
    assert of(found, "halved").architectural is not None


class Foreign(nn.Module):
    """A network written in functions; its ReLU and clamp can be counted by hand."""

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(x - 0.5)
        h = F.avg_pool2d(h, 2).flatten(1)
        z = (h * torch.arange(1.0, 1 + h.shape[1])).sum(1)
        return torch.stack([z, 0 * z], 1)


def test_operations_that_are_no_modules_are_seen() -> None:
    x = torch.rand(2, 1, 4, 4)
    found = trail(Foreign(), (x, torch.tensor([0, 1])))
    assert [o.kind for o in found.operations if o.kind in ("relu", "average-pool")] == ["relu", "average-pool"]
    assert zeros(of(found, "relu")) == (0, int((x <= 0.5).sum()), 0, 0)
    assert zeros(of(found, "average-pool")) == (0, 0, 0, 0)


def test_a_product_with_a_number_is_no_product_with_a_spike() -> None:
    class Scaled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.ops.aten.mul.Scalar(x.flatten(1), 0.0) + torch.arange(4.0)  # what TorchScript calls

    found = trail(Scaled(), (torch.rand(2, 1, 2, 2), torch.tensor([0, 1])))
    assert zeros(of(found, "multiply")) == (0, 8, 0, 0)


def test_an_operation_of_unknown_structure_is_counted_but_not_explained() -> None:
    class Sorted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cummax(torch.relu(x.flatten(1) - 0.5), 1).values[:, -2:]

    operation = of(trail(Sorted(), (torch.rand(2, 1, 2, 2), torch.tensor([0, 1]))), "cummax")
    assert operation.passed is None
    assert operation.added is None
    assert operation.input.zeros.total > 0


def test_the_loss_is_an_operation_too() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 5))
    found = trail(model, (torch.rand(3, 1, 2, 2), torch.tensor([0, 1, 2])), loss=margin)
    assert found.loss == "margin"
    assert found.operations[-1].name == "model loss"
    assert zeros(found.operations[-1]) == (0, 0, 0, 9)  # a margin moves two of five logits
