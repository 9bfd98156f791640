"""Training steps as CUDA graphs: recorded once, launched as one.

A step is some thousand launches from Python, which take a CPU longer than the kernels take a fast GPU. A CUDA graph
launches all of them at once. Recorded are the two passes of a gradient evaluation of the attack inside training, and
what follows the attack: the forward passes, the loss and the backward pass. What draws random numbers or looks at a
number stays outside: the attack's starts and updates, the optimiser, the constraints. The kernels are the same ones
in the same order, so the weights are, too.

A graph belongs to one shape; the last, smaller batch of an epoch takes the usual way.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

import torch
from torch import Tensor, nn

from robustsnn.attacks.passes import gradients_by
from robustsnn.ground.modes import precision
from robustsnn.ground.types import Images, Labels, Logits
from robustsnn.neurons import neuron_layers
from robustsnn.objectives.natural import Terms, TwoPart, total

WARM_UP = 3
"""Calls before recording, in which libraries choose their kernels and take their memory."""


def recordable(objective: object) -> bool:
    """Whether an objective is all that its `inputs` and `at_points` say: no subclass has put another call over them."""
    if not isinstance(objective, TwoPart):
        return False
    owners = [next(c for c in type(objective).__mro__ if name in vars(c)) for name in ("at_points", "__call__")]
    return owners[0] is owners[1]


def _warm_up(work: Callable[[], object]) -> None:
    """Before recording; nothing is kept of it, since its nodes of autograd would belong to another stream."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side), torch.enable_grad():
        for _ in range(WARM_UP):
            work()
    torch.cuda.current_stream().wait_stream(side)


class RecordedFunction:
    """A function of tensors of fixed shape as a CUDA graph. What it returns is overwritten by the next call.

    On a CPU it is simply called.
    """

    def __init__(self, function: Callable[..., tuple[Tensor, ...]], *examples: Tensor) -> None:
        self.function, self.inputs = function, [x.detach().clone() for x in examples]
        self.graph: torch.cuda.CUDAGraph | None = None
        if not examples[0].is_cuda:
            return
        _warm_up(lambda: function(*self.inputs))
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.outputs = function(*self.inputs)

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        for own, given in zip(self.inputs, tensors, strict=True):
            own.copy_(given)
        if self.graph is None:
            self.outputs = self.function(*self.inputs)
        else:
            self.graph.replay()
        return self.outputs


class Graphs:
    """The recorded steps of a model in training; `step` leaves the gradient of the loss in its parameters.

    Args:
        model: in train mode, its parameters and buffers on one device, where they stay.
        autocast: precision of convolutions and matrix products.
    """

    def __init__(self, model: nn.Module, autocast: str) -> None:
        self.model, self.autocast = model, autocast
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.recorded: dict[Hashable, RecordedFunction] = {}
        self.names: tuple[str, ...] = ()
        self.gradients: dict[Hashable, list[Tensor | None]] = {}
        self.passes: dict[Hashable, _Pass] = {}

    def step(self, objective: TwoPart, x: Images, y: Labels, *, generator: torch.Generator) -> tuple[Terms, Logits]:
        """Terms `{name: [B]}` and logits of the objective; the gradient of the sum of their means is in `p.grad`."""
        with precision(self.autocast, x.device), gradients_by(self._of_attack):
            points = objective.inputs(self.model, x, y, generator).detach()

        def differentiated(points: Tensor, y: Tensor) -> tuple[Tensor, ...]:
            for parameter in self.parameters:
                parameter.grad = None
            with precision(self.autocast, points.device):
                terms, logits = objective.at_points(self.model, points, y)
            self.names = tuple(terms)
            total(terms).backward()
            return logits.detach(), *(term.detach() for term in terms.values())

        key = (repr(objective), points.shape)
        if self.recorded.keys() - {key}:  # another lambda: its graphs are not needed again
            self.recorded.clear()
            self.gradients.clear()
        if key not in self.recorded:
            before = [buffer.clone() for buffer in self.model.buffers()]
            self.recorded[key] = RecordedFunction(differentiated, points, y)
            with torch.no_grad():  # warming up moved the statistics of the norms
                for buffer, old in zip(self.model.buffers(), before, strict=True):
                    buffer.copy_(old)
        logits, *terms = self.recorded[key](points, y)
        if key not in self.gradients:
            self.gradients[key] = [parameter.grad for parameter in self.parameters]
        if self.recorded[key].graph is not None:
            for parameter, gradient in zip(self.parameters, self.gradients[key], strict=True):
                parameter.grad = gradient
        return dict(zip(self.names, terms, strict=True)), logits

    def _of_attack(
        self, model: nn.Module, z: Images, y: Labels, loss: Callable[[Logits], Tensor]
    ) -> tuple[Logits, Tensor, Tensor]:
        """What an attack asks of one pass: logits, loss `[B]` and the gradient of its sum."""
        key = ("attack", z.shape, *(id(layer.rule) for layer in neuron_layers(model)))
        if key not in self.passes:
            self.passes[key] = _Pass(model, z)
        logits = self.passes[key].forward(z)
        leaf = logits.detach().clone().requires_grad_()
        with torch.enable_grad():
            value = loss(leaf)
        (slope,) = torch.autograd.grad(value.sum(), leaf)
        return leaf.detach(), value.detach(), self.passes[key].backward(slope)


class _Pass:
    """A forward pass and the backward pass to its input, as two graphs over the same memory; in eval mode."""

    def __init__(self, model: nn.Module, z: Images) -> None:
        self.model, self.z = model, z.detach().clone().requires_grad_()
        self.graphs: list[torch.cuda.CUDAGraph] = []
        if not z.is_cuda:
            return
        _warm_up(lambda: torch.autograd.grad((logits := model(self.z)), self.z, torch.ones_like(logits)))
        self.graphs = [torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()]
        with torch.enable_grad():
            with torch.cuda.graph(self.graphs[0]):
                self.logits = model(self.z)
            self.slope = torch.zeros_like(self.logits)
            with torch.cuda.graph(self.graphs[1], pool=self.graphs[0].pool()):
                (self.gradient,) = torch.autograd.grad(self.logits, self.z, self.slope)

    def forward(self, z: Images) -> Logits:
        with torch.no_grad():
            self.z.copy_(z)
        if self.graphs:
            self.graphs[0].replay()
        else:
            with torch.enable_grad():
                self.logits = self.model(self.z)
        return self.logits

    def backward(self, slope: Tensor) -> Tensor:
        if self.graphs:
            self.slope.copy_(slope)
            self.graphs[1].replay()
        else:
            (self.gradient,) = torch.autograd.grad(self.logits, self.z, slope)
        return self.gradient
