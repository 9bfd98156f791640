"""`robustsnn evaluate`: a run under attack, or its saved adversarial images judged anew."""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path

from robustsnn.cli.executor import SLURM, beside, cluster_of, executing, submitted
from robustsnn.cli.options import listed, overwriting, path, radii, radius, trusting, value
from robustsnn.cli.streams import printable
from robustsnn.ground.errors import UserError
from robustsnn.ground.progress import one_voice, speaks
from robustsnn.ground.ranges import Count, Seed

SECTIONS = {
    "the attack": ("--suite", "--attack", "--steps", "--eps", "--norm", "--curve", "--source", "--flags", "--seed"),
    "images and cost": ("--limit", "--batch_size", "--precision"),
    "a network of your own": ("--weights", "--data", "--root", "--out"),
    "going on, and parts on several machines": ("--resume", "--shard", "--merge"),
    "where": ("--executor", *SLURM),
    "files": ("--save_images", "--images", "--overwrite", "--trust-code"),
}
"""The page `--help`: every option, in its order."""


@one_voice()
def run(arguments: list[str]) -> None:
    """Attack a run, or judge saved images, and say how it did."""
    from robustsnn.names.parsing import Parser, taken
    from robustsnn.runs.slurm import Slurm

    parser = Parser(
        prog="robustsnn evaluate",
        usage="robustsnn evaluate RUN --suite SUITE --eps EPS [OPTION ...]",
        description="Attack a run's test images and judge the results.",
        sections=SECTIONS,
    )
    parser.add_argument(
        "run", type=path, help="folder made by train; or module:attribute that builds your network, with --weights"
    )
    parser.add_argument("--weights", type=path, default=None, help="of your network: .safetensors, or a .pt state dict")
    parser.add_argument("--data", type=str, default=None, help="of your network, see `robustsnn list datasets`")
    parser.add_argument("--root", type=str, default=None, help="folder of the data's files")
    parser.add_argument("--out", type=path, default=None, help="of your network: folder that becomes its run")
    parser.add_argument(
        "--suite", type=str, help="required: quick, reliable, ..., see `robustsnn list suites`; several with commas"
    )
    parser.add_argument("--attack", type=str, default=None, help="one attack of `robustsnn list attacks` in its place")
    parser.add_argument("--steps", type=value(Count), default=None, help="of that attack")
    parser.add_argument("--eps", type=radius, help="required: radius of the threat, as 0.03 or 8/255")
    parser.add_argument("--norm", choices=["Linf", "L2"], default="Linf", help="%(default)s, or L2")
    parser.add_argument("--curve", type=radii, default=[], help="further radii for accuracy against eps, with commas")
    parser.add_argument("--source", type=str, default="", help="runs to craft black-box attacks on, with commas")
    parser.add_argument("--flags", type=str, default="", help="checks of your own, module:attribute, with commas")
    parser.add_argument("--limit", type=value(Count), default=None, help="only the first so many test images")
    parser.add_argument("--batch_size", type=value(Count), default=128, help="images per batch (%(default)s)")
    parser.add_argument("--seed", type=value(Seed), default=0, help="of the attacks (%(default)s)")
    parser.add_argument(
        "--precision",
        choices=["float32", "bfloat16"],
        default="float32",
        help="craft attacks in float32 or bfloat16; judged in float32",
    )
    parser.add_argument("--resume", action="store_true", help="use outcomes of an interrupted evaluation")
    parser.add_argument("--shard", type=str, default="", help="only part 2/4 of the batches; merge when all are done")
    parser.add_argument(
        "--merge", type=path, nargs="*", default=None, help="put shards together: other copies of the run"
    )
    parser.add_argument("--save_images", action="store_true", help="write the adversarial images as safetensors")
    parser.add_argument("--images", type=path, default=None, help="judge such images instead of attacking")
    overwriting(parser)
    trusting(parser, "the run's config or that of a source")
    executing(parser)
    options, cluster = taken(parser, Slurm, arguments, "slurm.")
    built = _built(options)
    if options.images is not None:
        others = {name: value for name, value in vars(options).items() if name not in ("run", "images", "trust_code")}
        given = [f"--{name}" for name, value in others.items() if value != parser.get_default(name)]
        if given:
            raise UserError(f"--images judges saved images and attacks none; leave out {', '.join(given)}")
        if speaks():
            _rejudge(options.run, options.images, options.trust_code)
        return
    _single(options)
    for name, example in (("suite", "reliable"), ("eps", "8/255")):
        if getattr(options, name) is None:
            raise UserError(f"evaluate needs --{name}, for example --{name} {example}")
    shard = _shard(options.shard)
    slurm = cluster_of(options.executor, cluster, beside(options.run))
    from robustsnn.ground.progress import Display

    with Display() as display:
        display.loading()
        if built is not None:
            from robustsnn.names.config import DataConfig
            from robustsnn.runs.adopt import adopt

            data = DataConfig(options.data, options.root)
            adopt(built, options.weights, data, options.run, overwrite=options.overwrite, progress=display)
        from robustsnn.evaluation import Effort, Shard
        from robustsnn.runs.folder import evaluate_run, evaluate_together, summary

        work = partial(
            evaluate_together if slurm is None else evaluate_run,
            options.run,
            listed(options.suite),
            options.eps,
            norm=options.norm,
            curve=options.curve,
            flags=listed(options.flags),
            limit=options.limit,
            sources=[Path(source) for source in listed(options.source)],
            shard=Shard(*shard) if shard else None,
            merge=None if options.merge is None else list(options.merge),
            save=options.save_images,
            overwrite=options.overwrite,
            trust_code=options.trust_code or (built is not None and [built]),
        )
        effort = Effort(options.batch_size, options.seed, options.precision, resume=options.resume)
        first, again = partial(work, effort=effort), partial(work, effort=replace(effort, resume=True))
        if slurm is None:
            results = first(progress=display, say=display.say)
        else:
            results = submitted("evaluate", slurm, display, first, again)
    if not speaks():
        return
    if not results:
        print(f"{options.run / 'outcomes'}: shard {options.shard} is done; when all are, the same command with --merge")
        return
    for name, entry in results["models"].items():
        print(printable(f"{name}: {summary(entry)}"))
        for flag in entry["flags"]:
            kind = "flag" if flag["masking"] else "note"
            print(f"  {kind} {flag['name']}: {flag['message']}\n       {flag['todo']}")
    print(f"{options.run / 'results.json'}; next: robustsnn report {options.run} --out report.html")


