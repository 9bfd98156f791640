"""`robustsnn leaderboard`: the page of a zoo."""

from __future__ import annotations

from robustsnn.cli.options import overwriting, path


def run(arguments: list[str]) -> None:
    """Write the page."""
    from robustsnn.names.parsing import Parser

    parser = Parser(
        prog="robustsnn leaderboard",
        description="Write one page on a zoo: what is reported, what stands.",
    )
    parser.add_argument("zoo", type=path, help="folder of entries, see `robustsnn zoo`")
    parser.add_argument("--out", type=path, required=True, help="folder that gets the page, index.html")
    overwriting(parser)
    options = parser.parse_args(arguments)
    from robustsnn.reporting.board import write_board

    print(write_board(options.zoo, options.out, overwrite=options.overwrite))
