"""A recipe with networks of its own: how a twig does at each size."""

from dataclasses import dataclass

from robustsnn.names.config import Config, DataConfig, ModelConfig, TrainConfig
from robustsnn.recipes import Look, Need, Recipe
from robustsnn.recipes.cells import CLEAN, accuracy
from robustsnn.recipes.recipe import WORST
from robustsnn.records.exhibit import Exhibit, Row, Table


@dataclass(frozen=True)
class Twig:
    """A network of so many channels on blobs."""

    channels: int
    data: str = "blobs"

    def name(self):
        return f"twig of {self.channels}"

    def folder(self, scale, seed):
        return f"twig-{self.channels}-{seed}"

    def config(self, scale, seed, root=None):
        model = ModelConfig("willow.models:twig", 2, options={"channels": self.channels})
        train = TrainConfig(epochs=1, crop=0, seed=seed)
        return Config(self.name(), DataConfig("willow.data:blobs"), model, train=train)

    def radius(self, eps, scale):
        return f"{eps}/255"

    def cost(self):
        return 1.0, 1.0


LOOK = Look("willow.attacks:pair", 20)
TWIGS = (Twig(4), Twig(8))


def leaves(subject):
    """How many channels it has."""
    return subject.network.channels


def exhibit(results, setting):
    rows = tuple(
        Row(
            twig.name(),
            (
                accuracy(results[twig], CLEAN),
                accuracy(results[twig], WORST, LOOK),
                accuracy(results[twig], CLEAN, published=results[twig][0].measures["leaves"]),
            ),
        )
        for twig in TWIGS
    )
    table = Table("Twigs", ("clean", "attacked", "again"), rows, head="network")
    return Exhibit("twigs", "Twigs of two sizes", "Nowhere", setting.scale, (table,), (), (), ())


twigs = Recipe("twigs", lambda scale: [Need(twig, (LOOK,), (leaves,)) for twig in TWIGS], exhibit)
