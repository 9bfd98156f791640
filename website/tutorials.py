"""Tutorials: scripts whose comments are the text, run when the site is built, with what they print below each block.

A cell begins with the line `# %%`, as editors know it; its first comment lines are text, the rest is code.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path


def parts(source: str) -> Iterator[tuple[str, str]]:
    """("text" or "code", content) of a script, in order."""
    for cell in source.split("# %%\n")[1:]:
        lines = cell.splitlines()
        end = next((n for n, line in enumerate(lines) if not line.startswith("#")), len(lines))
        yield "text", "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines[:end])
        if code := "\n".join(lines[end:]).strip("\n"):
            yield "code", code


def executed(script: Path) -> str:
    """The page of a tutorial; an exception of its code ends the build."""
    names: dict[str, object] = {"__name__": "__main__"}
    page: list[str] = []
    home, source = Path.cwd(), script.read_text("utf-8")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            for kind, content in parts(source):
                if kind == "text":
                    page.append(content)
                    continue
                page.append(f"```python\n{content}\n```")
                said = io.StringIO()
                with contextlib.redirect_stdout(said):
                    exec(compile(content, script.name, "exec"), names)
                if said.getvalue().strip():
                    page.append(f'```text title="prints"\n{said.getvalue().rstrip()}\n```')
        finally:
            os.chdir(home)
    page.append(f"---\n\nThis page was made by running `docs/tutorials/{script.name}` when the site was built.")
    return "\n\n".join(page) + "\n"


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(executed(Path(name)))
