"""A candidate for GPUs: training steps as CUDA graphs, against the library's steps.

    python benchmarks/cuda_graphs.py --json OUT

A step of the library is some thousand launches from Python, which take a CPU longer than the kernels take a fast GPU.
A CUDA graph records them once and launches them as one. Here a gradient evaluation of the attack is one graph; forward
passes, input gradient, backward pass and optimiser step are another. Both read their batch from fixed tensors. Only the
updates of the attack's images, and its random starts, stay outside.

With CUDA: checks that two steps leave the same weights either way, then times both in turns. Without: checks alone, the
recorded functions called again instead of replayed. The policy is that of `triton_neuron.py`: graphs enter the library
if they win on a GPU, not before. What they would cost there: a graph per batch size, memory that is never given back,
and objectives that wait for no number (those here do not).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, cast
from unittest import mock

import torch
from torch import Tensor, nn

from arguments import THREADS_HELP, Parser, context, output, positive
from robustsnn.attacks import passes
from robustsnn.bench.machine import prepared
from robustsnn.bench.show import heading, text
from robustsnn.bench.step import EPOCH
from robustsnn.bench.timing import paired, rounded
from robustsnn.bench.trainee import AT, REGIMES, Trainee
from robustsnn.ground.files import write_json
from robustsnn.ground.modes import precision
from robustsnn.ground.seeds import generator
from robustsnn.losses import cross_entropy
from robustsnn.neurons import compilation
from robustsnn.objectives import Natural, Objective, SparsityRegularised

ATTACKED = {"AT", "SR*"}
AT_THE_POINTS: dict[str, Objective] = {
    **REGIMES,
    "AT": Natural(),
    "SR*": replace(cast(SparsityRegularised, REGIMES["SR*"]), over=Natural()),
}
"""What each regime asks of the network at the images that it trains on."""
WARM_UP = 3
# Of weights after two steps, relative to the largest change: spikes may differ where atomic sums are in another order.
TOLERANCE = 0.05

Function = Callable[..., tuple[Tensor, ...]]


class Recorded:
    """A function of tensors of fixed shape as a CUDA graph. What it returns is overwritten by the next call.

    It may not wait for a number, and must make the same launches at every call. On a CPU it is simply called.
    """

    def __init__(self, function: Function, *examples: Tensor) -> None:
        self.function, self.inputs = function, [x.detach().clone() for x in examples]
        self.graph: torch.cuda.CUDAGraph | None = None
        if not examples[0].is_cuda:
            return
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                function(*self.inputs)
        torch.cuda.current_stream().wait_stream(side)
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


class Graphed(Trainee):
    """The same steps of the same network, recorded."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.recorded: dict[str, Recorded] = {}

    def step(self, regime: str) -> None:
        x = self.x
        if regime in ATTACKED:
            draws = generator(self.seed, "bench", regime)
            with precision(self.autocast, self.device), self.graphs_of_gradients():
                x = AT.inputs(self.model, x, self.y, draws)
        if regime not in self.recorded:
            with self.unchanged():
                self.recorded[regime] = Recorded(partial(self.update, AT_THE_POINTS[regime]), x, self.y)
        self.recorded[regime](x, self.y)

    def update(self, objective: Objective, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        """All of a step that follows the attack; nothing in it draws."""
        loss = self.loss(objective, x, y, generator(0))
        self.descend(loss)
        return (loss.detach(),)

    @contextmanager
    def graphs_of_gradients(self) -> Iterator[None]:
        """Inside the block attacks take their gradients from a graph."""

        def evaluate(z: Tensor, y: Tensor) -> tuple[Tensor, ...]:
            with torch.enable_grad():
                leaf = z.detach().requires_grad_()
                logits = self.model(leaf)
                value = cross_entropy(logits, y)
                (gradient,) = torch.autograd.grad(value.sum(), leaf)
            return logits.detach(), value.detach(), gradient

        def recorded(model: nn.Module, z: Tensor, y: Tensor, loss: object) -> tuple[Tensor, ...]:
            if "gradient" not in self.recorded:
                self.recorded["gradient"] = Recorded(evaluate, z, y)
            return self.recorded["gradient"](z, y)

        with mock.patch.object(passes, "_gradient", recorded):
            yield

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Warming up makes steps too: weights, statistics and momentum are put back, in their place, at the end."""
        if not self.optimiser.state:
            self.prepare()
        momenta = [value for kept in self.optimiser.state.values() for value in kept.values()]
        state = [value for value in (*self.model.state_dict().values(), *momenta) if isinstance(value, Tensor)]
        before = [tensor.clone() for tensor in state]
        yield
        with torch.no_grad():
            for tensor, old in zip(state, before, strict=True):
                tensor.copy_(old)


def check(made: Callable[[type[Trainee]], Trainee], regime: str) -> float:
    """By how much two recorded steps leave other weights than two steps of the library, over the largest change."""
    plain, graphed = made(Trainee), made(Graphed)
    before = [weight.detach().clone() for weight in plain.model.parameters()]
    for trainee in (plain, graphed):
        trainee.prepare()
        for _ in range(2):
            trainee.step(regime)
    trained = [[weight.detach() for weight in trainee.model.parameters()] for trainee in (plain, graphed)]
    moved = max(float((a - b).abs().max()) for a, b in zip(trained[0], before, strict=True))
    apart = max(float((a - b).abs().max()) for a, b in zip(*trained, strict=True))
    if not moved > 0:
        raise SystemExit(f"{regime}: two steps left the weights as they were; nothing was compared")
    return apart / moved


def measure(options: Any, name: str, shape: tuple[int, ...], device: torch.device) -> dict[str, Any]:
    """One network: the check, and on a GPU the times of both."""

    def made(kind: type[Trainee]) -> Trainee:
        return kind(name, options.precision, shape, options.steps, options.batch, options.seed, device)

    mode = "auto" if device.type == "cuda" else "never"
    found: dict[str, Any] = {"apart": {}, "regimes": {}}
    with compilation(mode):
        for regime in REGIMES:
            apart = check(made, regime)
            found["apart"][regime] = rounded(apart)
            print(f"{name}, {regime}: weights after two steps apart by {apart:.1e} of the change", flush=True)
            if not apart <= TOLERANCE:
                raise SystemExit(f"{name}, {regime}: recorded steps are not the library's; not timed")
        if device.type == "cpu":
            return found
        plain, graphed = made(Trainee), made(Graphed)
        for regime in REGIMES:
            works = {"library": partial(plain.step, regime), "graphs": partial(graphed.step, regime)}
            times = paired(works, options.rounds, device, settle=1)
            ms, over = {way: times.ms(way) for way in works}, times.over("library", "graphs")
            batches = EPOCH / options.batch
            seconds = {way: {k: rounded(v * batches / 1e3) for k, v in taken.items()} for way, taken in ms.items()}
            found["regimes"][regime] = {"ms": ms, "epoch_s": seconds, "library_over_graphs": over}
            for what, figures in (("ms a step", ms), (f"s an epoch of {EPOCH:,}", seconds)):
                print(f"  {what}: library {text(figures['library'])}, graphs {text(figures['graphs'])}")
            print(f"  library / graphs: {text(over)}", flush=True)
    return found


def main() -> None:
    parser = Parser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--networks", nargs="+", default=["vgg11", "wide_resnet16"], help="default: %(default)s")
    parser.add_argument("--image", type=positive, default=32, help="side of the images; default %(default)s")
    parser.add_argument("--steps", type=positive, default=8, help="time steps T; default %(default)s")
    parser.add_argument("--batch", type=positive, default=64, help="default %(default)s")
    parser.add_argument("--rounds", type=positive, default=11, help="default %(default)s")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="bfloat16", help="default %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default %(default)s")
    parser.add_argument("--threads", type=positive, help=THREADS_HELP)
    parser.add_argument("--json", type=output, metavar="OUT", help="write all figures to this file")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with prepared(options.threads):
        document = context(device) | {k: v for k, v in vars(options).items() if k not in ("json", "threads")}
        print(heading(document), flush=True)
        document["results"] = {}
        for name in options.networks:
            document["results"][name] = measure(options, name, (3, options.image, options.image), device)
            if options.json:
                write_json(options.json, document)
    if device.type == "cpu":
        print("Checked by calling again what a GPU would replay: there is none here, and nothing was timed.")


if __name__ == "__main__":
    main()
