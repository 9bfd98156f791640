"""`robustsnn report`: one page on runs."""

from __future__ import annotations

from pathlib import Path

from robustsnn.cli.options import overwriting, path


def run(arguments: list[str]) -> None:
    """Write the page, and the cards if they are asked for."""
    from robustsnn.names.parsing import Parser

    parser = Parser(prog="robustsnn report", description="Write one HTML page on one or more runs.")
    parser.add_argument("runs", type=path, nargs="+", help="folders made by train and evaluate")
    parser.add_argument("--out", type=path, default=Path("report.html"), help="the page (%(default)s)")
    parser.add_argument("--title", type=str, default=None, help="of the page")
    parser.add_argument("--card", action="store_true", help="also write a model card, card.md, into each run's folder")
    overwriting(parser)
    options = parser.parse_args(arguments)
    from robustsnn.reporting.card import check_cards, write_cards
    from robustsnn.reporting.page import write_report

    check_cards(options.runs if options.card else [], options.overwrite)  # before the page is written
    write_report(options.runs, options.out, title=options.title, overwrite=options.overwrite)
    print(options.out)
    if options.card:
        for written in write_cards(options.runs, overwrite=options.overwrite):
            print(written)
