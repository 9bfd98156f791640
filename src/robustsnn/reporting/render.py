"""From values to one self-contained page: the templates, their filters, and a script named by its digest."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from robustsnn.draw.colours import DARK, LIGHT, variables
from robustsnn.draw.sheet import legend_mark
from robustsnn.reporting import wording


def render(template: str, content: dict[str, Any]) -> str:
    """The page that `template` makes of `content`; its one script runs by its digest, and it loads nothing."""
    environment = _environment()
    script = environment.get_template("script.js.j2").render()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template(template).render(content, script=Markup(script), script_hash=digest)


@lru_cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {"light": Markup(variables(LIGHT)), "dark": Markup(variables(DARK))}
    environment.filters |= {
        "key": legend_mark,
        "keep": _keep,
        "percent": lambda rate: wording.percent(rate.accuracy),
        "interval": wording.interval_text,
        "threat": wording.threat_text,
        "draws": wording.draws_text,
        "count": wording.count,
        "number": wording.figure,
    }
    return environment


def _keep(text: str) -> Markup:
    """Escape `text`; percentages and intervals do not break across lines."""
    number = r"\d+\.\d %( of \d+)?( \[\d+\.\d, \d+\.\d\])?|\[\d+\.\d, \d+\.\d\]|(Linf |L2 )?\d+/255"
    return Markup(re.sub(number, r'<span class="nb">\g<0></span>', str(escape(text))))
