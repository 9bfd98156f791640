"""Where a result comes from: versions, machine, revision. No torch is imported to find out."""

from __future__ import annotations

import platform
import subprocess
import sys
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("robustsnn", "torch", "numpy", "scipy", "safetensors")


def versions() -> dict[str, str]:
    """Of Python, this package and those that figures depend on; "missing" where one is not installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def git_revision() -> str | None:
    """The revision of the checkout that this package runs from, with "+" if changed; None outside one."""
    here = Path(__file__).parents[1]
    try:
        # Only a checkout of this very project counts, not one that a virtual environment lies in.
        top = Path(_git(here, "rev-parse", "--show-toplevel"))
        if here != top / "src" / "robustsnn":
            return None
        changed = _git(here, "status", "--porcelain", "--untracked-files=no")
        return _git(here, "rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def processor() -> str:
    """Its name, with family and model where the system tells."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor() or platform.machine()
    lines = [line.split(":", 1) for line in info.read_text("utf-8", "replace").splitlines() if ":" in line]
    about = {name.strip(): value.strip() for name, value in lines}
    name = about.get("model name", platform.machine())
    return f"{name} (family {about.get('cpu family')}, model {about['model']})" if "model" in about else name


def provenance() -> dict[str, str | None]:
    """Versions, platform, git revision, command and time."""
    return {
        **versions(),
        "platform": platform.platform(),
        "git": git_revision(),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
