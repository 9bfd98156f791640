"""What the site has besides the pages of docs/: tutorials that were run, a page for each room, KaTeX, links outward.

MkDocs calls these by their names. Nothing is asked of another server when a page is read.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "website")]

from rooms import ROOMS, page_of  # noqa: E402

from tutorials import executed  # noqa: E402

KATEX = "katex@0.16"
WANTED = ("dist/katex.min.css", "dist/katex.min.js", "dist/contrib/auto-render.min.js")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made, and KaTeX."""
    for script in sorted((ROOT / "docs" / "tutorials").glob("*.py")):
        add(files, config, f"tutorials/{script.stem}.md", executed(script))
        files.remove(files.src_uris[f"tutorials/{script.name}"])
    for room in ROOMS:
        add(files, config, f"reference/api/{room}.md", page_of(room))
    for name, content in katex().items():
        add(files, config, f"katex/{name}", content)
    return files


def add(files: Files, config: Any, uri: str, content: str | bytes) -> None:
    """Put a made file among those of docs/."""
    files.append(File.generated(config, uri, content=content))


def katex() -> dict[str, bytes]:
    """The files of KaTeX that a page loads, from the npm package: its script, its style and its fonts."""
    with tempfile.TemporaryDirectory() as folder:
        run = ["npm", "pack", "--silent", KATEX]
        name = subprocess.run(run, cwd=folder, check=True, capture_output=True, text=True).stdout.split()[-1]
        with tarfile.open(Path(folder) / name) as package:
            found = {}
            for member in package.getmembers():
                path = member.name.removeprefix("package/")
                font = path.startswith("dist/fonts/") and path.endswith(".woff2")
                if path in WANTED or font:
                    content = package.extractfile(member)
                    assert content is not None
                    found["fonts/" * font + Path(path).name] = content.read()
    return found


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """A link to a file of the repository that is no page of the site leads to the repository."""
    there = f"{config['extra']['repository']}/blob/main/"

    def outward(link: re.Match[str]) -> str:
        path, hash_, anchor = link[1].partition("#")
        target = ((ROOT / "docs" / page.file.src_uri).parent / path).resolve()
        if "://" in link[1] or not path or not target.exists() or target.is_relative_to(ROOT / "docs"):
            return link[0]
        return f"]({there}{target.relative_to(ROOT).as_posix()}{hash_}{anchor})"

    return re.sub(r"\]\(([^)\s]+)\)", outward, markdown)
