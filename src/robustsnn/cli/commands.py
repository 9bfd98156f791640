"""The table of commands: all that is known of one outside its own file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module


@dataclass(frozen=True)
class Command:
    """A command, whose file is the module of its name.

    Args:
        text: behind its name in the help.
        short: another name for it.
        again: what an interrupted one is told, to go on.
        lower: what to lower where memory does not suffice.
        device: it takes --device, where it computes.
        writes: it leaves results, so one that nobody reads to its end was cut short; a list is just read no further.
    """

    name: str
    text: str
    short: str = ""
    again: str = ""
    lower: str = ""
    device: bool = True
    writes: bool = True

    @property
    def run(self) -> Callable[[list[str]], None]:
        """What it does with the arguments behind its name. Loaded here, so that help is instant."""
        return import_module(f"robustsnn.cli.{self.name}").run


SAME, RESUME = ", continue by the same command", ", continue with --resume"
TRAINING = "train.batch_size, model.steps or the width of the network (model.options.width)"
TABLE = (
    Command(
        "demo",
        "the main job on embedded data: train vanilla, SR, AT, SR*; attack all; write a report",
        again=SAME,
    ),
    Command(
        "train",
        "CONFIG [--objective.lam 0.002 ...] --out RUN [--resume]",
        again=RESUME,
        lower=f"{TRAINING}, or train with train.recompute=true",
    ),
    Command(
        "evaluate",
        "RUN --suite reliable --eps 8/255 [--source RUN2] [--limit N] [--shard 1/4] [--resume]",
        short="attack",
        again=RESUME,
        lower="--batch_size",
    ),
    Command(
        "analyze",
        "RUN   its gradients, vulnerability, theory and energy, and where the gradient becomes sparse",
        lower="--batch_size or --limit",
    ),
    Command(
        "certify",
        "RUN   --sigma 0.25 --draws 1000   between which shares its accuracy under noise lies, in L2",
        lower="--batch_size",
    ),
    Command(
        "sweep",
        "CONFIG --over objective.lam=0,0.002 [--over ...] --out DIR [--suite quick --eps 8/255]",
        again=SAME,
        lower=f"{TRAINING}, or --workers",
    ),
    Command(
        "reproduce",
        "p1-table2 ... | all   a table or figure of the papers, beside what they report [--scale digits|full]",
        again=SAME,
        lower="--workers",
    ),
    Command("report", "RUN... --out report.html [--card]", device=False),
    Command(
        "zoo",
        "list | pull ENTRY | judge ENTRY [--limit N] | add RUN   trained networks, fetched and judged again",
        lower="--batch_size or --limit",
    ),
    Command("leaderboard", "FOLDER --out DIR   one page on the entries of a zoo", device=False),
    Command(
        "list",
        "models | encoders | objectives | suites | ... | configs   what there is to choose from; all without it",
        device=False,
        writes=False,
    ),
    Command(
        "bench",
        "how fast this machine is at it [--parts neuron,step ...] [--json OUT.json] | --compare OLD.json NEW.json",
        lower="--batch, --steps, --image or --neuron_shapes",
        device=False,  # an option of its own
        writes=False,
    ),
    Command("doctor", "versions, device, precision, compiler: what works here | --determinism RUN", writes=False),
    Command("completion", "bash | zsh | tcsh   what a shell reads to complete commands", device=False, writes=False),
)

COMMANDS = {name: command for command in TABLE for name in (command.name, command.short) if name}
"""By name and short name."""


def overview() -> str:
    """A line for each."""
    also = {command.name: f"   (also: {command.short})" if command.short else "" for command in TABLE}
    return "".join(f"  {command.name:12}{command.text}{also[command.name]}\n" for command in TABLE)
