"""Training steps as CUDA graphs, `train.graphs`, against steps that Python launches.

    python benchmarks/cuda_graphs.py --json OUT

With CUDA: checks that two steps leave the same weights either way, then times both in turns. Without: checks alone, the
recorded functions called again instead of replayed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch

from arguments import THREADS_HELP, Parser, context, output, positive
from robustsnn.bench.machine import prepared
from robustsnn.bench.show import heading, text
from robustsnn.bench.step import EPOCH
from robustsnn.bench.timing import paired, rounded
from robustsnn.bench.trainee import REGIMES, Trainee
from robustsnn.ground.files import write_json
from robustsnn.ground.seeds import generator
from robustsnn.neurons import compilation
from robustsnn.objectives.natural import TwoPart
from robustsnn.training.graphs import Graphs

# Of weights after two steps, relative to the largest change: spikes may differ where atomic sums are in another order.
TOLERANCE = 0.05


class Graphed(Trainee):
    """The same steps of the same network, recorded."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.graphs = Graphs(self.model, self.autocast)

    def step(self, regime: str) -> None:
        objective = cast(TwoPart, REGIMES[regime])
        self.graphs.step(objective, self.x, self.y, generator=generator(self.seed, "bench", regime))
        self.optimiser.step()


def check(made: Callable[[type[Trainee]], Trainee], regime: str, other: type[Trainee] = Graphed) -> float:
    """By how much two steps of another kind leave other weights than two of the library, over the largest change."""
    plain, graphed = made(Trainee), made(other)
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


def measure(options: Any, name: str, batch: int, device: torch.device) -> dict[str, Any]:
    """One network and batch: the check, and on a GPU the times of each way, and memory."""
    shape = (3, options.image, options.image)

    def made(kind: type[Trainee]) -> Trainee:
        return kind(name, options.precision, shape, options.steps, batch, options.seed, device)

    found: dict[str, Any] = {"apart": {}, "regimes": {}}
    if device.type == "cpu" or batch == min(options.batch):  # the same code for every batch
        with compilation("auto" if device.type == "cuda" else "never"):
            for regime in options.regimes:
                itself, apart = check(made, regime, Trainee), check(made, regime)
                found["apart"][regime] = {"itself": rounded(itself), "graphs": rounded(apart)}
                told = f"weights after two steps apart by {apart:.1e} of the change, the library's own by {itself:.1e}"
                print(f"{name}, {regime}: {told}", flush=True)
                if not apart <= max(TOLERANCE, itself):
                    print(f"{name}, {regime}: recorded steps are not the library's", flush=True)
    if device.type == "cpu":
        return found
    plain, graphed = made(Trainee), made(Graphed)

    def eager(regime: str) -> None:
        with compilation("never"):
            plain.step(regime)

    for regime in options.regimes:
        works = {"library": partial(plain.step, regime), "graphs": partial(graphed.step, regime)}
        if options.eager:
            works["eager"] = partial(eager, regime)
        times = paired(works, options.rounds, device, settle=1)
        ms, batches = {way: times.ms(way) for way in works}, EPOCH / batch
        seconds = {way: {k: rounded(v * batches / 1e3) for k, v in taken.items()} for way, taken in ms.items()}
        torch.cuda.reset_peak_memory_stats()
        plain.step(regime)
        peak = round(torch.cuda.max_memory_allocated() / 2**20, 1)
        over = {way: times.over(way, "graphs") for way in works if way != "graphs"}
        found["regimes"][regime] = {
            "ms": ms, "epoch_s": seconds, "over_graphs": over, "first_call_s": times.first, "peak_mib": peak,
        }  # fmt: skip
        told = ", ".join(f"{way} {text(seconds[way])}" for way in works)
        print(f"{name} B={batch} {regime}: s an epoch of {EPOCH:,}: {told}; {peak} MiB", flush=True)
    return found


def profile(work: Callable[[], None]) -> str:
    """Where the GPU spends the time of three calls: the kernels that take most."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as watched

    with watched(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as seen:
        for _ in range(3):
            work()
        torch.cuda.synchronize()
    return seen.key_averages().table(sort_by="self_cuda_time_total", row_limit=25, max_name_column_width=70)


def main() -> None:
    parser = Parser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--networks", nargs="+", default=["vgg11", "wide_resnet16"], help="default: %(default)s")
    parser.add_argument("--regimes", nargs="+", choices=list(REGIMES), default=list(REGIMES), help="default: all")
    parser.add_argument("--image", type=positive, default=32, help="side of the images; default %(default)s")
    parser.add_argument("--steps", type=positive, default=8, help="time steps T; default %(default)s")
    parser.add_argument("--batch", type=positive, nargs="+", default=[64], help="default %(default)s")
    parser.add_argument("--rounds", type=positive, default=11, help="default %(default)s")
    parser.add_argument("--eager", action="store_true", help="time steps whose neurons are not compiled, too")
    parser.add_argument("--profile", action="store_true", help="say which kernels take the time of the last regime")
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
            for batch in options.batch:
                document["results"][f"{name} B={batch}"] = found = measure(options, name, batch, device)
                if options.json:
                    write_json(options.json, document)
                if options.profile and device.type == "cuda":
                    shape = (3, options.image, options.image)
                    used = Graphed(name, options.precision, shape, options.steps, batch, options.seed, device)
                    used.step(options.regimes[-1])
                    found["profile"] = profile(partial(used.step, options.regimes[-1]))
                    print(found["profile"], flush=True)
    if device.type == "cpu":
        print("Checked by calling again what a GPU would replay: there is none here, and nothing was timed.")


if __name__ == "__main__":
    main()
