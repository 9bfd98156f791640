"""The picture of gradient trails: a row per operation, a pair of panels per model: zeros, and norm on a log axis."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup, escape

from robustsnn.reporting.marks import short, style
from robustsnn.reporting.scales import power_text
from robustsnn.reporting.wording import percent
from robustsnn.studies.study import Named, Shown
from robustsnn.studies.trail.record import ORIGINS, Estimate, Step, TrailFile

SAID = {
    "passed": "passed on",
    "architectural": "added, architectural",
    "natural": "added, natural",
    "other": "added, other",
}
_KINDS = ("convolution", "neurons", "max-pool", "norm", "average-pool", "linear")
_LINE, _TOP, _BOTTOM = 15, 64, 26


def colour_of(kind: str) -> int:
    """The colour of a kind of operation; all but the common ones share one."""
    return _KINDS.index(kind) if kind in _KINDS else len(_KINDS)


def rows_of(trails: Sequence[TrailFile]) -> list[str]:
    """The names of all operations, each once; one that a trail has alone stands where it is in that trail."""
    names: list[str] = []
    for trail in trails:
        place = 0
        for step in trail.steps:
            if step.name in names:
                place = max(place, names.index(step.name) + 1)
            else:
                names.insert(place, step.name)
                place += 1
    return names


def chart(shown: Shown[TrailFile], width: int, names: int) -> Markup:
    """An `<svg>` of the trails side by side; `names` is the room for the names of the operations."""
    rows = rows_of([trail for _, trail in shown])
    steps = [{step.name: step for step in trail.steps} for _, trail in shown]
    height = _TOP + _LINE * len(rows) + _BOTTOM
    column = (width - names) / len(shown)
    powers = _powers([step.norm.mean for trail in steps for step in trail.values()])
    parts = _legend(width)
    for row, name in enumerate(rows):
        step = next(found[name] for found in steps if name in found)
        y = _y(row)
        parts.append(f'<rect class="bar {style(colour_of(step.kind))}" x="0" y="{y - 4}" width="8" height="8"/>')
        label = escape(short(_label(step), names // 6 - 2))
        parts.append(f'<text class="tick" x="13" y="{y + 4}">{label}<title>{escape(name)}</title></text>')
    for place, ((model, _), found) in enumerate(zip(shown, steps, strict=True)):
        left = names + column * place
        bars, norms = (left + 8, left + 0.56 * column), (left + 0.7 * column, left + column - 16)
        parts += _axes(model, bars, norms, height, powers, short(model.name, int(column / 8)))
        for row, name in enumerate(rows):
            if name in found:
                parts += _row(found[name], model, _y(row), bars, norms, powers)
    alt = f"Zeros of the gradient at the input of {len(rows)} operations of "
    alt += f"{', '.join(model.name for model, _ in shown)}, from the pixels (top) to the loss; figures in the table."
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return Markup(f'<svg class="trail" {size} role="img" aria-label="{escape(alt)}">{"".join(parts)}</svg>')


def _legend(width: int) -> list[str]:
    """What the bars say, in one line."""
    parts, room = [], (width - 4) / len(SAID)
    for place, (origin, text) in enumerate(SAID.items()):
        x = round(room * place, 1)
        parts.append(f'<g class="c6"><rect class="bar {origin}" x="{x}" y="4" width="20" height="10"/>')
        if origin == "natural":
            parts.append(f'<line class="stripes" x1="{x}" x2="{x + 20}" y1="9" y2="9"/>')
        said = text if room > 160 else text.replace("added, ", "")
        parts.append(f'</g><text class="tick" x="{x + 26}" y="13">{said}</text>')
    return parts


def _label(step: Step) -> str:
    path = step.path.removeprefix("body.").removeprefix("body")
    return " ".join([*([path] if path else []), step.name.removeprefix(step.path or "model").strip()])


def _y(row: int) -> float:
    return _TOP + _LINE * (row + 0.5)


def _powers(norms: Sequence[float]) -> tuple[int, int]:
    """The powers of ten around all norms that are not zero."""
    logs = [math.log10(norm) for norm in norms if norm > 0] or [0.0]
    low, high = math.floor(min(logs)), math.ceil(max(logs))
    return low, max(high, low + 1)


def _axes(
    model: Named,
    bars: tuple[float, float],
    norms: tuple[float, float],
    height: int,
    powers: tuple[int, int],
    name: str,
) -> list[str]:
    parts = [f'<text class="name {style(model.colour)}" x="{bars[0]:.1f}" y="{_TOP - 28}">{escape(name)}</text>']
    bottom = height - _BOTTOM + 4
    for share in (0.0, 0.5, 1.0):
        x = round(bars[0] + share * (bars[1] - bars[0]), 1)
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{_TOP - 4}" y2="{bottom}"/>')
        for y in (_TOP - 9, bottom + 14):
            parts.append(f'<text class="tick mid" x="{x}" y="{y}">{100 * share:.0f}{" %" if share == 1 else ""}</text>')
    low, high = powers
    for power in dict.fromkeys((low, high)):
        x = round(norms[0] + (power - low) / (high - low) * (norms[1] - norms[0]), 1)
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{_TOP - 4}" y2="{bottom}"/>')
        for y in (_TOP - 9, bottom + 14):
            parts.append(f'<text class="tick mid" x="{x}" y="{y}">{power_text(power)}</text>')
    return parts


def _row(
    step: Step,
    model: Named,
    y: float,
    bars: tuple[float, float],
    norms: tuple[float, float],
    powers: tuple[int, int],
) -> list[str]:
    room = bars[1] - bars[0]
    parts = [f'<g class="at {style(colour_of(step.kind))}"><title>{escape(_tip(step, model))}</title>']
    parts.append(f'<rect class="hit" x="{bars[0]:.1f}" y="{y - 7}" width="{norms[1] - bars[0]:.1f}" height="{_LINE}"/>')
    x = bars[0]
    shares = {"unknown": step.zeros.mean} if step.parts is None else step.parts
    for origin, share in shares.items():
        if share > 0:
            wide = share * room
            box = f'x="{x:.1f}" y="{y - 5}" width="{wide:.1f}" height="10"'
            parts.append(f'<rect class="bar {origin}" {box}/>')
            if origin == "natural":
                parts.append(f'<line class="stripes" x1="{x:.1f}" x2="{x + wide:.1f}" y1="{y}" y2="{y}"/>')
            x += wide
    if step.norm.mean > 0:
        low, high = powers

        def place(norm: float) -> float:
            share = (math.log10(norm) - low) / (high - low) if norm > 0 else 0.0
            return round(norms[0] + min(1.0, max(0.0, share)) * (norms[1] - norms[0]), 1)

        if step.norm.interval is not None:
            ends = [place(end) for end in step.norm.interval]
            parts.append(f'<line class="whisker" x1="{ends[0]}" x2="{ends[1]}" y1="{y}" y2="{y}"/>')
        parts.append(f'<circle class="mark" cx="{place(step.norm.mean)}" cy="{y}" r="2.5"/>')
    else:
        parts.append(f'<text class="tick" x="{norms[0]:.1f}" y="{y + 4}">0</text>')
    return [*parts, "</g>"]


def _tip(step: Step, model: Named) -> str:
    lines = [f"{model.name}: {step.name}", f"zeros at its input {share_text(step.zeros)}"]
    if step.parts is None:
        lines.append("where they come from is not known")
    else:
        lines += [f"{SAID[origin]} {percent(step.parts[origin])}" for origin in ORIGINS if step.parts[origin] > 0]
    ends = step.norm.interval
    lines.append(f"l2 norm {step.norm.mean:.3g}" + ("" if ends is None else f" [{ends[0]:.3g}, {ends[1]:.3g}]"))
    return "\n".join(lines)


def share_text(value: Estimate) -> str:
    """'41.2 % [39.0, 43.4]', the interval cut to what a share can be."""
    if value.interval is None:
        return percent(value.mean)
    low, high = (100 * min(1.0, max(0.0, end)) for end in value.interval)
    return f"{percent(value.mean)} [{low:.1f}, {high:.1f}]"
