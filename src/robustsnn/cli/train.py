"""`robustsnn train`: one run, as a YAML file and options say."""

from __future__ import annotations

from functools import partial

from robustsnn.cli.options import overwriting, path, trusting
from robustsnn.ground.errors import UserError
from robustsnn.ground.progress import one_voice, speaks

USUAL = {
    "the run": ("--out", "--resume", "--dry_run", "--executor", "--overwrite"),
    "data": ("--data.name", "--data.root", "--data.download"),
    "network": (
        "--model.name",
        "--model.steps",
        "--model.encoder.name",
        "--model.neuron.tau",
        "--model.surrogate.name",
    ),
    "what training minimises": ("--objective.name", "--objective.lam", "--objective.attack.eps"),
    "how it is trained": (
        *("--train.epochs", "--train.batch_size", "--train.optimiser", "--train.lr", "--train.select"),
        *("--train.precision", "--train.device", "--train.seed"),
    ),
}
"""The options of the page `--help`; `--help-all` has all of them."""


@one_voice()
def run(arguments: list[str]) -> None:
    """Train a run, or say its complete config."""
    from robustsnn.cli.executor import beside, cluster_of, executing, submitted
    from robustsnn.names.config import Config
    from robustsnn.names.parsing import Parser, add_options, parse_config, read_config, taken
    from robustsnn.names.shipped import config_file

    source, document = "the command line", {}
    if arguments and not arguments[0].startswith("-"):
        source, arguments = arguments[0], arguments[1:]
        document = read_config(config_file(source))
    parser = Parser(
        prog="robustsnn train",
        usage="robustsnn train [CONFIG] --out RUN [OPTION ...]",
        description="Train a network into the folder RUN. CONFIG is a YAML file or a name of `robustsnn list configs`;"
        " options override it. Without it digits are learnt. A chosen thing has options of its own, such as"
        " --model.options.width 0.5: name it before --help to see them, --objective.name sparsity --help.",
        sections=USUAL,
        epilog=_own(arguments),
    )
    parser.add_argument("--out", type=path, help="required: the run's folder, new or with --resume")
    parser.add_argument("--resume", action="store_true", help="continue the run that is in --out")
    parser.add_argument("--dry_run", action="store_true", help="check and print the complete config, and stop")
    overwriting(parser)
    trusting(parser, "the config file")
    executing(parser)
    add_options(parser, Config)
    options, given = taken(parser, Config, arguments)
    cluster = {name.removeprefix("slurm."): given.pop(name) for name in [*given] if name.startswith("slurm.")}
    config = parse_config(document, source, given, trust_code=options.trust_code)
    if options.dry_run:
        import yaml

        from robustsnn.runs.build import check

        check(config)
        print(yaml.safe_dump(config.to_dict(), sort_keys=False), end="")
        return
    if options.out is None:
        raise UserError("robustsnn train needs --out, the folder to write the run to, for example --out runs/first")
    slurm = cluster_of(options.executor, cluster, beside(options.out))
    from robustsnn.ground.progress import Display

    with Display() as display:
        display.loading()
        from robustsnn.runs.folder import train_run

        work = partial(train_run, config, options.out, overwrite=options.overwrite)
        first, again = partial(work, resume=options.resume), partial(work, resume=True)
        if slurm is None:
            first(progress=display)
        else:
            submitted("train", slurm, display, first, again)
    if not speaks():
        return
    print(f"{options.out}: trained; next: robustsnn evaluate {options.out} --suite reliable --eps 8/255")


def _own(arguments: list[str]) -> str | None:
    """For help: the options of the network and of the objective that the arguments choose."""
    if not {"-h", "--help", "--help-all"} & set(arguments):
        return None
    said = []
    for kind in ("objective", "model"):
        flag = f"--{kind}.name"
        if flag in arguments[:-1]:
            from robustsnn.runs.build import own_options

            name = arguments[arguments.index(flag) + 1]
            own = [f"--{kind}.options.{key} ({usual!r})" for key, usual in own_options(kind, name).items()]
            said.append(f"{kind} {name}: {', '.join(own) or 'no options of its own'}.")
    return " ".join(said) or None
