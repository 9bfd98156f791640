"""`robustsnn doctor`: what works on this machine."""

from __future__ import annotations


def run(arguments: list[str]) -> None:
    """Print what is found."""
    from robustsnn.names.parsing import Parser

    Parser(prog="robustsnn doctor", description="Versions, device, precision, compiler.").parse_args(arguments)
    from robustsnn.bench.doctor import findings

    for what, found in findings():
        print(f"{what:14} {found}")
