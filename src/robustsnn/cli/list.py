"""`robustsnn list`: what there is to choose from."""

from __future__ import annotations

ALSO = {
    "suites": (
        "NAME-encoded       any of them on the encoder's output instead of the image",
        "NAME-8bit          any of them for Linf, on the 8-bit grey levels of an image file, searched there",
    ),
    "objectives": (
        "with any of them:  objective.retraction=BETA (SNN-RAT; its paper has adversarial and train.weight_decay=0),",
        "                   model.encoder.discretise=LEVELS, model.encoder.name=poisson or frequency (FEEL),",
        "                   objective.perturbation=GAMMA (AWP; those that choose their points first),",
        "                   objective.schedule.name (of lambda), objective.constraint.name",
    ),
    "flags": ("those of this package are always looked for, and explained where they are raised",),
}
"""What is no name of its own, but may be said with one."""


def run(arguments: list[str]) -> None:
    """Print names and what they stand for."""
    from robustsnn.names import KINDS, installed, registered
    from robustsnn.names.parsing import Parser
    from robustsnn.names.shipped import headline, shipped

    kinds = {"data": "datasets", "loss": "losses", "study": "studies"}
    plurals = {kinds.get(kind, f"{kind}s"): kind for kind in KINDS}
    parser = Parser(prog="robustsnn list", description="What there is to choose from.")
    parser.add_argument("kind", nargs="?", choices=[*plurals, "configs"], help="one kind; all without it")
    asked = parser.parse_args(arguments).kind
    for plural in [asked] if asked else [*plurals, "configs"]:
        print(plural)
        if plural == "configs":
            for name, path in shipped().items():
                print(f"  {name:26} {headline(path)}")
            continue
        kind = plurals[plural]
        for name, entry in registered(kind).items():
            short = f"; also {', '.join(entry.short)}" if entry.short else ""
            print(f"  {name:18} {entry.text}{short}")
        for name, entry in installed(kind).items():
            print(f"  {name:18} {entry.text or f'{entry.target}, of an installed package'}")
        for line in ALSO.get(plural, ()):
            print(f"  {line}")
    if asked is None:
        print("in the place of each: module:attribute of your own")
