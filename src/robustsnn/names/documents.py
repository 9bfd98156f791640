"""YAML files as plain values, of a sane size; nothing in them is called, expanded without end, or said twice.

The size of a document is known before anything is built: a file may be small and say, by aliases of aliases, more than
any memory holds.
"""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from types import NoneType
from typing import Any

import yaml

from robustsnn.ground.errors import UserError, in_words
from robustsnn.names.values import shown

_BYTES, _DEPTH, _VALUES = 1 << 20, 20, 10_000


class _Plain(yaml.SafeLoader):
    """The safe loader, which takes no name twice in a mapping."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.depth += 1
        if self.depth > _DEPTH + 1:
            raise ValueError(f"it is nested more than {_DEPTH} deep")
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        said: set[str] = set()
        for key, _ in node.value if isinstance(node.value, list) else ():  # !!map on a text holds none
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in said:
                    raise ValueError(f"{shown(key.value)} is said twice, in line {key.start_mark.line + 1} again")
                said.add(key.value)
        return super().construct_mapping(node, deep)


def read_document(path: Path, use: str) -> dict[str, Any]:
    """The mapping that a UTF-8 YAML file holds, checked by `check_plain`; UserError for anything else.

    Args:
        use: what the file is for: "a config".
    """
    try:
        if path.stat().st_size > _BYTES:
            raise ValueError(f"it has {path.stat().st_size} bytes; {_BYTES} are allowed")
        document = plain(path.read_text("utf-8-sig"))
        if not isinstance(document, dict):
            raise ValueError("it is not a mapping of options, written as NAME: VALUE")
        return document
    except OSError as error:
        raise UserError(in_words(error)) from None
    except ValueError as error:  # of a wrong byte of UTF-8, too
        said = " ".join(str(error).split())[:300]
        raise UserError(f"{path} cannot be read as {use}: {said}; correct or restore it") from None


def plain(text: str) -> Any:
    """What YAML text says; ValueError in one line unless it is plain, see `check_plain`."""
    try:
        loader = _Plain(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check_size(node)
            value = loader.construct_document(node)
        finally:
            loader.dispose()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (yaml.YAMLError, OverflowError, TypeError, AttributeError, KeyError, IndexError) as error:
        # Beside its own error the loader lets through what Python says of values such as !!timestamp x.
        raise ValueError(" ".join(str(error).split())[:300] or type(error).__name__) from None
    check_plain(value)
    return value


def _check_size(root: yaml.Node) -> None:
    """ValueError if what a document expands to is too deep or too large, or holds itself."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node, depth: int) -> int:
        if depth > _DEPTH:  # also what refers to itself
            raise ValueError(f"it is nested more than {_DEPTH} deep")
        found = sizes.get(id(node))
        if found is None:
            below = node.value if isinstance(node, yaml.CollectionNode) else []
            inner = [part for item in below for part in (item if isinstance(item, tuple) else (item,))]
            found = sizes[id(node)] = 1 + sum(size(part, depth + 1) for part in inner)
        if found > _VALUES:
            raise ValueError(f"it expands to more than {_VALUES} values")
        return found

    size(root, 0)


def check_plain(value: Any) -> None:
    """ValueError unless a value is numbers, texts, truth values, lists and mappings, of a sane size."""
    left, count = [(value, 0)], 0
    while left:
        here, depth = left.pop()
        count += 1
        if depth > _DEPTH or count > _VALUES:  # also what refers to itself
            raise ValueError("it is nested too deeply or too large for a config")
        if isinstance(here, dict):
            for key in here:
                if not isinstance(key, str):
                    raise ValueError(f"the name {shown(key)} in it is no text; write it in quotes")
                _check_text(key)
            left += [(inner, depth + 1) for inner in here.values()]
        elif isinstance(here, list):
            left += [(inner, depth + 1) for inner in here]
        elif isinstance(here, str):
            _check_text(here)
        elif not isinstance(here, int | float | NoneType):
            raise ValueError(f"{shown(here)} is neither a number, a text, true, false, null, a list nor a mapping")


def _check_text(text: str) -> None:
    """ValueError for text that no file and no page can hold: half of a surrogate pair, or a zero byte."""
    if "\0" in text or not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise ValueError(f"{shown(text)} is no text: it holds half of a character (a lone surrogate)") from None
        if "\0" in text:
            raise ValueError(f"{shown(text)} holds a zero byte; leave it out")
