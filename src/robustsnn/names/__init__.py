"""Names: what may be chosen by name in a config or on a command line, and what each name stands for.

A name is registered, in the `names.yaml` beside what it names; or it is `module:attribute`; or the name of an entry
point, in the group `robustsnn.KIND`, of an installed package. The last two lead outside: they are code that the one
who gives the name must trust, see `names.parsing`. Nothing is imported before a name is loaded.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

from robustsnn.ground.errors import UserError, in_short, shortened

KINDS = {
    "model": "models",
    "encoder": "encoders",
    "neuron": "neurons",
    "surrogate": "neurons",
    "rule": "neurons",
    "objective": "objectives",
    "constraint": "objectives",
    "schedule": "objectives",
    "data": "data",
    "optimiser": "training",
    "learning_rate": "training",
    "loss": "losses",
    "step": "attacks",
    "attack": "attacks",
    "suite": "attacks",
    "flag": "",
    "study": "studies",
    "recipe": "",
}
"""What has names, and the room whose `names.yaml` registers them; recipes come with other
packages alone, and the flags of this one are always looked for, so that names are those of others."""
_outside: set[str] = set()  # the modules that were imported for names which lead outside
_CODE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


@dataclass(frozen=True)
class Entry:
    """What is known of a name. A thing of a user's own may have one as its attribute `entry`.

    Args:
        text: one line on what it is.
        title: its abbreviation in reports, with {*} where an attack makes a star of it.
        words: what it is, for a report; of an objective with {attack}, {values} and, in words of `forms`, {form}.
        attacked: these words of an objective that trains on attacked images.
        forms: what each value of the option `form` does; the first one is the default.
        cite: the paper; of a registered name a word of papers.yaml.
        limits: what results with it do not say.
        event: made of, or for, frames of events.
        pixels: what an encoder emits has the statistics of the pixels, and is normalised by them.
        short: other names for it.
        seen: how the repr of an attack shows that this is part of it, where its own name does not.
        kind, name, target: what was asked for, and the "module:attribute" that it stands for.
        outside: it is not registered, so loading it runs code that this package does not know.
    """

    text: str = ""
    title: str = ""
    words: str = ""
    attacked: str = ""
    forms: Mapping[str, str] = field(default_factory=dict)
    cite: str = ""
    limits: str = ""
    event: bool = False
    pixels: bool = False
    short: tuple[str, ...] = ()
    seen: str = ""
    kind: str = ""
    name: str = ""
    target: str = ""
    outside: bool = False

    def facts(self) -> dict[str, Any]:
        """What it says, as plain values, for a file that is read where the thing itself is not."""
        return {key: value for key, value in asdict(self).items() if value and key in _FACTS}


_FACTS = ("text", "words", "attacked", "forms", "cite", "limits", "event", "pixels")


def told(facts: Any) -> Entry | None:
    """The entry of such facts, if there are any; what is none is left out, since a file says it."""
    kinds = {"forms": dict, "event": bool, "pixels": bool}
    facts = facts if isinstance(facts, Mapping) else {}
    fits = {key: facts[key] for key in _FACTS if type(facts.get(key)) is kinds.get(key, str)}
    return Entry(**fits) if fits else None


@cache
def _file(path: str) -> dict[str, Any]:
    """A YAML file of this package, by its path in it, or of another, by its whole path."""
    import yaml  # here: help needs no names

    return yaml.safe_load((Path(__file__).parents[1] / path).read_text("utf-8"))


@cache
def registered(kind: str) -> dict[str, Entry]:
    """The registered names of a kind and their entries, in the order of `robustsnn list`."""
    papers, found = _file("names/papers.yaml")["paper"], {}
    lines = _file(f"{KINDS[kind]}/names.yaml")[kind] if KINDS[kind] else {}
    for name, line in lines.items():
        cite, short = papers[line["cite"]] if "cite" in line else "", tuple(line.get("short", ()))
        found[name] = Entry(**{**line, "cite": cite, "short": short}, kind=kind, name=name)
    return found


def installed(kind: str) -> dict[str, Entry]:
    """Names that installed packages add to a kind; nothing of them is imported.

    A line of text is known of those which a package describes in a `names.yaml` of its own, as ours are.
    """
    found = {}
    for point in entry_points(group=f"robustsnn.{kind}"):
        target = point.value.replace(" ", "")
        text = _described(target.partition(".")[0].partition(":")[0]).get(kind, {}).get(point.name, {}).get("text", "")
        found[point.name] = Entry(text, kind=kind, name=point.name, target=target, outside=True)
    return found


@cache
def _described(package: str) -> dict[str, Any]:
    """What the `names.yaml` of an installed package says, {kind: {name: {"text": ...}}}; {} if it has none."""
    spec = find_spec(package)  # of a package at the top, which does not import it
    folders = [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []
    files = [folder / "names.yaml" for folder in folders if (folder / "names.yaml").is_file()]
    return _file(str(files[0])) if files else {}


def known(kind: str, name: Any) -> Entry | None:
    """The registered entry of that name, or short name, if there is one."""
    entries = registered(kind)
    word = str(name)
    return entries.get(word) or next((e for e in entries.values() if word.lower() in (e.name.lower(), *e.short)), None)


def untwinned(suite: str) -> str:
    """The name of a suite of which NAME-encoded and NAME-8bit are twins."""
    return suite.removesuffix("-encoded").removesuffix("-8bit")


def find(kind: str, name: str, option: str = "", more: Collection[str] = ()) -> Entry:
    """The entry of a name, registered or not; nothing is imported. UserError with what is allowed, and what is near.

    Args:
        option: that has this name, for the error.
        more: what else is allowed there.
    """
    found = known(kind, name)
    if found is not None:
        return found
    if _CODE.fullmatch(name):
        return Entry(kind=kind, name=name, target=name, outside=True)
    others = installed(kind)
    if name in others and _CODE.fullmatch(others[name].target):
        return others[name]
    among = list(dict.fromkeys([*more, *registered(kind), *others]))
    shorts = [short for entry in registered(kind).values() for short in entry.short]
    hint = near(name, [*among, *shorts]) or "; or module:attribute of your own"
    said = shortened(name) if name.strip() and name.isprintable() else in_short(name)
    raise UserError(f"{option or kind}={said}: allowed are {', '.join(among) or 'none'}{hint}")


def load(entry: Entry) -> Any:
    """What an entry stands for, imported: of a name that leads outside, this runs that code.

    Modules of the current folder are found, after all others. UserError if there is no such module or attribute; what
    its own code raises is passed on.
    """
    module, _, attribute = entry.target.partition(":")
    if entry.outside:
        _outside.add(module)
        if os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())
    try:
        found = import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise UserError(f"{entry.kind} {entry.name}: there is no module {error.name}, installed or here") from None
    try:
        return getattr(found, attribute)
    except AttributeError:
        hint = near(attribute, dir(found))
        raise UserError(f"{entry.kind} {entry.name}: {found.__name__} has no {attribute}{hint}") from None


def from_outside(error: BaseException) -> TracebackType | None:
    """The traceback of an error from where it entered a module of an outside name, for its author; else None."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__name__") not in _outside:
        trace = trace.tb_next
    return trace


def explained(entry: Entry) -> Entry:
    """The entry with what the thing says of itself: its attribute `entry`, or the first line of its docstring."""
    if not entry.outside:
        return entry
    thing = load(entry)
    own = getattr(thing, "entry", None)
    own = own if isinstance(own, Entry) else Entry()
    said = None if inspect.isclass(thing) and not thing.__doc__ else inspect.getdoc(thing)  # not that of a base class
    first = (said or "").partition("\n")[0]
    return replace(own, text=own.text or first, kind=entry.kind, name=entry.name, target=entry.target, outside=True)


def near(word: str, among: Collection[str]) -> str:
    """The end of an error about a word that was probably meant to be another; dashes before it do not count."""
    words = {one.lstrip("-"): one for one in among}
    found = get_close_matches(word.lower().lstrip("-"), words, 1)
    return f"; did you mean {words[found[0]]}?" if found else ""
