"""`robustsnn analyze`: a look into a run's network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from robustsnn.cli.options import listed, overwriting, path, radii, radius, trusting, value
from robustsnn.ground.ranges import Count, Positive, Seed


def run(arguments: list[str]) -> None:
    """Look into a run, and say what was found."""
    from robustsnn.names.parsing import Parser

    parser = Parser(
        prog="robustsnn analyze",
        description="Look into a run: see `robustsnn list studies`.",
    )
    parser.add_argument("run", type=path, help="folder made by train")
    parser.add_argument(
        "--parts", type=str, default="all", help="studies, with commas: names, or module:attribute (%(default)s)"
    )
    parser.add_argument("--loss", type=str, default="cross_entropy", help="what the trail differentiates (%(default)s)")
    parser.add_argument(
        "--attack", type=str, default="none", help="where the trail does: clean images, or fgsm, pgd, ..."
    )
    parser.add_argument("--eps", type=radius, default=None, help="radius of that attack, Linf, as 8/255")
    parser.add_argument("--rule", type=str, default="own", help="gradient rule of the neurons (%(default)s)")
    parser.add_argument(
        "--statistics",
        choices=("running", "batch"),
        default="running",
        help="of batch norms in the trail: running, as in eval mode, or batch, as in training (%(default)s)",
    )
    parser.add_argument(
        "--radii", type=radii, default="2/255,8/255,32/255", help="of the vulnerabilities (%(default)s)"
    )
    parser.add_argument(
        "--mac", type=value(Positive), default=4.6, help="picojoule of a multiply-accumulate (%(default)s)"
    )
    parser.add_argument("--ac", type=value(Positive), default=0.9, help="picojoule of an accumulate (%(default)s)")
    parser.add_argument(
        "--limit", type=value(Count), default=200, help="the first so many test images (%(default)s); theory takes 32"
    )
    parser.add_argument(
        "--work",
        type=value(Positive),
        default=1e12,
        help="multiply-accumulates of a part; large networks take fewer images (1e12)",
    )
    parser.add_argument(
        "--batch_size", type=value(Count), default=8, help="images per batch (%(default)s); memory grows with it"
    )
    parser.add_argument("--seed", type=value(Seed), default=0, help="of draws and attacks (%(default)s)")
    overwriting(parser)
    trusting(parser, "the run's config")
    options = vars(parser.parse_args(arguments))
    look(options.pop("run"), listed(options.pop("parts")), **options)


def look(run: Path, parts: list[str], **options: Any) -> None:
    """Make these parts of a run, see `robustsnn.analyze`, and print what they show."""
    from robustsnn.ground.progress import Display

    with Display() as display:
        display.loading()
        from robustsnn.draw.plain import block_text
        from robustsnn.ground.files import own_name
        from robustsnn.reporting.saved import read_studies
        from robustsnn.runs.analyses import analyze, file_stem
        from robustsnn.studies.study import NamedNetwork

        found = analyze(run, None, parts, progress=display, **options)
    network = NamedNetwork(own_name(run))
    for study, content in read_studies(run / "analysis", [file_stem(name) for name in found]).values():
        print(f"{study.title}\n")
        print("".join(f"{text}\n\n" for block in study.blocks([(network, content)]) if (text := block_text(block))))
    print(f"{run / 'analysis'}; next: robustsnn report {run} --out report.html")
