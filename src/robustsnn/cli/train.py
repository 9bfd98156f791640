"""`robustsnn train`: one run, as a YAML file and options say."""

from __future__ import annotations

from robustsnn.cli.options import overwriting, path, trusting
from robustsnn.ground.errors import UserError
from robustsnn.ground.progress import one_voice, speaks


@one_voice()
def run(arguments: list[str]) -> None:
    """Train a run, or say its complete config."""
    from robustsnn.names.config import Config
    from robustsnn.names.parsing import Parser, add_options, parse_config, read_config, taken
    from robustsnn.names.shipped import config_file

    source, document = "the command line", {}
    if arguments and not arguments[0].startswith("-"):
        source, arguments = arguments[0], arguments[1:]
        document = read_config(config_file(source))
    parser = Parser(
        prog="robustsnn train",
        usage="robustsnn train [CONFIG.yaml] [--OPTION VALUE ...] --out RUN [--resume]",
        description="Train a network as a YAML file says, and as options after it override.",
    )
    parser.add_argument("--out", type=path, help="the run's folder, new or with --resume")
    parser.add_argument("--resume", action="store_true", help="continue the run that is in --out")
    parser.add_argument("--dry_run", action="store_true", help="check and print the complete config, and stop")
    overwriting(parser)
    trusting(parser, "the config file")
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
        raise UserError("robustsnn train needs --out, the folder to write the run to, for example --out runs/first")
    from robustsnn.ground.progress import Display

    with Display() as display:
        display.loading()
        from robustsnn.runs.folder import train_run

        train_run(config, options.out, resume=options.resume, overwrite=options.overwrite, progress=display)
    if not speaks():
        return
    print(f"{options.out}: trained; next: robustsnn evaluate {options.out} --suite reliable --eps 8/255")