def _built(options: argparse.Namespace) -> str | None:
    """The name of what builds the network to be judged, whose run is then `out`; None where a run is given."""
    own = {name: getattr(options, name) for name in ("weights", "data", "out")}
    name = str(options.run)
    if options.run.exists() or ":" not in name:
        given = [f"--{key}" for key, value in {**own, "root": options.root}.items() if value is not None]
        if given:
            said = f"{', '.join(given)} goes with a network of yours, named module:attribute, and {name} is none"
            raise UserError(f"{said}; leave it out, or name your network in the place of {name}")
        return None
    lacks = [f"--{key}" for key, value in own.items() if value is None]
    if lacks:
        raise UserError(f"{name} builds a network; give {', '.join(lacks)} too (data: cifar10, out: runs/mine)")
    options.run = options.out
    return name


def _single(options: argparse.Namespace) -> None:
    """`--attack pgd --steps 50` is the suite pgd-50."""
    if options.steps is not None and options.attack is None:
        raise UserError("--steps is of --attack; suites have steps of their own")
    if options.attack is None:
        return
    if options.suite is not None:
        raise UserError("--suite and --attack exclude each other; give one")
    from robustsnn.names import find

    name = find("attack", options.attack, "--attack").name
    options.suite = name if options.steps is None else f"{name}-{options.steps}"


def _rejudge(run: Path, images: Path, trust_code: bool) -> None:
    from robustsnn.ground.units import grid_words, show_fraction
    from robustsnn.runs.folder import rejudge_run, show_rate

    found = rejudge_run(run, images, trust_code=trust_code)
    threat = f"{found['norm']} eps {show_fraction(found['eps'])} in {found['space']} space{grid_words(found['levels'])}"
    print(f"{run} on {images} ({found['suite']} on {found['name']}, {threat}): ", end="")
    n = found["adversarial"]["n"]
    print(f"clean {show_rate(found['clean'])}, adversarial {show_rate(found['adversarial'])}, n = {n}")


def _shard(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal()):
        raise UserError(f"--shard {text}: write it as 2/4, the second of four parts")
    return int(index), int(count)
