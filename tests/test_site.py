"""The site's sources: each page has its place, links lead somewhere, tutorials are what the builder can cut and run."""

from __future__ import annotations

import ast
import re
import runpy
from pathlib import Path

import pytest
import yaml

import robustsnn

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
TUTORIALS = sorted((DOCS / "tutorials").glob("*.py"))
ROOMS = runpy.run_path(str(ROOT / "website" / "rooms.py"))["ROOMS"]
MADE = {f"tutorials/{script.stem}.md" for script in TUTORIALS} | {f"reference/api/{room}.md" for room in ROOMS}


def places(nav: object) -> list[str]:
    """The pages of a navigation, at any depth."""
    if isinstance(nav, str):
        return [nav]
    return [page for part in (nav.values() if isinstance(nav, dict) else nav) for page in places(part)]  # type: ignore


def test_every_page_has_one_place_in_the_navigation():
    found = [place for place in places(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]) if "://" not in place]
    assert len(set(found)) == len(found)
    assert set(found) == {page.relative_to(DOCS).as_posix() for page in PAGES} | MADE


@pytest.mark.parametrize("page", [*PAGES, *TUTORIALS], ids=lambda page: page.relative_to(DOCS).as_posix())
def test_links_lead_to_files_that_are_there(page):
    for link in re.findall(r"\]\(([^)\s#]+)[^)]*\)", page.read_text("utf-8")):
        if "://" in link or link.startswith("mailto:"):
            continue
        target = (page.parent / link).resolve()
        made = target.is_relative_to(DOCS) and target.relative_to(DOCS).as_posix() in MADE
        assert made or target.exists(), f"{link} of {page}"


@pytest.mark.parametrize("script", TUTORIALS, ids=lambda script: script.stem)
def test_a_tutorial_is_text_and_code_in_turn_and_says_all_of_itself(script):
    parts = list(runpy.run_path(str(ROOT / "website" / "tutorials.py"))["parts"](script.read_text("utf-8")))
    assert parts[0][1].startswith("# ")
    assert {kind for kind, _ in parts} == {"text", "code"}
    whole = "\n".join(content for _, content in parts)
    for line in script.read_text("utf-8").splitlines():
        assert line == "# %%" or line.removeprefix("#").removeprefix(" ") in whole
    for kind, content in parts:
        if kind == "code":
            ast.parse(content)


def test_the_reading_order_names_files_that_are_there_each_once():
    text = (DOCS / "explanation" / "reading.md").read_text("utf-8")
    named = re.findall(r"`([\w/]+(?:\.py|/))`", text)
    assert len(named) == len(set(named)) > 30
    for name in named:
        assert ((ROOT if name.startswith("tests/") else ROOT / "src" / "robustsnn") / name).exists(), name


def test_every_room_that_the_package_announces_has_a_page():
    announced = set(re.findall(r"^    robustsnn\.(\w+) {2,}", robustsnn.__doc__ or "", re.MULTILINE))
    assert announced - set(ROOMS) <= {"fit", "wrap", "evaluate"}
    assert len(announced & set(ROOMS)) >= 8
