"""`robustsnn reproduce`: tables and figures of the papers, made again."""

from __future__ import annotations

from pathlib import Path

from robustsnn.cli.executor import cluster_of, executing
from robustsnn.cli.options import overwriting, path, value
from robustsnn.ground.errors import UserError
from robustsnn.ground.ranges import Count


def run(arguments: list[str]) -> None:
    """Make exhibits of the papers again, and show them."""
    from robustsnn.names import find
    from robustsnn.names.parsing import Parser, taken
    from robustsnn.runs.slurm import Slurm

    parser = Parser(
        prog="robustsnn reproduce",
        description="Make tables and figures of papers again, with the published figures beside ours.",
    )
    parser.add_argument(
        "names", type=str, nargs="+", help="see `robustsnn list recipes`, or module:attribute; all is every one"
    )
    parser.add_argument(
        "--scale",
        choices=["digits", "cpu", "full"],
        default="digits",
        help="%(default)s: embedded data; cpu: the papers' data, small networks; full: the papers' data and settings",
    )
    parser.add_argument("--out", type=path, default=Path("runs/reproduce"), help="folder of everything (%(default)s)")
    parser.add_argument("--seeds", type=value(Count), default=1, help="networks of each kind (%(default)s)")
    parser.add_argument(
        "--limit",
        type=value(Count),
        default=None,
        help="test images to attack; null is 100 at digits, 300 at cpu, all at full scale",
    )
    parser.add_argument(
        "--root", type=path, default=None, help="at cpu and full scale: folder of cifar-10, cifar-100, cifar10-dvs"
    )
    parser.add_argument("--workers", type=value(Count), default=None, help="processes; null is one per core")
    parser.add_argument(
        "--as",
        dest="reading",
        default=None,
        help="how networks read their paper: ours (usual), paper (its text), released (its code)",
    )
    overwriting(parser)
    executing(parser, many=True)
    options, cluster = taken(parser, Slurm, arguments, "slurm.")
    slurm = cluster_of(options.executor, cluster, options.out / ".slurm")
    if slurm is not None and options.workers is not None:
        raise UserError("--workers is of this machine; with --executor slurm give --slurm.parallel")
    for name in options.names:
        if name != "all":
            find("recipe", name, more=("all",))  # before torch is loaded
    from robustsnn.ground.progress import Display

    with Display() as display:
        display.loading()
        from robustsnn.draw.plain import plain
        from robustsnn.recipes import reproduce

        exhibits, page = reproduce(
            options.names,
            options.out,
            scale=options.scale,
            seeds=options.seeds,
            limit=options.limit,
            root=options.root,
            workers=options.workers,
            slurm=slurm,
            reading=options.reading,
            overwrite=options.overwrite,
            progress=display,
        )
    for exhibit in exhibits:
        print(f"{'=' * 8} {exhibit.name} {'=' * 8}\n{plain(exhibit)}")
    print(page)
