"""`robustsnn bench`: how fast this machine is, or two measurements compared."""

from __future__ import annotations

from typing import Any

from robustsnn.cli.options import overwriting, path
from robustsnn.ground.errors import UserError


def run(arguments: list[str]) -> None:
    """Measure and show, or compare what was measured."""
    from robustsnn.bench.options import Options
    from robustsnn.names.parsing import Parser, add_options, overridden, taken

    parser = Parser(
        prog="robustsnn bench", description="Time neurons, training steps, attacks, growth and data on this machine."
    )
    add_options(parser, Options)
    parser.add_argument("--json", type=path, default=None, help="write all figures to this file, after each part")
    parser.add_argument("--compare", type=path, nargs=2, default=None, help="OLD.json NEW.json: measure nothing")
    overwriting(parser)
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
    chosen = overridden(Options(), given, "--")
    if out is not None and (out.is_dir() or not out.absolute().parent.is_dir()):
        raise UserError(f"--json {out}: give a file name in an existing folder")
    from robustsnn.ground.progress import Display

    document: dict[str, Any] = {}
    try:
        with Display() as display:
            display.loading()
            from robustsnn.bench.running import bench

            bench(chosen, out=out, document=document, overwrite=options.overwrite, progress=display)
    finally:
        if document.get("results"):  # what is complete, after an interrupt too
            from robustsnn.bench.show import show

            show(document)
    if out is not None:
        print(out)
