"""What the study found in a sentence or two per part, for the terminal."""

from __future__ import annotations

from typing import Any

from robustsnn.studies.shared.said import percent_text


def lines(content: dict[str, Any]) -> list[str]:
    """Sentences on the content of the file."""
    found = [f"exact zeros at the pixels {percent_text(content['input']['zeros']['mean'])}, n = {content['n']}"]
    kinds: dict[str, list[dict[str, Any]]] = {}
    for operation in content["operations"]:
        kinds.setdefault(operation["kind"], []).append(operation)
    for kind, operations in kinds.items():
        zeros = sum(o["input"]["zeros"]["mean"] for o in operations) / len(operations)
        parts = [[o[origin] for origin in ("architectural", "natural", "other")] for o in operations]
        known = [sum(part["mean"] for part in one) for one in parts if None not in one]
        own = f"{percent_text(sum(known) / len(known))} its own" if len(known) == len(operations) else "its own unknown"
        found.append(f"{kind:22} zeros {percent_text(zeros):>8}, {own}")
    return found
