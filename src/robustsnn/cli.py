"""The command line: parse, call one function, write one folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from robustsnn.errors import UserError

HELP = """usage: robustsnn COMMAND ...

Train, attack and understand adversarially robust spiking neural networks.

  demo        the main job on embedded data: train vanilla, SR, AT, SR*; attack all; write a report
  train       CONFIG.yaml [--objective.lam 0.002 ...] --out RUN [--resume]
  evaluate    RUN --suite reliable --eps 8/255 [--source RUN2] [--limit N] [--shard 1/4] [--resume]   (also: attack)
  analyze     RUN   where the gradient becomes sparse on its way to the pixels
  report      RUN... --out report.html
  list        models | encoders | attacks | objectives | schedules | datasets | suites
  doctor      versions, device, precision, compiler: what works here

robustsnn COMMAND --help shows the options of a command; --debug shows the traceback of an error.
Exit codes: 0 done, 1 a defect of this program, 2 something about the input is wrong.
"""
COMMANDS = ("demo", "train", "evaluate", "attack", "analyze", "report", "list", "doctor")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    arguments = [a for a in arguments if a != "--debug"]
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        again = {"demo": ", continue by the same command", "analyze": "", "report": ""}.get(
            arguments[0], ", continue with --resume"
        )
        print(f"\nrobustsnn: interrupted; what is complete is kept{again}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Who reads help or a list may stop reading; work that was cut short is not done.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0 if arguments[0] not in ("demo", "train", "evaluate", "attack", "analyze", "report") else 1
    except (UserError, OSError) as error:
        if debug:
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
        "report": _report,
        "list": _list,
        "doctor": _doctor,
    }
    try:
        actions[command](rest)
    except SystemExit as stop:  # --help of a command
        return int(stop.code or 0)
    return 0


def _demo(arguments: list[str]) -> None:
    from robustsnn.parsing import Parser

    parser = Parser(prog="robustsnn demo", description="Train, attack and report four networks on embedded digits.")
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder of the results (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of initial weights, order and attacks (%(default)s)")
    options = parser.parse_args(arguments)
    from robustsnn.progress import Display

    with Display() as display:
        display.loading()
        from robustsnn.demo import demo
        from robustsnn.runs import summary

        results = demo(options.out, seed=options.seed, progress=display)
    for name, entry in results["models"].items():
        print(f"{name:8} {summary(entry)}")
    print(f"\n{options.out / 'report.html'}\n{options.out / 'results.json'}")
    print(f"harder: robustsnn evaluate {options.out / 'sr-at'} --suite reliable --eps 40/255")


def _train(arguments: list[str]) -> None:
    from robustsnn.parsing import config_parser, parse_config, read_config, to_config

    defaults = None
    if arguments and not arguments[0].startswith("-"):
        path, arguments = arguments[0], arguments[1:]
        if not Path(path).is_file():
            raise UserError(f"config file {path} does not exist; see configs/ of the project for examples")
        defaults = parse_config(read_config(Path(path)), path)
    parser = config_parser(defaults)
    parser.prog = "robustsnn train [CONFIG.yaml]"
    parser.description = "Train a network as a YAML file says, and as options after it override."
    parser.add_argument("--out", type=Path, help="the run's folder, new or with --resume")
    parser.add_argument("--resume", action="store_true", help="continue the run that is in --out")
    parser.add_argument("--dry_run", action="store_true", help="print the complete config and stop")
    options = parser.parse_args(arguments)
    config = to_config(parser, options)
    if options.dry_run:
        import yaml

        print(yaml.safe_dump(config.to_dict(), sort_keys=False), end="")
        return
    if options.out is None:
        raise UserError("train needs --out, the folder to write the run to")
    from robustsnn.progress import Display

    with Display() as display:
        display.loading()
        from robustsnn.runs import train_run

        train_run(config, options.out, resume=options.resume, progress=display)
    print(f"{options.out}: trained; next: robustsnn evaluate {options.out} --suite reliable --eps 8/255")


def _evaluate(arguments: list[str]) -> None:
    from robustsnn.parsing import Parser

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
    parser.add_argument("--resume", action="store_true", help="use outcomes of an interrupted evaluation")
    parser.add_argument("--shard", type=str, default="", help="only part 2/4 of the batches; merge when all are done")
    parser.add_argument(
        "--merge", type=str, nargs="*", default=None, help="put shards together: other copies of the run"
    )
    parser.add_argument("--save_images", action="store_true", help="write the adversarial images as safetensors")
    parser.add_argument("--images", type=Path, default=None, help="judge such images instead of attacking")
    options = parser.parse_args(arguments)
    from robustsnn.progress import Display

    if options.images is not None:
        others = {name: value for name, value in vars(options).items() if name not in ("run", "images")}
        given = [f"--{name}" for name, value in others.items() if value != parser.get_default(name)]
        if given:
            raise UserError(f"--images judges saved images and attacks none; leave out {', '.join(given)}")
        from robustsnn.runs import rejudge_run, show_rate
        from robustsnn.units import show_fraction

        found = rejudge_run(options.run, options.images)
        threat = f"{found['norm']} eps {show_fraction(found['eps'])} in {found['space']} space"
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
        from robustsnn.runs import evaluate_run, summary

        results = evaluate_run(
            options.run,
            _listed(options.suite),
            options.eps,
            norm=options.norm,
            curve=_listed(options.curve),
            limit=options.limit,
            batch_size=options.batch_size,
            seed=options.seed,
            resume=options.resume,
            sources=[Path(source) for source in _listed(options.source)],
            shard=Shard(*shard) if shard else None,
            merge=None if options.merge is None else [Path(other) for other in options.merge],
            save=options.save_images,
            progress=display,
        )
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
    from robustsnn.parsing import Parser

    parser = Parser(
        prog="robustsnn analyze",
        description="Follow exact zeros of the gradient from the loss through every operation to the pixels.",
    )
    parser.add_argument("run", type=Path, help="folder made by train")
    parser.add_argument("--loss", type=str, default="cross_entropy", help="what is differentiated (%(default)s)")
    parser.add_argument("--attack", type=str, default="none", help="where: on clean images (none), fgsm or pgd")
    parser.add_argument("--eps", type=str, default=None, help="radius of that attack, Linf, as 8/255")
    parser.add_argument("--rule", type=str, default="own", help="gradient rule of the neurons (%(default)s)")
    parser.add_argument("--limit", type=int, default=None, help="only the first so many test images")
    parser.add_argument("--batch_size", type=int, default=64, help="images per batch (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the attack and of random networks (%(default)s)")
    options = vars(parser.parse_args(arguments))
    from robustsnn.progress import Display

    run = options.pop("run")
    with Display() as display:
        display.loading()
        from robustsnn.runs import analyze_run

        found = analyze_run(run, progress=display, **options)
    print(f"{run}: gradient of {found.loss}, mean over {found.n} test images")
    print(f"{'zeros at the pixels':24} {100 * found.input.sparsity:5.1f} %")
    if found.weight_sparsity is not None:
        over = f"(image by image, the first {found.weights[0].zeros.n})"
        print(f"{'zeros at the weights':24} {100 * found.weight_sparsity:5.1f} %   {over}")
    print(f"\n{'kind of operation':24} {'zeros':>8} {'its own':>8}   mean over the operations of that kind")
    for kind, (zeros, added) in found.kinds().items():
        own = "unknown" if added is None else f"{100 * added:.1f} %"
        print(f"{kind:24} {100 * zeros:6.1f} % {own:>8}")
    print(f"\n{run / 'analysis' / 'trail.json'}; next: robustsnn report {run} --out report.html")


def _report(arguments: list[str]) -> None:
    from robustsnn.parsing import Parser

    parser = Parser(prog="robustsnn report", description="Write one HTML page on one or more runs.")
    parser.add_argument("runs", type=Path, nargs="+", help="folders made by train and evaluate")
    parser.add_argument("--out", type=Path, default=Path("report.html"), help="the page (%(default)s)")
    parser.add_argument("--title", type=str, default=None, help="of the page")
    options = parser.parse_args(arguments)
    from robustsnn.report.page import write_report

    write_report(options.runs, options.out, title=options.title)
    print(options.out)


def _list(arguments: list[str]) -> None:
    from robustsnn import config
    from robustsnn.parsing import Parser

    parser = Parser(prog="robustsnn list", description="What there is to choose from.")
    kinds = ("models", "encoders", "attacks", "objectives", "schedules", "datasets", "suites")
    parser.add_argument("kind", nargs="?", choices=kinds, help="one kind; all without it")
    kind = parser.parse_args(arguments).kind
    for name in [kind] if kind else kinds:
        print(name)
        for key, entry in getattr(config, name.upper()).items():
            print(f"  {key:18} {entry.text if isinstance(entry, config.Entry) else entry}")
        if name == "objectives":
            print("with any of them")
            for key, text in config.WITH_ANY_OBJECTIVE.items():
                print(f"  {key:18} {text}")


def _doctor(arguments: list[str]) -> None:
    from robustsnn.parsing import Parser

    Parser(prog="robustsnn doctor", description="Versions, device, precision, compiler.").parse_args(arguments)
    from robustsnn.doctor import findings

    for what, found in findings():
        print(f"{what:14} {found}")


if __name__ == "__main__":
    sys.exit(main())
