"""`robustsnn sweep`: a grid of runs side by side."""

from __future__ import annotations

from robustsnn.cli.executor import cluster_of, executing
from robustsnn.cli.options import overwriting, path, radius, trusting, value
from robustsnn.ground.errors import UserError, shortened
from robustsnn.ground.ranges import Count, Seed


def run(arguments: list[str]) -> None:
    """Train and attack a grid of runs, and show their table."""
    from robustsnn.names.parsing import Parser, parse_config, read_config, taken
    from robustsnn.names.shipped import config_file
    from robustsnn.runs.grid import axes, grid
    from robustsnn.runs.slurm import Slurm

    parser = Parser(
        prog="robustsnn sweep", description="Train a grid of runs side by side, and attack their validation images."
    )
    parser.add_argument(
        "config", type=path, help="what all runs share: a YAML file or a name, see `robustsnn list configs`"
    )
    parser.add_argument("--over", type=str, action="append", default=[], help="OPTION=VALUE,VALUE; several make a grid")
    parser.add_argument("--out", type=path, required=True, help="folder of the runs' folders and of sweep.json")
    parser.add_argument("--suite", type=str, default=None, help="attack with this suite; trains alone without")
    parser.add_argument("--eps", type=radius, default=None, help="radius of the threat, as 0.03 or 8/255")
    parser.add_argument(
        "--part", choices=["validation", "test"], default="validation", help="images that are attacked (%(default)s)"
    )
    parser.add_argument("--limit", type=value(Count), default=None, help="only the first so many images")
    parser.add_argument("--seed", type=value(Seed), default=0, help="of the attacks (%(default)s)")
    parser.add_argument("--workers", type=value(Count), default=None, help="local processes; null is one per core")
    overwriting(parser)
    trusting(parser, "the config file")
    executing(parser, many=True)
    options, cluster = taken(parser, Slurm, arguments, "slurm.")
    if (options.suite is None) != (options.eps is None):
        raise UserError("--suite and --eps go together; give both, or neither to train alone")
    if options.suite is None and (options.limit is not None or options.part != "validation"):
        raise UserError("--limit and --part are of the attack; give --suite and --eps too")
    slurm = cluster_of(options.executor, cluster, options.out / ".slurm")
    if options.executor == "slurm" and options.workers is not None:
        raise UserError("--workers is of this machine; with --executor slurm give --slurm.parallel")
    over = axes(options.over)
    first = {key: values[0] for key, values in over.items()}  # which each point replaces by its own
    base = parse_config(
        read_config(config_file(options.config)), str(options.config), first, trust_code=options.trust_code
    )
    grid(base, over)  # a wrong value is refused before anything is loaded
    from robustsnn.ground.progress import Display

    with Display() as display:
        display.loading()
        from robustsnn.runs.folder import show_rate
        from robustsnn.runs.sweep import SweepLook, sweep, table

        look = None
        if options.suite is not None:
            look = SweepLook(options.suite, options.eps, options.part, options.limit, options.seed)
        how = {"look": look, "workers": options.workers, "slurm": slurm, "overwrite": options.overwrite}
        found = sweep(base, over, options.out, **how, progress=display)
    if look is not None:
        print(f"{look.part} images, {look.suite} at eps {look.eps}, 95 % intervals")
    print("\n".join(table(found, show_rate)))
    failed = [point for point in found["points"] if "error" in point]
    if failed:
        first = f"{failed[0]['name']} by: {shortened(failed[0]['error'], 300)}"
        where = options.out / "sweep.json"
        raise UserError(
            f"{len(failed)} of {len(found['points'])} points failed, {first}; all are in {where}: correct what failed, "
            f"then repeat the command"
        )
    more = f"; next: robustsnn report {options.out}/*/ --out report.html" if options.part == "test" else ""
    print(f"{options.out / 'sweep.json'}{more}")
