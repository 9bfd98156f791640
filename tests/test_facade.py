"""The facade: every room and module is reached by its dotted name, lazily, and none is hidden by a function."""

from __future__ import annotations

import subprocess
import sys
from functools import reduce
from importlib import import_module
from importlib.metadata import version
from pkgutil import iter_modules, walk_packages

import pytest

import robustsnn

MODULES = [found.name for found in walk_packages(robustsnn.__path__, "robustsnn.") if "__main__" not in found.name]
ROOMS = [found.name for found in iter_modules(robustsnn.__path__) if found.name != "__main__"]


def test_no_module_is_hidden_by_a_function_of_its_name():
    modules = {name: import_module(name) for name in MODULES}
    assert len(modules) > 100
    reached = {name: reduce(getattr, name.split(".")[1:], robustsnn) for name in modules}
    assert not {name for name, module in modules.items() if reached[name] is not module}


def test_no_room_has_the_name_of_a_function_of_the_facade():
    assert len(dir(robustsnn)) == len(set(dir(robustsnn)))
    for name in ("train", "fit", "evaluate", "analyze", "report"):
        assert callable(getattr(robustsnn, name))
        assert name not in ROOMS


def test_a_module_is_imported_under_another_name():
    import robustsnn.attacks.ladder as ladder
    import robustsnn.models.vggs as vggs

    assert ladder.reliable is robustsnn.attacks.reliable
    assert vggs.vgg is robustsnn.models.vgg


@pytest.mark.parametrize("room", ["losses", "neurons", "studies"])
def test_a_room_is_loaded_when_it_is_first_used(room):
    code = (
        "import sys, robustsnn\n"
        "assert 'torch' not in sys.modules\n"
        "assert not any(name.startswith('robustsnn.') for name in sys.modules)\n"
        f"assert robustsnn.{room} is sys.modules['robustsnn.{room}']\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_the_facade_shows_all_rooms_and_nothing_that_is_not_there():
    assert set(ROOMS) <= set(dir(robustsnn))
    assert all(getattr(robustsnn, name) is not None for name in dir(robustsnn))
    assert robustsnn.__version__ == version("robustsnn")
    with pytest.raises(AttributeError, match="no attribute 'atacks'"):
        _ = robustsnn.atacks
