"""The command line: parse, call one function, write one folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from robustsnn.ground.errors import UserError
from robustsnn.ground.progress import one_voice, speaks
from robustsnn.names import came_from_outside

HELP = """usage: robustsnn COMMAND ...

Train, attack and understand adversarially robust spiking neural networks.

  demo        the main job on embedded data: train vanilla, SR, AT, SR*; attack all; write a report
  train       CONFIG.yaml [--objective.lam 0.002 ...] --out RUN [--resume]
  evaluate    RUN --suite reliable --eps 8/255 [--source RUN2] [--limit N] [--shard 1/4] [--resume]   (also: attack)
  analyze     RUN   its gradients, vulnerability, theory and energy, and where the gradient becomes sparse
  sweep       CONFIG.yaml --over objective.lam=0,0.002 [--over ...] --out DIR [--suite quick --eps 8/255]
  reproduce   p1-table2 ... | all   a table or figure of the papers, beside what they report [--scale digits|full]
  report      RUN... --out report.html [--card]
  list        models | encoders | objectives | suites | ... | configs   what there is to choose from; all without it
  bench       how fast this machine is at it [--parts neuron,step ...] [--json OUT.json] | --compare OLD.json NEW.json
  doctor      versions, device, precision, compiler: what works here

robustsnn COMMAND --help shows the options of a command; --debug shows the traceback of an error.
Exit codes: 0 done, 1 a defect of this program, 2 something about the input is wrong.
"""
ALSO = {
    "suites": (
        "NAME-encoded       any of them on the encoder's output instead of the image",
        "NAME-8bit          any of them for Linf, on the 8-bit grey levels of an image file, searched there",
    ),
    "objectives": (
        "with any of them:  objective.retraction=BETA (SNN-RAT; its paper has adversarial and train.weight_decay=0),",
        "                   model.encoder.discretise=LEVELS, model.encoder.name=poisson or frequency (FEEL),",
        "                   objective.schedule.name (of lambda), objective.constraint.name",
    ),
}
COMMANDS = ("demo", "train", "evaluate", "attack", "analyze", "sweep", "reproduce", "report", "list", "bench", "doctor")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    arguments = [a for a in arguments if a != "--debug"]
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        again = {
            "demo": ", continue by the same command",
            "sweep": ", continue by the same command",
            "reproduce": ", continue by the same command",
            "analyze": "",
            "report": "",
            "bench": "",
        }.get(arguments[0], ", continue with --resume")
        print(f"\nrobustsnn: interrupted; what is complete is kept{again}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Who reads help or a list may stop reading; work that was cut short is not done.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return (
            0
            if arguments[0] not in ("demo", "train", "evaluate", "attack", "analyze", "sweep", "reproduce", "report")
            else 1
        )
    except (UserError, OSError) as error:
        if debug or (isinstance(error, OSError) and came_from_outside(error)):
            raise
        print(f"robustsnn: error: {error}", file=sys.stderr)
        return 2


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(HELP, end="")
        return 0
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(version("robustsnn"))
        return 0
    command, rest = arguments[0], arguments[1:]
    if command not in COMMANDS:
        raise UserError(f"unknown command {command!r}; allowed are {', '.join(COMMANDS)}")
    actions = {
        "demo": _demo,
        "train": _train,
        "evaluate": _evaluate,
        "attack": _evaluate,
        "analyze": _analyze,
        "sweep": _sweep,
        "reproduce": _reproduce,
        "report": _report,
        "list": _list,
        "bench": _bench,
        "doctor": _doctor,
    }
    try:
        actions[command](rest)
    except SystemExit as stop:  # --help of a command
        return int(stop.code or 0)
    return 0


def _demo(arguments: list[str]) -> None:
    from robustsnn.runs.parsing import Parser

    parser = Parser(prog="robustsnn demo", description="Train, attack and report four networks on embedded digits.")
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder of the results (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of initial weights, order and attacks (%(default)s)")
    options = parser.parse_args(arguments)
    from robustsnn.ground.progress import Display

    with Display() as display:
        display.loading()
        from robustsnn.runs.demo import demo
        from robustsnn.runs.folder import summary

        results = demo(options.out, seed=options.seed, progress=display)
    for name, entry in results["models"].items():
        print(f"{name:8} {summary(entry)}")
    print(f"\n{options.out / 'report.html'}\n{options.out / 'results.json'}")
    print(f"harder: robustsnn evaluate {options.out / 'sr-at'} --suite reliable --eps 40/255")


@one_voice()
def _train(arguments: list[str]) -> None:
    from robustsnn.runs.config import Config
    from robustsnn.runs.parsing import Parser, add_options, parse_config, read_config, taken

    source, document = "the command line", {}
    if arguments and not arguments[0].startswith("-"):
        source, arguments = arguments[0], arguments[1:]
        if not Path(source).is_file():
            raise UserError(f"config file {source} does not exist; see configs/ of the project for examples")
        document = read_config(Path(source))
    parser = Parser(
        prog="robustsnn train",
        usage="robustsnn train [CONFIG.yaml] [--OPTION VALUE ...] --out RUN [--resume]",
        description="Train a network as a YAML file says, and as options after it override.",
    )
    parser.add_argument("--out", type=Path, help="the run's folder, new or with --resume")
    parser.add_argument("--resume", action="store_true", help="continue the run that is in --out")
    parser.add_argument("--dry_run", action="store_true", help="check and print the complete config, and stop")
    _trusting(parser, "the config file")
    add_options(parser, Config)
    options, given = taken(parser, Config, arguments)
    config = parse_config(document, source, given, trust_code=options.trust_code)
    if options.dry_run:
        import yaml

        from robustsnn.runs.build import check

        check(config)
        print(yaml.safe_dump(config.to_dict(), sort_keys=False), end="")
        return
    if options.out is None:
        raise UserError("train needs --out, the folder to write the run to")
    from robustsnn.ground.progress import Display

    with Display() as display:
        display.loading()
        from robustsnn.runs.folder import train_run

        train_run(config, options.out, resume=options.resume, progress=display)
    if not speaks():
        return
    print(f"{options.out}: trained; next: robustsnn evaluate {options.out} --suite reliable --eps 8/255")


def _trusting(parser: Any, what: str) -> None:
    """The flag by which a person says that code which a file names may run."""
    text = f"import and run modules that {what} names; names on the command line are trusted"
    parser.add_argument("--trust-code", "--trust_code", action="store_true", help=text)


@one_voice()
def _evaluate(arguments: list[str]) -> None:
    from robustsnn.runs.parsing import Parser

    parser = Parser(prog="robustsnn evaluate", description="Attack a run's test images and judge the results.")
    parser.add_argument("run", type=Path, help="folder made by train")
    parser.add_argument("--suite", type=str, help="which attacks, see `robustsnn list suites`; several with commas")
    parser.add_argument("--eps", type=str, help="radius of the threat, as 0.03 or 8/255")
    parser.add_argument("--norm", type=str, default="Linf", help="Linf or L2 (%(default)s)")
    parser.add_argument("--curve", type=str, default="", help="further radii for accuracy against eps, with commas")
    parser.add_argument("--source", type=str, default="", help="runs to craft black-box attacks on, with commas")
    parser.add_argument("--limit", type=int, default=None, help="only the first so many test images")
    parser.add_argument("--batch_size", type=int, default=128, help="images per batch (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the attacks (%(default)s)")
    parser.add_argument(
        "--precision", type=str, default="float32", help="craft attacks in float32 or bfloat16; judged in float32"
    )
    parser.add_argument("--resume", action="store_true", help="use outcomes of an interrupted evaluation")
    parser.add_argument("--shard", type=str, default="", help="only part 2/4 of the batches; merge when all are done")
    parser.add_argument(
        "--merge", type=str, nargs="*", default=None, help="put shards together: other copies of the run"
    )
    parser.add_argument("--save_images", action="store_true", help="write the adversarial images as safetensors")
    parser.add_argument("--images", type=Path, default=None, help="judge such images instead of attacking")
    _trusting(parser, "the run's config or that of a source")
    options = parser.parse_args(arguments)
    from robustsnn.ground.progress import Display

    if options.images is not None:
        others = {name: value for name, value in vars(options).items() if name not in ("run", "images", "trust_code")}
        given = [f"--{name}" for name, value in others.items() if value != parser.get_default(name)]
        if given:
            raise UserError(f"--images judges saved images and attacks none; leave out {', '.join(given)}")
        if not speaks():
            return
        from robustsnn.ground.units import grid_words, show_fraction
        from robustsnn.runs.folder import rejudge_run, show_rate

        found = rejudge_run(options.run, options.images, trust_code=options.trust_code)
        threat = (
            f"{found['norm']} eps {show_fraction(found['eps'])} in {found['space']} space{grid_words(found['levels'])}"
        )
        print(f"{options.run} on {options.images} ({found['suite']} on {found['name']}, {threat}): ", end="")
        n = found["adversarial"]["n"]
        print(f"clean {show_rate(found['clean'])}, adversarial {show_rate(found['adversarial'])}, n = {n}")
        return
    for name, example in (("suite", "reliable"), ("eps", "8/255")):
        if getattr(options, name) is None:
            raise UserError(f"evaluate needs --{name}, for example --{name} {example}")
    shard = _shard(options.shard)
    with Display() as display:
        display.loading()
        from robustsnn.evaluation import Shard
        from robustsnn.runs.folder import evaluate_together, summary

        results = evaluate_together(
            options.run,
            _listed(options.suite),
            options.eps,
            norm=options.norm,
            curve=_listed(options.curve),
            limit=options.limit,
            batch_size=options.batch_size,
            seed=options.seed,
            precision=options.precision,
            resume=options.resume,
            sources=[Path(source) for source in _listed(options.source)],
            shard=Shard(*shard) if shard else None,
            merge=None if options.merge is None else [Path(other) for other in options.merge],
            save=options.save_images,
            trust_code=options.trust_code,
            progress=display,
            say=display.say,
        )
    if not speaks():
        return
    if not results:
        print(f"{options.run / 'outcomes'}: shard {options.shard} is done; when all are, the same command with --merge")
        return
    for name, entry in results["models"].items():
        print(f"{name}: {summary(entry)}")
        for flag in entry["flags"]:
            kind = "flag" if flag["masking"] else "note"
            print(f"  {kind} {flag['name']}: {flag['message']}\n       {flag['todo']}")
    print(f"{options.run / 'results.json'}; next: robustsnn report {options.run} --out report.html")


def _listed(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _shard(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal()):
        raise UserError(f"--shard {text}: write it as 2/4, the second of four parts")
    return int(index), int(count)


def _analyze(arguments: list[str]) -> None:
    from robustsnn.runs.parsing import Parser

    parser = Parser(
        prog="robustsnn analyze",
        description="Look into a run: gradient sparsity trail, input gradients, vulnerability, theory, energy.",
    )
    parser.add_argument("run", type=Path, help="folder made by train")
    parser.add_argument(
        "--parts", type=str, default="all", help="some of trail, gradients, vulnerability, theory, energy, with commas"
    )
    parser.add_argument("--loss", type=str, default="cross_entropy", help="what the trail differentiates (%(default)s)")
    parser.add_argument(
        "--attack", type=str, default="none", help="where the trail does: clean images, or fgsm, pgd, ..."
    )
    parser.add_argument("--eps", type=str, default=None, help="radius of that attack, Linf, as 8/255")
    parser.add_argument("--rule", type=str, default="own", help="gradient rule of the neurons (%(default)s)")
    parser.add_argument("--radii", type=str, default="2/255,8/255,32/255", help="of the vulnerabilities (%(default)s)")
    parser.add_argument("--mac", type=float, default=4.6, help="picojoule of a multiply-accumulate (%(default)s)")
    parser.add_argument("--ac", type=float, default=0.9, help="picojoule of an accumulate (%(default)s)")
    parser.add_argument(
        "--limit", type=int, default=200, help="the first so many test images (%(default)s); theory takes 32"
    )
    parser.add_argument(
        "--work",
        type=float,
        default=1e12,
        help="multiply-accumulates of a part; large networks take fewer images (1e12)",
    )
    parser.add_argument(
        "--batch_size", type=int, default=8, help="images per batch (%(default)s); memory grows with it"
    )
    parser.add_argument("--seed", type=int, default=0, help="of draws and attacks (%(default)s)")
    _trusting(parser, "the run's config")
    options = vars(parser.parse_args(arguments))
    from robustsnn.ground.progress import Display

    run, parts, options["radii"] = options.pop("run"), _listed(options.pop("parts")), _listed(options["radii"])
    with Display() as display:
        display.loading()
        from robustsnn.report.findings import findings
        from robustsnn.runs.analyses import PARTS, analyze_run

        found = analyze_run(run, tuple(PARTS) if parts == ["all"] else parts, progress=display, **options)
    for name, content in found.items():
        print(f"{name}:")
        for sentence in findings(name, content):
            print(f"  {sentence}")
    print(f"{run / 'analysis'}; next: robustsnn report {run} --out report.html")


def _sweep(arguments: list[str]) -> None:
    from robustsnn.runs.grid import axes, grid
    from robustsnn.runs.parsing import Parser, add_options, overridden, parse_config, read_config, taken
    from robustsnn.runs.slurm import Slurm

    parser = Parser(
        prog="robustsnn sweep", description="Train a grid of runs side by side, and attack their validation images."
    )
    parser.add_argument("config", type=Path, help="YAML file of what all runs share")
    parser.add_argument("--over", type=str, action="append", default=[], help="OPTION=VALUE,VALUE; several make a grid")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs' folders and of sweep.json")
    parser.add_argument("--suite", type=str, default=None, help="attack with this suite; trains alone without")
    parser.add_argument("--eps", type=str, default=None, help="radius of the threat, as 0.03 or 8/255")
    parser.add_argument(
        "--part", choices=["validation", "test"], default="validation", help="images that are attacked (%(default)s)"
    )
    parser.add_argument("--limit", type=int, default=None, help="only the first so many images")
    parser.add_argument("--seed", type=int, default=0, help="of the attacks (%(default)s)")
    parser.add_argument(
        "--executor", choices=["local", "slurm"], default="local", help="where the runs are trained (%(default)s)"
    )
    parser.add_argument("--workers", type=int, default=None, help="local processes; null is one per core")
    _trusting(parser, "the config file")
    add_options(parser, Slurm, "slurm.", skip=("folder", "cluster"))
    options, cluster = taken(parser, Slurm, arguments, "slurm.")
    if (options.suite is None) != (options.eps is None):
        raise UserError("--suite and --eps go together; give both, or neither to train alone")
    if options.suite is None and (options.limit is not None or options.part != "validation"):
        raise UserError("--limit and --part are of the attack; give --suite and --eps too")
    if options.executor == "local" and cluster:
        raise UserError("--slurm options need --executor slurm")
    if options.executor == "slurm" and options.workers is not None:
        raise UserError("--workers is of this machine; with --executor slurm give --slurm.parallel")
    over = axes(options.over)
    first = {key: values[0] for key, values in over.items()}  # which each point replaces by its own
    base = parse_config(read_config(options.config), str(options.config), first, trust_code=options.trust_code)
    grid(base, over)  # a wrong value is refused before anything is loaded
    from robustsnn.ground.progress import Display

    with Display() as display:
        display.loading()
        from robustsnn.runs.folder import show_rate
        from robustsnn.runs.sweep import Look, sweep, table

        look = None
        if options.suite is not None:
            look = Look(options.suite, options.eps, options.part, options.limit, options.seed)
        slurm = overridden(Slurm(options.out / ".slurm"), cluster) if options.executor == "slurm" else None
        found = sweep(base, over, options.out, look=look, workers=options.workers, slurm=slurm, progress=display)
    if look is not None:
        print(f"{look.part} images, {look.suite} at eps {look.eps}, 95 % intervals")
    print("\n".join(table(found, show_rate)))
    failed = [point["name"] for point in found["points"] if "error" in point]
    if failed:
        raise UserError(f"{len(failed)} of {len(found['points'])} points failed, see {options.out / 'sweep.json'}")
    more = f"; next: robustsnn report {options.out}/*/ --out report.html" if options.part == "test" else ""
    print(f"{options.out / 'sweep.json'}{more}")


def _reproduce(arguments: list[str]) -> None:
    from robustsnn.names import find
    from robustsnn.runs.parsing import Parser

    parser = Parser(
        prog="robustsnn reproduce",
        description="Make tables and figures of the papers again, with the published figures beside ours.",
    )
    parser.add_argument("names", type=str, nargs="+", help="see `robustsnn list recipes`; all is every one")
    parser.add_argument(
        "--scale",
        choices=["digits", "full"],
        default="digits",
        help="%(default)s: embedded data; full: the papers' data",
    )
    parser.add_argument("--out", type=Path, default=Path("runs/reproduce"), help="folder of everything (%(default)s)")
    parser.add_argument("--seeds", type=int, default=1, help="networks of each kind (%(default)s)")
    parser.add_argument(
        "--limit", type=int, default=None, help="test images to attack; null is 100, or all at full scale"
    )
    parser.add_argument(
        "--root", type=Path, default=None, help="at full scale: folder of cifar-10, cifar-100, cifar10-dvs"
    )
    parser.add_argument("--workers", type=int, default=None, help="processes; null is one per core")
    options = parser.parse_args(arguments)
    for name in options.names:
        if name != "all" and find("recipe", name, more=("all",)).outside:
            raise UserError(f"recipe={name}: recipes are those of the two papers; see `robustsnn list recipes`")
    from robustsnn.ground.progress import Display

    with Display() as display:
        display.loading()
        from robustsnn.recipes import reproduce
        from robustsnn.report.plain import plain

        exhibits, page = reproduce(
            options.names,
            options.out,
            scale=options.scale,
            seeds=options.seeds,
            limit=options.limit,
            root=options.root,
            workers=options.workers,
            progress=display,
        )
    for exhibit in exhibits:
        print(f"{'=' * 8} {exhibit.name} {'=' * 8}\n{plain(exhibit)}")
    print(page)


def _report(arguments: list[str]) -> None:
    from robustsnn.runs.parsing import Parser

    parser = Parser(prog="robustsnn report", description="Write one HTML page on one or more runs.")
    parser.add_argument("runs", type=Path, nargs="+", help="folders made by train and evaluate")
    parser.add_argument("--out", type=Path, default=Path("report.html"), help="the page (%(default)s)")
    parser.add_argument("--title", type=str, default=None, help="of the page")
    parser.add_argument("--card", action="store_true", help="also write a model card, card.md, into each run's folder")
    options = parser.parse_args(arguments)
    from robustsnn.report.page import write_report

    write_report(options.runs, options.out, title=options.title)
    print(options.out)
    if options.card:
        from robustsnn.report.card import write_cards

        for path in write_cards(options.runs):
            print(path)


def _list(arguments: list[str]) -> None:
    from robustsnn.names import KINDS, installed, registered
    from robustsnn.runs.parsing import Parser

    kinds = {"data": "datasets", "loss": "losses"}
    plurals = {kinds.get(kind, f"{kind}s"): kind for kind in KINDS}
    parser = Parser(prog="robustsnn list", description="What there is to choose from.")
    parser.add_argument("kind", nargs="?", choices=[*plurals, "configs"], help="one kind; all without it")
    asked = parser.parse_args(arguments).kind
    for plural in [asked] if asked else [*plurals, "configs"]:
        print(plural)
        if plural == "configs":
            for path in sorted(Path("configs").glob("*.yaml")):
                print(f"  {path}  {path.read_text().partition(chr(10))[0].removeprefix('# ')}")
            continue
        kind = plurals[plural]
        for name, entry in registered(kind).items():
            short = f"; also {', '.join(entry.short)}" if entry.short else ""
            print(f"  {name:18} {entry.text}{short}")
        for name, target in installed(kind).items():
            print(f"  {name:18} {target}, of an installed package")
        for line in ALSO.get(plural, ()):
            print(f"  {line}")
    if asked is None:
        print("in the place of each: module:attribute of your own")


def _bench(arguments: list[str]) -> None:
    from robustsnn.bench.options import Options
    from robustsnn.runs.parsing import Parser, add_options, overridden, taken

    parser = Parser(
        prog="robustsnn bench", description="Time neurons, training steps, attacks, growth and data on this machine."
    )
    add_options(parser, Options)
    parser.add_argument("--json", type=Path, default=None, help="write all figures to this file, after each part")
    parser.add_argument("--compare", type=Path, nargs=2, default=None, help="OLD.json NEW.json: measure nothing")
    options, given = taken(parser, Options, arguments)
    out, compared = options.json, options.compare
    if compared is not None:
        from robustsnn.bench.compare import alone, compare, differences, read
        from robustsnn.bench.show import show_comparison

        others = [f"--{name}" for name in (*given, *(["json"] if out is not None else []))]
        if others:
            raise UserError(f"--compare measures nothing; leave out {', '.join(others)}")
        old, new = (read(path) for path in compared)
        show_comparison(compare(old, new), differences(old, new), alone(old, new))
        return
    chosen = overridden(Options(), given)
    if out is not None and (out.is_dir() or not out.absolute().parent.is_dir()):
        raise UserError(f"--json {out}: give a file name in an existing folder")
    from robustsnn.ground.progress import Display

    document: dict[str, Any] = {}
    try:
        with Display() as display:
            display.loading()
            from robustsnn.bench.running import bench

            bench(chosen, out=out, document=document, progress=display)
    finally:
        if document.get("results"):  # what is complete, after an interrupt too
            from robustsnn.bench.show import show

            show(document)
    if out is not None:
        print(out)


def _doctor(arguments: list[str]) -> None:
    from robustsnn.runs.parsing import Parser

    Parser(prog="robustsnn doctor", description="Versions, device, precision, compiler.").parse_args(arguments)
    from robustsnn.bench.doctor import findings

    for what, found in findings():
        print(f"{what:14} {found}")


if __name__ == "__main__":
    sys.exit(main())
