"""`robustsnn demo`: the main job on embedded data."""

from __future__ import annotations

from pathlib import Path

from robustsnn.cli.options import overwriting, path, value
from robustsnn.ground.ranges import Seed


def run(arguments: list[str]) -> None:
    """Train, attack and report the demo's networks, and say how they did."""
    from robustsnn.names.parsing import Parser

    parser = Parser(prog="robustsnn demo", description="Train, attack and report four networks on embedded digits.")
    parser.add_argument("--out", type=path, default=Path("runs/demo"), help="folder of the results (%(default)s)")
    parser.add_argument(
        "--seed", type=value(Seed), default=0, help="of initial weights, order and attacks (%(default)s)"
    )
    overwriting(parser)
    options = parser.parse_args(arguments)
    from robustsnn.ground.progress import Display

    with Display() as display:
        display.loading()
        from robustsnn.runs.demo import demo
        from robustsnn.runs.folder import summary

        results = demo(options.out, seed=options.seed, overwrite=options.overwrite, progress=display)
    for name, entry in results["models"].items():
        print(f"{name:8} {summary(entry)}")
    print(f"\n{options.out / 'report.html'}\n{options.out / 'results.json'}")
    print(f"harder: robustsnn evaluate {options.out / 'sr-at'} --suite reliable --eps 40/255")
