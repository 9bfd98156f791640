"""What is published: the sdist has all that its tests read, the wheel made of it all that runs, and links lead out."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OTHERS = {".git", "runs", "data", "build", "dist", "site", "zoo"}
"""Folders at the top that are no part of a release, or large."""
README = (ROOT / "README.md").read_text("utf-8")


def made(command: str, source: Path, out: Path) -> Path:
    """What setuptools makes of a folder: of `python -m build`, the part behind its own environment."""
    code = f"import setuptools.build_meta as b, sys; print(b.{command}(sys.argv[1]))"
    run = subprocess.run([sys.executable, "-c", code, str(out)], cwd=source, capture_output=True, text=True, check=True)
    return out / run.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> Path:
    """The sdist of this folder, unpacked."""
    folder = tmp_path_factory.mktemp("release")
    shutil.copytree(ROOT, folder / "tree", ignore=left_out)
    with tarfile.open(made("build_sdist", folder / "tree", folder)) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (top,) = (folder / "unpacked").iterdir()
    return top


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory) -> zipfile.ZipFile:
    """The wheel that is made of the sdist."""
    return zipfile.ZipFile(made("build_wheel", sdist, tmp_path_factory.mktemp("wheel")))


def left_out(folder: str, names: list[str]) -> set[str]:
    """What of a folder is not copied to where the sdist is made."""
    tools = {name for name in names if name == "__pycache__" or name.endswith(("cache", ".egg-info", "venv"))}
    return tools | (OTHERS if Path(folder) == ROOT else set())


def files(folder: Path) -> set[str]:
    """Of a folder, the names of its files, without what tools leave behind."""
    found = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    return {p.as_posix() for p in found if p.suffix != ".pyc" and not any(".egg-info" in part for part in p.parts)}


def test_the_wheel_has_every_file_of_the_packages_and_nothing_else(wheel):
    inside = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert inside == files(ROOT / "src")
    assert {"robustsnn/py.typed", "robustsnn/names/configs/cifar10_vgg11_sr.yaml"} <= inside


def test_the_wheel_says_where_it_comes_from_and_caps_nothing(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    said = Parser().parsestr(wheel.read(name).decode())
    links = dict(line.split(", ", 1) for line in said.get_all("Project-URL", []))
    assert {"Homepage", "Documentation", "Repository", "Issues", "Changelog"} <= links.keys()
    always = [line for line in said.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert len(always) >= 5
    assert not [line for line in always if "<" in line or "==" in line]
    assert [line for line in said.get_all("Classifier", []) if line.endswith("Python :: 3.14")]


def test_every_package_that_is_imported_is_required_or_an_extra(wheel):
    """And no other is required: what only tests import is theirs."""
    named = {"markupsafe": "jinja2", "PIL": "pillow", "yaml": "pyyaml"}  # markupsafe comes with Jinja2
    imported = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            imported |= {name.partition(".")[0] for name in names}
    foreign = imported - set(sys.stdlib_module_names) - {"robustsnn", "robustsnn_papers"}
    needed = {named.get(name, name) for name in foreign}
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    lines = Parser().parsestr(wheel.read(name).decode()).get_all("Requires-Dist", [])
    said = {line: re.split(r"[^\w-]", line)[0].lower() for line in lines}
    assert needed <= set(said.values())
    assert {package for line, package in said.items() if "extra ==" not in line} <= needed


@pytest.mark.parametrize(
    "part", ["tests", "docs", "benchmarks", "conda", "examples", "requirements", "src", "website", ".ci"]
)
def test_the_sdist_has_what_its_tests_read(sdist, part):
    assert files(sdist / part) == files(ROOT / part)


def test_the_conda_recipe_requires_what_the_wheel_does(wheel):
    recipe = (ROOT / "conda" / "meta.yaml").read_text("utf-8")
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    said = Parser().parsestr(wheel.read(name).decode())
    called = {"torch": "pytorch", "matplotlib": "matplotlib-base"}  # there
    lines = [line.lower() for line in said.get_all("Requires-Dist", []) if "extra ==" not in line]
    parts = [re.fullmatch(r"([\w-]+)(>=[\d.]+)", line) for line in lines]
    wanted = {f"{called.get(part[1], part[1])} {part[2]}" for part in parts if part} | {
        f"python {said['Requires-Python']}"
    }
    assert len(wanted) == len(lines) + 1
    run = recipe[recipe.index("  run:\n") : recipe.index("\ntest:")]
    assert set(re.findall(r"^    - (.+)$", run, re.MULTILINE)) == wanted
    assert f'version = "{said["Version"]}"' in recipe
    assert set(re.findall(r"^    - (robustsnn\S*) = (\S+)$", recipe, re.MULTILINE)) == {
        ("robustsnn", "robustsnn.cli:main")
    }


def test_links_of_the_readme_lead_out_of_the_repository_and_to_files_of_it():
    """On the page of a package index there is no folder around the README."""
    assert not re.findall(r"\]\((?!https://)", README)
    links = dict(re.findall(r"^\[(\S+)\]: (\S+)$", README, re.MULTILINE))
    assert set(re.findall(r"\]\[([^\]]+)\]", README)) == links.keys()
    base = re.search(r'^Repository = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert base is not None
    raw = base[1].replace("https://github.com", "https://raw.githubusercontent.com")
    for label, link in links.items():
        assert link == (f"{raw}/main/{label}" if label.endswith(".png") else f"{base[1]}/blob/main/{label}")
        assert (ROOT / label.partition("#")[0]).exists()
