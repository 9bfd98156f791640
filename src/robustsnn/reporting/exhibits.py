"""The page of exhibits: tables and figures of papers made again, and whether what the papers conclude holds in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from robustsnn.draw.blocks import Part, parts
from robustsnn.draw.files import stem
from robustsnn.ground.errors import UserError, in_words
from robustsnn.ground.files import write_atomic
from robustsnn.ground.ours import check_files
from robustsnn.records.exhibit import Exhibit
from robustsnn.reporting.render import render
from robustsnn.reporting.wording import count, listing

T = TypeVar("T")
_VERDICTS = ("holds", "does not hold", "undecided")


@dataclass(frozen=True)
class ExhibitSection:
    """An exhibit with the place of its section on the page, its blocks as they are shown, and what is its own."""

    exhibit: Exhibit
    anchor: str
    parts: list[Part]
    notes: list[str]
    made: list[tuple[str, str]]


def write_exhibits(
    exhibits: Sequence[Exhibit], out: Path, *, title: str | None = None, overwrite: bool = False
) -> None:
    """Write one self-contained page about `exhibits` to `out`: a summary of all claims, then a section for each.

    The bytes depend on the exhibits and `title` alone; an earlier page is replaced, another file with `overwrite`.
    UserError for no exhibit, for one name twice, for an `out` that does not end in .html or .htm, is a file of others
    or cannot be written, for a picture that is no PNG.
    """
    out = Path(out)
    if out.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"out = {str(out)!r} must end in .html or .htm; give such a name")
    check_files([out], overwrite)
    if not exhibits:
        raise UserError("no exhibit was given; make at least one and name it")
    twice = [name for name, times in Counter((e.name, e.scale) for e in exhibits).items() if times > 1]
    if twice:
        raise UserError(f"the exhibit {twice[0][0]} was given more than once; name each once")
    notes, made = _common([e.notes for e in exhibits]), _common([e.made for e in exhibits])
    page = render(
        "exhibits.html.j2",
        {
            "title": title or "Tables and figures, made again",
            "counted": counted(exhibits),
            "sections": [
                ExhibitSection(
                    e,
                    anchor,
                    parts(e.blocks, anchor),
                    [note for note in e.notes if note not in notes],
                    [fact for fact in e.made if fact not in made],
                )
                for e, anchor in _anchors(exhibits)
            ],
            "notes": notes,
            "made": made,
            "scales": sorted({e.scale for e in exhibits}),
        },
    )
    try:
        write_atomic(out, page)
    except OSError as error:
        raise UserError(in_words(error)) from error


def _common(lists: Sequence[Sequence[T]]) -> list[T]:
    """What stands in all of several lists; it is said once."""
    return [one for one in lists[0] if all(one in other for other in lists)] if len(lists) > 1 else []


def counted(exhibits: Sequence[Exhibit]) -> str:
    """'2 exhibits with 5 claims: 3 hold, 1 does not hold and 1 is undecided.'"""
    verdicts = Counter(claim.verdict for exhibit in exhibits for claim in exhibit.claims)
    many = {"holds": "hold", "does not hold": "do not hold", "undecided": "are undecided"}
    single = {"undecided": "is undecided"}
    told = [
        f"{verdicts[verdict]} {single.get(verdict, verdict) if verdicts[verdict] == 1 else many[verdict]}"
        for verdict in _VERDICTS
        if verdicts[verdict]
    ]
    claims = f" with {count(sum(verdicts.values()), 'claim')}: {listing(told)}" if told else ", without claims"
    return f"{count(len(exhibits), 'exhibit')}{claims}."


def _anchors(exhibits: Sequence[Exhibit]) -> list[tuple[Exhibit, str]]:
    """A name for the address of each section, and for its files: letters, digits and hyphens, each once."""
    names = Counter(e.name for e in exhibits)
    found: dict[str, Exhibit] = {}
    for e in exhibits:
        wanted = e.name if names[e.name] == 1 else f"{e.name}-{e.scale}"
        plain = stem(wanted) or "exhibit"
        anchor, number = plain, 1
        while anchor in found or anchor == "summary":
            number += 1
            anchor = f"{plain}-{number}"
        found[anchor] = e
    return [(e, anchor) for anchor, e in found.items()]
