"""A study with a figure: how the logits grow with the brightness of the images."""

from dataclasses import asdict, dataclass

from robustsnn.records.exhibit import Chart, Line, Words
from robustsnn.studies.study import Study


@dataclass(frozen=True)
class Rings:
    """The mean largest logit at each brightness."""

    brightness: tuple[float, ...]
    largest: tuple[float, ...]

    def to_dict(self):
        return asdict(self)


def measure(task):
    from willow.rings.looking import largest

    levels = (0.0, 0.5, 1.0)
    return Rings(levels, tuple(largest(task.model, task.images, level) for level in levels))


def blocks(shown):
    said = tuple(f"{model.name} says {max(rings.largest):.2f} at most." for model, rings in shown)
    lines = tuple(Line(model.name, rings.brightness, rings.largest, colour=model.colour) for model, rings in shown)
    return [Words(said), Chart("Rings of a willow", "brightness", "largest logit", lines)]


study = Study("Rings", measure, blocks)
