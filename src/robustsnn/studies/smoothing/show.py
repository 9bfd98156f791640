"""The section about smoothing: between which shares the accuracy of the network under noise lies, by radius."""

from __future__ import annotations

import math
from collections.abc import Sequence

from robustsnn.records.exhibit import Block, Chart, Line, Row, Style, Table, Words
from robustsnn.reporting.analysis_file import Entry
from robustsnn.reporting.wording import count, percent
from robustsnn.studies.study import Named, Shown

_ABOUT = (
    "Randomised smoothing (Cohen, Rosenfeld and Kolter 2019): the smoothed classifier answers with the class that the "
    "network says most often under normal noise. Its accuracy within a radius (L2, in the units of pixels) lies "
    "between two shares. Certified: images whose true class it is certain to give everywhere within the radius. "
    "Attacked: those for which an attack on the smoothed classifier settled on no other answer. Nothing of this is "
    "about the network without noise, and results of attacks on that one do not compare with it."
)


def blocks(shown: Shown[Entry]) -> list[Block]:
    """What `analysis/smoothing.json` of the models says."""
    words = Words((_ABOUT, *(_words(model, entry) for model, entry in shown)))
    return [words, _curve(shown), _between(shown)]


def _words(model: Named, entry: Entry) -> str:
    said, wrong = [], 0
    for level in entry.parts("levels"):
        points = level.parts("between")
        middle = points[len(points) // 2]
        low, high = (middle.found(key, "accuracy").text(percent=True) for key in ("certified", "standing"))
        said.append(
            f"smoothed by noise of sigma {level.number('sigma'):g} it abstains for "
            f"{level.found('abstained', 'share').text(percent=True)}, and its accuracy at L2 "
            f"{middle.number('radius'):.3g} lies between {low} (certified) and {high} (attacked)"
        )
        wrong += level.whole("contradictions")
    chance = 1 - entry.number("confidence")
    return (
        f"{model.name}, {count(entry.whole('n'), 'image')}, {count(entry.whole('draws'), 'draw')} each: "
        f"{'; '.join(said)}. Each certificate may be wrong with a chance of {percent(chance)}; "
        f"{count(wrong, 'image')} {'was' if wrong == 1 else 'were'} broken where certified."
    )


def _curve(shown: Shown[Entry]) -> Chart:
    lines = []
    for model, entry in shown:
        for level in entry.parts("levels"):
            name = f"{model.name}, sigma {level.number('sigma'):g}"
            points = level.parts("between")
            lines.append(_line(f"{name}, certified", level.parts("curve"), "certified", "line", model.colour))
            lines.append(_line(f"{name}, attacked", points, "standing", "dashed", model.colour))
    return Chart(
        "Accuracy of the smoothed classifier, from below and from above",
        "radius (L2)",
        "accuracy",
        tuple(lines),
        percent=True,
        caption="Certified: a lower bound. Attacked: an upper bound, of the same classifier. Bands are 95 % intervals.",
    )


def _line(name: str, points: Sequence[Entry], key: str, style: Style, colour: int) -> Line:
    found = [point.found(key, "accuracy") for point in points]
    y = tuple(math.nan if one.value is None else one.value for one in found)
    return Line(name, tuple(p.number("radius") for p in points), y, tuple(f.interval for f in found), style, colour)


def _between(shown: Shown[Entry]) -> Table:
    rows = []
    for model, entry in shown:
        for level in entry.parts("levels"):
            for point in level.parts("between"):
                label = f"sigma {level.number('sigma'):g}, L2 {point.number('radius'):.3g}"
                cells = tuple(point.found(key, "accuracy").percents() for key in ("certified", "standing"))
                rows.append(Row(label, cells, model.name))
    return Table("Between which shares its accuracy lies", ("certified", "attacked"), tuple(rows), head="noise, radius")
