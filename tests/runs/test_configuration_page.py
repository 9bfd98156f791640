"""docs/reference/configuration.md lists every option; `python tests/runs/test_configuration_page.py` writes it anew."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import get_origin

from robustsnn.names.config import Config, TrainingAttackConfig
from robustsnn.names.parsing import _default, _explained, _group, _kinds
from robustsnn.names.values import allowed

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "configuration.md"
HEAD = """# Configuration

Every option of a training run, as a YAML file nests it and a flag spells it (`--train.lr 0.05` behind the file's
name). What is left out has its default. `robustsnn train my.yaml --dry_run` checks a file and prints it with all of
them. Options that choose a thing, here with its kind in brackets, take [any name](names.md). This page is made of the
options themselves by `python tests/runs/test_configuration_page.py`.
"""


def rows(kind: type, prefix: str = "") -> Iterator[str]:
    """A group's heading, its table, and the groups in it."""
    texts, inner = _explained(kind), []
    yield f"\n## `{prefix[:-1]}`\n\n{texts['']}\n" if prefix else ""
    yield "| option | default | allowed | meaning |\n|---|---|---|---|"
    for field in fields(kind):
        group, _ = _group(_kinds(kind)[field.name])
        if group is not None:
            inner.append((group, f"{prefix}{field.name}."))
            if group is TrainingAttackConfig:
                yield f"| `{prefix}{field.name}` | null | options below it | {texts[field.name]} |"
            continue
        named = f"[{field.metadata['kind']}] " if "kind" in field.metadata else ""
        may = allowed(_kinds(kind)[field.name]) if get_origin(_kinds(kind)[field.name]) is not dict else "a mapping"
        yield f"| `{prefix}{field.name}` | {_default(field)} | {may} | {named}{texts[field.name]} |"
    for group, name in inner:
        yield from rows(group, name)


def page() -> str:
    return "\n".join([HEAD, *rows(Config)]).replace("\n\n\n", "\n\n") + "\n"


def test_the_page_lists_every_option_as_it_is():
    assert PAGE.read_text("utf-8") == page()
    assert page().count("\n| `") > 60


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
