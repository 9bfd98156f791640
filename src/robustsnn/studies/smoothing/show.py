"""The section about smoothing: between which shares the accuracy of the network under noise lies, by radius."""

from __future__ import annotations

from robustsnn.records.exhibit import Block, Chart, Row, Table, Words
from robustsnn.reporting.figures import line
from robustsnn.reporting.wording import count, percent
from robustsnn.studies.smoothing.record import Smoothing
from robustsnn.studies.study import Named, Shown

_ABOUT = (
    "Randomised smoothing (Cohen, Rosenfeld and Kolter 2019): the smoothed classifier answers with the class that the "
    "network says most often under normal noise. Its accuracy within a radius (L2, in the units of pixels) lies "
    "between two shares. Certified: images whose true class it is certain to give everywhere within the radius. "
    "Attacked: those for which an attack on the smoothed classifier settled on no other answer. Nothing of this is "
    "about the network without noise, and results of attacks on that one do not compare with it."
)


def blocks(shown: Shown[Smoothing]) -> list[Block]:
    """What was found in the models."""
    words = Words((_ABOUT, *(_words(model, entry) for model, entry in shown)))
    return [words, _curve(shown), _between(shown)]


def _words(model: Named, entry: Smoothing) -> str:
    said, wrong = [], 0
    for level in entry.levels:
        middle = level.between[len(level.between) // 2]
        low, high = middle.certified.text(percent=True), middle.standing.text(percent=True)
        said.append(
            f"smoothed by noise of sigma {level.sigma:g} it abstains for {level.abstained.text(percent=True)}, and its "
            f"accuracy at L2 {middle.radius:.3g} lies between {low} (certified) and {high} (attacked)"
        )
        wrong += level.contradictions
    return (
        f"{model.name}, {count(entry.n, 'image')}, {count(entry.draws, 'draw')} each: "
        f"{'; '.join(said)}. Each certificate may be wrong with a chance of {percent(1 - entry.confidence)}; "
        f"{count(wrong, 'image')} {'was' if wrong == 1 else 'were'} broken where certified."
    )


def _curve(shown: Shown[Smoothing]) -> Chart:
    lines = []
    for model, entry in shown:
        for level in entry.levels:
            name, points = f"{model.name}, sigma {level.sigma:g}", level.between
            certified, attacked = [point.certified for point in level.curve], [point.standing for point in points]
            lines.append(line(f"{name}, certified", (p.radius for p in level.curve), certified, model.colour))
            lines.append(line(f"{name}, attacked", (p.radius for p in points), attacked, model.colour, "dashed"))
    return Chart(
        "Accuracy of the smoothed classifier, from below and from above",
        "radius (L2)",
        "accuracy",
        tuple(lines),
        percent=True,
        caption="Certified: a lower bound. Attacked: an upper bound, of the same classifier. Bands are 95 % intervals.",
    )


def _between(shown: Shown[Smoothing]) -> Table:
    rows = [
        Row(
            f"sigma {level.sigma:g}, L2 {point.radius:.3g}",
            (point.certified.percents(), point.standing.percents()),
            model.name,
        )
        for model, entry in shown
        for level in entry.levels
        for point in level.between
    ]
    return Table("Between which shares its accuracy lies", ("certified", "attacked"), tuple(rows), head="noise, radius")
