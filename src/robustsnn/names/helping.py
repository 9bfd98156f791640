"""The page that `--help` prints: a short usage, what is required first, then sections in words.

A command with many options shows the usual ones in a line or two each, and all of them, with what is allowed, by
`--help-all`.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from typing import Any

HELP_ALL = "--help-all"


class HelpfulParser(argparse.ArgumentParser):
    """An argument parser with such a page.

    Args:
        sections: {heading: options}, the usual ones in the order in which they are shown. Those of no section are shown
            by `--help-all` alone. None shows all options, as they were added.
    """

    def __init__(self, *, sections: Mapping[str, Sequence[str]] | None = None, **options: Any) -> None:
        super().__init__(**{"allow_abbrev": False, "formatter_class": _formatter, **options})
        self.sections = sections
        # What is allowed, by option, for --help-all; the help of such an option ends with its default in brackets.
        self.spans: dict[str, str] = {}
        self._whole = sections is None
        if sections is not None:
            self.add_argument(HELP_ALL, action=_All, help="show every option, with what is allowed, and exit")

    def format_help(self) -> str:
        """The page."""
        page = self._get_formatter()
        page.add_usage(self.usage or self._short(), (), ())
        page.add_text(self.description)
        needed = [action for action in self._actions if action.required]
        rest = [action for action in self._actions if action not in needed]
        if self._whole or self.sections is None:
            parts = [(group.title, group.description, group._group_actions) for group in self._action_groups]
            parts = [(title, text, [action for action in those if action in rest]) for title, text, those in parts]
        else:
            known = self._option_string_actions
            parts = [(title, None, [known[name] for name in names]) for title, names in self.sections.items()]
            shown = {name for names in self.sections.values() for name in names}
            if any(
                shown.isdisjoint(action.option_strings)
                for action in rest
                if action.dest not in ("help", argparse.SUPPRESS)
            ):
                parts.append(("more", None, [known[HELP_ALL]]))
        for title, text, actions in [("required", None, needed), *parts]:
            if actions:
                page.start_section(title)
                page.add_text(text)
                page.add_arguments(self._told(actions))
                page.end_section()
        page.add_text(self.epilog)
        return page.format_help()

    def _told(self, actions: Iterable[argparse.Action]) -> list[argparse.Action]:
        """The actions, with what is allowed behind their help where the whole is asked for."""
        found = [copy(action) for action in actions]
        for action in found:
            span = self.spans.get(action.dest, "")
            action.help = f"{str(action.help)[:-1]}; {span})" if span and self._whole else action.help
        return found

    def _short(self) -> str:
        """`PROG RUN --out OUT [OPTION ...]`: what is required, and that there is more."""
        needed = [a for a in self._actions if a.required]
        words = [f"{a.option_strings[0]} {a.dest.upper()}" if a.option_strings else _called(a) for a in needed]
        return " ".join([self.prog, *sorted(words, key=lambda word: word.startswith("-")), "[OPTION ...]"])


class _All(argparse.Action):
    """Print the page with all options."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        parser._whole = True  # type: ignore[attr-defined]
        parser.print_help()
        parser.exit()


def _called(action: argparse.Action) -> str:
    """A positional argument in the usage: RUN, or RUN ... for several."""
    name = str(action.metavar or action.dest.upper())
    return f"{name} ..." if action.nargs in ("+", "*") else name


def _formatter(prog: str) -> argparse.HelpFormatter:
    """Lines of at most 100 letters, with a wide column of names."""
    width = min(100, shutil.get_terminal_size().columns - 2)
    return argparse.HelpFormatter(prog, max_help_position=max(24, width // 3), width=width)
