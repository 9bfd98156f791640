"""Figures of the analyses of a run, `analysis/*.json`, whatever they are about, as lines of text."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from robustsnn.errors import UserError
from robustsnn.report.fields import mapping

_HIDDEN = ("schema", "made_with", "versions", "n", "seed")


def analyses(folder: Path) -> dict[str, list[tuple[str, str]]]:
    """Per file under `folder`/analysis its figures as (name, "1.23 [1.1, 1.4], n = 50"), those it names itself.

    A figure is a number, or a mean with its interval, in the file's entries or one level below them. The trail is
    left out, it has a reader of its own; so are files of other weights than those in the folder, with UserError.
    """
    weights = folder / "weights.safetensors"
    digest = sha256(weights.read_bytes()).hexdigest() if weights.is_file() else None
    found = {}
    for path in sorted((folder / "analysis").glob("*.json")):
        if path.stem != "trail":
            try:
                value = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError, RecursionError) as error:
                raise UserError(f"{path} cannot be read as JSON ({error}); analyse the run again") from error
            value = mapping(value, str(path))
            if digest is not None and value.get("made_with", digest) != digest:
                raise UserError(f"{path} was made with other weights than {weights}; analyse the run again")
            found[path.stem] = _figures(value)
    return {name: lines for name, lines in found.items() if lines}


def _figures(value: Mapping[str, Any]) -> list[tuple[str, str]]:
    lines = []
    for name, entry in value.items():
        if name in _HIDDEN:
            continue
        if said := _said(entry):
            lines.append((name, said))
        elif isinstance(entry, Mapping):
            lines += [(f"{name}: {key}", text) for key, part in entry.items() if (text := _said(part))]
        elif isinstance(entry, list):
            named = [part for part in entry if isinstance(part, Mapping) and isinstance(part.get("label"), str)]
            for part in named:
                lines += [(f"{part['label']}: {key}", text) for key, inner in part.items() if (text := _said(inner))]
    return lines


def _said(entry: Any) -> str:
    if _finite(entry):
        return f"{entry:.4g}" if isinstance(entry, float) else str(entry)
    if not (isinstance(entry, Mapping) and _finite(entry.get("mean"))):
        return ""
    pair, n = entry.get("interval"), entry.get("n")
    ends = isinstance(pair, list) and len(pair) == 2 and all(map(_finite, pair))
    within = f" [{pair[0]:.4g}, {pair[1]:.4g}]" if ends and isinstance(pair, list) else ""
    return f"{entry['mean']:.4g}{within}" + (f", n = {n}" if isinstance(n, int) else "")


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
