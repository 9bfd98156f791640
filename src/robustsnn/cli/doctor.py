"""`robustsnn doctor`: what works on this machine, and which settings of it repeat a run bit by bit."""

from __future__ import annotations

from robustsnn.cli.options import path, trusting


def run(arguments: list[str]) -> None:
    """Print what is found."""
    from robustsnn.names.parsing import Parser

    parser = Parser(prog="robustsnn doctor", description="Versions, device, precision, compiler; or determinism.")
    parser.add_argument(
        "--determinism", type=path, default=None, metavar="RUN", help="train one step of this run with several settings"
    )
    trusting(parser, "the run's config")
    options = parser.parse_args(arguments)
    if options.determinism is not None:
        from robustsnn.ground.progress import Display

        with Display() as display:
            display.loading()
            from robustsnn.bench.determinism import determinism

            lines = determinism(options.determinism, trust_code=options.trust_code, say=display.say)
        print("\n".join(lines))
        return
    from robustsnn.bench.doctor import findings

    for what, found in findings():
        print(f"{what:14} {found}")
