"""`robustsnn certify`: bounds of a run's accuracy under noise, from below and from above."""

from __future__ import annotations

from typing import Annotated

from robustsnn.cli.options import listed, overwriting, path, trusting, value
from robustsnn.ground.ranges import Count, Positive, Seed, Within


def _deviations(text: str) -> list[float]:
    return [value(Positive)(item) for item in listed(text)]


def run(arguments: list[str]) -> None:
    """The part smoothing of `analyze`, with more draws."""
    from robustsnn.cli.analyze import look
    from robustsnn.names.parsing import Parser

    parser = Parser(
        prog="robustsnn certify",
        description="Bound the accuracy of a run's network smoothed by normal noise, in L2: certified from below, "
        "attacked from above. It is the part smoothing of `robustsnn analyze`.",
    )
    draws = Annotated[int, Within(least=5, most=(1 << 31) - 1)]
    parser.add_argument("run", type=path, help="folder made by train")
    parser.add_argument("--sigma", type=_deviations, default="0.25", help="of the noise, rising (%(default)s)")
    parser.add_argument("--draws", type=value(draws), default=1000, help="of each image and point (%(default)s)")
    parser.add_argument("--limit", type=value(Count), default=100, help="the first so many test images (%(default)s)")
    parser.add_argument("--batch_size", type=value(Count), default=128, help="draws at a time (%(default)s)")
    parser.add_argument("--work", type=value(Positive), default=1e13, help="multiply-accumulates in all (1e13)")
    parser.add_argument("--seed", type=value(Seed), default=0, help="of draws (%(default)s)")
    overwriting(parser)
    trusting(parser, "the run's config")
    options = vars(parser.parse_args(arguments))
    look(options.pop("run"), ["smoothing"], **options)
