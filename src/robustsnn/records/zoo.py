"""Entries of a zoo: one JSON for each trained network, with what was measured on it."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from robustsnn.ground.errors import UserError
from robustsnn.ground.files import path_of, write_json
from robustsnn.records.result import Result
from robustsnn.records.typed import plain, read_record

SCHEMA = 1


@dataclass(frozen=True)
class Weights:
    """Where a network's weights are, an address or a path below the entry's folder, and the SHA-256 of the file."""

    place: str
    sha256: str

    def __post_init__(self) -> None:
        path = PurePosixPath(self.place)
        below = path.parts and not path.is_absolute() and ".." not in path.parts
        if not self.far and not (below and self.place.isprintable() and not {"\\", ":"} & {*self.place}):
            raise ValueError(f"place = {self.place!r:.80} is neither an address nor a path below the entry's folder")

    @property
    def far(self) -> bool:
        """Whether they must be fetched."""
        return is_address(self.place)


def is_address(text: str) -> bool:
    """Whether a text is where a file can be fetched."""
    return re.fullmatch(r"https?://[^/\s]\S*", text) is not None


@dataclass(frozen=True)
class ZooEntry:
    """A trained network.

    Args:
        key: of what determines it, see `key_of`.
        config: what the `config.yaml` of its run says: architecture by name, data, recipe, provenance.
        results: what suites left standing, one of each suite and threat; of the single attacks nothing.
        reported: figures by others, of a paper say, `suite` being the words for how they were measured.
        versions: that the results were measured with.
        licence, citation: of the weights, by whoever publishes them.
    """

    key: str
    config: dict[str, Any]
    weights: Weights
    results: tuple[Result, ...] = ()
    reported: tuple[Result, ...] = ()
    versions: dict[str, Any] = field(default_factory=dict)
    licence: str = ""
    citation: str = ""

    def __post_init__(self) -> None:
        if self.key != (right := key_of(self.config, self.weights)):
            raise ValueError(f"key = {self.key!r:.80} is not {right}, that of its network")

    @staticmethod
    def load(path: Path) -> ZooEntry:
        """Read `path`. UserError, with the place, where it makes no sense."""
        return read_record(ZooEntry, path_of("path", path), SCHEMA)

    def write(self, path: Path) -> None:
        """Write to `path`; of results what says nothing is left out."""
        document = plain(self)
        for part in ("results", "reported"):
            document[part] = _said(document[part])
        write_json(path, {"schema": SCHEMA, **document})


def key_of(config: dict[str, Any], weights: Weights) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of what determines a network: its model, its data, its weights."""
    said = config.get("data") or {}
    if not isinstance(said, dict):
        raise ValueError(f"config.data = {said!r:.80} is no table of entries")
    data = {name: value for name, value in said.items() if name not in ("root", "download")}
    text = json.dumps([config.get("model"), data, weights.sha256], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_zoo(folder: Path) -> dict[str, ZooEntry]:
    """The entries of a folder by the names of their files, in the order of the alphabet. UserError for none."""
    folder = path_of("folder", folder)
    names = [name for name in sorted(os.listdir(folder)) if name.endswith(".json") and not name.startswith(".")]
    if not names:
        raise UserError(f"{folder} holds no entry; make one by robustsnn zoo add RUN --zoo {folder}")
    return {name.removesuffix(".json"): ZooEntry.load(folder / name) for name in names}


def threat_of(result: Result) -> tuple[str, str, int, float]:
    """What an attacker may do: norm, space, grey levels if any, radius to 1e-6."""
    return result.norm, result.space, result.levels or 0, round(result.eps or 0.0, 6)


def _said(value: Any) -> Any:
    """Plain values without the entries that are empty."""
    if isinstance(value, list):
        return [_said(part) for part in value]
    if not isinstance(value, dict):
        return value
    return {name: said for name, part in value.items() if (said := _said(part)) not in (None, "", [], {})}
