"""`robustsnn zoo`: trained networks as entries that anybody can fetch and judge again."""

from __future__ import annotations

import argparse
from pathlib import Path

from robustsnn.cli.options import listed, overwriting, path, value
from robustsnn.cli.streams import printable
from robustsnn.ground.errors import UserError, shortened
from robustsnn.ground.ranges import Count

SECTIONS = {
    "pull": ("--out", "--root", "--overwrite"),
    "judge": ("--limit", "--suite", "--root", "--batch_size"),
    "add": ("--zoo", "--url", "--licence", "--citation"),
}
"""The page `--help`: the options of each action."""


def run(arguments: list[str]) -> None:
    """Do one of the four actions."""
    from robustsnn.names.parsing import Parser

    parser = Parser(
        prog="robustsnn zoo",
        description="Trained networks: list entries, pull one into a run, judge one again, add a run that was judged.",
        sections=SECTIONS,
    )
    parser.add_argument("action", choices=["list", *SECTIONS], help="list, pull, judge or add")
    parser.add_argument(
        "what",
        type=path,
        nargs="*",
        help="list: a folder of entries (those of the package); pull, judge: an entry, by its file or its name; add: a "
        "run, and copies of it that were judged otherwise",
    )
    parser.add_argument("--out", type=path, default=None, help="folder that becomes the run (the name of the entry)")
    parser.add_argument("--root", type=str, default=None, help="folder of the data's files, if not the entry's")
    overwriting(parser)
    parser.add_argument("--limit", type=value(Count), default=100, help="the first so many test images (%(default)s)")
    parser.add_argument("--suite", type=str, default="", help="only results of these suites, with commas (all)")
    parser.add_argument("--batch_size", type=value(Count), default=128, help="images per batch (%(default)s)")
    parser.add_argument("--zoo", type=path, default=Path("zoo"), help="folder of the entry (%(default)s)")
    parser.add_argument("--url", type=str, default=None, help="where the weights can be fetched; a file otherwise")
    parser.add_argument("--licence", type=str, default=None, help="of the weights, as MIT")
    parser.add_argument("--citation", type=str, default=None, help="of the weights")
    options = parser.parse_args(arguments)
    own = SECTIONS.get(options.action, ())
    for action, flag in ((action, flag) for action, flags in SECTIONS.items() for flag in flags if flag not in own):
        if getattr(options, flag[2:]) != parser.get_default(flag[2:]):
            raise UserError(f"{flag} is of zoo {action}, not of zoo {options.action}; leave it out")
    {"list": _list, "pull": _pull, "judge": _judge, "add": _add}[options.action](options)


def _list(options: argparse.Namespace) -> None:
    from robustsnn.names.shipped import FOLDER
    from robustsnn.names.values import nested
    from robustsnn.records.zoo import read_zoo
    from robustsnn.reporting.wording import rate_text, threat_text

    for folder in options.what or [FOLDER / "zoo"]:
        for name, entry in read_zoo(folder).items():
            kinds = [nested(entry.config, kind, "name") for kind in ("model", "objective", "data")]
            print(printable(f"{name}  {entry.key}  {', '.join(shortened(str(kind)) for kind in kinds)}"))
            for result in entry.results:
                if result.worst_case:
                    test = f"{threat_text(result)}, {result.suite}"
                    print(printable(f"  {shortened(test, 120)}: {rate_text(result.worst_case)}"))


def _one(options: argparse.Namespace) -> Path:
    if len(options.what) != 1:
        raise UserError(f"zoo {options.action} needs one entry, its file or a name of `robustsnn zoo list`")
    return options.what[0]


def _pull(options: argparse.Namespace) -> None:
    from robustsnn.runs.zoo import pull

    entry = _one(options)
    out = options.out or Path(entry.stem)
    pull(entry, out, root=options.root, overwrite=options.overwrite)
    print(f"{out}; next: robustsnn evaluate {out} --suite quick --eps 8/255")


def _judge(options: argparse.Namespace) -> None:
    from robustsnn.ground.progress import Display

    entry, failed = _one(options), []
    with Display() as display:
        display.loading()
        from robustsnn.runs.zoo import judge

        for again in judge(
            entry,
            options.limit,
            suites=listed(options.suite),
            root=options.root,
            batch_size=options.batch_size,
            progress=display,
        ):
            print(printable(str(again)), flush=True)
            failed += [] if again.holds else [again.what]
    if failed:
        raise UserError(f"{entry}: {len(failed)} figures are clearly lower here; correct them")


def _add(options: argparse.Namespace) -> None:
    if not options.what:
        raise UserError("zoo add needs a run that was judged, for example robustsnn zoo add runs/mine")
    from robustsnn.runs.zoo import add

    given = {name: getattr(options, name) for name in ("url", "licence", "citation")}
    out = add(options.what, options.zoo, **given)
    print(f"{out}; next: robustsnn zoo judge {out} --limit 20")
