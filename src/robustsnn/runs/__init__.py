"""Runs: what a config says, built, trained, attacked and analysed in a folder; grids of them, side by side.

Loaded when first used, since the command line reads configs without torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robustsnn.runs.folder import evaluate_run as evaluate_run
    from robustsnn.runs.folder import load_run as load_run
    from robustsnn.runs.folder import train_run as train_run

__all__ = ["evaluate_run", "load_run", "train_run"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'robustsnn.runs' has no attribute {name!r}")
    from robustsnn.runs import folder

    return getattr(folder, name)


def __dir__() -> list[str]:
    return __all__
