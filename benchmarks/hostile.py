"""Hostile values of options, and hostile forms of files: what `storm_inputs.py` and the tests try."""

from __future__ import annotations

import argparse
import io
import json
import random
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields
from typing import Any, get_origin
from unittest import mock

import numpy as np
import yaml

from robustsnn.cli import COMMANDS
from robustsnn.names.config import Config
from robustsnn.names.parsing import Parser, _group, _kinds

CANARY = {"class_path": "hostile_canary.X", "init_args": {}}
PICKLE = b"\x80\x02chostile_canary\nX\n)R."
VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1 << 31, 10**18, 10**30, 10**300, 1e30, 1e308, 1e-320, -0.5),
    *(float("nan"), float("inf"), "", "x", "8/0", "1e400", "hostile_canary.X", "hostile_canary:X", "\x00", "\ud800"),
    *("é\u202e<script>", "a" * 5000, "../../x", [], [1, "x"], {}, {"a": {"b": [None]}}, CANARY, [[[[]]]]),
)
"""As a file says them. What a flag says is the text of each."""
TEXTS = tuple(
    dict.fromkeys("null" if v is None else v if isinstance(v, str) else str(v).replace("'", '"') for v in VALUES)
)


def options(kind: type = Config, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every option of a config, and of every group of options."""
    for field in fields(kind):
        group, _ = _group(_kinds(kind)[field.name])
        yield (*path, field.name)
        if group is not None:
            yield from options(group, (*path, field.name))
        elif get_origin(_kinds(kind)[field.name]) is dict:
            yield (*path, field.name, "unknown")


def own_options() -> Iterator[tuple[str, tuple[str, ...]]]:
    """(objective or group, path) of options of registered things, which are checked when they are made."""
    yield "model", ("model", "options", "width")
    for name, keys in OBJECTIVES.items():
        yield from ((name, ("objective", "options", key)) for key in keys)


OBJECTIVES = {
    "sparsity": ("h", "form"),
    "gradient": ("h", "norm"),
    "trades": ("temperature",),
    "adversarial_pairing": ("share",),
    "clean_pairing": ("noise",),
    "membrane": ("delta",),
}


def tiny(objective: str = "sparsity", **more: Any) -> dict[str, Any]:
    """A config that is trained in a second."""
    document: dict[str, Any] = {
        "name": "tiny",
        "data": {"name": "digits"},
        "model": {"name": "vgg_small", "steps": 1, "options": {"width": 0.1}},
        "objective": {"name": objective},
        "train": {"epochs": 1, "batch_size": 600, "lr": 0.05, "crop": 0},
    }
    if objective != "natural":
        document["objective"]["lam"] = 0.1
    if objective in ("trades", "adversarial_pairing"):
        document["objective"]["attack"] = {"eps": "8/255", "steps": 1}
    needed = {"clean_pairing": {"noise": 0.1}, "membrane": {"delta": 1.0}}
    document["objective"]["options"] = dict(needed.get(objective, {}))
    return document | more


def told(path: tuple[str, ...], value: Any, objective: str = "natural") -> str:
    """The text of a config file in which one option has that value."""
    document = tiny(objective)
    if path[0] == "objective" and "attack" in path:
        document = tiny("trades")
    if "frames" in path:
        document["data"] = {"name": "digit_events"}
        document["model"]["steps"] = 8
    here = document
    for name in path[:-1]:
        here = here.setdefault(name, {})
        if name in ("attack", "validation_attack"):
            here.setdefault("eps", "8/255")
    here[path[-1]] = value
    return yaml.safe_dump(document, allow_unicode=False)


def flags() -> dict[str, list[argparse.Action]]:
    """The arguments of every command, from its own parser."""
    found: dict[str, list[argparse.Action]] = {}
    for command in sorted({command.name for command in COMMANDS.values()}):

        def keep(self: Parser, *_: Any, command: str = command) -> Any:
            found[command] = [action for action in self._actions if action.dest != "help"]
            raise SystemExit

        with mock.patch.object(Parser, "parse_known_args", keep), suppress(SystemExit):
            COMMANDS[command].run([])
    return found


def damaged(content: bytes, others: list[bytes], draws: random.Random) -> bytes:
    """A file's bytes, cut, changed, or in the place of another's."""
    kind = draws.randrange(7)
    if kind == 0:
        return content[: draws.randrange(len(content) + 1)]
    if kind == 1 and content:
        changed = bytearray(content)
        for _ in range(draws.randint(1, 8)):
            changed[draws.randrange(len(changed))] = draws.randrange(256)
        return bytes(changed)
    if kind == 2:
        return draws.choice(others)
    if kind == 3:
        return draws.choice([b"", b"[" * 5000, b"{}", b"null", b"\xff\xfe\x00", b"PK\x03\x04", b"\x00" * 64, PICKLE])
    return _said_otherwise(content, draws)


def _said_otherwise(content: bytes, draws: random.Random) -> bytes:
    """A document with a hostile value in one place; an archive with a hostile array; weights with hostile metadata."""
    try:
        if content[:2] == b"PK":
            return _archive(content, draws)
        if content[8:9] == b"{":
            size = int.from_bytes(content[:8], "little")
            head = _planted(json.loads(content[8 : 8 + size]), draws)
            text = json.dumps(head).encode()
            return len(text).to_bytes(8, "little") + text + content[8 + size :]
        lines = content.decode().splitlines()
        if len(lines) > 1 and lines[0].startswith("{") and lines[0].endswith("}"):
            lines[0] = json.dumps(_planted(json.loads(lines[0]), draws))
            return "\n".join(lines).encode()
        if content[:1] in b"{[":
            return json.dumps(_planted(json.loads(content), draws)).encode()
        return yaml.safe_dump(_planted(yaml.safe_load(content), draws)).encode()
    except (ValueError, yaml.YAMLError):
        return content[::-1]


def _planted(document: Any, draws: random.Random) -> Any:
    """A document in which a value at random is another one."""
    places: list[tuple[Any, Any]] = []

    def walk(here: Any) -> None:
        for key in here if isinstance(here, dict) else range(len(here)) if isinstance(here, list) else ():
            places.append((here, key))
            walk(here[key])

    walk(document)
    if not places:
        return draws.choice(VALUES)
    here, key = draws.choice(places)
    if draws.random() < 0.2 and isinstance(here, dict):
        del here[key]
    else:
        here[key] = draws.choice(VALUES)
    return document


def _archive(content: bytes, draws: random.Random) -> bytes:
    """An npz with one array of another kind or shape, encrypted, or that says more than it has."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = draws.choice(list(members))
    kind = draws.randrange(5)
    stream, arrays = io.BytesIO(), [np.zeros(0), np.full(3, np.nan), np.array("x" * 99), np.zeros((2, 2), np.complex64)]
    if kind == 0:
        np.save(stream, draws.choice(arrays))
        members[name] = stream.getvalue()
    elif kind == 1:  # a header that says more than there is
        np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": (1 << 40,)})
        members[name] = stream.getvalue()
    elif kind == 2:  # a bomb
        np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": (300 << 20,)})
        members[name] = stream.getvalue() + bytes(300 << 20)
    elif kind == 3:
        del members[name]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    made = out.getvalue()
    # The bit that says that a member is encrypted, in its own header and in the table.
    return made.replace(b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01", 1) if kind == 4 else made
